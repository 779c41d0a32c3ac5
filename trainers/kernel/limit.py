"""Kernel descent alone, for many data sets: the columns of trials of infinite width.

A network of width m -> inf that starts from 0 is kernel descent (docs/theory.md, section 4): no
weights, no training, one decomposition for every time. Here it is read at many times for each of
many data sets of one law, without work for anything that the columns do not need:

- labels are xi and f* (their sum is X_0), and the shift f_H - f* where R_H is given, one norm;
- data sets of up to STACKED_SAMPLES points are stacked until they fill a tile of kernel entries,
  and decomposed together; predictions are kappa(points, Z) (U phi(tau) c), so that kappa(points, Z)
  meets R L vectors instead of N;
- above, block Lanczos (`trainers.kernel.solution`), whose p basis vectors are fewer than R L; K is
  not stored where it is large. Where Lanczos fell short and N allows, eigen after all.

| symbol | meaning                                                            | shape     |
|--------|--------------------------------------------------------------------|-----------|
| G      | data sets of a stack, N rows each                                  |           |
| R, L   | recorded steps; label vectors, d for each kind of label            |           |
| n      | evaluation points: test points, then held-out pairs                |           |
| g      | points of the generalization gap, of each data set its own         |           |
| f      | predictions: of descent on xi, on f*, on f_H - f*                  | [R, L, n] |

Everything is float64 torch on the device; what is small (filters, coefficients) is numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.columns import ERROR_COLUMNS
from trainers.kernel.product import KernelProduct
from trainers.kernel.solution import (
    EIGEN_FEASIBLE,
    KernelDescent,
    decompose,
    descent_filter,
)
from trainers.kernel.terms import RkhsElement
from trainers.limits import INTERPOLATION_SAMPLES, STACKED_SAMPLES, TILE
from trainers.network.gradient_descent import DIVERGENCE_FACTOR
from trainers.problem.evaluation import EvaluationSet, Evaluator
from trainers.problem.regression import Samples
from trainers.problem.sketch import at_steps, sketch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """Where a data set's descent is read: at the steps (rising, from 0) of a step size."""

    step_size: float
    steps: Sequence[int]


@dataclass(frozen=True)
class DataSet:
    """A training set as rows of weight 1, and where its descent is read.

    memorizer: f*_emp [n_test, d], for the distance to it. gap: features [g, k] and labels [g, d] of
    fresh copies of its clean points. None: not measured.
    """

    rows: Samples
    readings: Sequence[Reading]
    memorizer: Array | None = None
    gap: tuple[Array, Array] | None = None

    @property
    def furthest(self) -> float:
        """The last eta tau that is read."""
        return max(reading.step_size * reading.steps[-1] for reading in self.readings)


@dataclass(frozen=True)
class LimitColumns:
    """Kernel descent along one reading: step columns [R], NaN where unknown, and trial columns.

    diverged_step: the first recorded step at which the training loss has diverged, -1 without one;
    the series are NaN from there on. horizon: eta tau up to which the decomposition is certified;
    NaN beyond it. route: eigen or lanczos. sketch: at the best and at the last step that is known.
    """

    series: dict[str, Array]
    values: dict[str, float]
    diverged_step: int
    horizon: float
    route: str
    sketch: list[str | None]


