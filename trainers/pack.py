"""`train_pack`: the one entry to training. A list of trials in, their trajectories out.

Trials are grouped into batches that train together as packed tensors. A trial's numbers do not
depend on the batch it lands in, beyond float32 rounding.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.columns import ERROR_COLUMNS
from trainers.kept.keep import SUFFIX, Keep, Sampling, kept_indices
from trainers.kept.networks import (
    Networks,
    alike,
    file_name,
    keeping_trainer,
    network_file,
)
from trainers.kernel.distances import DistancesOnDevice, DistancesOnHost, distances
from trainers.kernel.reference import (
    KernelColumns,
    ReferenceCache,
    kernel_columns,
    rkhs_elements,
    shared_reference,
    start_of,
)
from trainers.kernel.terms import KernelReference, RkhsElement
from trainers.laws import Distribution, Points, make_distribution
from trainers.laws.table import TableRows
from trainers.methods.full_batch import choose_passes
from trainers.methods.kernel_limit import solve
from trainers.methods.load import trainer_of
from trainers.network.batches import batches
from trainers.network.gradient_descent import Record
from trainers.problem.empirical_bayes import Untrained, untrained
from trainers.problem.evaluation import EvaluationSet, Evaluator
from trainers.problem.regression import (
    FreshRows,
    Samples,
    draw_training_set,
    gap_features,
    row_weights,
    scaled,
)
from trainers.problem.sketch import Kept
from trainers.protocol import Task
from trainers.registry import facts_of
from trainers.sampling.quality import SAMPLE_COLUMNS, Exact, qualities
from trainers.sampling.tables import TABLE_COLUMNS, finite, real_columns
from trainers.stopping import Recorded
from trainers.trial import (
    Trajectory,
    TrialConfig,
    TrialStatus,
    content_id,
    grouped,
    recorded_steps,
)

TICK_SECONDS = 0.2
"""How often a running batch asks whether to stop."""

BATCH_POINTS = 2**16
"""Samples that are drawn side by side, of all networks together."""

log = logging.getLogger(__name__)


class PackStopped(Exception):
    """Raised by train_pack when `should_stop` said so; the pack's work is lost, nothing else is."""


def train_pack(
    configs: Sequence[TrialConfig],
    device: str = "auto",
    *,
    atoms: Points | None = None,
    threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_progress: Callable[[float], None] | None = None,
    references: ReferenceCache | None = None,
    until: int | None = None,
    keep: Keep | None = None,
) -> list[Trajectory]:
    """Trains `configs` and returns their trajectories in the same order.

    device: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, ...
    atoms: by SHA-256, the standardised rows of the data files that laws refer to.
    threads: CPU threads of torch; None leaves them as they are.
    on_progress: told the floating-point operations of training done since its last call.
    references: where the kernel references of large data sets are found, and left for other packs.
    until: stop at the last recorded step that is at most this; trials that would have gone on are
        `pruned`, and what they recorded until then is what the whole trajectory starts with.
    keep: which networks the trajectories hold as files; of those that `until` cut short none.

    Raises ValueError for a device that is not there or a data file that was not given, and
    PackStopped. A trial that diverges is a trajectory with that status, never an exception.
    """
    target = resolve_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    results: dict[int, Trajectory] = {}
    shared = _Shared(configs, atoms or {}, references)
    # Kernels and graphs go to the current device.
    with torch.cuda.device(target) if target.type == "cuda" else nullcontext():
        for batch in batches(configs):
            members = [configs[i] for i in batch]
            if members[0].infinite:
                trained = solve(members, shared, target, _ticker(should_stop))
            else:
                trained = _train_batch(
                    members, target, shared, should_stop, on_progress, until, keep
                )
            results.update(zip(batch, trained, strict=True))
    return [results[i] for i in range(len(configs))]


