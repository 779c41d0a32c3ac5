"""The passes of a CUDA device: launches of the kernels of trainers.network.triton_kernels.

Neurons are grouped by their output signs where that is worthwhile, as on the CPU; the mathematics
and its symbols are those of trainers.network.passes and trainers.network.sign_groups, and the
points lie feature-major, [B, k, n], in both cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from trainers.errors import first_line
from trainers.network.passes import Passes
from trainers.network.sign_groups import patterns

MULTIPLE = 16
"""m and n are padded to a multiple of this: whole rows, and loads of 16 bytes."""

PROGRAMS = 528
"""Programs that a pass is split into where its tiles are fewer: four for each of the 132
multiprocessors of a Hopper card. Not the card's own number, on which the order of sums would
depend."""

LEAST_SHARE = 128
"""Rows that a program streams at least: below it, adding up the parts costs more than it spreads.
"""

OUTPUT_TILE = 256
"""Samples of a program that puts the outputs together."""


@dataclass(frozen=True)
class Tile:
    """rows: streamed at a time; points: of the resident axis, a thread; warps: most of a program"""

    rows: int
    points: int
    warps: int


def tile_for(k: int, outputs: int) -> Tile:
    """The tile of networks of k features and so many outputs: about as much as the registers hold
    (255 a thread)."""
    if k + outputs <= 12:
        return Tile(8, 4, 4)
    if k + outputs <= 20:
        return Tile(4, 4, 4)
    return Tile(4, 2, 4)


@dataclass(frozen=True)
class Launch:
    """How a pass over `resident` by `streamed` points is spread over programs: the first axis of
    the grid has `tiles` of each network, the second the parts of the streamed axis."""

    tiles: int
    parts: int
    share: int
    tile: int
    warps: int

    @classmethod
    def of(cls, nets: int, resident: int, streamed: int, tile: Tile) -> Launch:
        """The launch for so many networks."""
        lanes = 32 * tile.points
        warps = 1
        while warps < tile.warps and lanes * warps < resident:
            warps *= 2
        tiles = -(-resident // (lanes * warps))
        parts = min(PROGRAMS // (tiles * nets), streamed // LEAST_SHARE)
        share = -(-streamed // max(parts, 1) // MULTIPLE) * MULTIPLE
        return cls(tiles, -(-streamed // share), share, lanes * warps, warps)


@cache
def tiled_passes(bias: bool, d: int, grouped: bool, tile: Tile | None = None) -> Passes:
    """The passes for d outputs; `bias` says that the last feature is the constant 1, `grouped` that
    W and A are W and S of trainers.network.sign_groups. tile: another than `tile_for` chooses.

    Raises ImportError where Triton is missing."""
    from trainers.network import triton_kernels as kernels

    groups, outputs = (2 ** (d - 1), 1) if grouped else (1, d)

    def chosen(k: int) -> Tile:
        return tile or tile_for(k, outputs)

    def networks(W: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
        """W [nets, k, m] and A [nets, outputs, m]."""
        nets = A.shape[0] * groups
        A = A.view(nets, outputs, -1)
        return W.view(nets, -1, A.shape[2]), A

    def sums(W: Tensor, A: Tensor, Z: Tensor) -> Tensor:
        (nets, k, m), n = W.shape, Z.shape[2]
        run = Launch.of(nets, n, m, chosen(k))
        parts = W.new_empty((run.parts, nets, outputs, n))
        kernels.forward_kernel[(nets * run.tiles, run.parts)](
            W, A, Z, parts, m, n, nets, run.tiles, run.share,
            K=k, OUT=outputs, GROUPS=groups, BIAS=bias, ROWS=chosen(k).rows, TILE=run.tile,
            num_warps=run.warps,
        )  # fmt: skip
        return parts

    def put_together(
        parts: Tensor, Z: Tensor, Y: Tensor | None, scale: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """F and nothing; or the backward pass's V and the squares [B, tiles]."""
        (B, k, n), count = Z.shape, parts.shape[0]
        tiles = -(-n // OUTPUT_TILE)
        terms = groups * outputs if Y is not None else d
        V, squares = parts.new_empty((B, terms, n)), parts.new_empty((B, tiles))
        kernels.output_kernel[(B * tiles,)](
            parts, Z, Y, scale, V, squares, n, B, tiles, count,
            K=k, D=d, GROUPS=groups if grouped else 0, BIAS=bias, RESIDUAL=Y is not None,
            TILE=OUTPUT_TILE, num_warps=4,
        )  # fmt: skip
        return V, squares

    def gradient(W: Tensor, A: Tensor, Z: Tensor, V: Tensor) -> Tensor:
        (nets, k, m), n = W.shape, Z.shape[2]
        run = Launch.of(nets, m, n, chosen(k))
        parts = W.new_empty((run.parts, nets, k, m))
        kernels.backward_kernel[(nets * run.tiles, run.parts)](
            W, A, Z, V, parts, m, n, nets, run.tiles, run.share,
            K=k, OUT=outputs, GROUPS=groups, BIAS=bias, ROWS=chosen(k).rows, TILE=run.tile,
            num_warps=run.warps,
        )  # fmt: skip
        return parts[0] if run.parts == 1 else parts.sum(0)

    def forward(W: Tensor, A: Tensor, Z: Tensor) -> Tensor:
        return put_together(sums(*networks(W, A), Z), Z, None, None)[0]

    def backward(W: Tensor, A: Tensor, Z: Tensor, R: Tensor) -> Tensor:
        V = R
        if grouped:
            q = torch.as_tensor(patterns(d), dtype=R.dtype, device=R.device)
            V = q @ R
        return gradient(*networks(W, A), Z, V.contiguous()).view(W.shape)

    def together(
        W: Tensor, A: Tensor, Z: Tensor, Y: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        nets = networks(W, A)
        V, squares = put_together(sums(*nets, Z), Z, Y, scale)
        return squares.sum(1), gradient(*nets, Z, V).view(W.shape)

    def flips(W: Tensor, W0: Tensor, Z: Tensor) -> Tensor:
        (B, k, n), nets = Z.shape, Z.shape[0] * groups
        W, W0 = W.view(nets, k, -1), W0.view(nets, k, -1)
        m = W.shape[2]
        run = Launch.of(nets, m, n, chosen(k))
        parts = torch.empty((run.parts, nets, m), dtype=torch.int32, device=W.device)
        kernels.flips_kernel[(nets * run.tiles, run.parts)](
            W, W0, Z, parts, m, n, nets, run.tiles, run.share,
            K=k, GROUPS=groups, ROWS=chosen(k).rows, TILE=run.tile, num_warps=run.warps,
        )  # fmt: skip
        return parts.sum(0).view(B, -1)

    return Passes(
        "triton", forward, backward, flips, grouped=grouped, together=together, tiled=True
    )


@cache
def triton_problem() -> str:
    """Why the kernels do not run on this machine's GPU, or "" where they do."""
    try:
        passes = tiled_passes(False, 1, False)
        W = torch.ones((1, 1, MULTIPLE), device="cuda")
        F = passes.forward(W, W, W)
    except Exception as error:  # any failure to import, compile or launch means the other path
        return f"{type(error).__name__}: {first_line(error)}"
    return "" if float(F[0, 0, 0]) == MULTIPLE else "its sums are wrong"
