"""Trials of infinite width: kernel descent in closed form, in place of training.

There is no network and no step, so this is no trainers.protocol.Trainer. A trial's columns come
from `trainers.kernel.limit`; what needs a network (coupling, displacement, flipped activations) is
null. Trials on one data set share its decomposition.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.kernel.limit import DataSet, LimitColumns, Reading, limit_columns
from trainers.kernel.terms import RkhsElement
from trainers.problem.empirical_bayes import Untrained
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import Samples
from trainers.trial import Trajectory, TrialConfig, TrialStatus, grouped, recorded_steps


class Problems(Protocol):
    """Where the data of trials come from: a pack's trials share much of it."""

    def evaluation(self, config: TrialConfig) -> EvaluationSet:
        """The same object for all trials of a law that share their points."""

    def unit_rows(self, config: TrialConfig) -> Samples:
        """The trial's training set as rows of weight 1."""

    def gap(self, config: TrialConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features and labels of the fresh copies of training points behind the gap."""

    def elements(self, config: TrialConfig, device: torch.device) -> list[RkhsElement]:
        """f_H for each norm of the trial."""

    def untrained(self, config: TrialConfig, device: torch.device) -> Untrained:
        """What is possible without training on the trial's data set."""


def solve(
    configs: Sequence[TrialConfig],
    problems: Problems,
    device: torch.device,
    tick: Callable[[], None],
) -> list[Trajectory]:
    """The trajectories of trials of infinite width, in their order. What `tick` raises, which is
    called before every decomposition, ends the work."""
    done: dict[int, Trajectory] = {}
    for family in grouped(range(len(configs)), lambda i: _family(configs[i], problems)):
        by_data = grouped(family, lambda i: configs[i].data_id)
        first = configs[family[0]]
        elements = problems.elements(first, device)
        possible = []
        for own in by_data:
            tick()
            possible.append(problems.untrained(configs[own[0]], device))
        data_sets = [
            DataSet(
                problems.unit_rows(configs[own[0]]),
                [_reading(configs[i]) for i in own],
                untrained.memorizer,
                problems.gap(configs[own[0]]) if first.gap_points else None,
            )
            for own, untrained in zip(by_data, possible, strict=True)
        ]
        made = limit_columns(
            data_sets,
            problems.evaluation(first),
            elements[-1] if elements else None,
            device,
            tick,
        )
        evaluated = problems.evaluation(first).values()
        started = time.perf_counter()
        for own, columns, untrained in zip(by_data, made, possible, strict=True):
            ended = time.perf_counter()
            values: dict[str, float | str | None] = {
                **evaluated,
                **untrained.columns,
                "seconds": (ended - started) / len(own),
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                "node": platform.node(),
            }
            started = ended
            for index, one in zip(own, columns, strict=True):
                done[index] = _trajectory(configs[index], one, values)
    return [done[index] for index in range(len(configs))]


def _family(config: TrialConfig, problems: Problems) -> object:
    """What trials must share to be solved side by side."""
    return (id(problems.evaluation(config)), config.samples, config.copies, config.norms)


def _reading(config: TrialConfig) -> Reading:
    return Reading(config.step_size, recorded_steps(config.steps, config.recorded))


def _trajectory(
    config: TrialConfig, columns: LimitColumns, values: dict[str, float | str | None]
) -> Trajectory:
    steps = recorded_steps(config.steps, config.recorded)
    series: dict[str, list[float | None]] = {
        name: [v if math.isfinite(v) else None for v in column.tolist()]
        for name, column in columns.series.items()
    }
    known = {name: v if math.isfinite(v) else None for name, v in columns.values.items()}
    everything = {**values, **known, "kernel_path": columns.route}
    status, message = TrialStatus.COMPLETED, ""
    if columns.horizon < config.step_size * steps[-1] * (1 - 1e-12):
        message = f"known up to eta tau = {columns.horizon:.4g}, as far as Lanczos is certified"
    if columns.diverged_step >= 0:
        status = TrialStatus.DIVERGED
        message = (
            f"the training loss diverged by step {columns.diverged_step}: step_size = "
            f"{config.step_size:g} is above the stability limit 2N / lambda_max(K); lower it"
        )
        everything["diverged_step"] = columns.diverged_step
    texts = {"sketch": columns.sketch}
    return Trajectory(config, steps, status, message, everything, series, texts)
