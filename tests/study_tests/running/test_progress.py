"""The tally in words, plain lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from study.running import progress
from study.running.progress import ProgressDisplay, Tally, duration_text, rate_text


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_tally_says_what_there_is_to_say() -> None:
    tally = Tally(256, work=100.0)
    assert tally.describe(0, 300) == "0 of 256 trials, about 5 min left"
    tally = Tally(256, 64, 1, 2, 4, work=100.0, work_done=25.0, measured=3e9)
    assert tally.describe(30, 300) == (
        "64 of 256 trials, 4 running, 2 diverged, 1 failed, 0.1 GFLOP/s, about 1 min 30 s left"
    )
    first = Tally(256, running=16, compiling=2, work=100.0)
    assert first.describe(20, 300) == (
        "0 of 256 trials, 16 running, compiling passes (once a machine), about 4 min 40 s left"
    )
    assert "left" not in Tally(1, 1, work=1.0, work_done=1.0).describe(1, 1)


def test_time_left_is_the_plans_at_first_and_then_the_runs() -> None:
    assert Tally(1, work=100.0, work_done=0.0).left(10, 60) == 50
    assert Tally(1, work=100.0, work_done=0.0).left(100, 60) == 0
    assert Tally(1, work=100.0, work_done=50.0).left(100, 60) == 100
    assert Tally(1, work=100.0, work_done=1.0).left(50, 0) == pytest.approx(99 * 50)
    assert "left" not in Tally(1, work=100.0).describe(10, 0)
    # Three quarters of a minute went into start-up: a pace that the plan knows to pass.
    assert Tally(1, work=100.0, work_done=1.0).left(50, 200) < 500
    early, late = (Tally(1, work=100.0, work_done=w).left(50, 200) for w in (19.999, 20.001))
    assert early == pytest.approx(late, rel=1e-3)


def test_plain_output_has_few_lines_and_no_control_characters() -> None:
    out, clock = io.StringIO(), Clock()
    tally = Tally(1000, work=1000.0)
    with ProgressDisplay(Console(file=out, width=120), tally, 100, clock) as display:
        for i in range(1001):
            clock.now, tally.done, tally.work_done = i / 200, i, float(i)
            display.update()
    lines = out.getvalue().splitlines()
    assert 9 <= len(lines) <= 12
    assert lines[-1] == "1000 of 1000 trials, 5 s"
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_a_slow_run_still_says_something_and_ever_less_often() -> None:
    out, clock = io.StringIO(), Clock()
    with ProgressDisplay(Console(file=out), Tally(10, work=1.0), 100, clock) as display:
        for second in range(3600):
            clock.now = float(second)
            display.update()
    assert 30 < len(out.getvalue().splitlines()) < 100


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, _environ={"TERM": "xterm"})
    tally = Tally(10, 5, work=1.0, work_done=0.5)
    with ProgressDisplay(console, tally, 100) as display:
        display.update()
    assert "5 of 10 trials" in out.getvalue()
    assert "\x1b[" in out.getvalue()


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_gets_a_bar_where_it_has_widgets(
    monkeypatch: pytest.MonkeyPatch, widgets: bool
) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: name if widgets else None)
    assert progress._shows_bars(Console(force_jupyter=True)) is widgets
    assert not progress._shows_bars(Console(force_jupyter=True, quiet=True))
    assert not progress._shows_bars(Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (89, "89 s"), (120, "2 min"), (200, "3 min 20 s"),
     (1500, "25 min"), (7500, "2 h 5 min"), (7200, "2 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_rates() -> None:
    assert rate_text(9.51e10) == "95.1 GFLOP/s"
    assert rate_text(3.2e12) == "3.20 TFLOP/s"
