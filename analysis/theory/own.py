"""Predictions of the user's own, as a study states them: exponents may be formulas in d.

`evaluate(frame, extra=[...])` takes a Prediction, which is judged in every dimension, or a function
from d to one, as `Stated` is.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

from analysis.data.curves.quantity import Quantity
from analysis.theory.prediction import MARGIN, Kind, Prediction

Own = Prediction | Callable[[int], Prediction]
"""What `evaluate` takes as `extra`."""

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
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
    return math.nan if isinstance(value, complex) else value


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
            return _OPERATORS[type(op)](_value(left, d), _value(right, d))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]):
            return _FUNCTIONS[name](*(_value(one, d) for one in given))
    raise TypeError


@dataclass(frozen=True)
class Stated:
    """A prediction as a study states it; called with d, it is a Prediction.

    exponent, threshold: numbers or formulas in d, empty where the kind has none.
    """

    name: str
    kind: str
    exponent: str = ""
    threshold: str = ""
    quantity: str = str(Quantity.BEST_ERROR)
    axis: str = "samples"
    margin: float = MARGIN
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
        return {
            Kind.BOUND: f"{of}: b is at least {exponent:.3g}.",
            Kind.SHARP: f"{of}: b is {exponent:.3g}.",
            Kind.QUALITATIVE: f"{of}: b stays below {threshold:.3g}.",
            Kind.CEILING: f"{of}: at most {threshold:.3g}.",
        }[Kind(self.kind)]
