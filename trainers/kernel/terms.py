"""The four error terms of a trial, and the kernel reference they need (docs/theory.md, section 5).

| symbol | name      | meaning                                                    | shape        |
|--------|-----------|------------------------------------------------------------|--------------|
| f_W    | network   | the network                                                | [R, n, d]    |
| f^K    | kernel    | kernel descent on labels X_0, from f_W(0)                  | [R, n, d]    |
| f~^K   | surrogate | kernel descent on labels f_H(z_j) + xi_j, from f_W(0)      | [H, R, n, d] |
| f_H    | element   | an element of the RKHS, per output ||f_H||_H^2 <= R_H      | [H, n, d]    |
| f*     | fstar     | the posterior mean                                         | [n, d]       |
| xi_j   | noise     | X_{0,j} - f*(z_j)                                          | [N, d]       |

R recorded steps, n evaluation points, H norms R_H. With the same data, start, eta and tau,
coupling f_W - f^K, label mismatch f^K - f~^K, early stopping f~^K - f_H and approximation
f_H - f* telescope to f_W - f*, so E||f_W - f*||^2 <= 4 (the sum of their mean squares).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from trainers.kernel.product import KernelProduct
from trainers.kernel.solution import HORIZON, KernelDescent, Route, decompose

STABLE_RIDGE = 1e-12
"""Smallest ridge, as a share of the largest eigenvalue: below it weights are rounding."""

BAND_RATIO = 1.4
"""Ratio of the ends of a band of indices that the audit averages over."""

Array = NDArray[np.float64]


# --- f_H ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RkhsElement:
    """f_H(z) = sum_i kappa(z, z_i) weights_i with points z_i [M, k] and weights [M, d].

    norm: the R_H asked for. norms, ridges [d]: ||f_H||_H^2 of each output, and its ridge.
    constrained [d]: False where the interpolant's norm is below R_H already, so that the
    constraint does not bind and the smallest stable ridge was used.
    """

    norm: float
    points: Array
    weights: Array
    norms: Array
    ridges: Array
    constrained: NDArray[np.bool_]

    def __call__(self, z: Array, device: str | torch.device = "cpu") -> Array:
        """f_H at z [n, k]: [n, d]."""
        values: Array = evaluate([self], z, device)[0]
        return values


def evaluate(
    elements: Sequence[RkhsElement], z: Array, device: str | torch.device = "cpu"
) -> Array:
    """The elements at z [n, k]: [H, n, d], in one pass over the kernel.

    Raises ValueError unless they are of one family (the same points).
    """
    points = elements[0].points
    if not all(np.array_equal(points, e.points) for e in elements):
        raise ValueError("the elements f_H are not on the same clean points: use one RidgeFamily")
    kernel = KernelProduct(points, device)
    rows = np.concatenate([e.weights.T for e in elements])
    values = kernel.at(z, torch.as_tensor(rows, device=kernel.device)).cpu().numpy()
    return np.asarray(values.reshape(len(elements), -1, len(z)).transpose(0, 2, 1))


class RidgeFamily:
    """Kernel ridge regression on M clean points, decomposed once for all norms and outputs."""

    def __init__(self, points: Array, targets: Array, device: str | torch.device = "cpu") -> None:
        """points [M, k] and targets f*(points) [M, d], independent of any training set."""
        if len(points) != len(targets) or not len(points):
            raise ValueError(
                f"f_H needs M points and M targets, not {points.shape}, {targets.shape}"
            )
        self.points = points
        values, U = torch.linalg.eigh(KernelProduct(points, device, store=False).gram())
        self._values = np.maximum(values.cpu().numpy(), 0.0)
        self._U = U.cpu().numpy()
        self._c = self._U.T @ targets
        self.smallest_ridge = STABLE_RIDGE * float(self._values[-1])

    def squared_norms(self, ridge: ArrayLike) -> Array:
        """||f||_H^2 = sum_i l_i c_i^2 / (l_i + ridge)^2 of each output [d], at a ridge or [d]."""
        shrunk = self._c / (self._values[:, None] + np.asarray(ridge, dtype=np.float64))
        return np.asarray((self._values[:, None] * shrunk**2).sum(0))

    def element(self, norm: float) -> RkhsElement:
        """The element with ||f_H||_H^2 = norm in every output, the least-squares fit in that ball.

        Raises ValueError unless norm > 0.
        """
        if not norm > 0:
            raise ValueError(f"decomposition.norms: R_H = {norm:g} must be positive")
        largest = self.squared_norms(self.smallest_ridge)
        constrained = largest > norm
        ridges = np.full(len(largest), self.smallest_ridge)
        for i in np.flatnonzero(constrained):
            ridges[i] = self._ridge(norm, int(i))
        weights = self._U @ (self._c / (self._values[:, None] + ridges))
        norms = self.squared_norms(ridges)
        return RkhsElement(norm, self.points, weights, norms, ridges, constrained)

    def _ridge(self, norm: float, output: int) -> float:
        """Root in log ridge; the norm falls strictly as the ridge grows."""
        c2 = self._c[:, output] ** 2

        def excess(log_ridge: float) -> float:
            terms = self._values * c2 / (self._values + np.exp(log_ridge)) ** 2
            return float(np.log(terms.sum() / norm))

        # sum l c^2 / (l + r)^2 <= sum l c^2 / r^2, which is at most the norm at this r.
        top = max(np.sqrt((self._values * c2).sum() / norm), 2 * self.smallest_ridge)
        low, high = np.log(self.smallest_ridge), np.log(2 * top)
        return float(np.exp(brentq(excess, low, high, xtol=1e-13, rtol=1e-14)))


# --- the terms ------------------------------------------------------------------------------------


def mean_square(vectors: Array) -> Array:
    """Mean over the points of ||.||^2 (a sum over d): [..., n, d] -> [...]."""
    return np.asarray(np.square(vectors).sum(-1).mean(-1))


# --- everything that one data set's trials share --------------------------------------------------


@dataclass(frozen=True)
class KernelTrajectory:
    """Kernel descent on one data set at R steps of one step size, at the evaluation points.

    kernel f^K, clean (the same on labels f*(z_j)) and noise (on labels xi_j, from 0) [R, n, d]:
    from f_W(0) = 0, kernel = clean + noise. surrogate f~^K [H, R, n, d].
    train_loss [R] = 1/(2N) sum_j ||f^K(z_j) - X_{0,j}||^2. diverged [R]: eta > 2N/l_max.
    """

    steps: list[float]
    kernel: Array
    clean: Array
    noise: Array
    surrogate: Array
    train_loss: Array
    diverged: NDArray[np.bool_]


@dataclass(frozen=True)
class Start:
    """A plain network's f_W(0) on a data set: kernel descent from there. See KernelReference.start.

    f0_eval [n, d]; descent: of the labels X_0 - f_W(0)(z)."""

    f0_eval: Array
    descent: KernelDescent


@dataclass(frozen=True)
class KernelReference:
    """The kernel's part of every trial on one data set, whatever its width, eta and steps.

    z [N, k], x0, fstar [N, d]: the data and the clean labels; eval_points [n, k];
    norms [H] and elements [H, n, d]: R_H, and f_H at the evaluation points.
    descent: kernel descent on the columns xi, f*(z), and f_H(z) - f*(z) for each norm. Linearity
    does the rest, and differences are descended themselves: none is lost to cancellation.
    """

    z: Array
    x0: Array
    fstar: Array
    eval_points: Array
    norms: Array
    elements: Array
    descent: KernelDescent

    @classmethod
    def build(
        cls,
        z: Array,
        x0: Array,
        fstar: Array,
        eval_points: Array,
        elements: Sequence[RkhsElement] = (),
        *,
        route: Route = "auto",
        device: str | torch.device = "cpu",
        horizon: float = HORIZON,
    ) -> KernelReference:
        """Decomposes once. horizon: the largest eta tau that will be asked for (Lanczos)."""
        d = x0.shape[1]
        at_data, at_eval = np.empty((0, len(z), d)), np.empty((0, len(eval_points), d))
        if elements:
            values = evaluate(elements, np.concatenate([z, eval_points]), device)
            at_data, at_eval = values[:, : len(z)], values[:, len(z) :]
        labels = np.hstack([x0 - fstar, fstar, *(value - fstar for value in at_data)])
        descent = decompose(
            z, labels, eval_points, route, device=device, keep_data=False, horizon=horizon
        )
        norms = np.array([element.norm for element in elements])
        return cls(z, x0, fstar, eval_points, norms, at_eval, descent)

    @property
    def dimension(self) -> int:
        """d."""
        return int(self.x0.shape[1])

    def start(self, f0_data: Array, f0_eval: Array, device: str | torch.device = "cpu") -> Start:
        """Kernel descent from a plain network: f_W(0) at the data [N, d] and eval points [n, d]."""
        horizon = self.descent.horizon
        made = decompose(
            self.z,
            self.x0 - f0_data,
            self.eval_points,
            "eigen" if self.descent.route == "eigen" else "lanczos",
            device=device,
            keep_data=False,
            horizon=horizon if np.isfinite(horizon) else HORIZON,
        )
        return Start(f0_eval, made)

    def at(
        self, steps: Sequence[float], step_size: float, start: Start | None = None
    ) -> KernelTrajectory:
        """The trajectory at `steps` for one step size, from 0 or from `start`.

        Raises ValueError where eta tau is beyond the descent's horizon.
        """
        d = self.dimension
        got = self.descent.at(steps, step_size)
        # [R, L, n] -> [L / d, R, n, d]
        R, L, n = got.evaluation.shape
        columns = got.evaluation.reshape(R, L // d, d, n).transpose(1, 0, 3, 2)
        with np.errstate(over="ignore", invalid="ignore"):
            noise, clean, shifts = columns[0], columns[1], columns[2:]
            kernel = clean + noise
            if start is None:
                mix = np.zeros((L, d))
                mix[:d] = mix[d : 2 * d] = np.eye(d)
                residuals = self.descent.residuals(steps, step_size, mix)
            else:
                from_start = start.descent.at(steps, step_size).evaluation.transpose(0, 2, 1)
                moved = start.f0_eval + from_start
                kernel, clean = moved, moved - noise
                residuals = start.descent.residuals(steps, step_size)
            surrogate = kernel + shifts
        return KernelTrajectory(
            list(steps), kernel, clean, noise, surrogate, residuals.sum(1) / 2, got.diverged
        )

    def to_arrays(self) -> dict[str, Array]:
        """Everything as named arrays, for a file or an object store."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "descent"}
        inner = {f.name: getattr(self.descent, f.name) for f in fields(self.descent)}
        kept = {f"descent_{k}": np.asarray(v) for k, v in inner.items() if v is not None}
        return {**own, **kept}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> KernelReference:
        """The inverse of to_arrays."""
        inner = {k.removeprefix("descent_"): v for k, v in arrays.items() if k[:8] == "descent_"}
        # Scalars were stored as arrays without axes.
        values: dict[str, Any] = {k: v if v.ndim else v.item() for k, v in inner.items()}
        descent = KernelDescent(**{"data_basis": None, **values})
        own = {f.name: arrays[f.name] for f in fields(cls) if f.name != "descent"}
        return cls(**own, descent=descent)


