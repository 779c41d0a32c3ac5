"""Two-layer ReLU networks, packed: initialisation, prediction, and the passes of one descent step.

f_W^i(z) = m^(-1/2) sum_r a_r^i relu(w_r . z), i = 1..d (docs/theory.md, section 3). Only W is
trained.

Feature-major, so that the last axis is long and contiguous. A pack of B networks may mix widths
and sample counts: a neuron of padding has w = 0 and a = 0, a sample of padding has z = 0 and
label 0, and both then add exact zeros to every sum below.

| symbol | shape             | meaning                                             |
|--------|-------------------|-----------------------------------------------------|
| W      | [B, k, m]         | first layer, w_r in its columns                     |
| A      | [B, d, m]         | output signs a_r^i                                  |
| Z      | [B, k, n]         | features of n samples                               |
| F      | [B, d, n]         | sum_r a_r relu(w_r . z): predictions times m^(1/2)  |
| R      | [B, d, n]         | residuals f_W(z_j) - X_{0,j}                        |

The same passes exist on three paths. `fused`: broadcast products and sums over the last axis, which
torch.compile turns into loops that keep everything in registers; no N x m tensor is ever stored.
Where d is small they take fewer operations with the neurons in another order (see
trainers.network.sign_groups). `blocked`: matrix products over blocks of samples small enough to
stay in cache; a sample's residual needs all neurons but no other sample, so a step takes each block
once, forward and backward. `triton`: what `fused` is, as kernels for a GPU
(trainers.network.tiled). `trainers.methods.full_batch.choose_passes` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.problem.regression import stream
from trainers.trial import TrialConfig

UNROLL = 4
"""U, samples that share one load of a neuron's weights in the fused forward pass."""

SAMPLES_MULTIPLE = 8
"""Numbers of samples are padded to a multiple of this, so that every unrolling divides them."""

BLOCK_BYTES = 1 << 20
"""Size of the N x m block that the blocked path holds: it fits in a core's L2 cache."""

BLOCK_SAMPLES = 64
"""Samples of a block of one trial, at the cost of up to four times its size: fewer are slower."""

Array = NDArray[np.float64]


def initial_weights(config: TrialConfig) -> tuple[Array, Array]:
    """W(0) [k, m], w_r ~ N(0, I_k), and a [d, m], a_r^i ~ U{-1, +1}, float64.

    `symmetric`: neurons r and r + m/2 share w and have opposite a, so f_W(0) = 0.
    The stream depends on the seed, m and the initialisation, not on the data.
    """
    rng = stream("weights", config.study_seed, config.seed, config.width, config.initialisation)
    drawn = config.width // 2 if config.initialisation == "symmetric" else config.width
    a: Array = rng.choice([-1.0, 1.0], size=(config.dimension, drawn))
    w = rng.standard_normal((config.features, drawn))
    if config.initialisation == "symmetric":
        return np.concatenate([w, w], axis=1), np.concatenate([a, -a], axis=1)
    return w, a


def pad_samples(values: Array, length: int) -> Array:
    """values [n, c] -> [c, length], zero-padded from n to `length`."""
    return np.pad(values.T, ((0, 0), (0, length - len(values))))


