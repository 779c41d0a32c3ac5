"""The `keep` and `quality` sections of a spec: networks that stay when their trials are over, and
networks that are sampled (docs/theory.md, section 14).

keep:
  steps: [best, last, stops]  # the oracle's step, the last one, those of the stopping rules
  seeds: 1                    # of every point, the networks of the first so many seeds
quality:
  steps: [best, last]
  seeds: 8                    # left out: every seed
  points: 1024                # of each network
  sampler: exponential        # or euler_maruyama, heun, flow
  grid_steps: 200
  grid: log                   # or uniform, in t
  start: exact                # draws of X_T; or normal, N(0, I), as a model must begin
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from study.spec.axes import MAXIMUM_TRIALS, Section, Values
from trainers.kept.keep import SAMPLE_POINTS, SAMPLE_STEPS, Grid, KeptStep, Sampler, Start


def _once(steps: tuple[KeptStep, ...]) -> tuple[KeptStep, ...]:
    if len(set(steps)) < len(steps):
        raise ValueError("names a step twice: each once")
    return steps


class KeepSection(Section):
    """See the module."""

    steps: Annotated[Values[KeptStep], AfterValidator(_once)]
    seeds: Annotated[int, Field(ge=1, le=MAXIMUM_TRIALS)] = 1


class QualitySection(Section):
    """See the module."""

    steps: Annotated[Values[KeptStep], AfterValidator(_once)]
    seeds: Annotated[int, Field(ge=1, le=MAXIMUM_TRIALS)] | None = None
    points: Annotated[int, Field(ge=16, le=2**14)] = SAMPLE_POINTS
    sampler: Sampler = "exponential"
    grid_steps: Annotated[int, Field(ge=1, le=2**16)] = SAMPLE_STEPS
    grid: Grid = "log"
    start: Start = "exact"

    def problems_of_a_table(self) -> list[str]:
        """What samples of a table need: a start that holds no row."""
        if self.start != "exact":
            return []
        return [
            "quality.start: exact begins at rows of the table, which samples must not hold: "
            "give quality.start: normal, and a diffusion.t_max from which X_T is nearly normal "
            "(such as 4)"
        ]
