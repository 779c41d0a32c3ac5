"""The fused passes with the neurons grouped by their output signs: fewer operations at small d.

A neuron's output signs are a_r = s_r q with s_r = a_r^1 and q one of the P = 2^(d-1) sign patterns
that begin with +1. Within the neurons of one pattern only s_r differs, so that

    f_W^i(z)      = m^(-1/2) sum_q q^i sum_{r in q} s_r relu(w_r . z)
    grad_{w_r} L  = m^(-1/2)/N s_r sum_j V_q(j) 1[w_r . z_j > 0] z_j,  V_q(j) = q . R_j

and both inner sums are those of a network with one output. The d products per neuron and sample of
each pass become one in the forward and none in the backward.

| symbol | shape        | meaning                                                             |
|--------|--------------|---------------------------------------------------------------------|
| W      | [B P, k, g]  | first layer, the neurons of one trial and pattern in each entry     |
| S      | [B P, g]     | s_r, 0 for a neuron of padding                                      |
| Z      | [B P, k, n]  | features, those of a trial P times: the compiler fuses over no more |
|        |              | axes than these three                                               |
| F, R   | [B, d, n]    | as in trainers.network                                              |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.batches import GROUPED_MAX_OUTPUTS
from trainers.network import Passes, compiled, fused_flips

SAMPLES_AT_ONCE = 8
"""Samples that share one load of a neuron's weights in the forward pass; divides every padded n."""

NEURONS_AT_ONCE = 2
"""Neurons that share one load of a sample in the backward pass; divides every g."""

MAX_PADDING = 1.25
"""Groups of a trial are padded to one length. Above this factor of work added it is not worth it:
the grouped passes take about 0.7 times as long a neuron (benchmarks/step.py)."""

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
    return max(2, -(-longest // NEURONS_AT_ONCE)) * NEURONS_AT_ONCE


def worthwhile(signs: Sequence[Array]) -> bool:
    """Whether grouping makes a batch of trials with output signs [d, m] each faster."""
    d, m = len(signs[0]), max(a.shape[1] for a in signs)
    return d <= GROUPED_MAX_OUTPUTS and 2 ** (d - 1) * group_length(signs) <= MAX_PADDING * m


def group(w: Array, a: Array, length: int) -> tuple[Array, Array]:
    """Weights [k, m] and signs [d, m] of a trial -> W [P, k, g] and S [P, g], g = `length`."""
    count = 2 ** (len(a) - 1)
    W, S = np.zeros((count, len(w), length)), np.zeros((count, length))
    which = pattern_of(a)
    for p in range(count):
        members = np.flatnonzero(which == p)
        W[p, :, : len(members)] = w[:, members]
        S[p, : len(members)] = a[0, members]
    return W, S


def _forward(bias: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def forward(W: Tensor, S: Tensor, Z: Tensor) -> Tensor:
        """Z [B P, k, U, n/U] -> sum_r s_r relu(w_r . z), [B P, U, n/U]."""
        k = W.shape[1]
        sums = []
        for u in range(SAMPLES_AT_ONCE):
            pre = W[:, k - 1, None, :]
            if not bias:
                pre = pre * Z[:, k - 1, u, :, None]
            for j in range(k - 1):
                pre = pre + W[:, j, None, :] * Z[:, j, u, :, None]
            sums.append((S[:, None, :] * torch.relu(pre)).sum(-1))
        return torch.stack(sums, 1)

    return forward


def _backward(bias: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def backward(W: Tensor, Z: Tensor, V: Tensor) -> Tensor:
        """W [B P, k, u, g/u], V [B P, n] -> sum_j V(j) 1[w_r . z_j > 0] z_j, [B P, k u, g/u], u
        neurons at once. The factor s_r is left to the caller: with it here nothing is fused."""
        k = W.shape[1]
        # All ones where pre > 0, since -pre is then negative; pre = 0 leaves +0 and so no bits.
        bits, shift = (torch.int32, 31) if W.dtype == torch.float32 else (torch.int64, 63)
        sums: list[list[Tensor]] = [[] for _ in range(k)]
        for u in range(NEURONS_AT_ONCE):
            last = W[:, k - 1, u, :, None]
            negative = 0.0 - (last if bias else last * Z[:, k - 1, None, :])
            for j in range(k - 1):
                negative = negative - W[:, j, u, :, None] * Z[:, j, None, :]
            active = negative.view(bits) >> shift
            passed = (V.view(bits)[:, None, :] & active).view(W.dtype)
            for j in range(k - 1 if bias else k):
                sums[j].append((passed * Z[:, j, None, :]).sum(-1))
            if bias:
                sums[k - 1].append(passed.sum(-1))
        return torch.stack([one for both in sums for one in both], 1)

    return backward


@cache
def grouped_passes(bias: bool, d: int) -> Passes:
    """The compiled passes for d outputs; `bias` says that the last feature is the constant 1 of
    every sample, which needs no product.

    W and A are W and S of this module's table, Z its Z; F and R are as always. One compilation for
    each (k, bias, dtype), whatever n, g and B P above 1."""
    forward, backward = compiled(_forward(bias)), compiled(_backward(bias))
    known: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def signs(like: Tensor) -> Tensor:
        kind = (like.dtype, like.device)
        if kind not in known:
            known[kind] = torch.as_tensor(patterns(d), dtype=like.dtype, device=like.device)
        return known[kind]

    def outputs(W: Tensor, S: Tensor, Z: Tensor) -> Tensor:
        q, n = signs(W), Z.shape[2]
        sums = forward(W, S, Z.view(*Z.shape[:2], SAMPLES_AT_ONCE, n // SAMPLES_AT_ONCE))
        F = q.T @ sums.view(-1, len(q), n)
        # The constant feature is 0 at a sample of padding, where F must be 0 too.
        return F * Z[:: len(q), -1:] if bias else F

    def gradient(W: Tensor, S: Tensor, Z: Tensor, R: Tensor) -> Tensor:
        q, (G, k, g) = signs(W), W.shape
        # Not a view of q @ R: the compiler would take the shape of what it is a view of for fixed.
        V = R.new_empty((G, R.shape[2]))
        torch.matmul(q, R, out=V.view(-1, len(q), R.shape[2]))
        sums = backward(W.view(G, k, NEURONS_AT_ONCE, g // NEURONS_AT_ONCE), Z, V)
        return sums.view(W.shape).mul_(S[:, None, :])

    return Passes("fused", outputs, gradient, compiled(fused_flips), grouped=True)
