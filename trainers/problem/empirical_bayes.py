"""What is possible without training: two estimates of f* from the clean points of a training set.

The **memorizer** is the posterior mean under the empirical law of the points. The **empirical
Bayes** estimate keeps its density from vanishing: grad p^ / max(p^, rho) in place of the score
grad log p^ (the form of Wibisono, Wu and Yang 2024; docs/theory.md, section 7.7).

| symbol | meaning                                                          | shape  | unit |
|--------|------------------------------------------------------------------|--------|------|
| X_i    | the N clean points                                               | [N, d] | x    |
| x      | test points: values of X_t = alpha X_0 + sqrt(h) N(0, I)         | [n, d] | x    |
| alpha  | exp(-1/2 int_0^t g)                                              | [n]    | 1    |
| h      | 1 - alpha^2                                                      | [n]    | x^2  |
| S      | sum_i exp(-||x - alpha X_i||^2 / (2 h))                          | [n]    | 1    |
| p^     | (2 pi h)^(-d/2) S / N, the density of X_t from X_0 ~ the points  | [n]    | x^-d |
| f_emp  | the memorizer, E[X_0 | X_t = x] under the same                   | [n, d] | x    |
| kappa  | the cut-off: rho = kappa (2 pi h)^(-d/2) / N                     |        | 1    |
| c      | min(1, p^ / rho) = min(1, S / kappa)                             | [n]    | 1    |
| w      | posterior weights of the points, f_emp = sum_i w_i X_i           | [n, N] | 1    |
| f_EB   | (x + h grad p^ / max(p^, rho)) / alpha                           | [n, d] | x    |

As h grad log p^ = alpha f_emp - x, f_EB = c f_emp + (1 - c) x / alpha: far from all points it says
no more than x does. Everything is float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.columns import ERROR_COLUMNS, UNTRAINED_ERRORS
from trainers.limits import TILE
from trainers.problem.evaluation import EvaluationSet

Array = NDArray[np.float64]


def formula_cutoff(samples: int) -> float:
    """kappa = N^-2, so that rho = (2 pi h)^(-d/2) N^-3: docs/theory.md, section 7.7, says why, and
    what other powers of N cost. `best_cutoff` is what the choice is measured by."""
    return float(samples) ** -2


EARLIEST = "score_error_bin1"
"""The column whose weights of test points make a mean over the first bin of t."""

_SMALLEST = 1e-150
"""S below which no cut-off is tried: its square is no number, and it means no cut-off at all."""


@dataclass(frozen=True)
class Memorizer:
    """f_emp [n, d], log S [n] and sum_i w_i^2 [n] at n test points."""

    mean: Array
    log_sum: Array
    share: Array


def memorize(points: Array, x: Array, alpha: Array, h: Array, device: torch.device) -> Memorizer:
    """The memorizer of `points` [N, d] at x [n, d], alpha, h [n]: O(N n d) in tiles, no more than a
    tile held at once. h > 0.

    Distances are sums of squared differences, never of expanded squares: at small h those would
    leave nothing of the weights. Each sum over points runs with the largest exponent so far taken
    out, so that no weight overflows, and the nearest point's never underflows.
    """

    def tensor(values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float64).to(device)

    edge = TILE[device.type]
    x_t, alpha_t, h_t = tensor(x), tensor(alpha), tensor(h)
    coordinates = tensor(points.T.copy())  # [d, N]: a coordinate's values stand together
    means, log_sums, shares = [], [], []
    for start in range(0, len(x), edge):
        rows = slice(start, start + edge)
        near, a, scale = x_t[rows], alpha_t[rows, None], -0.5 / h_t[rows, None]
        top = torch.full_like(a, -torch.inf)
        total, squares, weighted = torch.zeros_like(a), torch.zeros_like(a), torch.zeros_like(near)
        for first in range(0, len(points), edge):
            tile = coordinates[:, first : first + edge]
            exponent = torch.zeros((len(near), tile.shape[1]), dtype=near.dtype, device=device)
            for k, own in enumerate(tile):
                gap = torch.mul(a, own).sub_(near[:, k, None])
                exponent.addcmul_(gap, gap)
            exponent *= scale
            before, top = top, torch.maximum(top, exponent.amax(1, keepdim=True))
            weights = exponent.sub_(top).exp_()
            kept = torch.exp(before - top)
            total = kept * total + weights.sum(1, keepdim=True)
            squares = kept**2 * squares + torch.linalg.vecdot(weights, weights)[:, None]
            weighted = kept * weighted + weights @ tile.T
        means.append(weighted / total)
        log_sums.append((top + total.log())[:, 0])
        shares.append((squares / total**2)[:, 0])
    return Memorizer(*(torch.cat(part).cpu().numpy() for part in (means, log_sums, shares)))


def empirical_bayes(memorizer: Memorizer, x: Array, alpha: Array, cutoff: float) -> Array:
    """f_EB [n, d] at the same points, for kappa = `cutoff`; 0 cuts nothing off. Where alpha is 0
    and the density is cut, no number: x says nothing of X_0."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        exponent = np.minimum(memorizer.log_sum - np.log(cutoff), 0.0)
        away = -np.expm1(exponent)[:, None] * (x / alpha[:, None] - memorizer.mean)
    return memorizer.mean + np.where(exponent[:, None] < 0, away, 0.0)


