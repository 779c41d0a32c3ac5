"""Many plots drawn at once are those drawn one by one, whatever becomes of the processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from analysis.drawing import together
from analysis.drawing.figure import render
from analysis.drawing.plot import Panel, Plot, Series
from analysis.drawing.together import render_all

PLOTS = [
    Plot(f"p{i}", f"Plot {i}", "A line.", (Panel("x", "y", (Series("a", x, x + i),)),))
    for i in range(3)
    for x in [np.arange(1.0, 4.0)]
]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if three plots were many."""
    monkeypatch.setattr(together, "LEAST", 1)


@pytest.mark.slow
def test_they_are_the_same_bytes_as_one_by_one() -> None:
    alone = [render(plot, f"f{i}") for i, plot in enumerate(PLOTS)]
    assert render_all(PLOTS, 2) == alone
    assert render_all(PLOTS[:1], 2) == alone[:1]
    assert render_all([], 2) == []


def test_they_do_not_follow_settings_of_the_callers_own() -> None:
    with mpl.rc_context({"lines.dash_capstyle": "round", "figure.facecolor": "red"}):
        here = render_all(PLOTS[:1], 1)
    assert here == render_all(PLOTS[:1], 1)


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_what_a_process_does_not_draw_is_drawn_here(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    started = []

    def dies(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return real([sys.executable, "-c", code], **options)

    real = subprocess.Popen
    monkeypatch.setattr("subprocess.Popen", dies)
    assert [drawn.svg for drawn in render_all(PLOTS, 2)] == [render(p).svg for p in PLOTS]
    assert len(started) == 1


def test_none_is_left_behind_by_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[subprocess.Popen[bytes]] = []

    def begun(part: Any, place: Path) -> tuple[subprocess.Popen[bytes], Path]:
        left.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return left[-1], place

    def broken(plot: Plot, key: str) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(together, "_started", begun)
    monkeypatch.setattr(together, "render", broken)
    with pytest.raises(RuntimeError, match="no"):
        render_all(PLOTS, 2)
    assert [process.returncode for process in left] == [-9]
