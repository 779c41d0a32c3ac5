"""The `search` section of a spec: what to search over, how, and how long.

search:
  samplers: [tpe, random]         # tpe, gp, cmaes, random or qmc
  evaluations: 64                 # Optuna trials of each search
  repetitions: 5                  # searches of each sampler, on independent data
  batch: 8                        # Optuna trials asked for at once, and trained as a pack
  pruner: {kind: asha}            # or hyperband; left out: every trajectory runs to its end
  finals: 4                       # fresh seeds on which the winners are compared; 0: none
  space:
    width: {low: 64, high: 4096}      # powers of two
    step_size: {low: 0.1, high: 4}    # any number in between, on a logarithmic scale
    initialisation: [symmetric, plain]
    bias: [true, false]
    trainer: [descent, sgd]

A list is a choice, a single value is held. Trainers whose step sizes differ in scale get spaces of
their own: `space` may be a list of them. The stopping time is free: it is read off the trajectory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from study.spec.axes import Section, Values
from trainers.ranges import MAXIMUM_SIZE, MAXIMUM_STEP_SIZE, MINIMUM_STEP_SIZE, Size, StepSize
from trainers.registry import facts_of

Sampler = Literal["tpe", "gp", "cmaes", "random", "qmc"]
SPACE_AXES = ("width", "step_size", "initialisation", "bias", "trainer")


EXAMPLE = """\
    base: {samples: 256}
    search: {evaluations: 32, space: {width: [64, 256, 1024], step_size: {low: 0.1, high: 2}}}
"""
"""The least that makes a study a search."""


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


class WidthRange(Section):
    """The powers of two from `low` to `high`."""

    low: Annotated[int, Field(ge=2, le=2**24)]
    high: Annotated[int, Field(ge=2, le=2**24)]

    @model_validator(mode="after")
    def _holds_one(self) -> WidthRange:
        if not self.exponents():
            raise ValueError(f"holds no power of two between {self.low} and {self.high}")
        return self

    def exponents(self) -> range:
        """The exponents of the powers of two in the range."""
        return range(math.ceil(math.log2(self.low)), math.floor(math.log2(self.high)) + 1)


class StepRange(Section):
    """Any number from `low` to `high`, uniform in its logarithm."""

    low: StepSize
    high: StepSize

    @model_validator(mode="after")
    def _rises(self) -> StepRange:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        return self


class Space(Section):
    """What one search may choose. What is left out is held at the trial's default."""

    width: WidthRange | tuple[int, ...]
    step_size: StepRange | tuple[float, ...]
    initialisation: Values[Literal["symmetric", "plain"]] = ("symmetric",)
    bias: Values[bool] = (True,)
    trainer: Values[str] = ("descent",)

    def corners(self) -> Iterator[dict[str, Any]]:
        """Values of all axes: every trainer and network with the least and the largest width."""
        if isinstance(self.width, WidthRange):
            widths = {2**exponent for exponent in self.width.exponents()}
        else:
            widths = set(self.width)
        step_size = (
            self.step_size.low if isinstance(self.step_size, StepRange) else self.step_size[0]
        )
        for trainer in self.trainer:
            networks = itertools.product(*self.networks(trainer).values())
            for width, (initialisation, bias) in itertools.product(
                sorted({min(widths), max(widths)}), networks
            ):
                values = (width, step_size, initialisation, bias, trainer)
                yield dict(zip(SPACE_AXES, values, strict=True))

    def networks(self, trainer: str) -> dict[str, tuple[Any, ...]]:
        """What there is to choose of the paper's network: of another trainer's the names would
        only be two for one trial."""
        free = facts_of(trainer).paper_network
        values = {"initialisation": self.initialisation, "bias": self.bias}
        return {name: of if free else of[:1] for name, of in values.items()}

    @field_validator("width", mode="before")
    @classmethod
    def _width(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return WidthRange.model_validate(value)
        values = _as_tuple(value)
        if not values or any(
            isinstance(v, bool) or not isinstance(v, int) or not 1 <= v <= MAXIMUM_SIZE
            for v in values
        ):
            raise ValueError(
                f"must be whole numbers from 1 to {MAXIMUM_SIZE:,}, or {{low: ..., high: ...}}"
            )
        return values

    @field_validator("step_size", mode="before")
    @classmethod
    def _step_size(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return StepRange.model_validate(value)
        values = _as_tuple(value)
        if not values or any(
            isinstance(v, bool)
            or not isinstance(v, (int, float))
            or not MINIMUM_STEP_SIZE <= v <= MAXIMUM_STEP_SIZE
            for v in values
        ):
            raise ValueError(
                f"must be numbers from {MINIMUM_STEP_SIZE:g} to {MAXIMUM_STEP_SIZE:g}, or "
                "{low: ..., high: ...}"
            )
        return tuple(map(float, values))

    @model_validator(mode="after")
    def _even(self) -> Space:
        odd = [w for w in self.width if w % 2] if isinstance(self.width, tuple) else []
        if odd and "symmetric" in self.initialisation:
            raise ValueError(
                f"width = {odd[0]} is odd, and initialisation: symmetric pairs neurons"
            )
        return self


class Pruner(Section):
    """Successive halving at the steps `steps / factor^rungs`, ..., `steps / factor`, `steps`: of
    all trajectories that reached a rung, the best 1/factor go on. `hyperband`: every second, third,
    ... trial begins at a later rung."""

    kind: Literal["asha", "hyperband"]
    factor: Annotated[int, Field(ge=2, le=16)] = 4
    rungs: Annotated[int, Field(ge=1, le=6)] = 2


class Guided(Section):
    """The theory-guided choice beside the search: its constants come from `seeds` small pilots at
    N = `samples` of this width and step size, trained for the study's steps."""

    samples: Size = 64
    width: Size = 1024
    step_size: StepSize = 1.0
    seeds: Annotated[int, Field(ge=1, le=1000)] = 4

    @field_validator("width")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even: the pilots' networks are symmetric pairs of neurons")
        return value


class SearchSection(Section):
    """See the module."""

    space: Annotated[tuple[Space, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    samplers: Values[Sampler] = ("tpe",)
    evaluations: Annotated[int, Field(ge=1, le=100_000)] = 64
    repetitions: Annotated[int, Field(ge=1, le=10_000)] = 1
    batch: Annotated[int, Field(ge=1, le=1024)] = 8
    pruner: Pruner | None = None
    theory: Guided | None = None
    finals: Annotated[int, Field(ge=0, le=1000)] = 4

    @property
    def trials(self) -> int:
        """Trials at each point: evaluations of all searches, theory's pilots and its choices, and
        the finals of all."""
        guided = 0 if self.theory is None else self.theory.seeds + 1
        searched = self.repetitions * (len(self.samplers) * self.evaluations + guided)
        return searched + self.finals * self.most_finalists

    @property
    def most_finalists(self) -> int:
        """Of each point: the winner of each search and each of theory's choices, where these are
        two or more, and there are finals."""
        most = self.repetitions * (len(self.samplers) + (self.theory is not None))
        return most if self.finals and most > 1 else 0