def best_cutoff(
    memorizer: Memorizer, x: Array, alpha: Array, fstar: Array, weights: Array
) -> float:
    """The kappa whose f_EB has the least sum of squared errors times weights [n], which only the
    truth f* [n, d] can find. 0: none at all is best; infinite: x / alpha alone is.

    Exact: with u = 1 / kappa, a point's estimate is f_emp for S u >= 1, and else
    f_emp + (1 - S u)(x / alpha - f_emp). So the error is a quadratic in u between neighbouring 1/S,
    whose coefficients are sums over the points of smaller S.
    """
    order = np.argsort(memorizer.log_sum)
    s = np.exp(memorizer.log_sum[order])
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        away = (x / alpha[:, None] - memorizer.mean)[order]
        error = (memorizer.mean - fstar)[order]
        along = weights[order] * np.einsum("nd,nd->n", error, away)
        square = weights[order] * np.einsum("nd,nd->n", away, away)
        # The change against f_emp with the points up to each one cut: c0 - 2 c1 u + c2 u^2.
        c0 = np.cumsum(2 * along + square)
        c1 = np.cumsum(s * (along + square))
        c2 = np.cumsum(s * s * square)
        highest = 1 / s
        lowest = np.append(highest[1:], 0.0)
        u = np.clip(c1 / c2, lowest, highest)
        change = c0 - 2 * c1 * u + c2 * u**2
    change = np.where((s >= _SMALLEST) & np.isfinite(change), change, np.inf)
    least = int(np.argmin(change))
    if not change[least] < 0:
        return 0.0
    return float(1 / u[least]) if u[least] > 0 else float("inf")


@dataclass(frozen=True)
class Untrained:
    """Of a data set: the columns, and the memorizer f_emp [n, d] at the test points, which networks
    are held against."""

    columns: dict[str, float | None]
    memorizer: Array


def untrained(points: Array, evaluation: EvaluationSet, device: torch.device) -> Untrained:
    """Of the clean points [N, d] of a training set: UNTRAINED_ERRORS, measured as a network's
    errors are; the best cut-off, which is that of the weighted error; and the share of f_emp that
    one clean point holds, sum_i w_i^2 in its mean over the first bin of t. None: no number."""
    test = evaluation.test
    made = memorize(points, test.xt, test.alpha, test.h, device)
    weighted = evaluation.point_weights
    cutoff = best_cutoff(made, test.xt, test.alpha, test.fstar, weighted)
    estimates = {
        "memorizer": made.mean,
        "empirical_bayes": empirical_bayes(made, test.xt, test.alpha, formula_cutoff(len(points))),
        "empirical_bayes_best": empirical_bayes(made, test.xt, test.alpha, cutoff),
    }
    place = {name: i for i, name in enumerate(ERROR_COLUMNS)}
    columns = {
        "empirical_bayes_best_cutoff": cutoff if evaluation.distribution.known else math.nan,
        "memorizer_share": float(made.share @ evaluation.weights[:, place[EARLIEST]]),
    }
    with np.errstate(over="ignore", invalid="ignore"):
        errors = {
            name: np.square(f - test.fstar).sum(1) @ evaluation.weights
            for name, f in estimates.items()
        }
    for column, (estimator, like) in UNTRAINED_ERRORS.items():
        columns[column] = float(errors[estimator][place[like]])
    known = {name: v if math.isfinite(v) else None for name, v in columns.items()}
    return Untrained(known, made.mean)
