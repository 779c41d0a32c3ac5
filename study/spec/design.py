"""The `design` section of a spec: seeds where they narrow the exponents in N most for their cost.

design:
  kind: adaptive
  half_width: {best_score_error: 0.03}   # wanted, of the 95 % interval of each named exponent
  budget: {trials: 400}                  # or {minutes: 20}, of one worker
  pilot: 5                               # trials of each point before anything is decided

in place of `seeds`. The points are those of the study: every sweep runs over `samples`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from study.spec.axes import MAXIMUM_TRIALS, Section

HalfWidth = Annotated[float, Field(ge=1e-4, le=100, allow_inf_nan=False)]

Exponent = Literal[
    "best_score_error",
    "best_score_error_assessed",
    "best_score_error_unweighted",
    "best_effective_time",
    "interpolation_error",
    "kernel_best_score_error",
]
"""Quantities whose value at a trial depends on that trial alone."""


class Budget(Section):
    """What a design may spend: a number of trials, or minutes of one worker."""

    trials: Annotated[int, Field(ge=1, le=MAXIMUM_TRIALS)] | None = None
    minutes: Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if (self.trials is None) == (self.minutes is None):
            raise ValueError("must give trials or minutes, one of them")
        return self


class DesignSection(Section):
    """See the module. pilot: by default that of analysis.fits.half_width."""

    kind: Literal["adaptive"]
    half_width: Annotated[dict[Exponent, HalfWidth], Field(min_length=1)]
    budget: Budget
    pilot: Annotated[int, Field(ge=2, le=1000)] | None = None
