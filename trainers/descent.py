"""The default trainer: the paper's network under full-batch gradient descent, packed and compiled.

What it computes is in `trainers.gradient_descent`; here it is fitted to the protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import torch

from trainers.gradient_descent import Batch, Record, descend
from trainers.network import (
    BLOCKED,
    FUSED_MAX_FEATURES,
    Passes,
    compiler_problem,
    fused_passes,
    warm_up,
)
from trainers.protocol import Task
from trainers.sign_groups import grouped_passes, worthwhile
from trainers.trial import TrialConfig

log = logging.getLogger("trainers.pack")


class Descent:
    """W(tau+1) = W(tau) - eta grad L, all N triples in every step."""

    kernel_limit = True

    def operations(self, config: TrialConfig) -> float:
        """4 N m (k + d) of a step (THEORY section 3)."""
        return config.training_operations / config.steps

    def train(
        self,
        tasks: Sequence[Task],
        recorded: Sequence[int],
        device: torch.device,
        tick: Callable[[], None],
    ) -> Iterator[Record]:
        """See trainers.protocol. Packs and compiles at once, so that what follows is training."""
        config = tasks[0].config
        passes, path = choose_passes(config, device)
        dtype = dtype_of(config)
        problems = [task.problem() for task in tasks]
        if path == "fused" and worthwhile([p.a for p in problems]):
            passes = grouped_passes(config.bias, config.dimension)
        batch = Batch.pack(problems, dtype, device, passes.grouped)
        warm_up(passes, config.features, config.dimension, len(tasks), dtype, device)
        return descend(batch, recorded, passes, tick)


def dtype_of(config: TrialConfig) -> torch.dtype:
    """The floating-point type that a trial trains in."""
    return torch.float32 if config.precision == "float32" else torch.float64


def choose_passes(config: TrialConfig, device: torch.device) -> tuple[Passes, str]:
    """The passes for a trial's sizes on `device`, and the name that `kernel_path` records."""
    if config.features + config.dimension > FUSED_MAX_FEATURES:
        return BLOCKED, "matmul"
    problem = compiler_problem(device.type)
    if problem:
        log.warning("torch.compile does not work here, training on the blocked path: %s", problem)
        return BLOCKED, "blocked"
    return fused_passes(config.bias), "fused"