def resolve_device(device: str) -> torch.device:
    """The torch device of a `device` setting; raises ValueError where it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: {device!r} is unknown; use auto, cpu or cuda") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: {device} asked for, but this machine has no CUDA GPU; use cpu")
    return resolved


class _Shared:
    """Data that the batches of a pack share: laws, evaluation and training sets, kernels."""

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        atoms: Points,
        cache: ReferenceCache | None,
    ) -> None:
        self._atoms = atoms
        self._cache = cache
        self._horizons: dict[str, float] = {}
        measured = [c for c in configs if _has_kernel(c)]
        for c in measured:
            reached = max(c.steps * c.step_size, self._horizons.get(c.data_id, 0.0))
            self._horizons[c.data_id] = reached
        trajectories = {_trajectory_key(c): c for c in measured}
        self._waiting = Counter(_reference_key(c) for c in trajectories.values())
        # f^K of all trajectories in one piece: what stays, allocated among what goes, would leave
        # the heap in holes too small for the next reference.
        self._room = np.empty(sum(map(_kernel_values, trajectories.values())))
        self._taken = 0
        self._elements: dict[str, list[RkhsElement]] = {}
        self._references: dict[str, tuple[KernelReference, float]] = {}
        self._columns: dict[str, KernelColumns] = {}
        self._distributions: dict[str, Distribution] = {}
        self._evaluations: dict[str, EvaluationSet] = {}
        self._training: dict[str, Samples] = {}
        self._fresh: dict[str, FreshRows] = {}
        self._untrained: dict[str, Untrained] = {}
        self._exact: dict[str, Exact] = {}

    def distribution(self, config: TrialConfig) -> Distribution:
        if config.law_id not in self._distributions:
            self._distributions[config.law_id] = make_distribution(config.law, self._atoms)
        return self._distributions[config.law_id]

    def evaluation(self, config: TrialConfig) -> EvaluationSet:
        key = _evaluation_key(config)
        if key not in self._evaluations:
            self._evaluations[key] = EvaluationSet.draw(config, self.distribution(config))
        return self._evaluations[key]

    def kernel(
        self, config: TrialConfig, recorded: Sequence[int], device: torch.device
    ) -> KernelColumns:
        """The kernel's columns of a trial: one decomposition serves the pack's whole data set, and
        one set of columns all widths at a step size that start from 0."""
        evaluation, data = self.evaluation(config), self.unit_rows(config)
        trajectory = _trajectory_key(config)
        if trajectory in self._columns:
            return self._columns[trajectory]
        key = _reference_key(config)
        if key not in self._references:
            self._references[key] = shared_reference(
                key,
                data,
                evaluation,
                lambda: self.elements(config, device),
                max(self._horizons[config.data_id], 1.0),
                device,
                self._cache,
            )
        reference, never_stopped = self._references[key]
        start = start_of(config, reference, device)
        made = kernel_columns(config, reference, evaluation, recorded, never_stopped, start)
        room = self._room[self._taken : self._taken + made.test.size]
        self._taken += made.test.size
        columns = replace(made, test=room.reshape(made.test.shape))
        columns.test[...] = made.test
        self._columns[trajectory] = columns
        # A reference is tens of MiB: it goes with the last trajectory that needs it.
        self._waiting[key] -= 1
        if not self._waiting[key]:
            del self._references[key]
        return columns

    def elements(self, config: TrialConfig, device: torch.device) -> list[RkhsElement]:
        """f_H for each norm of the trial."""
        law = content_id([_evaluation_key(config), *config.norms])
        if law not in self._elements:
            self._elements[law] = rkhs_elements(config, self.evaluation(config), device)
        return self._elements[law]

    def training(self, config: TrialConfig) -> Samples:
        key = content_id([config.data_id, config.bias])
        if key not in self._training:
            self._training[key] = draw_training_set(config, self.distribution(config))
        return self._training[key]

    def unit_rows(self, config: TrialConfig) -> Samples:
        """The training set as rows of weight 1."""
        data = self.training(config)
        return scaled(data, row_weights(config, data.t))

    def fresh(self, config: TrialConfig) -> FreshRows | None:
        """The rows of every step, where they change: one object for all trials on a data set."""
        if not config.fresh:
            return None
        key = content_id([config.data_id, config.bias])
        if key not in self._fresh:
            self._fresh[key] = FreshRows(config, self.training(config))
        return self._fresh[key]

    def gap(self, config: TrialConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features and labels of the fresh copies of training points behind the gap."""
        return gap_features(config, self.training(config), self.evaluation(config).holdout)

    def untrained(self, config: TrialConfig, device: torch.device) -> Untrained:
        """What is possible without training, once for all trials on the same clean points."""
        drawn = [config.samples, config.seed, config.study_seed, config.test_points]
        key = content_id([config.law_id, config.diffusion.model_dump(), *drawn])
        if key not in self._untrained:
            points = self.training(config).x0[: config.samples]
            self._untrained[key] = untrained(points, self.evaluation(config), device)
        return self._untrained[key]

    def exact(self, config: TrialConfig, sampling: Sampling) -> Exact:
        """What exact draws reach, once for all trials of a law."""
        drawn = [config.law_id, config.diffusion.model_dump(), config.study_seed]
        key = content_id([*drawn, sampling.text])
        if key not in self._exact:
            self._exact[key] = Exact.of(config, self.distribution(config), sampling)
        return self._exact[key]


