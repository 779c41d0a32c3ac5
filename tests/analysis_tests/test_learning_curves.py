"""The benchmark on learning curves tells which form extrapolates a table better."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "learning_curves.py"
    spec = importlib.util.spec_from_file_location("learning_curves_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def curve(loss: np.ndarray, x: np.ndarray, name: str) -> pd.DataFrame:
    labels = {"domain": "X", "task": "t", "model": name}
    return pd.DataFrame({"examples": x, "loss": loss, "held_out": (x > 1e3).astype(int)}).assign(
        **labels
    )


def test_the_form_that_made_a_curve_extrapolates_it_better(benchmark: ModuleType) -> None:
    """One curve flattens, the other falls faster at its end than any offset form can."""
    x = np.geomspace(1, 1e4, 12)
    flattening = x**-0.5 + 0.05
    turned = np.where(x > 1e3, 0.3, 1.0) * flattening
    curves = pd.concat([curve(flattening, x, "flattening"), curve(turned, x, "turned")])
    flat, late = benchmark.extrapolations(curves)
    assert flat.offset < 1e-6 < flat.plain
    assert flat.exponent == pytest.approx(0.5, abs=1e-6)
    assert flat.floor == pytest.approx(0.05, abs=1e-6)
    assert late.offset > late.plain


def test_a_table_is_read_from_a_file(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = np.geomspace(1, 1e4, 12)
    table = tmp_path / "curves.csv"
    monkeypatch.setattr(sys, "argv", ["learning_curves.py", str(table)])
    curve(x**-0.5 + 0.05, x, "flattening").to_csv(table, index=False)
    benchmark.main()
    assert "t, flattening" in capsys.readouterr().out
    pd.read_csv(table).drop(columns="loss").to_csv(table, index=False)
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert "lacks the column loss" in capsys.readouterr().err
