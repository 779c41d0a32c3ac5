"""The fused passes with the neurons grouped by their output signs: fewer operations at small d.

A neuron's output signs are a_r = s_r q with s_r = a_r^1 and q one of the P = 2^(d-1) sign patterns
that begin with +1. Within the neurons of one pattern only s_r differs, so that

    f_W^i(z)      = m^(-1/2) sum_q q^i sum_{r in q} s_r relu(w_r . z)
    grad_{w_r} L  = m^(-1/2)/N s_r sum_j V_q(j) 1[w_r . z_j > 0] z_j,  V_q(j) = q . R_j

and both inner sums are those of a network with one output. The d products per neuron and sample of
each pass become one in the forward and none in the backward.

| symbol | shape             | meaning                                                   |
|--------|-------------------|-----------------------------------------------------------|
| W      | [B, P, k, u, g/u] | first layer, each pattern's g neurons by themselves       |
| S      | [B, P, u, g/u]    | s_r, 0 for a neuron of padding                            |
| Z      | [B, n/U, U, k]    | features                                                  |
| F, R   | [B, d, n]         | as in trainers.network.passes                                    |

Neurons are the vector axis of both passes. The layouts tell the compiler so: features last, since
it would else take the samples, and pay for a sum across lanes at every neuron; u and U apart, since
it keeps in registers what u neurons share of a sample, and U samples of a neuron. No library: the
order of the neurons is this network's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.limits import GROUPED_MAX_OUTPUTS
from trainers.network.passes import Passes, compiled

SAMPLES_AT_ONCE = 8
"""U: samples that share one load of a neuron's weights in the forward pass; divides every n."""

NEURONS_AT_ONCE = 2
"""u: vectors of neurons that share one load of a sample in the backward pass."""

NEURONS_MULTIPLE = NEURONS_AT_ONCE * 16
"""Groups are padded to a multiple of this: whole vectors (16 float32 numbers where they are
longest), since what is left over would cost more than another vector."""

BITS = {torch.float32: (torch.int32, 31), torch.float64: (torch.int64, 63)}
"""The integers that show a number's bits, and how far right its sign is shifted to fill them."""

MAX_PADDING = 1.4
"""Groups of a trial are padded to one length. Above this factor of work added it is not worth it:
the grouped passes take about 0.7 times as long a neuron (64 trials, N = 128, m = 64 to 256)."""

Array = NDArray[np.float64]


def patterns(d: int) -> Array:
    """[P, d]: the sign patterns that begin with +1, those of `pattern_of` in their order."""
    bits = (np.arange(2 ** (d - 1))[:, None] >> np.arange(d - 1)) & 1
    return np.concatenate([np.ones((2 ** (d - 1), 1)), 1.0 - 2.0 * bits], axis=1)


def pattern_of(a: Array) -> NDArray[np.int64]:
    """Of output signs a [d, m]: the index in `patterns` of each neuron's a_r s_r, [m]."""
    differs = (a[1:] != a[0]).astype(np.int64) << np.arange(len(a) - 1)[:, None]
    which: NDArray[np.int64] = differs.sum(axis=0)
    return which


