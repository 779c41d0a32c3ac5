"""The axes of a study and the small sections of a spec: their types, ranges and defaults.

Everything is strict: `"64"`, `true` and `2.5` are no sample counts. A scalar stands for a list of
one. Where the axes live in a trial: `dimension` in its law, `t_min` in its diffusion, the others
at its top level.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from trainers.ranges import (
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


class Section(BaseModel):
    """A mapping of a spec: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Axes(Section):
    """Values of some axes: the `base` of a study, or one of its sweeps."""

    samples: Values[Size] | None = None
    width: Values[Width] | None = None
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


class DiffusionSection(Section):
    """The forward process; t_min may be an axis, so it may be a list."""

    t_min: Values[Time] = (0.05,)
    t_max: Time = 1.0
    schedule: Literal["constant", "linear"] = "constant"
    g_min: Scale = 1.0
    g_max: Scale | None = None


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
