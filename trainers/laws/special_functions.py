"""The two special functions behind `cube` and `sphere`, to rounding error for every argument.

Textbook formulas for either fail in float64: differences of normal tails and I_nu itself
underflow (scipy.special.ive too), and what is left cancels. Both functions here add positive terms
only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_QUADRATURE_NODES = 48
_LOG_NEGLIGIBLE = 40.0  # e^-40 = 4e-18 of the peak: below float64's resolution
_RECURSION_STEPS = 64
_DEBYE_TERMS = 11


def truncated_normal(
    x: FloatArray, alpha: FloatArray, h: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean, and log of the mass, of exp(-(x - alpha u)^2 / (2 h)) over u in [-1, 1].

    x, alpha >= 0 and h > 0 broadcast against one another. Returns (mean, log_mass), of that
    shape, with mean = E[u] in [-1, 1] and log_mass = log int_{-1}^1 exp(-(x - alpha u)^2/(2h)) du.

    By symmetry take x >= 0 and fold u to [0, 1]. With theta = alpha x / h and m the mode of the
    density on [0, 1],

        mass = int_0^1 (1 + e^{-2 theta u}) e^{-(x - alpha u)^2/(2h)} du,
        mean = int_0^1 u (1 - e^{-2 theta u}) e^{-(x - alpha u)^2/(2h)} du / mass,

    where no integrand changes sign, so that nothing cancels: neither in the tails (|x| >> alpha)
    nor where the density is nearly flat. Gauss-Legendre quadrature over the stretch of [0, 1]
    that carries the mass is exact to rounding, as the integrands are entire.
    """
    folded = _Folded.of(x, alpha, h)
    first = np.zeros(folded.shape)
    mass = np.zeros(folded.shape)
    for u, density in folded.nodes():
        mass += density * (1 + np.exp(-2 * folded.theta * u))
        first -= density * u * np.expm1(-2 * folded.theta * u)
    return np.sign(x) * (first / mass), folded.peak + np.log(mass * folded.stretch)


def truncated_normal_variance(x: FloatArray, alpha: FloatArray, h: FloatArray) -> FloatArray:
    """The variance of the density of `truncated_normal`, by the same quadrature, about its mean."""
    folded = _Folded.of(x, alpha, h)
    mean = np.abs(truncated_normal(x, alpha, h)[0])
    second = np.zeros(folded.shape)
    mass = np.zeros(folded.shape)
    for u, density in folded.nodes():
        mirrored = np.exp(-2 * folded.theta * u)
        mass += density * (1 + mirrored)
        second += density * ((u - mean) ** 2 + mirrored * (u + mean) ** 2)
    return np.asarray(second / mass)


