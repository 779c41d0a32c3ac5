"""Products with the kernel's Gram matrix K = kappa(Z, Z), in tiles that are never all stored.

A tile of kernel entries is evaluated once, while it is in cache, for all vectors at once and for
both halves of the symmetric matrix: K[I, J] serves rows I and rows J. Its formula is that of
`trainers.kernel.ntk`, on torch tensors, features first; torch.compile turns it into one loop that
keeps everything in registers (`fused`). Without a compiler the same function runs as it stands
(`blocked`, about five times slower), which is announced and recorded. No library: PyKeOps evaluates
both halves of a symmetric matrix, and needs a compiler tool chain of its own.

| symbol | meaning                                   | shape            |
|--------|-------------------------------------------|------------------|
| Z, U   | features, and the same divided by ||z_j|| | [k, N]           |
| V      | L vectors, one a row                      | [L, N]           |
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.kernel.ntk import unit_rows
from trainers.limits import STORED_SAMPLES, TILE
from trainers.network.passes import compiler_problem

MAX_FUSED_FEATURES = 64
"""Above this k the unrolled loop over features is too long to compile."""

Array = NDArray[np.float64]
TileFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

log = logging.getLogger(__name__)


def kernel_tile(Z1: Tensor, U1: Tensor, Z2: Tensor, U2: Tensor) -> Tensor:
    """kappa between the columns of Z1 [k, n] and Z2 [k, m]: [n, m]; see `trainers.kernel.ntk`."""
    c = Z1[0, :, None] * Z2[0, None, :]
    for j in range(1, Z1.shape[0]):
        c = c + Z1[j, :, None] * Z2[j, None, :]
    obtuse = c < 0
    sign = torch.where(obtuse, -1.0, 1.0).to(c.dtype)
    p = torch.zeros_like(c)
    for j in range(Z1.shape[0]):
        difference = U1[j, :, None] - sign * U2[j, None, :]
        p = p + difference * difference
    phi = 2 * torch.asin(0.5 * torch.sqrt(p))
    return c * (torch.where(obtuse, phi, math.pi - phi) * (0.5 / math.pi))


@cache
def _fused_tile() -> TileFunction:
    # Tiles are padded to one shape, so there is one compilation for each k. Past this limit dynamo
    # raises (fullgraph): it never falls back silently.
    torch._dynamo.config.recompile_limit = 64
    compiled: TileFunction = torch.compile(kernel_tile, dynamic=False, fullgraph=True)
    return compiled


class KernelProduct:
    """K = kappa(Z, Z) of z [N, k], as something that vectors can be multiplied with.

    path: `fused`, `blocked`, or `auto`: fused where torch.compile works and k allows.
    store: whether K is kept [N, N]; None keeps it up to N = STORED_SAMPLES.
    `products` counts the passes over K, `path` says which was taken.
    """

    def __init__(
        self,
        z: Array,
        device: str | torch.device = "cpu",
        *,
        path: str = "auto",
        store: bool | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.samples, self.features = z.shape
        self.trace = float(np.sum(np.square(z))) / 2
        self.products = 0
        if path == "auto":
            path = self._choose()
        self.path = path
        self._tile: TileFunction = _fused_tile() if path == "fused" else kernel_tile
        self._edge = TILE.get(self.device.type, TILE["cpu"])
        self._data = self._tiled(z)
        self._store = self.samples <= STORED_SAMPLES if store is None else store
        self._gram: Tensor | None = None

    def _choose(self) -> str:
        if self.features > MAX_FUSED_FEATURES:
            return "blocked"
        problem = compiler_problem(self.device.type)
        if problem:
            log.warning("torch.compile does not work here, kernel tiles run eagerly: %s", problem)
            return "blocked"
        return "fused"

    def _padded(self, rows: Tensor) -> Tensor:
        """rows [r, n] with columns of zeros up to a multiple of the tile's edge."""
        return torch.nn.functional.pad(rows, (0, -rows.shape[1] % self._edge))

    def _tiled(self, z: Array) -> list[tuple[Tensor, Tensor]]:
        """Z and U of points z [n, k] in tiles [k, edge]; a point of padding is z = 0, where the
        kernel is 0."""
        both = [np.ascontiguousarray(a.T) for a in (np.asarray(z, dtype=float), unit_rows(z))]
        Z, U = (self._padded(torch.as_tensor(a).to(self.device)) for a in both)
        cut = [[t.contiguous() for t in torch.split(rows, self._edge, dim=1)] for rows in (Z, U)]
        return list(zip(*cut, strict=True))

    def _run(self, index: int) -> slice:
        return slice(index * self._edge, (index + 1) * self._edge)

    def _symmetric(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
        # A tensor passed twice would be another case to the compiler, and compiled again.
        Z, U = second
        return (
            self._tile(*first, Z.clone(), U.clone())
            if first is second
            else self._tile(*first, Z, U)
        )

    @torch.no_grad()
    def gram(self) -> Tensor:
        """K [N, N] on the device, symmetric to the bit; the same tensor at every call if stored."""
        if self._gram is not None:
            return self._gram
        n = self.samples
        K = torch.empty((n, n), dtype=torch.float64, device=self.device)
        for i, first in enumerate(self._data):
            for j, second in enumerate(self._data[i:], i):
                rows, columns = self._run(i), self._run(j)
                target = K[rows, columns]
                tile = self._symmetric(first, second)[: target.shape[0], : target.shape[1]]
                target.copy_(tile)
                K[columns, rows] = tile.mT
        if self._store:
            self._gram = K
        return K

    @torch.no_grad()
    def __call__(self, V: Tensor) -> Tensor:
        """V K, [L, N]: K times each row of V [L, N]."""
        self.products += 1
        if self._store:
            return V @ self.gram()
        parts = torch.split(self._padded(V), self._edge, dim=1)
        out = [torch.zeros_like(part) for part in parts]
        for i, first in enumerate(self._data):
            left = parts[i].contiguous()
            for j, second in enumerate(self._data[i:], i):
                tile = self._symmetric(first, second)
                out[j] += left @ tile
                if i != j:
                    out[i] += parts[j] @ tile.mT
        return torch.cat(out, dim=1)[:, : self.samples]

    @torch.no_grad()
    def at(self, points: Array, V: Tensor) -> Tensor:
        """kappa(points, Z) times each row of V [L, N], at points [n, k]: [L, n]."""
        parts = [part.contiguous() for part in torch.split(self._padded(V), self._edge, dim=1)]
        out = []
        for target in self._tiled(points) if len(points) else ():
            total = V.new_zeros((len(V), self._edge))
            for part, source in zip(parts, self._data, strict=True):
                total += part @ self._tile(*source, *target)
            out.append(total)
        return torch.cat(out, dim=1)[:, : len(points)] if out else V.new_zeros((len(V), 0))

    @torch.no_grad()
    def cross(self, points: Array) -> Tensor:
        """kappa(Z, points), [N, n], at points [n, k], stored."""
        n, padded = len(points), self._tiled(points)
        out = torch.empty((self.samples, n), dtype=torch.float64, device=self.device)
        for i, source in enumerate(self._data):
            for j, target in enumerate(padded):
                block = out[self._run(i), self._run(j)]
                block.copy_(self._tile(*source, *target)[: block.shape[0], : block.shape[1]])
        return out
