"""A law of your own: a class in a file beside the study, named as `kind: module:Class`.

The class is made with the keys of the study's law, `dimension` among them, and has

    sample(n, rng)                        draws of X_0 [n, d], from the numpy Generator alone

and, where known,

    posterior_mean(x, alpha, h)           f* = E[X_0 | X_t = x] [n, d], x [n, d], alpha and h [n]
    posterior_variance(x, alpha, h)       E[||X_0 - f*||^2 | X_t = x] [n]
    second_moment, support_radius         E||X_0||^2, and a bound of ||X_0||

Without posterior_mean the law is uniform on DRAWN draws of it, for which f* and every error are
exact. What else is missing is measured on draws, or not at all.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ConfigDict, Field, model_validator

from trainers.errors import LawError
from trainers.laws.law import Distribution, FloatArray, LawBase, Points
from trainers.laws.mixture import MixtureOfNormals
from trainers.laws.mixture_noise import Signal
from trainers.own_files import OWN, OwnClass, told

DRAWN = 2**13
"""Points of a law without a posterior mean. One value of f* sums over all of them: 8,192 take some
70 microseconds, so a trial of N = 4096 takes half a second more than with a closed form."""

MOMENT_DRAWS = 2**16
"""Draws behind E||X_0||^2, where the class does not say it."""

_ROWS = 2**12
"""Rows that a posterior mean of your own is asked for at once: it may hold much for each."""

FILLED_IN = ("source_sha256",)
"""Keys that a study does not give."""

Parameter = bool | int | float | str


class OwnLaw(LawBase):
    """A law of your own: a class in a file beside the study, to which all its keys are handed but
    `kind`, the names of the file and of the class.

    It is known by the SHA-256 of its file and by its keys, never by where the file is.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    __pydantic_extra__: dict[str, Any]
    kind: Annotated[str, Field(pattern=OWN.pattern)]
    source_sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _plain_parameters(self) -> OwnLaw:
        for problem in wrong_parameters(self.parameters):
            raise ValueError(f"law.{problem}")
        return self

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The keys beside the dimension, as they were given."""
        return dict(self.__pydantic_extra__)

    def identity(self) -> dict[str, Any]:
        # 1 and 1.0 are one number, as they are for the laws that have the type of their keys
        own = {key: _plain(value) for key, value in self.parameters.items()}
        fields = {"dimension": self.dimension, "source_sha256": self.source_sha256}
        return {"kind": self.kind, **fields, "parameters": own}

    @property
    def label(self) -> str:
        items = [f"{k}={_text(_plain(v))}" for k, v in sorted(self.parameters.items())]
        return self.kind + (f"[{','.join(items)}]" if items else "")

    @property
    def drawn(self) -> bool:
        """Whether it is uniform on draws, as its class has no posterior mean. Raises LawError where
        the class cannot be loaded."""
        return not hasattr(self.loaded(), "posterior_mean")

    @property
    def terms(self) -> int:
        return DRAWN if self.drawn else 1

    @property
    def held_values(self) -> int:
        return DRAWN * (2 * self.dimension + 3) if self.drawn else 0

    def loaded(self) -> Any:
        """The class. Raises LawError."""
        return own_class(self.kind).load(self.source_sha256)

    def made(self) -> Any:
        """An instance of the class. Raises LawError where it cannot be made of these keys."""
        own, given = self.loaded(), {"dimension": self.dimension, **self.parameters}
        try:
            made = own(**given)
        except Exception as error:
            keys = ", ".join(f"{key} = {_text(value)}" for key, value in given.items())
            raise LawError(
                f"law.kind {self.kind}: its class could not be made with {keys}: {told(error)}; "
                f"correct these keys of the law, or what {own_class(self.kind).class_name} takes"
            ) from error
        if not callable(getattr(made, "sample", None)):
            raise LawError(
                f"law.kind {self.kind}: its class has no sample(self, n, rng): write one that "
                "returns n draws of X_0, [n, d]"
            )
        return made

    def distribution(self, points: Points) -> Distribution:
        made = self.made()
        if not self.drawn:
            return OwnDistribution(self, made)
        return MixtureOfNormals(sampled(self, made, DRAWN, self._stream()), 0.0)

    def _stream(self) -> np.random.Generator:
        """Of what is drawn once: by `seed`, where the law has one."""
        seed = self.parameters.get("seed", 0)
        usable = type(seed) is int and seed >= 0
        key = tuple(b"a law of your own")
        return np.random.default_rng(
            np.random.SeedSequence(seed if usable else 0, spawn_key=key)  # type: ignore[arg-type]
        )


class OwnDistribution(Distribution):
    """A law of your own with its posterior mean; the density is not known, and NaN."""

    def __init__(self, law: OwnLaw, made: Any) -> None:
        self.law, self.made = law, made
        self.dimension = self.work = law.dimension
        self.uniforms = 1
        self.support_radius = _stated(law, made, "support_radius")
        self.has_variance = callable(getattr(made, "posterior_variance", None))
        self.noise_source = "exact" if self.has_variance else "simulated"
        self.second_moment = _stated(law, made, "second_moment")
        if np.isnan(self.second_moment):
            self.second_moment = self._moment()

    def _moment(self) -> float:
        """E||X_0||^2 over MOMENT_DRAWS draws, fewer in many dimensions."""
        rng = np.random.default_rng(0)
        n = max(1024, min(MOMENT_DRAWS, 2**22 // self.dimension))
        return float(np.square(self.sample(n, rng)).sum(axis=1).mean())

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return sampled(self.law, self.made, n, rng)

    def transform(self, u: FloatArray) -> FloatArray:
        # nothing is known of how X_0 comes about: the uniforms are the seed of plain draws
        seed = hashlib.sha256(np.ascontiguousarray(u[:, 0]).tobytes()).digest()
        return self.sample(len(u), np.random.default_rng(int.from_bytes(seed, "little")))

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        if self.has_variance:
            return super().mean_posterior_variance(signal, n, rng)
        alpha, h = signal((np.arange(n) + rng.random(n)) / n)
        x0 = self.sample(n, rng)
        x = alpha[:, None] * x0 + np.sqrt(h)[:, None] * rng.standard_normal(x0.shape)
        return float(np.square(x0 - self.posterior_mean(x, alpha, h)).sum(axis=1).mean())

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return self._asked("posterior_mean", x, a, h, x.shape)

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        if not self.has_variance:
            return np.full(len(x), np.nan)
        return self._asked("posterior_variance", x, a, h, (len(x),))

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return np.full(len(x), np.nan)

    def _asked(
        self, name: str, x: FloatArray, a: FloatArray, h: FloatArray, shape: tuple[int, ...]
    ) -> FloatArray:
        found = np.empty(shape)
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            # copies: what a method does to them is its own affair
            given = x[rows].copy(), a[rows, 0].copy(), h[rows, 0].copy()
            found[rows] = _answer(self.law, self.made, name, given, (len(given[0]), *shape[1:]))
        return found


def wrong_parameters(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with keys of a law that its class is to have, a message each."""
    for key, value in given.items():
        if type(value) not in (bool, int, float, str):
            yield f"{key} must be a number, text, true or false: the class gets it as it is"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{key} must be a finite number"