def group_length(signs: Sequence[Array]) -> int:
    """g, the padded number of neurons of a group, for trials with output signs [d, m] each."""
    longest = max(int(np.bincount(pattern_of(a)).max()) for a in signs)
    return -(-longest // NEURONS_MULTIPLE) * NEURONS_MULTIPLE


def worthwhile(signs: Sequence[Array]) -> bool:
    """Whether grouping makes a batch of trials with output signs [d, m] each faster."""
    d, m = len(signs[0]), max(a.shape[1] for a in signs)
    return d <= GROUPED_MAX_OUTPUTS and 2 ** (d - 1) * group_length(signs) <= MAX_PADDING * m


def grouped_shapes(
    B: int, k: int, d: int, g: int, n: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Shapes of W, S and Z for B trials with groups of g neurons and n samples."""
    P, halves = 2 ** (d - 1), (NEURONS_AT_ONCE, g // NEURONS_AT_ONCE)
    return (B, P, k, *halves), (B, P, *halves), (B, n // SAMPLES_AT_ONCE, SAMPLES_AT_ONCE, k)


def group(w: Array, a: Array, length: int) -> tuple[Array, Array]:
    """Weights [k, m] and signs [d, m] of a trial -> W [P, k, u, g/u] and S [P, u, g/u], where g is
    `length`."""
    count = 2 ** (len(a) - 1)
    W, S = np.zeros((count, len(w), length)), np.zeros((count, length))
    which = pattern_of(a)
    for p in range(count):
        members = np.flatnonzero(which == p)
        W[p, :, : len(members)] = w[:, members]
        S[p, : len(members)] = a[0, members]
    halves = (NEURONS_AT_ONCE, length // NEURONS_AT_ONCE)
    return W.reshape(count, len(w), *halves), S.reshape(count, *halves)


def ungrouped(W: Array, a: Array) -> Array:
    """The inverse of `group`: weights w [k, m] in the order of the signs a [d, m], of W [P, k, ...]
    with any number of axes for a pattern's neurons."""
    W = W.reshape(*W.shape[:2], -1)
    w = np.empty((W.shape[1], a.shape[1]), dtype=W.dtype)
    which = pattern_of(a)
    for p in range(len(W)):
        members = np.flatnonzero(which == p)
        w[:, members] = W[p, :, : len(members)]
    return w


def features_last(z: Array, n: int) -> Array:
    """Features of points z [n', k] -> Z [n/U, U, k], padded to n points."""
    padded = np.pad(z, ((0, n - len(z)), (0, 0)))
    return padded.reshape(n // SAMPLES_AT_ONCE, SAMPLES_AT_ONCE, z.shape[1])


def _summed(W: Tensor, S: Tensor, Z: Tensor, bias: bool) -> Tensor:
    """sum_r s_r relu(w_r . z) over each pattern's neurons, [B, P, n]."""
    (B, P, k), g, n = W.shape[:3], W.shape[3] * W.shape[4], Z.shape[1] * SAMPLES_AT_ONCE
    W, S = W.view(B, P, k, g), S.view(B, P, g)
    sums = []
    for u in range(SAMPLES_AT_ONCE):
        pre = W[:, :, k - 1, None, :]
        if not bias:
            pre = pre * Z[:, None, :, u, k - 1, None]
        for j in range(k - 1):
            pre = pre + W[:, :, j, None, :] * Z[:, None, :, u, j, None]
        sums.append((S[:, :, None, :] * torch.relu(pre)).sum(-1))
    return torch.stack(sums, 3).view(B, P, n)


def _negative(W: Tensor, Z: Tensor, u: int, bias: bool) -> Tensor:
    """Bits of -w_r . z for Z [B, n, k], [B, P, n, g/u], of which the first says that neuron r is
    active: where the product is 0, of either sign, this is +0."""
    k = W.shape[2]
    last = W[:, :, k - 1, u, None, :]
    negative = 0.0 - (last if bias else last * Z[:, None, :, k - 1, None])
    for j in range(k - 1):
        negative = negative - W[:, :, j, u, None, :] * Z[:, None, :, j, None]
    return negative.view(BITS[W.dtype][0])


def _flips(W: Tensor, W0: Tensor, Z: Tensor) -> Tensor:
    """As in trainers.network.passes, [B, P, g]."""
    (B, P, k), g, Z = W.shape[:3], W.shape[3] * W.shape[4], _samples(Z)
    active = []
    for V in (W.view(B, P, k, g), W0.view(B, P, k, g)):
        # With the constant feature's product: a sample of padding is 0 here.
        pre = V[:, :, 0, None, :] * Z[:, None, :, 0, None]
        for j in range(1, k):
            pre = pre + V[:, :, j, None, :] * Z[:, None, :, j, None]
        active.append(pre > 0)
    return (active[0] != active[1]).to(W.dtype).sum(2)


def _samples(Z: Tensor) -> Tensor:
    """Z as [B, n, k]."""
    return Z.view(Z.shape[0], Z.shape[1] * SAMPLES_AT_ONCE, Z.shape[3])


def _gradient(W: Tensor, S: Tensor, Z: Tensor, V: Tensor, bias: bool) -> Tensor:
    """s_r sum_j V(j) 1[w_r . z_j > 0] z_j for V [B, P, n]: [B, P, k, u, g/u]."""
    k, Z = W.shape[2], _samples(Z)
    bits, shift = BITS[W.dtype]
    sums: list[list[Tensor]] = [[] for _ in range(k)]
    for u in range(NEURONS_AT_ONCE):
        active = _negative(W, Z, u, bias) >> shift
        passed = (V[:, :, :, None].view(bits) & active).view(W.dtype)
        for j in range(k - 1 if bias else k):
            sums[j].append((passed * Z[:, None, :, j, None]).sum(2))
        if bias:
            sums[k - 1].append(passed.sum(2))
    return torch.stack([torch.stack(both, 2) for both in sums], 2) * S[:, :, None]


@cache
def grouped_passes(bias: bool, d: int) -> Passes:
    """The compiled passes for d outputs; `bias` says that the last feature is the constant 1 of
    every sample, which needs no product.

    W and A are W and S of this module's table, Z its Z; F and R are as always. One compilation of
    each pass for each (k, bias, dtype), whatever n and g, and whatever B above 1 (a batch of one is
    a case of its own)."""
    known: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def signs(like: Tensor) -> Tensor:
        kind = (like.dtype, like.device)
        if kind not in known:
            known[kind] = torch.as_tensor(patterns(d), dtype=like.dtype, device=like.device)
        return known[kind]

    def mixed(q: Tensor, terms: Tensor) -> Tensor:
        if d == 1:
            return terms
        if d == 2:  # q = [[1, 1], [1, -1]], and the compiler fuses sums alone with what is around
            return torch.stack([terms[:, 0] + terms[:, 1], terms[:, 0] - terms[:, 1]], 1)
        return q @ terms

    def outputs(sums: Tensor, Z: Tensor, q: Tensor) -> Tensor:
        F = mixed(q.mT, sums)
        # The constant feature is 0 at a sample of padding, where F must be 0 too.
        return F * _samples(Z)[:, None, :, -1] if bias else F

    def gradient(W: Tensor, S: Tensor, Z: Tensor, R: Tensor, q: Tensor) -> Tensor:
        return _gradient(W, S, Z, mixed(q, R), bias)

    def rest(
        sums: Tensor, W: Tensor, S: Tensor, Z: Tensor, Y: Tensor, scale: Tensor, q: Tensor
    ) -> tuple[Tensor, Tensor]:
        R = outputs(sums, Z, q) * scale - Y
        return R, gradient(W, S, Z, R, q)

    summed, after, alone = compiled(partial(_summed, bias=bias)), compiled(rest), compiled(gradient)

    def together(
        W: Tensor, S: Tensor, Z: Tensor, Y: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        R, sums = after(summed(W, S, Z), W, S, Z, Y, scale, signs(W))
        # Not compiled: a long sum is another case to the compiler than a short one.
        return R.square().sum((1, 2)), sums

    return Passes(
        "fused",
        lambda W, S, Z: outputs(summed(W, S, Z), Z, signs(W)),
        lambda W, S, Z, R: alone(W, S, Z, R, signs(W)),
        compiled(_flips),
        grouped=True,
        together=together,
    )
