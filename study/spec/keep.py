"""The `keep` section of a spec: networks that stay when their trials are over.

keep:
  steps: [best, last, stops]  # the oracle's step, the last one, those of the stopping rules
  seeds: 1                    # of every point, the networks of the first so many seeds
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from study.spec.axes import MAXIMUM_TRIALS, Section, Values
from trainers.keep import KeptStep


def _once(steps: tuple[KeptStep, ...]) -> tuple[KeptStep, ...]:
    if len(set(steps)) < len(steps):
        raise ValueError("names a step twice: each once")
    return steps


class KeepSection(Section):
    """See the module."""

    steps: Annotated[Values[KeptStep], AfterValidator(_once)]
    seeds: Annotated[int, Field(ge=1, le=MAXIMUM_TRIALS)] = 1