def own_class(kind: str) -> OwnClass:
    """The class that a kind `module:Class` names."""
    return OwnClass(kind, "law.kind", LawError)


def sampled(law: OwnLaw, made: Any, n: int, rng: np.random.Generator) -> FloatArray:
    """n draws [n, d] of an instance. Raises LawError where they are anything else."""
    return _answer(law, made, "sample", (n, rng), (n, law.dimension))


def _stated(law: OwnLaw, made: Any, name: str) -> float:
    """A number that the class may state, NaN where it does not. Raises LawError for no number."""
    value = getattr(made, name, np.nan)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise LawError(
            f"law.kind {law.kind}: {name} is {type(value).__name__}, not a number: make it one (of "
            "a method, a property), or remove it"
        ) from None


def _answer(
    law: OwnLaw, made: Any, name: str, given: tuple[Any, ...], shape: tuple[int, ...]
) -> FloatArray:
    """What a method returns, float64 of this shape. Raises LawError, with the line of an error."""
    who = f"law.kind {law.kind}: {name}"
    wanted = f"[{', '.join(map(str, shape))}]"
    letters = "[n, d]" if len(shape) == 2 else "[n]"
    scalars = "" if name == "sample" else " (alpha and h are [n]: beside x write alpha[:, None])"
    try:
        raw: ArrayLike = getattr(made, name)(*given)
    except Exception as error:
        raise LawError(f"{who} raised {told(error)}: correct it{scalars}") from error
    try:
        values = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        raise LawError(
            f"{who} returned {type(raw).__name__}, not numbers: return a numpy array {letters}"
        ) from None
    if values.shape != shape:
        shown = f"[{', '.join(map(str, values.shape))}]"
        raise LawError(
            f"{who} returned the shape {shown} where {letters} is {wanted}: correct it{scalars}"
        )
    if not np.isfinite(values).all():
        at = "" if name == "sample" else _where_not_finite(values, given)
        raise LawError(f"{who} returned numbers that are not finite{at}: correct it")
    return values


def _where_not_finite(values: FloatArray, given: tuple[Any, ...]) -> str:
    x, alpha, h = given
    row = int(np.argmin(np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
    shown = ", ".join(f"{v:.3g}" for v in x[row, :4]) + (", ..." if x.shape[1] > 4 else "")
    return f", first at x = [{shown}], alpha = {alpha[row]:.3g}, h = {h[row]:.3g}"


def _plain(value: Parameter) -> Parameter:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: Parameter) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return re.sub(r"[\[\],/]", "_", text)  # which labels are read by