def _has_kernel(config: TrialConfig) -> bool:
    """Whether the kernel's columns are asked for beside a network, and mean something for its
    trainer."""
    return config.kernel_reference and trainer_of(config).kernel_limit


def _evaluation_key(config: TrialConfig) -> str:
    """Content id of all that an evaluation set depends on."""
    sizes = [config.test_points, config.holdout_points, config.bias, config.study_seed]
    training = [config.time_law, config.weight]  # whose noise it measures
    return content_id([config.law_id, config.diffusion.model_dump(), *sizes, *training])


def _reference_key(config: TrialConfig) -> str:
    """Content id of all that a kernel reference depends on."""
    return content_id([config.data_id, _evaluation_key(config), *config.norms])


def _trajectory_key(config: TrialConfig) -> str:
    """Content id of all that kernel columns depend on: not the width, where the network starts from
    0."""
    # A plain network's kernel starts at its own f_W(0): nothing to share beyond the reference.
    own = [config.trial_id] if config.initialisation == "plain" else []
    steps = [config.step_size, config.steps, config.recorded]
    return content_id([_reference_key(config), *steps, *own])


def _kernel_values(config: TrialConfig) -> int:
    """Number of values of f^K on the test set at all recorded steps."""
    recorded = len(recorded_steps(config.steps, config.recorded))
    return recorded * config.test_points * config.dimension


