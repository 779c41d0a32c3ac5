"""The benchmark on learning curves tells which form extrapolates a table better."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest


def curve(loss: np.ndarray, x: np.ndarray, name: str) -> pd.DataFrame:
    labels = {"domain": "X", "task": "t", "model": name}
    return pd.DataFrame({"examples": x, "loss": loss, "held_out": (x > 1e3).astype(int)}).assign(
        **labels
    )


def test_the_form_that_made_a_curve_extrapolates_it_better(learning_curves: ModuleType) -> None:
    """One curve flattens, the other falls faster at its end than any offset form can."""
    x = np.geomspace(1, 1e4, 12)
    flattening = x**-0.5 + 0.05
    turned = np.where(x > 1e3, 0.3, 1.0) * flattening
    curves = pd.concat([curve(flattening, x, "flattening"), curve(turned, x, "turned")])
    flat, late = learning_curves.extrapolations(curves)
    assert flat.offset < 1e-6 < flat.plain
    assert flat.exponent == pytest.approx(0.5, abs=1e-6)
    assert flat.floor == pytest.approx(0.05, abs=1e-6)
    assert late.offset > late.plain


def test_a_table_is_read_from_a_file(
    learning_curves: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = np.geomspace(1, 1e4, 12)
    table = tmp_path / "curves.csv"
    monkeypatch.setattr(sys, "argv", ["learning_curves.py", str(table)])
    curve(x**-0.5 + 0.05, x, "flattening").to_csv(table, index=False)
    learning_curves.main()
    assert "t, flattening" in capsys.readouterr().out
    pd.read_csv(table).drop(columns="loss").to_csv(table, index=False)
    with pytest.raises(SystemExit, match="2"):
        learning_curves.main()
    assert "lacks the column loss" in capsys.readouterr().err