# --- audit of assumptions (docs/theory.md, section 9) ---------------------------------------------


@dataclass(frozen=True)
class SourceCapacity:
    """Fitted exponents: eigenvalues l_i/N ~ i^-b, capacity b; the target's coefficients
    c_i^2 ~ i^-(1 + s b), so that sum_i c_i^2 / l_i^r is finite for r below the source s.
    `rate` is the error's exponent in N that follows. first, last: the indices (from 1) fitted."""

    capacity: float
    source: float
    first: int
    last: int

    @property
    def rate(self) -> float:
        """s b / (s b + 1) (Caponnetto and De Vito 2007; docs/theory.md, section 7)."""
        sb = self.source * self.capacity
        return sb / (sb + 1)


def source_capacity(
    eigenvalues: Array, coefficients: Array, first: int = 8, last: int | None = None
) -> SourceCapacity:
    """Fits both exponents by least squares in logarithms, over bands of log-spaced indices.

    eigenvalues [N], falling; coefficients [N, d] of clean targets in the same order. The indices
    run from `first` to `last` (default N/8: past it the spectrum of a sample falls faster than
    that of its law). Raises ValueError where fewer than four bands are left.
    """
    lam, c = np.asarray(eigenvalues, dtype=np.float64), np.asarray(coefficients, dtype=np.float64)
    last = len(lam) // 8 if last is None else last
    last = min(last, int(np.sum(lam > np.finfo(float).eps * len(lam) * lam[0])))
    count = int(np.log(max(last, 1) / first) / np.log(BAND_RATIO))
    if count < 4:
        raise ValueError(f"indices {first} to {last} are too few to fit source and capacity")
    edges = np.round(first * BAND_RATIO ** np.arange(count + 1)).astype(int)
    bands = [slice(a - 1, b - 1) for a, b in pairwise(edges)]
    # Logarithms of the index are averaged as those of the eigenvalue are: no bias of bin centres.
    index = np.array([np.log(np.arange(a, b)).mean() for a, b in pairwise(edges)])
    value = np.array([np.log(lam[band]).mean() for band in bands])
    energy = np.log([np.square(c[band]).sum(1).mean() for band in bands])
    capacity = -float(np.polyfit(index, value, 1)[0])
    decay = -float(np.polyfit(index, energy, 1)[0])
    return SourceCapacity(capacity, (decay - 1) / capacity, first, int(edges[-1]) - 1)