def _train_batch(
    configs: list[TrialConfig],
    device: torch.device,
    shared: _Shared,
    should_stop: Callable[[], bool] | None,
    on_progress: Callable[[float], None] | None,
    until: int | None,
    keep: Keep | None,
) -> list[Trajectory]:
    sets = [shared.evaluation(c) for c in configs]
    trainer, facts = trainer_of(configs[0]), facts_of(configs[0].trainer)
    path = choose_passes(configs[0], device)[1] if facts.full_batch else None
    recorded = recorded_steps(configs[0].steps, configs[0].recorded)
    if until is not None:
        recorded = [step for step in recorded if step <= until]
    evaluator = Evaluator(sets, device)
    each_step = [trainer.operations(c) for c in configs]
    per_step = sum(each_step)
    kernels = [shared.kernel(c, recorded, device) if _has_kernel(c) else None for c in configs]
    without = [shared.untrained(c, device) for c in configs]
    records = trainer.train(
        [_task(c, shared) for c in configs], recorded, device, _ticker(should_stop)
    )
    held_against = _HeldAgainst(
        distances([k.test if k else None for k in kernels], sets, device),
        distances([u.memorizer[None] for u in without], sets, device),
        _gap_labels(configs, shared, device),
    )
    snapshots = None
    if keep is not None and until is None:
        snapshots = _Snapshots(keep, configs, sets, kernels, recorded)
        for config in configs:
            if keep.sampling is not None and keep.samples(config):
                shared.exact(config, keep.sampling)
    started = time.perf_counter()
    rows: list[torch.Tensor] = []
    kept = Kept(sets)
    done = 0
    for record in records:
        rows.append(_row(record, evaluator, held_against, len(rows)))
        kept.look(rows[-1][:, 0], record.predictions)
        if snapshots is not None and snapshots.wanted:
            snapshots.look(record, rows[-1])
        if on_progress is not None and record.step > done:
            on_progress(per_step * (record.step - done))
            done = record.step
    # Until here nothing waited for the device, unless networks are kept.
    table = torch.stack(rows).cpu().numpy()  # [R, B, C]
    seconds = time.perf_counter() - started

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    sketches = kept.texts()
    trajectories = [
        _trajectory(
            config,
            recorded,
            table[:, b],
            sketches[b],
            each_step[b],
            kernel,
            {
                **sets[b].values(),
                **without[b].columns,
                **(kernel.values if kernel else {}),
                "seconds": seconds * each_step[b] / per_step,
                "device": name,
                "node": platform.node(),
                "kernel_path": path,
            },
        )
        for b, (config, kernel) in enumerate(zip(configs, kernels, strict=True))
    ]
    if snapshots is not None:
        snapshots.put_into(trajectories)
        if keep is not None and keep.sampling is not None:
            _sample(snapshots, keep.sampling, trajectories, shared, device)
    return trajectories


class _Snapshots:
    """The networks of a batch at the steps that are to be kept, though these are known only as the
    trajectories go on.

    At every recorded step the rules are asked what they say so far. A network is held while one of
    them names its step, and the latest in any case: a rule may say that the step before was the
    last good one. So a trial holds no more networks than there are rules, and one.
    """

    def __init__(
        self,
        keep: Keep,
        configs: Sequence[TrialConfig],
        sets: Sequence[EvaluationSet],
        kernels: Sequence[KernelColumns | None],
        recorded: Sequence[int],
    ) -> None:
        self._keep, self._configs, self._steps = keep, configs, np.array(recorded)
        self.wanted = [b for b, c in enumerate(configs) if keep.wants(c) or keep.samples(c)]
        sampled = keep.sampling.rules if keep.sampling is not None else ()
        self._rules = tuple(dict.fromkeys((*keep.rules, *sampled)))
        for b in self.wanted:
            keeping_trainer(configs[b])
        noise = [one.weighted_noise_variance for one in sets]
        self._noise = [value if math.isfinite(value) else None for value in noise]
        self._complexity = [k.series.get("kernel_complexity") if k else None for k in kernels]
        self._rows: list[NDArray[np.float64]] = []
        self._held: dict[int, dict[int, Mapping[str, torch.Tensor]]] = {b: {} for b in self.wanted}

    def look(self, record: Record, row: torch.Tensor) -> None:
        """At the next recorded step, with its columns [B, C]. Waits for the device."""
        self._rows.append(row.cpu().numpy())
        index = len(self._rows) - 1
        assert record.weights is not None  # `keeping_trainer` has seen that it says so
        for b in self.wanted:
            held = self._held[b]
            if math.isfinite(self._rows[-1][b, _LOSS]):
                held[index] = record.weights(b)
            needed = {index, *self.named(b, self._rules).values()}
            self._held[b] = {i: network for i, network in held.items() if i in needed}

    def network(self, b: int, index: int) -> Mapping[str, torch.Tensor]:
        """The network of a trial at one of the steps that are held."""
        return self._held[b][index]

    def named(self, b: int, rules: Sequence[str]) -> dict[str, int]:
        """Rule -> index, as far as the trajectory is known."""
        config, series = self._configs[b], np.array([row[b] for row in self._rows])
        count, complexity = len(series), self._complexity[b]
        errors, holdout, loss = (series[:, SERIES.index(name)] for name in _RULES_READ)
        so_far = Recorded(
            self._steps[:count],
            config.step_size,
            config.samples,
            config.dimension,
            kernel_complexity=None if complexity is None else complexity[:count],
            noise_variance=self._noise[b],
            score_error=errors,
            holdout_loss=holdout,
            train_loss=loss,
        )
        return kept_indices(rules, so_far)

    def put_into(self, trajectories: Sequence[Trajectory]) -> None:
        """The files of the networks, and their columns, into finished trajectories."""
        for b in self.wanted:
            one = trajectories[b]
            if not self._keep.wants(one.config):
                continue
            column: list[str | None] = [None] * len(one.steps)
            for index in sorted(set(self.named(b, self._keep.rules).values())):
                content = network_file(one.config, one.steps[index], self._held[b][index])
                name = file_name(content)
                one.networks[name] = content
                column[index] = name.removesuffix(SUFFIX)
            one.texts["network"] = column
            one.values["kept"] = " ".join(self._keep.steps)


