"""Which form of a power law extrapolates published learning curves better: with or without offset.

Run alone: `python benchmarks/learning_curves.py CSV`, one row a measured point, with the columns
domain, task, model, examples (training set size), loss, held_out (0 or 1). Each curve is fitted on
the rows with held_out = 0 and forecasts the others. The error is the root mean square of
log(forecast / observed). No data come with the project: papers on scaling publish such tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fits.power_law import PowerLawFit, fit_power_law

COLUMNS = ("domain", "task", "model", "examples", "loss", "held_out")


@dataclass(frozen=True)
class Extrapolation:
    """RMS log errors of the two forms on the held-out part of one curve."""

    domain: str
    name: str
    fitted: int
    held_out: int
    plain: float
    offset: float
    exponent: float
    floor: float


def _error(fit: PowerLawFit, held_out: pd.DataFrame) -> float:
    forecast = fit.predict(held_out["examples"].to_numpy(dtype=float))[0]
    return float(np.sqrt(np.mean(np.log(forecast / held_out["loss"].to_numpy(dtype=float)) ** 2)))


def extrapolations(curves: pd.DataFrame) -> Iterator[Extrapolation]:
    """One entry a curve. A fit that gives no exponent has the error NaN."""
    for (domain, task, model), rows in curves.groupby(["domain", "task", "model"]):
        known, rest = rows[rows["held_out"] == 0], rows[rows["held_out"] == 1]
        plain = fit_power_law(known["examples"], known["loss"])
        offset = fit_power_law(known["examples"], known["loss"], offset=True)
        yield Extrapolation(
            str(domain), f"{task}, {model}", len(known), len(rest),
            _error(plain, rest), _error(offset, rest), offset.exponent, offset.offset,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("csv", type=Path, help=f"table with the columns {', '.join(COLUMNS)}")
    curves = pd.read_csv(parser.parse_args().csv)
    if missing := [name for name in COLUMNS if name not in curves]:
        parser.error(f"the table lacks the column {missing[0]}; it needs {', '.join(COLUMNS)}")
    found = list(extrapolations(curves))
    print(f"{'':4} {'curve':32} fitted held out  A x^-b  A x^-b + c       b       c")
    for e in found:
        print(
            f"{e.domain:4} {e.name:32} {e.fitted:6} {e.held_out:8} {e.plain:7.2%} {e.offset:11.2%} "
            f"{e.exponent:7.3f} {e.floor:7.3f}"
        )
    for domain in sorted({e.domain for e in found}):
        own = [e for e in found if e.domain == domain]
        plain, offset = (np.mean([getattr(e, form) for e in own]) for form in ("plain", "offset"))
        print(f"{domain:4} {'mean':32} {'':15} {plain:7.2%} {offset:11.2%}")


if __name__ == "__main__":
    main()
