"""The example notebook runs, cell by cell, and what its cells end with shows itself."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def value_of(source: str, names: dict[str, Any]) -> Any:
    """What a cell ends with, as a notebook takes it; None for a statement."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.ray
@pytest.mark.slow
def test_it_runs_and_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Any) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown = []
    for cell in (c for c in cells if c["cell_type"] == "code"):
        source = "".join(cell["source"]).replace("seeds: 24", "seeds: 3")
        value = value_of(source, names)
        if value is not None:
            shown.append(value)
    assert repr(shown[0]) == "StudySpec('notebook': 1 law, 5 points)"
    html = [v._repr_html_() for v in shown if hasattr(v, "_repr_html_")]
    assert any("best error against samples" in text for text in html)
    (svg,) = [v._repr_svg_() for v in shown if hasattr(v, "_repr_svg_")]
    assert svg.startswith("<?xml")
    assert len(svg) > 5000
    assert repr(shown[-1]).startswith("PowerLawFit(A x^-b, b = ")
    assert all(len(repr(v)) < 10_000 for v in shown)
