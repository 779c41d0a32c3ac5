"""The ranges of what a study is made of: beyond them floating point, or every machine, gives up.

What one machine cannot hold is refused by the memory model (study.planning.memory), not here.
Standard library and pydantic only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, SerializationInfo, WrapValidator

MAXIMUM_SIZE = 2**30
MAXIMUM_STEPS = 2**40
MAXIMUM_SEED = 2**63
MINIMUM_STEP_SIZE, MAXIMUM_STEP_SIZE = 1e-12, 1e30

Size = Annotated[int, Field(ge=1, le=MAXIMUM_SIZE)]
"""N, m, K: numbers of things that are held in memory."""


def _or_infinite(value: Any, validated: Callable[[Any], int]) -> Any:
    return math.inf if value in (math.inf, "inf", ".inf") else validated(value)


def plain_width(width: Any, info: SerializationInfo) -> Any:
    """A width as JSON has it."""
    return "inf" if info.mode_is_json() and math.isinf(width) else width


Width = Annotated[Size, WrapValidator(_or_infinite), PlainSerializer(plain_width)]
"""m: a whole number, or the float inf, which is the kernel limit (TrialConfig.infinite)."""
FRESH = "fresh"
"""Of `copies`: new times and noise at every step."""


def _or_fresh(value: Any, validated: Callable[[Any], int]) -> Any:
    return FRESH if value == FRESH else validated(value)


def _as_it_is(value: Any) -> Any:
    return value


Copies = Annotated[int, Field(ge=1, le=2**20), WrapValidator(_or_fresh), PlainSerializer(_as_it_is)]
"""M: noisy copies of each clean point, or `fresh`."""
TimeLaw = Literal["uniform", "log_uniform", "log_snr", "log_normal"]
Weight = Literal["x0", "score", "eps", "v", "min_snr"]
"""See trainers.problem.time_law."""
Dimension = Annotated[int, Field(ge=1, le=2**20)]
Steps = Annotated[int, Field(ge=1, le=MAXIMUM_STEPS)]
"""Steps take time, not memory: the plan says how much."""
Recorded = Annotated[int, Field(ge=2, le=1000)]
"""Recorded steps lie on a logarithmic grid: some tens a decade say all."""
TestPoints = Annotated[int, Field(ge=16, le=2**24)]
HoldoutPoints = Annotated[int, Field(ge=1, le=2**24)]
AuditPoints = Annotated[int, Field(ge=1024, le=32_768)]
"""N of the audit's spectrum: from as many as its smallest eigenvalues take up to 8 GiB of K."""
Seed = Annotated[int, Field(ge=0, lt=MAXIMUM_SEED)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
"""std and radius of a law, and g: float32 squares them, and sums over d."""
Time = Annotated[float, Field(ge=1e-8, le=1e4, allow_inf_nan=False)]
"""t_min, t_max: below, 1 - exp(-t) is rounding; above, exp(-t/2) is 0."""
StepSize = Annotated[float, Field(ge=MINIMUM_STEP_SIZE, le=MAXIMUM_STEP_SIZE, allow_inf_nan=False)]
"""eta: a larger one is no number in float32. One that is too large diverges, which is a result."""
Norm = Annotated[float, Field(ge=1e-12, le=1e12, allow_inf_nan=False)]
"""R_H."""
