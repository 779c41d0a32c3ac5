"""The passes of trainers.network.passes as Triton kernels: the N x m sums held in registers.

One axis of the N x m pairs is resident: a program owns a tile of it, and each of its threads some
points of the tile, with all that the loop needs of them and their sums. The other axis is streamed
through, ROWS at a time, and every thread reads the same rows. So a pair costs its arithmetic and
no memory, no sum crosses threads, and the order of every sum is fixed: parts of the streamed axis
(where one program for each tile would leave the card idle) are added up in their order afterwards.
No atomics.

| symbol | shape           | meaning                                                              |
|--------|-----------------|----------------------------------------------------------------------|
| W      | [nets, K, m]    | first layer                                                          |
| A      | [nets, OUT, m]  | output signs                                                         |
| Z      | [B, K, n]       | features; with BIAS the last is 1, and 0 at samples of padding       |
| V      | [nets, OUT, n]  | residuals; those of a pattern, q . R, where neurons are grouped      |
| parts  | [parts, ...]    | sums over parts of the streamed axis                                 |

nets = B GROUPS: the neurons of one sign pattern are a network of one output (OUT = 1;
trainers.network.sign_groups), and without groups GROUPS = 1, OUT = d. m and n are multiples of
16. This module needs Triton, and is imported where it is chosen (trainers.network.tiled).
"""

