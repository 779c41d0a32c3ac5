"""The network's tangent kernel, first layer trained, in closed form (docs/theory.md, section 4).

kappa(z, z') = z . z' (pi - theta) / (2 pi), theta the angle between z and z'; this is
E_w[1[w.z > 0] 1[w.z' > 0]] z . z' over w ~ N(0, I_k), the arc-cosine kernel of order 0 times
z . z' (Cho and Saul 2009). The d outputs decouple: the network's kernel is kappa I_d.

| symbol | meaning                                         | shape  |
|--------|-------------------------------------------------|--------|
| z, z'  | features                                        | [k]    |
| u, u'  | z / ||z||, z' / ||z'||; 0 where z = 0           | [k]    |
| c      | z . z'                                          | scalar |
| p      | ||u - sign(c) u'||^2, in [0, 2]                 | scalar |
| phi    | 2 asin(sqrt(p) / 2): theta, or pi - theta if c < 0 | scalar |

acos(c / ||z|| ||z'||) loses half the digits of theta for nearly parallel vectors, and makes the
Gram matrix indefinite at 1e-8. The chord sqrt(p) does not: its relative error is that of u - u'.
numpy only; the same formula on torch tensors is in `trainers.kernel.product`. No library:
neural-tangents needs JAX.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_ENTRIES = 1 << 15
"""Kernel entries evaluated at a time: a few arrays of this size stay in a core's L2 cache."""

Array = NDArray[np.float64]


def unit_rows(z: Array) -> Array:
    """z / ||z|| row by row, [n, k]; a row of zeros stays zero. No overflow or underflow."""
    largest = np.max(np.abs(z), axis=1, keepdims=True, initial=0.0)
    scaled = z / np.where(largest > 0, largest, 1.0)
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(norm > 0, norm, 1.0))


def relu_ntk(z1: Array, z2: Array) -> Array:
    """kappa between the rows of z1 [n, k] and of z2 [m, k]: [n, m], float64.

    Exact where theta is 0 (z = z') or pi, and where z = 0; relu_ntk(z, z) is symmetric to the bit
    and positive semi-definite to rounding. Its cost is about 6 k + 20 operations an entry.
    Raises ValueError for arrays that are not two matrices with the same number of columns.
    """
    z1, z2 = np.asarray(z1, dtype=np.float64), np.asarray(z2, dtype=np.float64)
    if z1.ndim != 2 or z2.ndim != 2 or z1.shape[1] != z2.shape[1]:
        raise ValueError(
            f"relu_ntk takes z1 [n, k] and z2 [m, k] with the same k, not {z1.shape} and {z2.shape}"
        )
    u1, u2 = unit_rows(z1), unit_rows(z2)
    out = np.empty((len(z1), len(z2)))
    rows = max(1, BLOCK_ENTRIES // max(1, len(z2)))
    for start in range(0, len(z1), rows):
        block = slice(start, start + rows)
        out[block] = _block(z1[block].T, u1[block].T, z2.T, u2.T)
    return out


def relu_ntk_diagonal(z: Array) -> Array:
    """kappa(z_j, z_j) = ||z_j||^2 / 2 of the rows of z [n, k]: [n]."""
    return np.asarray(0.5 * np.sum(np.asarray(z, dtype=np.float64) ** 2, axis=1))


def _block(z1: Array, u1: Array, z2: Array, u2: Array) -> Array:
    """Features first: z1, u1 [k, n], z2, u2 [k, m] -> [n, m]."""
    # Sums over features in a fixed order, not a matrix product: symmetric to the bit.
    c = np.zeros((z1.shape[1], z2.shape[1]))
    for a, b in zip(z1, z2, strict=True):
        c += np.multiply.outer(a, b)
    obtuse = c < 0
    sign = np.where(obtuse, -1.0, 1.0)
    p = np.zeros_like(c)
    for a, b in zip(u1, u2, strict=True):
        p += (a[:, None] - sign * b) ** 2
    phi = 2 * np.arcsin(0.5 * np.sqrt(p))
    return np.asarray(c * (np.where(obtuse, phi, np.pi - phi) / (2 * np.pi)))
