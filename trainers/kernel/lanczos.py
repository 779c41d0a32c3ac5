"""Block Lanczos with full reorthogonalisation, for functions of a positive semi-definite matrix.

From L starting vectors Y it builds an orthonormal basis V of span{Y, K Y, K^2 Y, ...} and the
projection H = V K V^T; then phi(K) Y ~ V^T phi(H) V Y, where phi is any function, so one basis
serves every step size and stopping time (Golub and Van Loan, Matrix Computations, section 10.3;
Saad 1992, SIAM J. Numer. Anal. 29). Vectors are rows.

H is the explicit Rayleigh quotient of an explicitly orthonormal basis, not the coefficients of a
short recurrence: directions that vanish (dependent labels, duplicate points, an exhausted space)
are dropped, and what is left is still a projection. No library: scipy's Lanczos returns eigenpairs,
not a basis of several vectors' Krylov space that stops when phi(K) Y is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEGLIGIBLE = 1e-13
"""Directions below this share of their block's scale are rounding, and are dropped."""

ESTIMATED_EVERY = 2
"""Products from one estimate of the error to the next."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Krylov:
    """The projection: K ~ sum_i values_i v_i v_i^T with the rows v_i of `vectors`.

    values [p] (Ritz values, rising), vectors [p, N], coefficients [p, L] = vectors Y^T;
    error: the estimate at which it stopped; exhausted: the space is invariant, nothing is missing.
    """

    values: Array
    vectors: Tensor
    coefficients: Array
    error: float
    exhausted: bool


def block_lanczos(
    product: Callable[[Tensor], Tensor],
    labels: Tensor,
    estimate: Callable[[Array, Array], float],
    tolerance: float,
    max_products: int,
) -> Krylov:
    """Runs until `estimate` is at most `tolerance`, the space is exhausted, or max_products.

    product: V [b, N] -> V K [b, N], K symmetric positive semi-definite.
    labels [L, N], float64, on the device of the work; rows of zeros are allowed.
    estimate(H [p, p], c [p, L]): an error of the projection, from the difference that the p
    directions make to those of the call before; c are the labels in the basis.
    """
    norms = labels.norm(dim=1, keepdim=True)
    start = labels / torch.where(norms > 0, norms, 1.0)
    basis = _Basis(labels.shape[1], labels)
    block = _orthonormal(start, 1.0) if bool((norms > 0).any()) else labels[:0]
    count = len(block)
    basis.add(block)
    coefficients = (block @ labels.mT).cpu().numpy()
    H = np.zeros((0, 0))
    error, exhausted = float("inf"), not count
    for taken in range(max_products if count else 0):
        image = product(block)
        H = _extended(H, (basis.rows @ image.mT).cpu().numpy())
        c = np.zeros((len(H), len(labels)))
        c[:count] = coefficients
        block = _next_block(image, basis.rows, float(np.linalg.norm(H)))
        if not len(block):
            error, exhausted = 0.0, True
            break
        # An estimate costs more than a product of a small K, and is far from small at first.
        if taken % ESTIMATED_EVERY == 0 or taken == max_products - 1:
            error = estimate(H, c)
            if error <= tolerance:
                break
        basis.add(block)
    values, S = np.linalg.eigh(H)
    vectors = torch.as_tensor(S.T.copy(), device=labels.device) @ basis.rows[: len(H)]
    inner = S[:count].T @ coefficients
    return Krylov(np.maximum(values, 0.0), vectors, inner, error, exhausted)


class _Basis:
    """Orthonormal rows, in one matrix that doubles as they become more."""

    def __init__(self, length: int, like: Tensor) -> None:
        self._held = like.new_empty((64, length))
        self._count = 0

    @property
    def rows(self) -> Tensor:
        """[p, N]."""
        return self._held[: self._count]

    def add(self, block: Tensor) -> None:
        """Appends the rows of `block` [b, N]."""
        while self._count + len(block) > len(self._held):
            self._held = torch.cat([self._held, torch.empty_like(self._held)])
        self._held[self._count : self._count + len(block)] = block
        self._count += len(block)


def _extended(H: Array, columns: Array) -> Array:
    """H [q, q] with the last block's columns [p, b], q + b = p, added: [p, p], symmetric."""
    p, b = columns.shape
    out = np.zeros((p, p))
    out[: p - b, : p - b] = H
    out[:, p - b :] = columns
    out[p - b :, : p - b] = columns[: p - b].T
    out[p - b :, p - b :] = (columns[p - b :] + columns[p - b :].T) / 2
    return out


def _next_block(image: Tensor, basis: Tensor, scale: float) -> Tensor:
    """An orthonormal basis of what `image` [b, N] adds to the basis [p, N]; maybe of no rows."""
    fresh = _orthonormal(_deflated(image, basis), scale)
    # Normalising magnifies what little of the old directions was left in small ones: once more.
    return _orthonormal(_deflated(fresh, basis), 1.0) if len(fresh) else fresh


def _deflated(rows: Tensor, basis: Tensor) -> Tensor:
    for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
        rows = rows - (rows @ basis.mT) @ basis
    return rows


def _orthonormal(rows: Tensor, scale: float) -> Tensor:
    """Orthonormal rows that span those of `rows` [b, N] larger than NEGLIGIBLE * scale."""
    Q, R = torch.linalg.qr(rows.mT)
    left, sizes, _ = torch.linalg.svd(R, full_matrices=False)
    kept = sizes > NEGLIGIBLE * scale
    chosen: Tensor = (Q @ left[:, kept]).mT.contiguous()
    return chosen
