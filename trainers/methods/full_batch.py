"""The default trainer: the paper's network under full-batch gradient descent, packed and compiled.

What it computes is in `trainers.network.gradient_descent`; here it is fitted to the protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch

from trainers.limits import FUSED_MAX_FEATURES, TRITON_MAX_FEATURES
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
from trainers.network.tiled import MULTIPLE, tiled_passes, triton_problem
from trainers.protocol import Task
from trainers.registry import DESCENT, TRAINERS
from trainers.trial import TrialConfig

log = logging.getLogger("trainers.pack")


class Descent:
    """W(tau+1) = W(tau) - eta grad L, all rows in every step."""

    kernel_limit = TRAINERS[DESCENT].kernel_limit
    handles = ("weight", "fresh")

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
        dtype = dtype_of(config)
        problems = [task.problem() for task in tasks]
        passes, _ = choose_passes(config, device, worthwhile([p.a for p in problems]))
        batch = Batch.pack(
            problems, dtype, device, passes.grouped, MULTIPLE if passes.tiled else None
        )
        if passes.tiled:  # a kernel for each size of tile: compiled by calling them
            predict(passes, batch.W, batch.A, batch.Z_eval, batch.scale)
            passes.step(batch.W, batch.A, batch.Z, batch.Y, batch.scale)
            passes.flips(batch.W, batch.W, batch.Z)
        else:
            warm_up(passes, config.features, config.dimension, len(tasks), dtype, device)
        return descend(batch, recorded, passes, tick)


def dtype_of(config: TrialConfig) -> torch.dtype:
    """The floating-point type that a trial trains in."""
    return torch.float32 if config.precision == "float32" else torch.float64


def choose_passes(
    config: TrialConfig, device: torch.device, grouped: bool = False
) -> tuple[Passes, str]:
    """The passes for a trial's sizes on `device`, and the name that `kernel_path` records. The one
    place where they are chosen; what does not work here is announced, and recorded.

    grouped: whether the batch's neurons may be grouped by their output signs.

    | device | k + d                      | path   | otherwise                                    |
    |--------|----------------------------|--------|----------------------------------------------|
    | cpu    | up to FUSED_MAX_FEATURES   | fused  | blocked, where torch.compile does not work   |
    | cuda   | up to TRITON_MAX_FEATURES  | triton | blocked, where Triton does not               |
    | any    | above                      | matmul |                                              |
    """
    # A weighted row's last feature is the root of its weight.
    bias, d = config.bias and config.weight == "x0", config.dimension
    if config.features + d > (TRITON_MAX_FEATURES if device.type == "cuda" else FUSED_MAX_FEATURES):
        return BLOCKED, "matmul"
    if device.type == "cuda":
        problem = triton_problem()
        if not problem:
            return tiled_passes(bias, d, grouped), "triton"
        log.warning("Triton does not work here, training on the blocked path: %s", problem)
        return BLOCKED, "blocked"
    problem = compiler_problem(device.type)
    if problem:
        log.warning("torch.compile does not work here, training on the blocked path: %s", problem)
        return BLOCKED, "blocked"
    return grouped_passes(bias, d) if grouped else fused_passes(bias), "fused"


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
