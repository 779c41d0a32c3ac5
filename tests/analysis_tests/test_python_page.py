"""docs/python.md: its code runs as it stands, and it names every quantity."""

from __future__ import annotations

import re
from contextlib import chdir
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import PLAIN

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    return [
        dedent(block) for block in re.findall(r"(?:^(?: {4}.*)?\n)+", PAGE, re.M) if block.strip()
    ]


def test_its_code_runs(
    synthetic: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results" / "quickstart"
    folder.mkdir(parents=True)
    synthetic.synthetic_table(synthetic.Grid(seeds=2)).to_parquet(folder / "results.parquet")
    *analysed, trained = blocks()
    assert "run(StudySpec.load" in trained  # which the tests of the quickstart do
    names: dict[str, Any] = {}
    with chdir(tmp_path):
        for block in analysed:
            exec(block, names)
    told = capsys.readouterr().out
    assert "best error against samples" in told
    assert "[Verdict(mine" in told
    assert names["fit"].ok


def test_it_names_every_quantity_and_axis() -> None:
    assert {str(quantity) for quantity in Quantity} <= set(re.findall(r"`(\w+)`", PAGE))
    assert set(PLAIN) <= set(re.findall(r"`(\w+)`", PAGE))
