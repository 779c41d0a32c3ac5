"""The largest eigenvalues of a Gram matrix, and what targets hold of their eigenvectors.

Block Lanczos from the targets and random vectors (`trainers.kernel.lanczos`): a random block finds
eigenvalues that the targets alone have nothing of, and several that are equal. An eigenvalue of
K lies within ||K v - theta v|| of each Ritz value theta, so pairs with a small residual are
certified; it is the square of the residual by which theta is in error where others are not near.

| symbol | meaning                                   | shape  |
|--------|-------------------------------------------|--------|
| theta  | Ritz values of K, falling                 | [p]    |
| v      | Ritz vectors                              | [p, N] |
| c      | v . targets                               | [p, L] |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.kernel.lanczos import block_lanczos
from trainers.kernel.product import KernelProduct
from trainers.limits import BASIS

Array = NDArray[np.float64]

BLOCK, PASSES = 32, 24
"""Vectors that K meets at a time, at most: enough for a matrix product to run at its speed; and at
least so many passes over K, for a polynomial of a degree that tells eigenvalues apart."""

FULL = 1024
"""Up to this N all eigenvalues are computed: no dearer there."""

CERTIFIED = 1e-3
"""Largest residual of a pair that is returned, as a share of its Ritz value."""


@dataclass(frozen=True)
class Leading:
    """values [p], falling, and coefficients [p, L] of a basis that holds the targets: the first
    `certified` are eigenpairs of K, with residuals ||K v - theta v||. All p together are a
    quadrature: sum_i c_i^2 g(theta_i) is that over all N eigenpairs for every smooth g. square:
    the sum of the squares of all N eigenvalues."""

    values: Array
    coefficients: Array
    certified: int
    residuals: Array
    square: float


def leading(kernel: KernelProduct, targets: Array, count: int) -> Leading:
    """Up to `count` largest eigenvalues of K and the coefficients of targets [N, L] in their
    eigenvectors. K is stored, N^2 floats; bases are 4 BASIS count N floats at most.
    Deterministic."""
    K, labels = kernel.gram(), torch.as_tensor(targets, device=kernel.device)
    if kernel.samples <= max(FULL, 2 * BASIS * count):
        rising, vectors = torch.linalg.eigh(K)
        values, rows = rising.flip(0), vectors.mT.flip(0)
    else:
        values, rows = _ritz(kernel, labels, count)
    top, theta = rows[:count], values[:count]
    residuals = (top @ K - theta[:, None] * top).norm(dim=1)
    wrong = ~(residuals <= CERTIFIED * theta)
    return Leading(
        values.cpu().numpy(),
        (rows @ labels).cpu().numpy(),
        int(wrong.int().argmax()) if bool(wrong.any()) else len(theta),
        residuals.cpu().numpy(),
        float(torch.linalg.vector_norm(K)) ** 2,
    )


def _ritz(kernel: KernelProduct, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Ritz values [p], falling, and vectors [p, N], of a basis that holds the labels [N, L]."""
    rng = np.random.default_rng(0)
    block = min(BLOCK, BASIS * count // PASSES)
    draws = rng.standard_normal((max(2, block - labels.shape[1]), kernel.samples))
    start = torch.cat([labels.mT, torch.as_tensor(draws, device=labels.device)])
    passes = -(-BASIS * count // len(start))
    # nothing to estimate on the way: the residuals say at the end what was found
    found = block_lanczos(kernel, start, lambda _H, _c: np.inf, 0.0, passes)
    values = torch.as_tensor(found.values[::-1].copy(), device=labels.device)
    return values, found.vectors.flip(0)


def spectrum_of_parts(K: Tensor, parts: int, count: int) -> Array:
    """Means over `parts` equal parts of a sample, whose Gram matrix is K [N, N], of the `count`
    largest eigenvalues of K/N: [count], falling; fewer where a part has fewer points."""
    n = len(K) // parts
    runs = [slice(i * n, (i + 1) * n) for i in range(parts)]
    values = [torch.linalg.eigvalsh(K[run, run]).flip(0)[:count] / n for run in runs]
    return np.asarray(torch.stack(values).mean(0).cpu().numpy())
