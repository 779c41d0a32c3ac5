"""Errors of contrasts of level means whose trials come in clusters: those of one seed, of one
training set, of one trajectory share effects.

| symbol | name   | meaning                                                           | shape  |
|--------|--------|-------------------------------------------------------------------|--------|
| u_l    | u      | log x_l, less its mean                                            | [L]    |
| k_sl   | cells  | values of cluster s at level l; n_l their sum over s              | [S, L] |
| z_sl   | scores | the cluster's share of the error of log mean l                    | [S, L] |
| p_sl   |        | n_l z_sl / k_sl, the cluster's mean pseudo-value less the level's | [S, L] |
| c_l    | c      | a contrast: its error is sum_s sum_l c_l z_sl                     | [L]    |

`Clusters.robust`: the shares of a cluster add up, d_s = sum_l c_l z_sl f_l, and the variance is
sum_s d_s^2. The factor f_l = n_l / sqrt(n_l^2 - sum_s k_sl^2) makes it unbiased where clusters do
not differ (CR2 of Bell and McCaffrey, Survey Methodology 28 (2002) 169), and theirs are the degrees
of freedom, (sum of eigenvalues)^2 / sum of their squares. Where every cluster stands at every
level, that is the variance of independent slopes, one a cluster, with S - 1 degrees of freedom.
Levels that no cluster links are taken apart, each part with its own freedom, put together by
Satterthwaite's rule.

`Mixed`: where clusters stand at some levels only, a contrast hangs on few of them, and what the
others show of the same effects is worth much. Model: p_sl = h_l (A_s + B_s u_l + e_sl), A_s and B_s
the cluster's shift and tilt with any covariance, e_sl own noise of variance sigma^2/k_sl, and h_l a
power of x, for noise that falls along the curve. The four variances theta are the minimum norm
quadratic unbiased estimates, iterated (MINQUE: Rao, J. Multivariate Analysis 1 (1971) 257; its
fixed point is REML): unbiased, so free to be negative, where REML's bounds would hide an effect
that few clusters show. The contrast's variance is q theta, linear in them, and Satterthwaite's
freedom 2 (q theta)^2 / (q Cov(theta) q). Its normal equations have the shape [4, 4] whatever the
numbers of clusters and levels: clusters with the same cells are alike and count together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.sparse import bmat, csr_matrix
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

_ROUNDS = 12
_SPREAD_PRIOR = 5.0
"""What draws the slope of h to 0, as in `planning_variances`."""
_FLOOR = 0.3
"""Least variance of shift and tilt, as a share of own noise, at which freedom is reckoned."""
_MOST = 4_000_000
"""Patterns of cells times levels squared: larger designs have robust errors."""


@dataclass(frozen=True)
class Clusters:
    """The clusters of one fit's trials: see the module's table. u: where the mixed model may be
    used; without it, errors are robust."""

    scores: Array
    cells: Counts
    u: Array | None = None

    @classmethod
    def of(cls, who: Counts, where: Counts, share: Array, u: Array | None = None) -> Clusters:
        """From each value's cluster, level and share of the level's error [n]."""
        scores = np.zeros((int(who.max()) + 1, int(where.max()) + 1))
        cells = np.zeros(scores.shape, dtype=np.int64)
        np.add.at(scores, (who, where), share)
        np.add.at(cells, (who, where), 1)
        return cls(scores, cells, u)

    @cached_property
    def known(self) -> bool:
        """Whether every level has two clusters, which show its error."""
        return bool(np.sum(self.cells > 0, axis=0).min() >= 2)

    @cached_property
    def mixed(self) -> Mixed | None:
        """The mixed model where the design is not complete, None where it tells too little."""
        complete = (self.cells == self.cells[0, 0]).all()
        return None if complete or self.u is None else Mixed.of(self.scores, self.cells, self.u)

    def error(self, c: Array) -> tuple[float, float]:
        """Variance and degrees of freedom of a contrast c [L]."""
        own = None if self.mixed is None else self.mixed.error(c)
        return own or self.robust(c)

    def robust(self, c: Array) -> tuple[float, float]:
        """The same without a model of what clusters share."""
        n = self.cells.sum(axis=0)
        scale = c / np.sqrt(n**2 - np.sum(self.cells**2, axis=0))
        each = self.scores @ (scale * n)
        # covariance of the shares where all values are alike: diag(spread) - crossed crossed'
        spread, crossed = self.cells @ scale**2, self.cells * scale / np.sqrt(n)
        total, below = 0.0, 0.0
        for members, levels in self._parts:
            d, b = spread[members], crossed[np.ix_(members, levels)]
            lost = np.sum(b**2, axis=1)
            trace, own = float(np.sum(d - lost)), float(each[members] @ each[members])
            squares = float(np.sum(d**2) - 2 * d @ lost + np.sum((b.T @ b) ** 2))
            total += own
            below += own**2 * squares / trace**2 if trace > 0 else 0.0
        return total, total**2 / below if below > 0 else float(max(len(self.cells) - 1, 1))

    @cached_property
    def _parts(self) -> list[tuple[Counts, Counts]]:
        """Clusters and levels of each part of the design that no cluster links to the rest."""
        size = len(self.cells)
        graph = bmat([[None, csr_matrix(self.cells)], [csr_matrix(self.cells.T), None]])
        count, label = connected_components(graph, directed=False)
        return [
            (np.flatnonzero(label[:size] == part), np.flatnonzero(label[size:] == part))
            for part in range(count)
        ]


@dataclass(frozen=True)
class Mixed:
    """theta [4]: variances of shift, shift with tilt, tilt and own noise, unbiased; `covariance`
    [4, 4] of theta, at `near` [4], the nearest that can be. cells [S, L]; h, u and n [L]."""

    theta: Array
    near: Array
    covariance: Array
    cells: Counts
    h: Array
    u: Array

    @classmethod
    def of(cls, scores: Array, cells: Counts, u: Array) -> Mixed | None:
        """None where the design does not tell the four apart, or is too large."""
        n = cells.sum(axis=0)
        pseudo = scores * n / np.maximum(cells, 1)
        squares = np.sum(cells * pseudo**2, axis=0)
        scale = float(squares.sum() / np.sum(n - 1))
        if not scale > 0:
            return None
        h = np.sqrt(spread_curve(u, n, squares, _SPREAD_PRIOR))
        u = u / np.abs(u).max()
        patterns, pattern = np.unique(cells, axis=0, return_inverse=True)
        if patterns.size * len(n) > _MOST:
            return None
        p = np.where(cells > 0, pseudo / h, 0.0)
        totals = np.zeros(patterns.shape)
        np.add.at(totals, pattern, p)
        products = np.zeros((*patterns.shape, len(n)))
        np.add.at(products, pattern, p[:, :, None] * p[:, None, :])
        found = _minque(patterns, np.bincount(pattern), u, totals, products)
        return None if found is None else cls(*found, cells, h, u)

    def error(self, c: Array) -> tuple[float, float] | None:
        """Variance and degrees of freedom of a contrast c [L]; None where the estimate of the
        variance is not positive."""
        w = c * self.h / self.cells.sum(axis=0)
        shift, tilt = self.cells @ w, self.cells @ (w * self.u)
        q = np.array([shift @ shift, 2 * shift @ tilt, tilt @ tilt, self.cells.sum(axis=0) @ w**2])
        variance, spread = float(q @ self.theta), float(q @ self.covariance @ q)
        if not variance > 0:
            return None
        return variance, max(2 * float(q @ self.near) ** 2 / spread, 1.0)


def _minque(
    patterns: Counts, number: Counts, u: Array, totals: Array, products: Array
) -> tuple[Array, Array, Array] | None:
    """theta, the nearest that can be, and its covariance there; see `Mixed`.

    patterns [P, L] of cells, each of `number` [P] clusters; totals [P, L] and products [P, L, L]
    of the pseudo-values in units of h, 0 where a cluster does not stand.
    """
    there = (patterns > 0).astype(np.float64)
    both = there[:, :, None] * there[:, None, :]
    eye = np.eye(len(u))
    own = eye / np.maximum(patterns, 1)[:, None, :]
    ones = np.ones(len(u))
    shapes = (np.outer(ones, ones), np.outer(ones, u) + np.outer(u, ones), np.outer(u, u), own)
    bases = np.stack([both * shape for shape in shapes])
    near = np.array([0.5, 0.0, 0.25, 0.5])
    for _ in range(_ROUNDS):
        covariances = np.einsum("i,ipab->pab", near, bases) + eye * (1 - there)[:, None, :]
        weights = np.linalg.inv(covariances) * both
        inverse = np.linalg.inv(np.einsum("p,pab->ab", number, weights))
        mean = inverse @ np.einsum("pab,pb->a", weights, totals)
        # left [P, L, L]: products of what is left of the pseudo-values about the level means
        fitted = there * mean
        crossed = totals[:, :, None] * fitted[:, None, :]
        left = products - crossed - np.swapaxes(crossed, 1, 2)
        left += number[:, None, None] * fitted[:, :, None] * fitted[:, None, :]
        first = weights @ bases
        second = first @ weights
        summed = inverse @ np.einsum("p,ipab->iab", number, second)
        information = (
            np.einsum("p,ipab,jpba->ij", number, first, first, optimize=True)
            - 2 * np.einsum("p,ipab,jpab->ij", number, inverse @ second, first, optimize=True)
            + np.einsum("iab,jba->ij", summed, summed)
        ) / 2
        seen = np.einsum("ipab,pab->i", second, left) / 2
        size = np.sqrt(np.diag(information))
        if not (size > 0).all() or np.linalg.cond(information / np.outer(size, size)) > 1e10:
            return None
        covariance = np.linalg.inv(information / np.outer(size, size)) / np.outer(size, size)
        theta = covariance @ seen
        last, near = near, _nearest(theta)
        if np.abs(near - last).max() < 1e-4 * np.abs(near).max():
            break
    return theta, near, covariance


def _nearest(theta: Array) -> Array:
    """theta with a positive own noise, and a positive definite covariance of shift and tilt."""
    own = max(float(theta[3]), 1e-3)
    values, vectors = np.linalg.eigh(np.array([[theta[0], theta[1]], [theta[1], theta[2]]]))
    cov = (vectors * np.maximum(values, _FLOOR * own)) @ vectors.T
    return np.array([cov[0, 0], cov[0, 1], cov[1, 1], own])


def spread_curve(u: Array, counts: Counts, squares: Array, prior: float) -> Array:
    """Variances [L] of one trial at each level by a power of x, from n_l trials with sums of
    squares about their mean [L].

    Fitted to the levels' own variances (their logarithms, corrected for the mean of log chi^2,
    weighed by the precision of these), the slope drawn to 0 by `prior`: so many degrees of
    freedom, halved, at distance 1. Raises ValueError where no level has two trials that differ.
    """
    freedom = np.maximum(counts - 1, 0).astype(np.float64)
    known = (freedom > 0) & (squares > 0)
    if not known.any():
        raise ValueError("a design needs a level with two trials that differ")
    f = freedom[known]
    # E log(chi^2_f / f) = psi(f/2) - log(f/2), its variance psi'(f/2).
    logs = np.log(squares[known] / f) - (special.digamma(f / 2) - np.log(f / 2))
    weight = 1 / special.polygamma(1, f / 2)
    middle = np.average(u[known], weights=weight)
    centred = u[known] - middle
    slope = float(np.sum(weight * centred * logs) / (np.sum(weight * centred**2) + prior))
    return np.asarray(np.exp(np.average(logs, weights=weight) + slope * (u - middle)))
