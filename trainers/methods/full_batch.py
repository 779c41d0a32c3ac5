"""The default trainer: the paper's network under full-batch gradient descent, packed and compiled.

What it computes is in `trainers.network.gradient_descent`; here it is fitted to the protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch

from trainers.limits import FUSED_MAX_FEATURES
from trainers.network.gradient_descent import Batch, Record, descend
from trainers.network.passes import (
    BLOCKED,
    SAMPLES_MULTIPLE,
    Passes,
    compiler_problem,
    fused_passes,
    predict,
)
from trainers.network.sign_groups import grouped_passes, grouped_shapes, worthwhile
from trainers.protocol import Task
from trainers.registry import DESCENT, TRAINERS
from trainers.trial import TrialConfig

log = logging.getLogger("trainers.pack")


class Descent:
    """W(tau+1) = W(tau) - eta grad L, all N triples in every step."""

    kernel_limit = TRAINERS[DESCENT].kernel_limit

    def operations(self, config: TrialConfig) -> float:
        """4 N m (k + d) of a step (docs/theory.md, section 3)."""
        return config.step_operations

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


@cache
def warm_up(
    passes: Passes, k: int, d: int, batch: int, dtype: torch.dtype, device: torch.device
) -> None:
    """Compiles what a batch of these sizes will call, so that its timing holds training alone.

    All sizes here differ from each other and from k and d: the compiler would take two equal ones
    for one and the same, and compile again for the first batch in which they are not.
    """
    B, m, n = 1 if batch == 1 else 17 + k + d, 32 * (5 + k + d), SAMPLES_MULTIPLE * (41 + k + d)

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    shapes = grouped_shapes(B, k, d, m, n) if passes.grouped else ((B, k, m), (B, d, m), (B, k, n))
    W, A, Z = (zeros(*shape) for shape in shapes)
    predict(passes, W, A, Z, zeros(B, 1, 1))
    passes.step(W, A, Z, zeros(B, d, n), zeros(B, 1, 1))
    passes.flips(W, W.clone(), Z)
