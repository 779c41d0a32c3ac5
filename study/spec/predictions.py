"""The `predictions` section of a spec: what a theory of one's own says, judged beside the others.

predictions:
  - {name: mine, exponent: 1/(1 + d/4), kind: sharp}     # of best_score_error against samples

An exponent is b in error ~ axis^-b: a number, or a formula in d.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from analysis.theory import Quantity
from analysis.verdicts.own import Stated, check_own, formula
from study.spec.axes import Section


def _formula(value: float | str) -> float | str:
    if isinstance(value, str):
        formula(value, 1)
    return value


Formula = Annotated[float | str, AfterValidator(_formula)]
"""A number, or a formula in d."""


class PredictionSection(Section):
    """See the module. Of kind bound and sharp it gives an exponent, of the others a threshold."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    exponent: Formula | None = None
    kind: Literal["bound", "sharp", "qualitative", "ceiling"]
    quantity: str = str(Quantity.BEST_ERROR)
    axis: str = "samples"
    margin: float | None = None
    threshold: Formula | None = None
    source: Annotated[str, Field(max_length=1000)] = ""
    statement: Annotated[str, Field(max_length=1000)] = ""

    @property
    def stated(self) -> Stated:
        """As `evaluate` takes it."""
        exponent, threshold = (
            "" if value is None else str(value) for value in (self.exponent, self.threshold)
        )
        return Stated(
            self.name,
            self.kind,
            exponent,
            threshold,
            self.quantity,
            self.axis,
            math.nan if self.margin is None else self.margin,
            self.source or Stated.source,
            self.statement,
        )


def _checked(sections: tuple[PredictionSection, ...]) -> tuple[PredictionSection, ...]:
    """The sections. Raises ValueError for one that cannot be judged."""
    stated = [section.stated for section in sections]
    try:
        check_own(stated)
    except ValueError as error:
        raise ValueError(f"cannot be judged: {error}") from None
    for own in stated:
        missing = [own(d).unsaid for d in (1, 2, 3)]  # a formula may have no value at one d
        if all(missing):
            raise ValueError(
                f"cannot be judged: prediction {own.name!r}: kind {own.kind} needs "
                f"{missing[0][0]}, a number or a formula in d"
            )
    return sections


def _several(given: Any) -> Any:
    """A list, of one where a single mapping stands for it."""
    return tuple(given) if isinstance(given, list) else (given,)


Predictions = Annotated[
    tuple[PredictionSection, ...], BeforeValidator(_several), AfterValidator(_checked)
]
