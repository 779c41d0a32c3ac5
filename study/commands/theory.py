"""`scorerates theory`: the rates that theory predicts at a dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.theory import Prediction
from study.terminal import literal, say


def described(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """As JSON data: what is not known is null."""
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(p).items()}
        for p in predictions
    ]


def print_predictions(console: Console, dimension: int, predictions: Sequence[Prediction]) -> None:
    """As a table."""
    table = Table(pad_edge=False)
    for name in ("quantity", "axis", "exponent b", "kind", "from"):
        table.add_column(name, justify="right" if name == "exponent b" else "left")
    for p in predictions:
        exponent = "from a run" if math.isnan(p.exponent) else f"{p.exponent:.3f}"
        quantity = str(p.quantity).replace("_", " ")
        table.add_row(*map(literal, (quantity, p.axis, exponent, p.kind, p.source)))
    say(console, f"error ~ axis^-b at d = {dimension}")
    console.print(table)