@dataclass(frozen=True)
class _Folded:
    """The density of `truncated_normal` on [0, 1], for |x|, over the stretch that carries it."""

    theta: FloatArray
    kappa: FloatArray
    mode: FloatArray
    slope: FloatArray
    low: FloatArray
    stretch: FloatArray
    peak: FloatArray

    @classmethod
    def of(cls, x: FloatArray, alpha: FloatArray, h: FloatArray) -> _Folded:
        x = np.abs(x)
        theta, kappa = alpha * x / h, alpha * alpha / h
        at_edge = x >= alpha
        mode = np.where(at_edge, 1.0, x / np.where(alpha > 0, alpha, 1.0))
        # log-density below its peak at u = mode + z: -slope |z| - kappa z^2 / 2
        slope = np.where(at_edge, alpha * (x - alpha) / h, 0.0)
        twice = 2 * _LOG_NEGLIGIBLE
        with np.errstate(divide="ignore"):  # a flat density, slope = kappa = 0: infinite width
            width = twice / (slope + np.hypot(slope, np.sqrt(twice * kappa)))
        low, high = -np.minimum(mode, width), np.minimum(1 - mode, width)
        peak = -((x - alpha * mode) ** 2) / (2 * h)
        return cls(theta, kappa, mode, slope, low, high - low, peak)

    @property
    def shape(self) -> tuple[int, ...]:
        return np.shape(self.theta)

    def nodes(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Nodes u, and the weights of the unmirrored density relative to its peak."""
        for node, weight in _quadrature():
            z = self.low + self.stretch * node
            yield self.mode + z, weight * np.exp(self.slope * z - 0.5 * self.kappa * z * z)


@functools.cache
def _quadrature() -> list[tuple[float, float]]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1]: they take longer to find than the
    integrals of a few hundred points."""
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE_NODES)
    return list(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


def bessel_ratio(order: float, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """I_{nu+1}(x) / (x I_nu(x)), and log of e^{-x} 0F1(; nu+1; x^2/4), for nu = order >= -1/2.

    x >= 0 of any shape; both results have that shape. 0F1(; nu+1; x^2/4) is
    Gamma(nu+1) (2/x)^nu I_nu(x), which is 1 at x = 0 where the first result is 1/(2 (nu+1)).

    The recurrence I_{mu-1} = (2 mu/x) I_mu + I_{mu+1}, written for c_mu = I_{mu+1}/(x I_mu),
    is c_mu = 1 / (2 (mu+1) + x^2 c_{mu+1}): stable downwards, and made of positive terms. It
    starts `_RECURSION_STEPS` orders up, where Debye's expansion (DLMF 10.41.3), whose terms fall
    as (mu^2 + x^2)^(-k/2), is exact to rounding for every x.
    """
    top = order + _RECURSION_STEPS
    s, s_next = np.hypot(top, x), np.hypot(top + 1, x)
    series, series_next = _debye_sum(top, s), _debye_sum(top + 1, s_next)
    step_up = (2 * top + 1) / (s + s_next)  # s_next - s
    c = np.exp(step_up - top * np.log1p((1 + step_up) / (top + s))) * np.sqrt(s / s_next)
    c = c * (series_next / series) / (top + 1 + s_next)
    rise = x * (x / (s + top))  # s - top
    # Debye's expansion less its value at x = 0, where log 0F1 = 0: no Gamma function, and no
    # cancellation of terms larger than x
    log_f = (
        -top * np.log1p(rise / (2 * top))
        - top * (x + rise) / (s + x)  # s - top - x
        - 0.5 * np.log1p(rise / top)
        + np.log(series / _debye_sum(top, np.float64(top)))
    )
    for step in range(_RECURSION_STEPS - 1, -1, -1):
        twice = 2 * (order + step + 1)
        grown = x * (x * c)
        log_f = log_f + np.log1p(grown / twice)
        c = 1 / (twice + grown)
    return c, log_f


def _debye_sum(order: float, s: FloatArray | np.float64) -> FloatArray:
    """sum_k U_k(p) / order^k with p = order / s, s = sqrt(order^2 + x^2) (DLMF 10.41.3).

    U_k(p) = p^k V_k(p^2), so that the k-th term is V_k(p^2) / s^k.
    """
    p2 = (order / s) ** 2
    total = np.zeros(np.shape(s))
    for coefficients in reversed(_debye_coefficients()):
        total = total / s + np.polynomial.polynomial.polyval(p2, coefficients)
    return total


@functools.cache
def _debye_coefficients() -> list[FloatArray]:
    """Coefficients of V_k, U_k(p) = p^k V_k(p^2), k < _DEBYE_TERMS, from DLMF 10.41.9:

    U_{k+1}(p) = p^2 (1 - p^2) U_k'(p) / 2 + (1/8) int_0^p (1 - 5 t^2) U_k(t) dt, U_0 = 1.
    """
    p = Polynomial([0.0, 1.0])
    u = Polynomial([1.0])
    coefficients = []
    for k in range(_DEBYE_TERMS):
        coefficients.append(np.asarray(u.coef[k::2], dtype=np.float64))
        u = p**2 * (1 - p**2) * u.deriv() / 2 + ((1 - 5 * p**2) * u).integ() / 8
    return coefficients
