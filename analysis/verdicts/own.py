"""Predictions of the user's own: as a study states them, with exponents that may be formulas in d;
what is wrong with them; and why none of a study's curves answers one. A prediction that nothing was
judged of must say so, and never vanish.

`evaluate(frame, extra=[...])` takes a Prediction, which is judged in every dimension, or a function
from d to one, as `Stated` is.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import CLOCKS, OF_THE_KERNEL, SAMPLED, Quantity
from analysis.data.sweeps import PLAIN
from analysis.text import percent
from analysis.theory import MARGIN, Prediction, predictions
from analysis.theory.prediction import Kind
from analysis.verdicts.asking import NotAsked
from analysis.verdicts.rules import wanted_range

Own = Prediction | Callable[[int], Prediction]
"""What `evaluate` takes as `extra`."""

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_ZERO = 1e-12
"""A value nearer to 0 than this is 0, of which another rule speaks: 0.1 * 3 - 0.3 is 6e-17."""

_FUNCTIONS: dict[str, Callable[..., float]] = {"sqrt": math.sqrt, "min": min, "max": max}


def at(own: Own, dimension: int) -> Prediction:
    """The prediction at dimension d."""
    return own if isinstance(own, Prediction) else own(dimension)


def formula(text: str, dimension: int) -> float:
    """The value of a formula in d, NaN where it has none there. Raises ValueError where it is no
    formula."""
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body, float(dimension))
    except (SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise ValueError(
            "must be a number, or a formula in d of + - * / ** ( ) sqrt min max, such as 2/(d + 3)"
            + (": a power is **, not ^" if "^" in text else "")
        ) from None
    except (ArithmeticError, ValueError):
        return math.nan
    return 0.0 if abs(value) < _ZERO else value


def _value(node: ast.expr, d: float) -> float:
    """Of an expression; KeyError or TypeError for what no formula holds."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id="d"):
            return d
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, d)
        case ast.BinOp(left=left, op=op, right=right):
            return _real(_OPERATORS[type(op)](_value(left, d), _value(right, d)))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]):
            return _FUNCTIONS[name](*(_value(one, d) for one in given))
    raise TypeError


def _real(value: complex) -> float:
    """ValueError, as of sqrt, for a root of a negative number, which Python makes complex."""
    if isinstance(value, complex):
        raise ValueError("no real number")
    return value


@dataclass(frozen=True)
class Stated:
    """A prediction as a study states it; called with d, it is a Prediction.

    exponent, threshold: numbers or formulas in d, empty where the kind has none. margin: NaN is the
    one of its kind.
    """

    name: str
    kind: str
    exponent: str = ""
    threshold: str = ""
    quantity: str = str(Quantity.BEST_ERROR)
    axis: str = "samples"
    margin: float = math.nan
    source: str = "the study's own"
    statement: str = ""

    def __call__(self, dimension: int) -> Prediction:
        """At dimension d. Raises ValueError for a formula that is none."""
        exponent, threshold = (
            formula(text, dimension) if text else math.nan
            for text in (self.exponent, self.threshold)
        )
        return Prediction(
            self.name,
            self.quantity,
            self.axis,
            exponent,
            Kind(self.kind),
            self.margin,
            self.source,
            self.statement or self._said(exponent, threshold),
            threshold,
            theory="the study's own prediction",
        )

    def _said(self, exponent: float, threshold: float) -> str:
        of = f"{self.quantity} against {self.axis}"
        by = f", by {percent(self.margin)}" if self.margin > 0 else ""
        return {
            Kind.BOUND: f"{of}: b is at least {exponent:.3g}.",
            Kind.SHARP: f"{of}: b is {exponent:.3g}.",
            Kind.QUALITATIVE: f"{of}: b stays below {threshold:.3g}{by}.",
            Kind.CEILING: f"{of}: at most {threshold:.3g}.",
        }[Kind(self.kind)]


def check_own(own: Sequence[Own]) -> None:
    """Raises ValueError for a quantity or an axis that no curve has, for a margin that is no share,
    and for a name that another prediction has, of theory or among `own`."""
    taken = {row.name for row in predictions(1)}
    for row in (at(one, 1) for one in own):
        for key, value, known in (
            ("quantity", row.quantity, [str(quantity) for quantity in Quantity]),
            ("axis", row.axis, list(PLAIN)),
        ):
            if value not in known:
                raise ValueError(
                    f"prediction {row.name!r}: {key} = {value!r}: {_near(value, known)}"
                )
        if not 0 <= row.margin < 1:
            raise ValueError(
                f"prediction {row.name!r}: margin = {row.margin:g}: a share of the exponent from 0 "
                f"to 1, such as {MARGIN:g}"
            )
        if row.name in taken:
            raise ValueError(
                f"prediction {row.name!r}: another one has this name, and verdicts are told apart "
                "by it: give yours a name of its own"
            )
        taken.add(row.name)


def _near(value: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose among {', '.join(known)}"


def unanswered(
    own: Iterable[Prediction], judged: Iterable[str], curves: Sequence[Curve]
) -> list[NotAsked]:
    """Those of `own`, all of one dimension, that no curve was judged by, with what an answer takes.
    judged: the names of those that were."""
    seen = set(judged)
    return [NotAsked(row.name, _lacking(row, curves)) for row in own if row.name not in seen]


def unsaid(own: Iterable[Own], dimensions: Iterable[int]) -> list[NotAsked]:
    """The dimensions in which one of `own` has no number."""
    rows = [(at(one, d), d) for one in own for d in dimensions]
    return [
        NotAsked(row.name, f"a number for its {key}, which is {getattr(row, key)} at d = {d}")
        for row, d in rows
        for key in row.unsaid
    ]


_MEASURED_BY: dict[Collection[str], str] = {
    SAMPLED: " (samples: `quality` in the study)",
    CLOCKS: " (several noisy copies of each point: `copies`)",
    (*OF_THE_KERNEL, Quantity.COUPLING_AT_TIME): " (the kernel beside networks: `kernel: true`)",
    (Quantity.APPROXIMATION, Quantity.NTK_EIGENVALUE): " (the audit: `audit: true`)",
    (Quantity.TWINS_BEST, Quantity.TWINS_LAST): " (seeds 2k and 2k + 1 of networks)",
}
"""What a study that measures a quantity has."""


def _lacking(row: Prediction, curves: Sequence[Curve]) -> str:
    for key in row.unsaid:
        return f"a number for its {key}, which is {getattr(row, key)}"
    along = [curve for curve in curves if curve.axis == row.axis]
    axis = PLAIN.get(row.axis, row.axis)
    if not along:
        least, decades = wanted_range(row)
        return (
            f"{least} values of {row.axis} ({axis}) or more over a factor of {10**decades:.3g}, "
            "all else held fixed, and the study has no such sweep"
        )
    if all(curve.quantity != row.quantity for curve in along):
        there = ", ".join(sorted({str(curve.quantity) for curve in along}))
        what = f"{row.quantity} against {row.axis}"
        wants = next((text for own, text in _MEASURED_BY.items() if row.quantity in own), "")
        return f"{what}{wants}; what the study has against it: {there}"
    wanted = ", ".join(row.needs)
    return f"a curve on which {wanted} is given and not 0"
