"""The axes of a study and the small sections of a spec: their types, ranges and defaults.

Everything is strict: `"64"`, `true` and `2.5` are no sample counts. A scalar stands for a list of
one. Where the axes live in a trial: `dimension` in its law, `t_min` in its diffusion, the others
at its top level.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    WrapValidator,
)

from trainers.ranges import (
    MAXIMUM_SIZE,
    Copies,
    Dimension,
    Norm,
    Scale,
    Size,
    Steps,
    StepSize,
    Time,
    TimeLaw,
    Weight,
    Width,
    plain_width,
)

AXES = (
    "samples",
    "width",
    "step_size",
    "initialisation",
    "bias",
    "dimension",
    "t_min",
    "copies",
    "time_law",
    "weight",
    "steps",
    "trainer",
)
"""Every axis, in the order in which a factorial runs through them (the last one fastest)."""

REQUIRED_AXES = ("samples", "width", "step_size")

MAXIMUM_TRIALS = 100_000
"""Of a study: so many plan in seconds, and docs/scale.md has measured the rest."""
MAXIMUM_LAWS = 10_000
MAXIMUM_WORKERS = 4096


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


Item = TypeVar("Item")
Values = Annotated[tuple[Item, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Workers = Annotated[int, Field(ge=1, le=MAXIMUM_WORKERS)]

_MULTIPLE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})? *N")
"""`4N`, `0.5 N`, `N`."""


def multiple(width: Any) -> Fraction | None:
    """m/N of a width that is a multiple of the samples, exact as it was written; None of others."""
    if not isinstance(width, str):
        return None
    return Fraction(width[:-1] or 1)


def _or_multiple(value: Any, validated: Callable[[Any], int]) -> Any:
    found = _MULTIPLE.fullmatch(value.strip()) if isinstance(value, str) else None
    return f"{found[1] or ''}N" if found else validated(value)


def _plain(width: Any, info: SerializationInfo) -> Any:
    return width if isinstance(width, str) else plain_width(width, info)


AxisWidth = Annotated[Width, WrapValidator(_or_multiple), PlainSerializer(_plain)]
"""m, or a multiple of N as text, `4N`, which every trial has as the number that it is there."""


class Section(BaseModel):
    """A mapping of a spec: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Axes(Section):
    """Values of some axes: the `base` of a study, or one of its sweeps."""

    samples: Values[Size] | None = None
    width: Values[AxisWidth] | None = None
    step_size: Values[StepSize] | None = None
    initialisation: Values[Literal["symmetric", "plain"]] | None = None
    bias: Values[bool] | None = None
    dimension: Values[Dimension] | None = None
    t_min: Values[Time] | None = None
    copies: Values[Copies] | None = None
    time_law: Values[TimeLaw] | None = None
    weight: Values[Weight] | None = None
    steps: Values[Steps] | None = None
    trainer: Values[str] | None = None

    def given(self) -> dict[str, tuple[Any, ...]]:
        """Axis -> values, for the axes that are set."""
        return {axis: values for axis in AXES if (values := getattr(self, axis)) is not None}


def factorial(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of the axes. A width that is a multiple of N is a number
    here, and a combination that two widths give comes once then."""
    names = [axis for axis in AXES if axis in axes]
    grows = any(multiple(width) is not None for width in axes["width"])
    found: set[tuple[Any, ...]] = set()
    for values in itertools.product(*(axes[axis] for axis in names)):
        given = dict(zip(names, values, strict=True))
        share = multiple(given["width"])
        if share is not None:
            given["width"] = int(share * given["samples"])
        if grows:
            own = tuple(given.values())
            if own in found:
                continue
            found.add(own)
        yield given


def misfits(blocks: Iterable[tuple[str, Mapping[str, Sequence[Any]]]]) -> list[str]:
    """A message for each multiple of N that is no network's width at some N of a factorial.
    blocks: where a factorial is stated, and its axes."""
    wrong: dict[str, list[str]] = {}
    for where, axes in blocks:
        for width in axes.get("width", ()):
            share = multiple(width)
            if share is not None:
                for problem in _misfits(width, share, axes):
                    wrong.setdefault(problem, []).append(where)
    return [f"{', '.join(where)}: {problem}" for problem, where in wrong.items()]


def _misfits(width: str, share: Fraction, axes: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    paired = "symmetric" in axes.get("initialisation", ("symmetric",))
    at = {n: share * n for n in axes.get("samples", ())}
    broken = [n for n, m in at.items() if m.denominator > 1]
    if broken:
        told = f"{_samples(broken)} ({float(at[broken[0]]):g} at the first)"
        yield f"width = {width} is no whole number at {told}: use another multiple, or other N"
    small = [n for n, m in at.items() if m < 1 and n not in broken]
    if small:
        yield f"width = {width} is 0 at {_samples(small)}: use a multiple above 0, such as 4N"
    large = [n for n, m in at.items() if m > MAXIMUM_SIZE]
    if large:
        most = f"more than {MAXIMUM_SIZE:,} neurons"
        yield f"width = {width} is {most} at {_samples(large)}: use a smaller multiple"
    odd = [n for n, m in at.items() if paired and m.denominator == 1 and m % 2]
    if odd:
        yield (
            f"width = {width} is odd at {_samples(odd)}, and initialisation: symmetric pairs the "
            "neurons: use an even multiple such as 4N, or initialisation: plain"
        )


def _samples(values: Sequence[int]) -> str:
    """`samples = 64, 128, 256 and 4 more`."""
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return f"samples = {', '.join(map(str, values[:3]))}{more}"


class DiffusionSection(Section):
    """The forward process; t_min may be an axis, so it may be a list."""

    t_min: Values[Time] = (0.05,)
    t_max: Time = 1.0
    schedule: Literal["constant", "linear"] = "constant"
    g_min: Scale = 1.0
    g_max: Scale | None = None

    @property
    def ends(self) -> dict[str, float]:
        """g at 0 and at T, by column of the results table."""
        return {"g_min": self.g_min, "g_max": self.g_min if self.g_max is None else self.g_max}


class DecompositionSection(Section):
    """Squared norms R_H at which the four error terms are measured (docs/theory.md, section 5)."""

    norms: Values[Norm] = Field(default=())


class Resources(Section):
    """What a pack may use. Left out: chosen from the machine or the cluster.

    cpus_per_pack: cores, and torch threads, of a pack. gpus_per_pack: share of a GPU.
    workers: packs at once. memory_per_pack: GiB that a pack's tensors may take.
    """

    cpus_per_pack: Workers = 1
    gpus_per_pack: Annotated[float, Field(ge=0, le=64, allow_inf_nan=False)] | None = None
    workers: Workers | None = None
    memory_per_pack: Annotated[float, Field(ge=0.001, le=1e5, allow_inf_nan=False)] | None = None
