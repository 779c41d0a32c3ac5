"""Laws of X_0 with known posterior mean f* = E[X_0 | X_t = x] (docs/theory.md, section 8).

| symbol | meaning                                       | shape  | unit |
|--------|-----------------------------------------------|--------|------|
| d      | dimension of X_0                              |        | 1    |
| x      | values of X_t = alpha X_0 + sqrt(h) N(0, I)   | [n, d] | x    |
| alpha  | exp(-1/2 int_0^t g), in [0, 1]                | [n]    | 1    |
| h      | 1 - alpha^2 > 0                               | [n]    | x^2  |
| f*     | E[X_0 \\| X_t = x]                             | [n, d] | x    |

numpy in float64. alpha and h may be scalars. Every formula holds, without underflow to NaN, in
the tails (|x| up to 1e100), for tiny h (1e-12 and below) and for alpha = 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy import special

from trainers.laws.even_points import uniforms
from trainers.laws.mixture_noise import Signal
from trainers.ranges import Dimension

if TYPE_CHECKING:
    from trainers.laws.table_file import Cells

FloatArray = NDArray[np.float64]

Points = Mapping[str, "FloatArray | Cells"]
"""Of data files: by their SHA-256 the standardised rows (`load_atoms`), by `rows:` and that the
rows as they are, by `table:` and that the cells of a table."""

Part = Literal["train", "holdout", "test"]
"""What a draw is for. A law that is known has no parts: all draws are of it."""


BOUNDED = "bounded support"
"""Why a law that lies in a ball is sub-Gaussian."""


class LawBase(BaseModel, ABC):
    """A law as a study states it: its kind and parameters, and all that is known without a draw.

    A module of `trainers.laws.kinds` that holds a subclass makes a law known everywhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    known: ClassVar[bool] = True
    """Whether f* is known. Where it is not, all that is measured against it is null."""

    lists: ClassVar[frozenset[str]] = frozenset()
    """Parameters that are lists themselves: in a study a list of them is no list of laws."""

    sub_gaussian: ClassVar[str] = ""
    """Why the law is sub-Gaussian whatever its parameters; empty where it is not, or not known."""

    kind: str
    dimension: Dimension

    def identity(self) -> dict[str, Any]:
        """The fields that decide the law's numbers, as JSON data."""
        return self.model_dump(mode="json")

    @property
    def label(self) -> str:
        """Kind and parameters on one line, for legends and tables; the dimension is left out."""
        hidden = {"kind", "dimension", "file", "sha256", "inner"}
        items = [(k, v) for k, v in self.model_dump().items() if k not in hidden and v is not None]
        return self.kind + (f"[{','.join(f'{k}={v}' for k, v in items)}]" if items else "")

    @property
    def terms(self) -> int:
        """Terms in the sum that f* is."""
        return 1

    @property
    def mode_variances(self) -> tuple[float, ...]:
        """Variances [d] of the coordinates of X_0, where those are independent modes, each of which
        is its own part of f*; none where they are not."""
        return ()

    @property
    def most_samples(self) -> int | None:
        """Clean points that there are to train on; None: as many as are asked for."""
        return None

    @property
    def held_values(self) -> int:
        """Values that its distribution holds in memory, as far as they count."""
        return 0

    @abstractmethod
    def distribution(self, points: Points) -> Distribution:
        """How it is drawn, and its f*. points: of the data files that laws name; a file that is not
        among them is read."""


class Distribution(ABC):
    """A law of X_0 on R^d.

    `second_moment` is E||X_0||^2; ||X_0|| <= `support_radius`, which may be infinite.
    """

    dimension: int
    second_moment: float
    support_radius: float
    uniforms: int
    """Number of uniform variables that `transform` makes one X_0 of."""
    work: int
    """Operations of one posterior variance, roughly."""
    known: bool = True
    """Whether f* and the density are known; where they are not, they are NaN."""
    noise_source: str = "exact"
    """Where `mean_posterior_variance` comes from, as the results table says it."""

    def part(self, name: Part) -> Distribution:
        """What draws for that purpose are taken from."""
        return self

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """n independent draws of X_0, [n, d]."""

    @abstractmethod
    def transform(self, u: FloatArray) -> FloatArray:
        """X_0 [n, d] from uniform u [n, uniforms] in (0, 1), each coordinate of u used once and in
        order: points that fill the cube evenly give draws that fill the law evenly."""

    def posterior_mean(self, x: FloatArray, alpha: ArrayLike, h: ArrayLike) -> FloatArray:
        """f* = E[X_0 | X_t = x] [n, d], for x [n, d] and alpha, h [n].

        Raises ValueError for another shape of x, and for h <= 0 (at t = 0, X_t is X_0).
        """
        return self._posterior_mean(*self._checked(x, alpha, h))

    def posterior_variance(self, x: FloatArray, alpha: ArrayLike, h: ArrayLike) -> FloatArray:
        """E[||X_0 - f*||^2 | X_t = x] [n], the trace of the posterior covariance, as sums of terms
        that are never negative. Raises as `posterior_mean`."""
        return self._posterior_variance(*self._checked(x, alpha, h))

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        """E||X_0 - f*||^2 over X_t and a random time, from n evenly spread points."""
        u = uniforms(n, 1 + self.uniforms + self.dimension, rng)
        alpha, h = signal(u[:, 0])
        x0 = self.transform(u[:, 1 : 1 + self.uniforms])
        noise = special.ndtri(u[:, 1 + self.uniforms :])
        x = alpha[:, None] * x0 + np.sqrt(h)[:, None] * noise
        return float(np.mean(self.posterior_variance(x, alpha, h)))

    def log_marginal(self, x: FloatArray, alpha: ArrayLike, h: ArrayLike) -> FloatArray:
        """log p_t(x) [n], the log-density of X_t, for x [n, d] and alpha, h [n].

        Rounding leaves an absolute error of about 1e-16 ||x||^2 / h. Raises as `posterior_mean`.
        """
        return self._log_marginal(*self._checked(x, alpha, h))

    @abstractmethod
    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        """[n, d], for x [n, d] and a = alpha, h [n, 1]."""

    @abstractmethod
    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        """[n], for x [n, d] and a = alpha, h [n, 1]."""

    @abstractmethod
    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        """[n], for x [n, d] and a = alpha, h [n, 1]."""

    def _checked(
        self, x: FloatArray, alpha: ArrayLike, h: ArrayLike
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x [n, d], and alpha and h as [n, 1]."""
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise ValueError(f"x has shape {x.shape}; it must be [n, {self.dimension}]")
        a, v = (
            np.broadcast_to(np.asarray(value, dtype=np.float64), len(x))[:, np.newaxis]
            for value in (alpha, h)
        )
        if not (v > 0).all():
            raise ValueError("h must be positive: at t = 0 there is nothing to infer, X_t is X_0")
        return x, a, v


def parameter_stream(law: Any) -> np.random.Generator:
    """The stream of a law's own parameters, apart from other kinds' and from the samples'."""
    kind = tuple(law.kind.encode())
    return np.random.default_rng(np.random.SeedSequence(law.seed, spawn_key=kind))


def log_normal(square: FloatArray, v: FloatArray, dimension: int) -> FloatArray:
    """log N(.; 0, v I) [n] in `dimension` dimensions, at squared lengths [n], for v [n, 1]."""
    return np.asarray(-0.5 * (square / v[:, 0] + dimension * np.log(2 * np.pi * v[:, 0])))