def padded_length(n: int, multiple: int = SAMPLES_MULTIPLE) -> int:
    """The smallest multiple of `multiple` that is at least n, and at least two of it: the compiler
    makes a case of its own of an axis of length 1."""
    return max(2, -(-n // multiple)) * multiple


# --- fused path -----------------------------------------------------------------------------------
# Python loops over the small axes k, d and U unroll at compile time; B, n and m stay symbolic.


def _fused_forward(W: Tensor, A: Tensor, Z: Tensor) -> Tensor:
    """Z [B, k, U, n/U] -> [B, U d, n/U]."""
    sums = []
    for u in range(UNROLL):
        pre = W[:, 0, None, :] * Z[:, 0, u, :, None]
        for j in range(1, W.shape[1]):
            pre = pre + W[:, j, None, :] * Z[:, j, u, :, None]
        active = torch.relu(pre)
        sums += [(A[:, i, None, :] * active).sum(-1) for i in range(A.shape[1])]
    return torch.stack(sums, 1)


def _fused_backward(W: Tensor, A: Tensor, Z: Tensor, R: Tensor) -> Tensor:
    pre = W[:, 0, :, None] * Z[:, 0, None, :]
    for j in range(1, W.shape[1]):
        pre = pre + W[:, j, :, None] * Z[:, j, None, :]
    passed = _passed(pre, A, R)
    return torch.stack([(passed * Z[:, j, None, :]).sum(-1) for j in range(W.shape[1])], 1)


def _fused_backward_bias(W: Tensor, A: Tensor, Z: Tensor, R: Tensor) -> Tensor:
    """For features that end in the constant 1, which needs no product. A sample of padding is
    mistaken for (0, ..., 0, 1) here; its residual is 0, so it still adds nothing."""
    last = W.shape[1] - 1
    pre = W[:, last, :, None]
    for j in range(last):
        pre = pre + W[:, j, :, None] * Z[:, j, None, :]
    passed = _passed(pre, A, R)
    sums = [(passed * Z[:, j, None, :]).sum(-1) for j in range(last)]
    return torch.stack([*sums, passed.sum(-1)], 1)


def _passed(pre: Tensor, A: Tensor, R: Tensor) -> Tensor:
    """R . a_r where neuron r is active at the sample, else 0."""
    signal = A[:, 0, :, None] * R[:, 0, None, :]
    for i in range(1, A.shape[1]):
        signal = signal + A[:, i, :, None] * R[:, i, None, :]
    return torch.where(pre > 0, signal, 0.0)


def fused_flips(W: Tensor, W0: Tensor, Z: Tensor) -> Tensor:
    """Number of samples at which a neuron's activation differs between W and W0, [B, m]."""
    pre, pre0 = W[:, 0, :, None] * Z[:, 0, None, :], W0[:, 0, :, None] * Z[:, 0, None, :]
    for j in range(1, W.shape[1]):
        pre = pre + W[:, j, :, None] * Z[:, j, None, :]
        pre0 = pre0 + W0[:, j, :, None] * Z[:, j, None, :]
    return ((pre > 0) != (pre0 > 0)).to(W.dtype).sum(-1)


# --- blocked path ---------------------------------------------------------------------------------


def _blocks(W: Tensor, n: int) -> list[slice]:
    row = W.shape[0] * W.shape[2] * W.element_size()
    size = max(1, min(n, BLOCK_BYTES // row)) if W.device.type == "cpu" else max(1, 2**28 // row)
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


def _blocked_forward(W: Tensor, A: Tensor, Z: Tensor) -> Tensor:
    out = torch.empty((*A.shape[:2], Z.shape[2]), dtype=W.dtype, device=W.device)
    for block in _blocks(W, Z.shape[2]):
        active = torch.bmm(Z[:, :, block].mT, W).relu_()
        out[:, :, block] = torch.bmm(A, active.mT)
    return out


def _blocked_backward(W: Tensor, A: Tensor, Z: Tensor, R: Tensor) -> Tensor:
    gradient = torch.zeros_like(W)
    for block in _blocks(W, Z.shape[2]):
        Zb = Z[:, :, block]
        pre = torch.bmm(Zb.mT, W)
        passed = torch.bmm(R[:, :, block].mT, A)
        _keep_where_active(passed, pre)
        gradient.baddbmm_(Zb, passed)
    return gradient


def _blocked_step(
    W: Tensor, A: Tensor, Z: Tensor, Y: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """`Passes.step` block by block: some samples of one trial, or all of several trials."""
    B, m, n = W.shape[0], W.shape[2], Z.shape[2]
    bytes_of_block = BLOCK_BYTES if W.device.type == "cpu" else 2**28
    row = m * W.element_size()
    least = min(BLOCK_SAMPLES, 4 * bytes_of_block // row)
    size = min(n, max(1, least, bytes_of_block // row))
    count = min(B, max(1, bytes_of_block // (n * row)))
    R, gradient = torch.empty_like(Y), torch.zeros_like(W)
    buffers = W.new_empty((2, count * size * m))
    for first in range(0, B, count):
        trials = slice(first, min(B, first + count))
        Wb, Ab, sums = W[trials], A[trials], gradient[trials]
        for start in range(0, n, size):
            block = slice(start, min(n, start + size))
            Zb, Rb = Z[trials, :, block], R[trials, :, block]
            shape = (len(Zb), Zb.shape[2], m)
            active, passed = buffers[:, : shape[0] * shape[1] * m].view(2, *shape)
            torch.bmm(Zb.mT, Wb, out=active).relu_()
            torch.sub(torch.bmm(Ab, active.mT) * scale[trials], Y[trials, :, block], out=Rb)
            torch.bmm(Rb.mT, Ab, out=passed)
            _keep_where_active(passed, active)
            sums.baddbmm_(Zb, passed)
    return R.square().sum((1, 2)), gradient


def _keep_where_active(passed: Tensor, pre: Tensor) -> None:
    """`passed` becomes 0 where pre <= 0: relu's own derivative, in place, since a mask would be one
    more tensor and pass."""
    torch.ops.aten.threshold_backward.grad_input(passed, pre, 0, grad_input=passed)


def _blocked_flips(W: Tensor, W0: Tensor, Z: Tensor) -> Tensor:
    flips = W.new_zeros((W.shape[0], W.shape[2]))
    for block in _blocks(W, Z.shape[2]):
        Zt = Z[:, :, block].mT
        flips += ((torch.bmm(Zt, W) > 0) != (torch.bmm(Zt, W0) > 0)).sum(1)
    return flips


@dataclass(frozen=True)
class Passes:
    """The passes of one path.

    forward(W, A, Z) -> F [B, d, n]; backward(W, A, Z, R) -> sum_j R . a_r 1[w_r . z_j > 0] z_j,
    [B, k, m]; flips(W, W0, Z) -> number of samples whose activation differs, [B, m].
    together(W, A, Z, Y, scale) is `step` where a path has a faster way than pass by pass.
    grouped: W, A, Z and these results have the shapes of trainers.network.sign_groups, F and R the
    above. tiled: those of trainers.network.tiled, where Z is [B, k, n] in any case.
    """

    name: str
    forward: Callable[[Tensor, Tensor, Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    flips: Callable[[Tensor, Tensor, Tensor], Tensor]
    grouped: bool = False
    tiled: bool = False
    together: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] | None = (
        None
    )

    def step(
        self, W: Tensor, A: Tensor, Z: Tensor, Y: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """sum_j ||R_j||^2 [B] of R = f_W - Y, and backward's sum at that R; `scale` [B, 1, 1] holds
        m^(-1/2)."""
        if self.together is not None:
            return self.together(W, A, Z, Y, scale)
        R = predict(self, W, A, Z, scale) - Y
        return R.square().sum((1, 2)), self.backward(W, A, Z, R)


BLOCKED = Passes(
    "blocked", _blocked_forward, _blocked_backward, _blocked_flips, together=_blocked_step
)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The pass compiled for every size at once."""
    # Past this limit dynamo raises (fullgraph): it never falls back to a pass that stores N x m.
    torch._dynamo.config.recompile_limit = 64
    # a * b + c in one instruction, rounded once: left out of compiled CPU code unless asked for.
    options: dict[str, Any] = {"cpp.enable_floating_point_contract_flag": "fast"}
    # What several sums share is computed again in each, which common subexpressions undo, and never
    # stored: it is N x m.
    options |= {"realize_reads_threshold": 10_000, "realize_opcount_threshold": 10_000}
    return torch.compile(function, dynamic=True, fullgraph=True, options=options)


@cache
def fused_passes(bias: bool) -> Passes:
    """The compiled passes; `bias` says that the last feature of every sample is the constant 1.

    One compilation for each (k, d, dtype), whatever n and m, and whatever B above 1 (a batch of
    one is a case of its own)."""
    unrolled = compiled(_fused_forward)

    def forward(W: Tensor, A: Tensor, Z: Tensor) -> Tensor:
        (B, k, n), d = Z.shape, A.shape[1]
        sums: Tensor = unrolled(W, A, Z.view(B, k, UNROLL, n // UNROLL))
        return sums.view(B, UNROLL, d, -1).transpose(1, 2).reshape(B, d, n)

    backward = compiled(_fused_backward_bias if bias else _fused_backward)
    return Passes("fused", forward, backward, compiled(fused_flips))


@cache
def compiler_problem(device: str) -> str:
    """Why torch.compile does not work on this machine for `device`, or "" where it does."""
    try:
        # As the passes are: what is switched off (TORCH_COMPILE_DISABLE) raises.
        probe = torch.compile(lambda x: (x * 2).sum(-1), dynamic=True, fullgraph=True)
        probe(torch.ones(4, 8, device=device))
    except Exception as error:  # any failure to compile means the other path
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return ""


def predict_apart(W: Tensor, A: Tensor, Z: Tensor, scale: Tensor) -> Tensor:
    """The same by matrix products, network by network: the library may sum in another order where a
    product has other company, and a network that is kept is asked again without it."""
    each = range(len(W))
    return torch.cat([predict(BLOCKED, *(v[i : i + 1] for v in (W, A, Z, scale))) for i in each])


def predict(passes: Passes, W: Tensor, A: Tensor, Z: Tensor, scale: Tensor) -> Tensor:
    """f_W [B, d, n] at the samples of Z; `scale` [B, 1, 1] holds m^(-1/2)."""
    return passes.forward(W, A, Z) * scale
