"""The default trainer: the paper's network under full-batch gradient descent, packed and compiled.

What it computes is in `trainers.network.gradient_descent`; here it is fitted to the protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from trainers.limits import FUSED_MAX_FEATURES, TRITON_MAX_FEATURES
from trainers.network.gradient_descent import Batch, Record, descend
from trainers.network.passes import (
    BLOCKED,
    SAMPLES_MULTIPLE,
    Passes,
    compiler_problem,
    fused_passes,
    padded_length,
    predict,
    predict_apart,
)
from trainers.network.sign_groups import (
    SAMPLES_AT_ONCE,
    group,
    grouped_passes,
    grouped_shapes,
    worthwhile,
)
from trainers.network.tiled import MULTIPLE, tiled_passes, triton_problem
from trainers.protocol import Task
from trainers.registry import DESCENT, TRAINERS
from trainers.trial import TrialConfig

log = logging.getLogger("trainers.pack")


class Descent:
    """W(tau+1) = W(tau) - eta grad L, all rows in every step."""

    kernel_limit = TRAINERS[DESCENT].kernel_limit
    handles = ("weight", "fresh", "keep")

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

    def network(
        self,
        configs: Sequence[TrialConfig],
        weights: Mapping[str, Tensor],
        device: torch.device,
    ) -> Callable[[Tensor], Tensor]:
        """See trainers.protocol. On the CPU by the very passes of the training, on the neurons as
        they lay there."""
        grouped = bool(weights["layout"][0, 0])
        passes, _ = choose_passes(configs[0], device, grouped)
        if not passes.tiled and passes is not BLOCKED:
            first = configs[0]
            sizes = first.features, first.dimension, len(configs)
            warm_up(passes, *sizes, dtype_of(first), device, training=False)
        return packed_network(passes, configs, weights, device)


def packed_network(
    passes: Passes,
    configs: Sequence[TrialConfig],
    weights: Mapping[str, Tensor],
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """`trainers.protocol.Trainer.network` of the paper's networks, by `passes`. weights: those of
    `trainers.network.gradient_descent.Batch.weights`, stacked."""
    dtype = dtype_of(configs[0])
    multiple = MULTIPLE if passes.tiled else None
    length = int(weights["layout"][:, 1].max())
    w, a = weights["w"].numpy(), weights["a"].numpy().astype(float)

    def tensor(arrays: Iterable[np.ndarray]) -> Tensor:
        return torch.as_tensor(np.stack(list(arrays)), dtype=dtype).to(device)

    if passes.grouped:
        both = [group(one, signs, length) for one, signs in zip(w, a, strict=True)]
        W, A = (tensor(arrays) for arrays in zip(*both, strict=True))
    else:
        # Neurons that lay in groups there have the length of one.
        m = w.shape[2] if weights["layout"][0, 0] else max(length, w.shape[2])
        room = m + -m % (multiple or 1) - w.shape[2]
        W, A = (tensor(np.pad(v, ((0, 0), (0, 0), (0, room)))) for v in (w, a))
    scale = torch.full((len(w), 1, 1), w.shape[2] ** -0.5, dtype=dtype, device=device)

    def function(z: Tensor) -> Tensor:
        count = z.shape[1]
        room = padded_length(count, multiple or SAMPLES_MULTIPLE) - count
        Z = torch.nn.functional.pad(z.to(device, dtype), (0, 0, 0, room))
        if passes.grouped and not passes.tiled:
            Z = Z.view(len(Z), -1, SAMPLES_AT_ONCE, Z.shape[2])
        else:
            Z = Z.transpose(1, 2).contiguous()
        if passes is BLOCKED:
            return predict_apart(W, A, Z, scale)[:, :, :count]
        return predict(passes, W, A, Z, scale)[:, :, :count]

    return function


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
    passes: Passes,
    k: int,
    d: int,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    training: bool = True,
) -> None:
    """Compiles what a batch of these sizes will call, so that its timing holds training alone;
    without `training` what predicts alone, to the very code that predicts in training.

    All sizes here differ from each other and from k and d: the compiler would take two equal ones
    for one and the same, and compile again for the first batch in which they are not.
    """
    B, m, n = 1 if batch == 1 else 17 + k + d, 32 * (5 + k + d), SAMPLES_MULTIPLE * (41 + k + d)

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    shapes = grouped_shapes(B, k, d, m, n) if passes.grouped else ((B, k, m), (B, d, m), (B, k, n))
    W, A, Z = (zeros(*shape) for shape in shapes)
    predict(passes, W, A, Z, zeros(B, 1, 1))
    if not training:
        return
    passes.step(W, A, Z, zeros(B, d, n), zeros(B, 1, 1))
    passes.flips(W, W.clone(), Z)
