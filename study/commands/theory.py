"""`scorerates theory`: theories, what each assumes, and the rates it predicts at a dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.theory import THEORIES, Kind, Prediction, Theory, check_theories, predictions
from analysis.verdicts.judging import plain_json
from study.terminal import literal, say
from trainers.errors import UserError


class TheoryError(UserError, ValueError):
    """No theory has that key."""


def chosen_theories(
    dimension: int, keys: Sequence[str] | None
) -> tuple[list[Theory], list[Prediction]]:
    """The theories of these keys, by default all, and what they predict. Raises TheoryError."""
    try:
        chosen = check_theories(keys or None)
    except ValueError as error:
        raise TheoryError(f"--theory: {error}") from None
    return [t for t in THEORIES if t.key in chosen], predictions(dimension, theories=chosen)


def described(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """As JSON data: what is not known is null, growth the law as a formula."""
    return [
        plain_json({**asdict(replace(p, growth=None)), "growth": p.growth and p.growth.form})
        for p in predictions
    ]


def print_theories(
    console: Console,
    dimension: int,
    theories: Sequence[Theory],
    predictions: Sequence[Prediction],
) -> None:
    """A heading a theory, its assumptions, and its predictions as a table."""
    say(console, f"error ~ axis^-b at d = {dimension}")
    for theory in theories:
        say(console, f"\n{theory.name} ({theory.year}), key {theory.key}")
        assumed = "; ".join(map(str, theory.assumptions))
        if assumed:
            say(console, f"assumes: {assumed}")
        table = Table(pad_edge=False)
        for name in ("quantity", "axis", "exponent b", "kind", "and assumes", "from"):
            table.add_column(name, justify="right" if name == "exponent b" else "left")
        for p in predictions:
            if p.theory_key != theory.key:
                continue
            exponent = "from a run" if math.isnan(p.exponent) else f"{p.exponent:.3f}"
            if p.kind is Kind.CEILING:
                exponent = f"at most {p.threshold:g}"
            own = "; ".join(str(a) for a in p.assumptions if a not in theory.assumptions)
            quantity = str(p.quantity).replace("_", " ")
            table.add_row(*map(literal, (quantity, p.axis, exponent, p.kind, own, p.source)))
        console.print(table)
