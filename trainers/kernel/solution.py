"""Gradient descent in the kernel's function space, at any step and step size (docs/theory.md, 4).

f_tau(z) = kappa(z, Z) phi_tau(K) Y with phi_tau(l) = (1 - (1 - eta l/N)^tau) / l, the limit
eta tau / N at l = 0, and at the data f_tau(Z) = Y - (1 - eta K/N)^tau Y. From f_0 the same holds
of f_tau - f_0 and the labels Y - f_0(Z). The d outputs decouple, so labels are L columns.

| symbol | name        | meaning                                          | shape     |
|--------|-------------|--------------------------------------------------|-----------|
| Z      | z           | features of the data                             | [N, k]    |
| Y      | labels      | L label vectors                                  | [N, L]    |
| l_i    | values      | eigenvalues of K = kappa(Z, Z), not divided by N | [p]       |
| c      | coefficients| the labels in the eigenbasis                     | [p, L]    |
| B      | eval_basis  | kappa(points, Z) times the eigenvectors          | [n, p]    |
| eta, tau | step_size, steps | eta > 2N/l_max diverges                     |           |

Two routes give the same numbers, pay once and serve every eta and tau: the eigendecomposition
(p = N, also the spectrum) and block Lanczos (p about 100; K is never stored).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from trainers.kernel.lanczos import block_lanczos
from trainers.kernel.product import KernelProduct
from trainers.limits import EIGEN_SAMPLES

EIGEN_FEASIBLE = 8192
"""Up to this N (512 MiB a matrix) `auto` takes it too where Lanczos did not reach the horizon."""

HORIZON = 1e4
"""Default eta tau up to which Lanczos certifies itself."""

TOLERANCE = 1e-9
"""Bound on the relative error at which Lanczos stops."""

RESOLVED = 0.4
"""Share of a Krylov basis's Ritz values that are eigenvalues to about six digits: measured at
d = 1, 2, 8 and N up to 2048, with up to this share above the level in question, the relative error
of `KernelDescent.complexity` was below 1e-7; at 0.5 it was 1e-3."""

MAX_PRODUCTS = 150
"""Passes over K that Lanczos may take."""

Array = NDArray[np.float64]
Route = Literal["auto", "eigen", "lanczos"]


def descent_filter(values: ArrayLike, steps: ArrayLike, step_size: float, samples: int) -> Array:
    """phi_tau(l), [R, p], of eigenvalues l [p] >= 0 and steps tau [R] (inf allowed).

    The limit eta tau / N at l = 0. At tau = inf the pseudo-inverse: 1/l, and 0 for eigenvalues
    that are zero to rounding. Overflow, where eta l/N > 2, is +-inf.
    """
    lam, tau = _grid(values, steps)
    kept = _residual_filter(lam, tau, step_size, samples)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        x = step_size * lam / samples
        small = x < 0.5
        shrink = -np.expm1(tau * np.log1p(-np.where(small, x, 0.0)))
        phi = np.where(small, shrink, 1 - kept) / np.where(lam > 0, lam, 1.0)
        at_zero = step_size * tau / samples
        phi = np.where(lam > 0, phi, at_zero)
    cutoff = np.max(lam, initial=0.0) * np.finfo(float).eps * max(lam.shape[-1], samples)
    return np.where(np.isinf(tau) & (lam <= cutoff), 0.0, phi)


def residual_filter(values: ArrayLike, steps: ArrayLike, step_size: float, samples: int) -> Array:
    """(1 - eta l/N)^tau, [R, p]: what is left of the labels; arguments as in descent_filter."""
    lam, tau = _grid(values, steps)
    kept = _residual_filter(lam, tau, step_size, samples)
    cutoff = np.max(lam, initial=0.0) * np.finfo(float).eps * max(lam.shape[-1], samples)
    return np.where(np.isinf(tau) & (lam <= cutoff), 1.0, kept)


def _grid(values: ArrayLike, steps: ArrayLike) -> tuple[Array, Array]:
    lam = np.asarray(values, dtype=np.float64)[None, :]
    tau = np.atleast_1d(np.asarray(steps, dtype=np.float64))[:, None]
    return lam, tau


def _residual_filter(lam: Array, tau: Array, step_size: float, samples: int) -> Array:
    """exp(tau log|1 - x|) with the sign of (1 - x)^tau, x = eta l/N; 1 at tau = 0."""
    x = step_size * lam / samples
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        logarithm = np.where(x < 1, np.log1p(-np.minimum(x, 1.0)), np.log(np.abs(x - 1)))
        magnitude = np.exp(np.where(tau > 0, tau * logarithm, 0.0))
        odd = (x > 1) & (np.fmod(tau, 2) == 1)
    return np.where(odd, -magnitude, magnitude)


@dataclass(frozen=True)
class Predictions:
    """Kernel descent at R steps: evaluation [R, L, n], data [R, L, N] (None if not kept).

    `diverged` [R]: the step size is above 2N/l_max and values there have overflowed or would;
    entries that are not finite are inf.
    """

    steps: list[float]
    step_size: float
    evaluation: Array
    data: Array | None
    diverged: NDArray[np.bool_]


@dataclass(frozen=True)
class KernelDescent:
    """Kernel descent in a (possibly partial) eigenbasis of K; see the module's table.

    trace: of K. data_basis [N, p] holds the eigenvectors, or None where predictions at the data
    are not wanted. horizon: the largest eta tau that the basis is certified for (inf: all).
    error: the relative error estimated there. products, path: passes over K and the tiles' kind.
    """

    samples: int
    values: Array
    coefficients: Array
    eval_basis: Array
    data_basis: Array | None
    trace: float
    route: str
    horizon: float = math.inf
    error: float = 0.0
    products: int = 0
    path: str = ""

    @property
    def largest_step_size(self) -> float:
        """2N / l_max: descent converges below it."""
        return 2 * self.samples / float(self.values.max(initial=0.0) or np.finfo(float).tiny)

    @property
    def spectrum(self) -> Array:
        """All N eigenvalues of K, falling. Raises ValueError on a partial basis (Lanczos)."""
        if self.route != "eigen":
            raise ValueError("the spectrum needs route='eigen': Lanczos finds its top alone")
        return self.values[::-1].copy()

    def at(self, steps: Sequence[float], step_size: float) -> Predictions:
        """Predictions at `steps` (rising or not, inf allowed) for one step size.

        Raises ValueError where eta tau is beyond the horizon.
        """
        self._certified(steps, step_size)
        phi = descent_filter(self.values, steps, step_size, self.samples)
        with np.errstate(over="ignore", invalid="ignore"):
            # [R, L, p] first: the basis then meets all steps and labels in one product.
            weights = phi[:, None, :] * self.coefficients.T
            evaluation = _finite_or_inf(weights @ self.eval_basis.T)
            data = None
            if self.data_basis is not None:
                data = _finite_or_inf((weights * self.values) @ self.data_basis.T)
        return Predictions(
            list(steps), step_size, evaluation, data, self._diverged(steps, step_size)
        )

    def residuals(
        self, steps: Sequence[float], step_size: float, mix: Array | None = None
    ) -> Array:
        """(1/N) ||(1 - eta K/N)^tau y||^2 [R, L]: the mean squared residual at the data, from the
        coefficients alone. mix [L, L']: of the label combinations Y mix instead of Y."""
        self._certified(steps, step_size)
        kept = residual_filter(self.values, steps, step_size, self.samples)
        c = self.coefficients if mix is None else self.coefficients @ mix
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(_finite_or_inf(kept**2 @ c**2) / self.samples)

    def complexity(self, effective_time: ArrayLike) -> Array:
        """[1/N sum_i min(l_i/N, 1/(eta tau))]^(1/2) at each eta tau (Raskutti et al. 2014).

        Only the trace and the eigenvalues above N/(eta tau) enter. Ritz values are no larger than
        eigenvalues, so Lanczos gives an upper bound; NaN where the bound may be loose: more than
        RESOLVED of the Ritz values are above that level, or the labels left eigenvectors out.
        """
        time = np.atleast_1d(np.asarray(effective_time, dtype=np.float64))
        level = np.divide(1.0, time, out=np.full_like(time, np.inf), where=time > 0)
        excess = np.maximum(self.values / self.samples - level[:, None], 0.0)
        mean = np.maximum(self.trace / self.samples - excess.sum(1), 0.0) / self.samples
        complete = math.isclose(float(self.values.sum()), self.trace, rel_tol=1e-10)
        partial = not math.isinf(self.horizon)
        resolved = partial & ((excess > 0).sum(1) <= RESOLVED * len(self.values))
        known = complete | resolved
        return np.asarray(np.where(known, np.sqrt(mean), np.nan))

    def _diverged(self, steps: Sequence[float], step_size: float) -> NDArray[np.bool_]:
        return (np.asarray(steps) > 0) & (step_size > self.largest_step_size)

    def _certified(self, steps: Sequence[float], step_size: float) -> None:
        if not step_size > 0 or any(not s >= 0 for s in steps):
            raise ValueError("kernel descent needs step_size > 0 and steps >= 0")
        furthest = step_size * max(steps, default=0.0)
        if furthest > self.horizon * (1 + 1e-12):
            raise ValueError(
                f"eta tau = {furthest:g} is beyond the horizon {self.horizon:g} of this Lanczos "
                "basis: call decompose with a larger horizon (or max_products), or route='eigen'"
            )


def decompose(
    z: Array,
    labels: Array,
    eval_points: Array,
    route: Route = "auto",
    *,
    kernel: KernelProduct | None = None,
    device: str | torch.device = "cpu",
    keep_data: bool = True,
    horizon: float = HORIZON,
    tolerance: float = TOLERANCE,
    max_products: int = MAX_PRODUCTS,
) -> KernelDescent:
    """Prepares kernel descent on data z [N, k] with labels [N, L], read at eval_points [n, k].

    auto: eigen up to N = EIGEN_SAMPLES, above it lanczos, and eigen after all where that did not
    reach the horizon and N allows. kernel: reuses K where it is at hand.
    keep_data: whether predictions at the data will be wanted; residual norms never need them.
    horizon, tolerance, max_products: Lanczos stops when its own estimate of the error of the
    predictions, relative to their size, is below tolerance at every eta tau up to the horizon;
    where max_products do not suffice, the horizon of what is returned is lower.
    Raises ValueError for shapes that do not fit or labels that are not finite.
    """
    labels = _columns(labels, len(z))
    if not (np.isfinite(labels).all() and np.isfinite(z).all() and np.isfinite(eval_points).all()):
        raise ValueError("kernel descent needs finite features and labels")
    kernel = KernelProduct(z, device) if kernel is None else kernel
    if route == "auto":
        if len(z) > EIGEN_SAMPLES:
            made = _lanczos(
                kernel, labels, eval_points, keep_data, horizon, tolerance, max_products
            )
            if made.horizon >= horizon or len(z) > EIGEN_FEASIBLE:
                return made
        route = "eigen"
    if route == "eigen":
        return _eigen(kernel, labels, eval_points, keep_data)
    if route == "lanczos":
        return _lanczos(kernel, labels, eval_points, keep_data, horizon, tolerance, max_products)
    raise ValueError(f"route {route!r} is unknown: use auto, eigen or lanczos")


def _eigen(kernel: KernelProduct, labels: Array, points: Array, keep_data: bool) -> KernelDescent:
    values, U = torch.linalg.eigh(kernel.gram())
    eval_basis = kernel.at(points, U.mT.contiguous()).mT
    Y = torch.as_tensor(labels, device=kernel.device)
    return KernelDescent(
        samples=kernel.samples,
        values=np.maximum(values.cpu().numpy(), 0.0),
        coefficients=(U.mT @ Y).cpu().numpy(),
        eval_basis=eval_basis.cpu().numpy(),
        data_basis=U.cpu().numpy() if keep_data else None,
        trace=kernel.trace,
        route="eigen",
        path=kernel.path,
    )


def _lanczos(
    kernel: KernelProduct,
    labels: Array,
    points: Array,
    keep_data: bool,
    horizon: float,
    tolerance: float,
    max_products: int,
) -> KernelDescent:
    times = np.geomspace(min(1.0, horizon), horizon, 13)
    last = np.full(len(times), np.inf)
    weights = np.zeros((len(times), 0, labels.shape[1]))

    def estimate(H: Array, c: Array) -> float:
        nonlocal last, weights
        before, weights = weights, _flow_weights(H, c, times / kernel.samples)
        last = _prediction_errors(H, weights, before, kernel.trace)
        return float(last.max())

    taken = kernel.products
    Y = torch.as_tensor(np.ascontiguousarray(labels.T), device=kernel.device)
    krylov = block_lanczos(kernel, Y, estimate, tolerance, max_products)
    certified = horizon
    if krylov.exhausted:
        certified = math.inf
    elif krylov.error > tolerance:
        fine = int(np.argmax(last > tolerance))
        certified = float(times[fine - 1]) if fine else 0.0
    return KernelDescent(
        samples=kernel.samples,
        values=krylov.values,
        coefficients=krylov.coefficients,
        eval_basis=kernel.at(points, krylov.vectors).mT.cpu().numpy(),
        data_basis=krylov.vectors.mT.cpu().numpy() if keep_data else None,
        trace=kernel.trace,
        route="lanczos",
        horizon=certified,
        error=krylov.error,
        products=kernel.products - taken,
        path=kernel.path,
    )


def _prediction_errors(H: Array, weights: Array, before: Array, trace: float) -> Array:
    """Relative change of the predictions, the worst label's, from the `_flow_weights` of a smaller
    basis [T, q, L] to those of H [p, p]: one value for each time [T].

    A change a of the weights changes f by at most (a^T K a)^(1/2) kappa(z, z)^(1/2) at z, the
    RKHS norm; it is held against the root mean square of f at the data.
    """
    change = weights.copy()
    change[:, : before.shape[1]] -= before
    moved = (change * (H @ change)).sum(1)
    size = np.square(H @ weights).sum(1)
    ratio = np.sqrt(np.maximum(moved, 0.0) * trace / np.where(size > 0, size, 1.0))
    return np.asarray(ratio.max(axis=1))


def _flow_weights(H: Array, c: Array, times: Array) -> Array:
    """S phi(values) S^T c, [T, p, L], with the limit phi(l) = (1 - exp(-l t)) / l at each time
    eta tau / N [T]."""
    values, S = np.linalg.eigh(H)
    lam = np.maximum(values, 0.0)
    t = times[:, None]
    phi = np.where(lam > 0, -np.expm1(-t * lam) / np.where(lam > 0, lam, 1.0), t)
    return np.asarray(S @ (phi[:, :, None] * (S.T @ c)))


def _columns(labels: Array, samples: int) -> Array:
    labels = np.asarray(labels, dtype=np.float64)
    if labels.ndim != 2 or len(labels) != samples:
        raise ValueError(f"labels must be [N, L] with N = {samples}, not {labels.shape}")
    return labels


def _finite_or_inf(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.inf)