def limit_columns(
    data: Sequence[DataSet],
    evaluation: EvaluationSet,
    element: RkhsElement | None = None,
    device: str | torch.device = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> Iterator[list[LimitColumns]]:
    """For each data set of one law, in order, the columns of its readings.

    element: f_H at the R_H of the error terms. tick: called before each decomposition.
    """
    reader = _Reader(evaluation, element, torch.device(device))
    start = 0
    while start < len(data):
        samples = len(data[start].rows)
        most = max(1, TILE[reader.device.type] // samples) if samples <= STACKED_SAMPLES else 1
        near = data[start : start + most]
        stack = list(takewhile(lambda own: len(own.rows) == samples, near))  # noqa: B023
        tick()
        for own, made in zip(stack, reader.decomposed(stack), strict=True):
            yield [reader.columns(own, made, reading) for reading in own.readings]
        start += len(stack)


@dataclass(frozen=True)
class _Decomposed:
    """One data set's descent. Predictions of weights w [M, p] in the eigenbasis are
    (w left) right: left [p, q] (None: the identity), right [q, n + g], the gap's points last.
    null_loss: L of f = 0."""

    descent: KernelDescent
    left: Tensor | None
    right: Tensor
    null_loss: float
    interpolation_error: float

    def predictions(self, reading: Reading) -> Tensor:
        """[R, L, n + g]; not finite where descent diverges."""
        descent, steps = self.descent, reading.steps
        phi = descent_filter(descent.values, steps, reading.step_size, descent.samples)
        with np.errstate(over="ignore", invalid="ignore"):
            weights = phi[:, None, :] * descent.coefficients.T
        R, L, p = weights.shape
        rows = torch.as_tensor(weights.reshape(R * L, p), device=self.right.device)
        inner = rows if self.left is None else rows @ self.left
        return (inner @ self.right).reshape(R, L, -1)


class _Reader:
    """What all data sets share: the points, the measures, f_H."""

    def __init__(
        self, evaluation: EvaluationSet, element: RkhsElement | None, device: torch.device
    ) -> None:
        self.device = device
        self._element = element
        self._evaluation, self._points = evaluation, evaluation.z
        self._evaluator = Evaluator([evaluation], device)
        self._weights = self._tensor(evaluation.point_weights)
        self._fstar = self._tensor(evaluation.test.fstar.T)
        self._shift: Tensor | None = None
        if element is not None:
            at_test = element(evaluation.test.z, device)
            self._shift = self._tensor((at_test - evaluation.test.fstar).T)

    def _tensor(self, values: Array) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64).to(self.device)

    # --- decomposing ------------------------------------------------------------------------------

    def decomposed(self, stack: Sequence[DataSet]) -> Iterator[_Decomposed]:
        """The data sets of a stack, all of one size, as far as they are read where that can be."""
        if len(stack[0].rows) <= STACKED_SAMPLES:
            yield from self._eigen(stack)
        else:
            for own in stack:
                yield self._lanczos(own)

    def _labels(self, data: Samples) -> Array:
        """[N, L]: xi, f*, and f_H - f* where there is f_H."""
        labels = [data.x0 - data.fstar, data.fstar]
        if self._element is not None:
            labels.append(self._element(data.z, self.device) - data.fstar)
        return np.hstack(labels)

    def _eigen(self, data_sets: Sequence[DataSet]) -> Iterator[_Decomposed]:
        stack = [own.rows for own in data_sets]
        G, N = len(stack), len(stack[0])
        kernel = KernelProduct(np.concatenate([d.z for d in stack]), self.device, store=False)
        blocks = kernel.gram().view(G, N, G, N)
        K = torch.stack([blocks[i, :, i] for i in range(G)])
        values, U = torch.linalg.eigh(K)
        right = kernel.cross(self._points).view(G, N, -1)
        labels = np.stack([self._labels(d) for d in stack])
        coefficients = (U.mT @ self._tensor(labels)).cpu().numpy()
        weights = _interpolating(K, self._tensor(np.stack([d.x0 for d in stack])))
        limits = self._errors(weights @ right)
        lam = np.maximum(values.cpu().numpy(), 0.0)
        for i, (data, own) in enumerate(zip(stack, data_sets, strict=True)):
            points = right[i]
            if own.gap is not None:
                alone = KernelProduct(data.z, self.device, store=False)
                points = torch.cat([points, alone.cross(own.gap[0])], 1)
            descent = KernelDescent(
                samples=N,
                values=lam[i],
                coefficients=coefficients[i],
                eval_basis=np.empty((0, N)),
                data_basis=None,
                trace=float(np.sum(np.square(data.z))) / 2,
                route="eigen",
                path=kernel.path,
            )
            yield _Decomposed(
                descent, U[i].mT.contiguous(), points, _null_loss(data), float(limits[i])
            )

    def _lanczos(self, own: DataSet) -> _Decomposed:
        data, horizon = own.rows, own.furthest
        kernel = KernelProduct(data.z, self.device)
        labels, nowhere = self._labels(data), self._points[:0]
        made = decompose(data.z, labels, nowhere, "lanczos", kernel=kernel, horizon=horizon)
        if made.horizon < horizon and len(data) <= EIGEN_FEASIBLE:
            made = decompose(data.z, labels, nowhere, "eigen", kernel=kernel)
        assert made.data_basis is not None
        rows = [self._tensor(made.data_basis.T)]
        if len(data) <= INTERPOLATION_SAMPLES:
            rows.append(_interpolating(kernel.gram(), self._tensor(data.x0)))
        # One pass over kappa(points, Z) for all that is wanted there.
        points = self._points if own.gap is None else np.concatenate([self._points, own.gap[0]])
        values = kernel.at(points, torch.cat(rows))
        p = len(made.values)
        limit = math.nan
        if len(rows) > 1:
            limit = float(self._errors(values[None, p:])[0])
        return _Decomposed(made, None, values[:p], _null_loss(data), limit)

    def _errors(self, predictions: Tensor) -> Tensor:
        """E||f - f*||^2 of predictions [G, d, n]: [G]."""
        difference = predictions[:, :, : self._fstar.shape[1]] - self._fstar
        return self._mean_square(difference)

    def _mean_square(self, vectors: Tensor) -> Tensor:
        """E||.||^2 over the test set of [..., d, n_test]: [...]."""
        return vectors.square().sum(-2) @ self._weights

    # --- reading ----------------------------------------------------------------------------------

    def columns(self, own: DataSet, made: _Decomposed, reading: Reading) -> LimitColumns:
        """The columns of one reading."""
        descent, d = made.descent, len(self._fstar)
        certified = descent.horizon * (1 + 1e-12)
        steps = [s for s in reading.steps if reading.step_size * s <= certified]
        f = made.predictions(Reading(reading.step_size, steps))
        R, L, n = f.shape
        kinds = f.view(R, L // d, d, n)
        test = slice(len(self._weights))
        noise, clean = kinds[:, 0], kinds[:, 1]
        kernel = noise + clean
        measured, holdout = self._evaluator.measure(kernel)
        mix = np.zeros((L, d))
        mix[:d] = mix[d : 2 * d] = np.eye(d)
        loss = descent.residuals(steps, reading.step_size, mix).sum(1) / 2
        times = reading.step_size * np.asarray(steps, dtype=np.float64)
        error = measured[:, ERROR_COLUMNS.index("score_error")]
        on_device = {
            **dict(zip(ERROR_COLUMNS, measured.T, strict=True)),
            "holdout_loss": holdout,
            "kernel_score_error": error,
            "kernel_holdout_loss": holdout,
            "bias": self._mean_square(clean[..., test] - self._fstar),
            "variance": self._mean_square(noise[..., test]),
        }
        if own.memorizer is not None:
            away = kernel[..., test] - self._tensor(own.memorizer.T)
            on_device["memorizer_distance"] = self._mean_square(away)
        if own.gap is not None:
            labels = self._tensor(own.gap[1].T)
            copies = kernel[..., -labels.shape[1] :] - labels
            on_device["generalization_gap"] = holdout - copies.square().sum(1).mean(1) / 2
        if self._shift is not None:
            # f~^K = f^K + descent on f_H - f*, and f_H = f* + shift.
            moved = kinds[:, 2, :, test]
            surrogate = kernel[..., test] + moved - self._fstar
            on_device["label_mismatch"] = self._mean_square(moved)
            on_device["early_stopping"] = self._mean_square(surrogate - self._shift)
            on_device["approximation"] = self._mean_square(self._shift).expand(R)
        table = torch.stack(list(on_device.values())).cpu().numpy()
        series = dict(zip(on_device, table, strict=True))
        series["train_loss"] = series["kernel_train_loss"] = loss
        series["kernel_complexity"] = descent.complexity(times)
        wrong = ~(loss <= DIVERGENCE_FACTOR * made.null_loss)
        first = int(np.argmax(wrong)) if wrong.any() else -1
        sketched = self._sketch(kernel[:first] if wrong.any() else kernel, series["score_error"])
        return LimitColumns(
            {name: _padded(column, first, len(reading.steps)) for name, column in series.items()},
            {
                "interpolation_error": made.interpolation_error,
                "largest_step_size": descent.largest_step_size,
            },
            steps[first] if wrong.any() else -1,
            descent.horizon,
            descent.route,
            sketched + [None] * (len(reading.steps) - len(sketched)),
        )

    def _sketch(self, predictions: Tensor, errors: Array) -> list[str | None]:
        """Of predictions [R, d, n_test or more], at the least error and at the last."""
        if not len(predictions):
            return []
        best = int(np.nanargmin(errors[: len(predictions)]))
        both = predictions[[best, -1], :, : len(self._weights)].cpu().numpy()
        return at_steps(len(predictions), best, sketch(self._evaluation, both))


def _interpolating(K: Tensor, x0: Tensor) -> Tensor:
    """The weights K^-1 X_0, [..., d, N], of the interpolant of X_0 [..., N, d]; NaN where K
    [..., N, N] is singular to rounding."""
    factor, failed = torch.linalg.cholesky_ex(K)
    weights = torch.cholesky_solve(x0, factor).mT
    return torch.where((failed == 0)[..., None, None], weights, math.nan)


def _null_loss(data: Samples) -> float:
    """1/(2N) sum_j ||X_{0,j}||^2."""
    return float(np.square(data.x0).sum(1).mean() / 2)


def _padded(column: Array, first_wrong: int, length: int) -> Array:
    """`column` at the first steps of `length`, NaN from the first that diverged on."""
    out = np.full(length, np.nan)
    out[: len(column)] = column
    if first_wrong >= 0:
        out[first_wrong:] = np.nan
    return out