def _sample(
    snapshots: _Snapshots,
    sampling: Sampling,
    trajectories: Sequence[Trajectory],
    shared: _Shared,
    device: torch.device,
) -> None:
    """Puts the columns of samples into finished trajectories: networks of one shape side by side,
    as many as BATCH_POINTS allow."""
    asked: list[tuple[Trajectory, int, Mapping[str, torch.Tensor]]] = []
    for b in snapshots.wanted:
        one = trajectories[b]
        if not sampling.wants(one.config):
            continue
        one.values["sampled"] = sampling.text_of(one.config.law.kind)
        one.values.update(finite(shared.exact(one.config, sampling).columns))
        law = shared.distribution(one.config)
        of_a_table = TABLE_COLUMNS if isinstance(law, TableRows) else ()
        for name in (*SAMPLE_COLUMNS, *of_a_table):
            one.series[name] = [None] * len(one.steps)
        one.texts["sample_points"] = [None] * len(one.steps)
        if isinstance(law, TableRows):
            points = shared.training(one.config).x0[: one.config.samples]
            one.values.update(finite(real_columns(law, points)))
        indices = sorted(set(snapshots.named(b, sampling.rules).values()))
        asked += [(one, index, snapshots.network(b, index)) for index in indices]
    together = max(1, BATCH_POINTS // sampling.points)
    for group in grouped(asked, lambda a: alike(a[0].config, a[2])):
        for start in range(0, len(group), together):
            own = group[start : start + together]
            configs = [one.config for one, _, _ in own]
            found = qualities(
                configs,
                Networks(configs, [weights for _, _, weights in own], device),
                [shared.evaluation(c) for c in configs],
                [shared.training(c).x0[: c.samples] for c in configs],
                [shared.exact(c, sampling) for c in configs],
                sampling,
            )
            for (one, index, _), quality in zip(own, found, strict=True):
                for name, value in quality.columns.items():
                    one.series[name][index] = value if math.isfinite(value) else None
                one.texts["sample_points"][index] = quality.points
                one.values["drawn_points"] = quality.drawn


def _task(config: TrialConfig, shared: _Shared) -> Task:
    data, points = shared.training(config), shared.evaluation(config).z
    if config.gap_points:
        points = np.concatenate([points, shared.gap(config)[0]])
    weights = row_weights(config, data.t)
    return Task(config, data.z, data.x0, points, weights, shared.fresh(config))


def _ticker(should_stop: Callable[[], bool] | None) -> Callable[[], None]:
    if should_stop is None:
        return lambda: None
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TICK_SECONDS:
            last = now
            if should_stop():
                raise PackStopped

    return tick


SERIES: tuple[str, ...] = (
    *ERROR_COLUMNS,
    "holdout_loss",
    "train_loss",
    "displacement",
    "flipped_fraction",
)
"""Columns that training itself measures, in the order of `_row`."""

_RULES_READ = ("score_error", "holdout_loss", "train_loss")
_LOSS = SERIES.index("train_loss")

HELD_AGAINST: tuple[str, ...] = ("memorizer_distance", "generalization_gap", "coupling")
"""Columns of networks held against something else, in the order of `_row`."""

Distances = DistancesOnHost | DistancesOnDevice


@dataclass(frozen=True)
class _HeldAgainst:
    """What a batch's networks are held against; gap_labels [B, d, n] on the device, or None."""

    kernel: Distances
    memorizer: Distances
    gap_labels: torch.Tensor | None


def _gap_labels(
    configs: Sequence[TrialConfig], shared: _Shared, device: torch.device
) -> torch.Tensor | None:
    if not configs[0].gap_points:
        return None
    labels = np.stack([shared.gap(c)[1].T for c in configs])
    return torch.as_tensor(labels).to(device)


def _row(record: Record, evaluator: Evaluator, against: _HeldAgainst, index: int) -> torch.Tensor:
    """[B, C] float64, on the device: SERIES, HELD_AGAINST, and the step of divergence or -1."""
    errors, holdout = evaluator.measure(record.predictions)
    unknown = torch.full_like(holdout, math.nan)
    gap = unknown
    if against.gap_labels is not None:
        labels = against.gap_labels
        copies = record.predictions[:, :, -labels.shape[2] :].double()
        gap = holdout - (copies - labels).square().sum(1).mean(1) / 2
    others = [holdout, record.train_loss, record.displacement, record.flipped_fraction]
    columns = [unknown if v is None else v.double() for v in others]
    columns.append(against.memorizer.at(index, record.predictions))
    columns += [gap, against.kernel.at(index, record.predictions)]
    columns.append(record.diverged_step.to(gap))
    return torch.cat([errors, torch.stack(columns, 1)], 1)


def _trajectory(
    config: TrialConfig,
    recorded: list[int],
    table: NDArray[np.float64],
    sketches: list[str | None],
    operations: float,
    kernel: KernelColumns | None,
    values: Mapping[str, float | str | None],
) -> Trajectory:
    names = SERIES + HELD_AGAINST
    measured = {name: table[:, c] for c, name in enumerate(names)}
    if kernel:
        measured |= kernel.series
    else:
        del measured["coupling"]
    if not config.gap_points:
        del measured["generalization_gap"]
    diverged_step = int(table[-1, -1])
    series: dict[str, list[float | None]] = {
        name: [v if math.isfinite(v) else None for v in column.tolist()]
        for name, column in measured.items()
    }
    texts = {"sketch": sketches}
    values = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()
    }
    last = recorded[-1] if diverged_step < 0 else diverged_step
    everything = {**values, "operations": operations * last}
    if diverged_step < 0 and last < config.steps:
        return Trajectory(
            config,
            recorded,
            TrialStatus.PRUNED,
            f"stopped at step {last} of {config.steps}",
            everything,
            series,
            texts,
        )
    if diverged_step < 0:
        return Trajectory(config, recorded, values=everything, series=series, texts=texts)
    above = "above the stability limit 2N / lambda_max(K)"
    why = above if facts_of(config.trainer).full_batch else "too large"
    return Trajectory(
        config,
        recorded,
        TrialStatus.DIVERGED,
        f"the training loss diverged at step {diverged_step}: step_size = {config.step_size:g} "
        f"is {why}; lower it",
        {**everything, "diverged_step": diverged_step},
        series,
        texts,
    )