# Triton compiles what it reads here itself: no types, and tuples grow by concatenation.
# mypy: ignore-errors
# ruff: noqa: RUF005

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["nets", "tiles"])
def forward_kernel(
    W, A, Z, parts, m, n, nets, tiles, share,
    K: tl.constexpr, OUT: tl.constexpr, GROUPS: tl.constexpr, BIAS: tl.constexpr,
    ROWS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """parts[part, net, i, j] = sum of a_r^i relu(w_r . z_j) over the neurons of a part.

    A program: samples of one tile, one network, `share` neurons."""
    net, part = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(1)
    samples = (tl.program_id(0) % tiles) * TILE + tl.arange(0, TILE)
    inside = samples < n
    z = ()
    for j in tl.static_range(K):
        z = z + (tl.load(Z + (net // GROUPS * K + j) * n + samples, mask=inside, other=0.0),)
    W += net * K * m
    A += net * OUT * m
    sums = ()
    for _ in tl.static_range(OUT):
        sums = sums + (tl.zeros([TILE], dtype=W.dtype.element_ty),)
    for first in range(part * share, tl.minimum((part + 1) * share, m), ROWS):
        rows = first + tl.arange(0, ROWS)
        pre = tl.load(W + (K - 1) * m + rows)[:, None] + tl.zeros([1, TILE], W.dtype.element_ty)
        if not BIAS:
            pre = pre * z[K - 1][None, :]
        for j in tl.static_range(K - 1):
            pre += tl.load(W + j * m + rows)[:, None] * z[j][None, :]
        active = tl.maximum(pre, 0.0, propagate_nan=tl.PropagateNan.ALL)
        added = ()
        for i in tl.static_range(OUT):
            a = tl.load(A + i * m + rows)[:, None]
            added = added + (sums[i] + tl.sum(a * active, 0),)
        sums = added
    out = parts + (part.to(tl.int64) * nets + net) * OUT * n + samples
    for i in tl.static_range(OUT):
        tl.store(out + i * n, sums[i], mask=inside)


@triton.jit(do_not_specialize=["nets", "tiles", "count"])
def output_kernel(
    parts, Z, Y, scale, V, squares, n, nets, tiles, count,
    K: tl.constexpr, D: tl.constexpr, GROUPS: tl.constexpr, BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """F [B, D, n] out of `count` parts, stored in V; or, with RESIDUAL, what the backward pass
    takes of R = F scale - Y, stored in V, and sum ||R_j||^2 of each tile in squares [B, tiles].

    A program: samples of one tile, one trial."""
    trial, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    samples = tile * TILE + tl.arange(0, TILE)
    inside = samples < n
    TERMS: tl.constexpr = GROUPS if GROUPS > 0 else D
    terms = ()
    for p in tl.static_range(TERMS):
        total = tl.zeros([TILE], dtype=parts.dtype.element_ty)
        for part in range(count):
            at = (tl.cast(part, tl.int64) * nets * TERMS + trial * TERMS + p) * n + samples
            total += tl.load(parts + at, mask=inside, other=0.0)
        terms = terms + (total,)
    # The constant feature tells samples from padding, whose sums must not count.
    real = tl.load(Z + (trial * K + K - 1) * n + samples, mask=inside, other=0.0)
    total = tl.zeros([TILE], dtype=parts.dtype.element_ty)
    residuals = ()
    for i in tl.static_range(D):
        if GROUPS > 0:
            f = terms[0]
            for p in tl.static_range(1, GROUPS):
                f = f - terms[p] if _negative(p, i) else f + terms[p]
        else:
            f = terms[i]
        if BIAS:
            f = f * real
        if RESIDUAL:
            y = tl.load(Y + (trial * D + i) * n + samples, mask=inside, other=0.0)
            r = f * tl.load(scale + trial) - y
            total += r * r
            residuals = residuals + (r,)
        else:
            tl.store(V + (trial * D + i) * n + samples, f, mask=inside)
    if RESIDUAL:
        tl.store(squares + trial * tiles + tile, tl.sum(tl.where(inside, total, 0.0), 0))
        for p in tl.static_range(TERMS):
            if GROUPS > 0:
                v = residuals[0]
                for i in tl.static_range(1, D):
                    v = v - residuals[i] if _negative(p, i) else v + residuals[i]
            else:
                v = residuals[p]
            tl.store(V + (trial * TERMS + p) * n + samples, v, mask=inside)


@triton.constexpr_function
def _negative(p: int, i: int) -> bool:
    """Whether q^i = -1 in pattern p, in the order of trainers.network.sign_groups.patterns."""
    return i > 0 and (p >> (i - 1)) & 1 == 1


@triton.jit(do_not_specialize=["nets", "tiles"])
def backward_kernel(
    W, A, Z, V, parts, m, n, nets, tiles, share,
    K: tl.constexpr, OUT: tl.constexpr, GROUPS: tl.constexpr, BIAS: tl.constexpr,
    ROWS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """parts[part, net, :, r] = sum of V_j . a_r 1[w_r . z_j > 0] z_j over the samples of a part.

    A program: neurons of one tile, one network, `share` samples."""
    net, part = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(1)
    neurons = (tl.program_id(0) % tiles) * TILE + tl.arange(0, TILE)
    inside = neurons < m
    w, a, sums = (), (), ()
    for j in tl.static_range(K):
        w = w + (tl.load(W + (net * K + j) * m + neurons, mask=inside, other=0.0),)
        sums = sums + (tl.zeros([TILE], dtype=W.dtype.element_ty),)
    for i in tl.static_range(OUT):
        a = a + (tl.load(A + (net * OUT + i) * m + neurons, mask=inside, other=0.0),)
    Z += net // GROUPS * K * n
    V += net * OUT * n
    for first in range(part * share, tl.minimum((part + 1) * share, n), ROWS):
        rows = first + tl.arange(0, ROWS)
        pre = w[K - 1][None, :] + tl.zeros([ROWS, 1], W.dtype.element_ty)
        if not BIAS:
            pre = pre * tl.load(Z + (K - 1) * n + rows)[:, None]
        for j in tl.static_range(K - 1):
            pre += w[j][None, :] * tl.load(Z + j * n + rows)[:, None]
        signal = tl.load(V + rows)[:, None] + tl.zeros([1, TILE], W.dtype.element_ty)
        if OUT > 1:  # a single output's sign is a factor of the whole sum
            signal = signal * a[0][None, :]
            for i in tl.static_range(1, OUT):
                signal += a[i][None, :] * tl.load(V + i * n + rows)[:, None]
        passed = tl.where(pre > 0, signal, 0.0)
        added = ()
        for j in tl.static_range(K - 1):
            z = tl.load(Z + j * n + rows)[:, None]
            added = added + (sums[j] + tl.sum(passed * z, 0),)
        if BIAS:
            added = added + (sums[K - 1] + tl.sum(passed, 0),)
        else:
            z = tl.load(Z + (K - 1) * n + rows)[:, None]
            added = added + (sums[K - 1] + tl.sum(passed * z, 0),)
        sums = added
    out = parts + (part.to(tl.int64) * nets + net) * K * m + neurons
    for j in tl.static_range(K):
        tl.store(out + j * m, sums[j] * a[0] if OUT == 1 else sums[j], mask=inside)


@triton.jit(do_not_specialize=["nets", "tiles"])
def flips_kernel(
    W, W0, Z, parts, m, n, nets, tiles, share,
    K: tl.constexpr, GROUPS: tl.constexpr, ROWS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """parts[part, net, r] = how many samples of a part have another activation in W than in W0.

    A program: neurons of one tile, one network, `share` samples. All features are multiplied: at a
    sample of padding both products are 0."""
    net, part = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(1)
    neurons = (tl.program_id(0) % tiles) * TILE + tl.arange(0, TILE)
    inside = neurons < m
    w, w0 = (), ()
    for j in tl.static_range(K):
        w = w + (tl.load(W + (net * K + j) * m + neurons, mask=inside, other=0.0),)
        w0 = w0 + (tl.load(W0 + (net * K + j) * m + neurons, mask=inside, other=0.0),)
    Z += net // GROUPS * K * n
    count = tl.zeros([TILE], dtype=tl.int32)
    for first in range(part * share, tl.minimum((part + 1) * share, n), ROWS):
        rows = first + tl.arange(0, ROWS)
        z = tl.load(Z + rows)[:, None]
        pre, pre0 = w[0][None, :] * z, w0[0][None, :] * z
        for j in tl.static_range(1, K):
            z = tl.load(Z + j * n + rows)[:, None]
            pre += w[j][None, :] * z
            pre0 += w0[j][None, :] * z
        count += tl.sum(((pre > 0) != (pre0 > 0)).to(tl.int32), 0)
    tl.store(parts + (part.to(tl.int64) * nets + net) * m + neurons, count, mask=inside)
