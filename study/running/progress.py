"""How far a run is: a live bar on a terminal and in a notebook, a plain line now and then anywhere
else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from study.terminal import say

LINE_SECONDS = 10.0
LINE_SHARE = 0.1
TRUSTED_SHARE = 0.2


@dataclass
class Tally:
    """Trials and work of a run. compiling: workers that compile their passes just now; work:
    seconds of a worker, as planned; measured: operations of training that were reported as done."""

    total: int
    done: int = 0
    failed: int = 0
    diverged: int = 0
    running: int = 0
    compiling: int = 0
    work: float = 0.0
    work_done: float = 0.0
    measured: float = 0.0

    def describe(self, elapsed: float, expected: float) -> str:
        """`12 of 256 trials, 4 running, 1 failed, 95.1 GFLOP/s, about 2 min left`."""
        parts = [f"{self.done} of {self.total} trials"]
        if self.running:
            compiling = ", compiling passes (once a machine)" if self.compiling else ""
            parts.append(f"{self.running} running{compiling}")
        if self.diverged:
            parts.append(f"{self.diverged} diverged")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.measured and elapsed > 0:
            parts.append(f"{rate_text(self.measured / elapsed)}")
        if self.work_done < self.work and (self.work_done or expected):
            parts.append(f"about {duration_text(self.left(elapsed, expected))} left")
        return ", ".join(parts)

    def left(self, elapsed: float, expected: float) -> float:
        """Seconds left: as planned at first, and as the run has gone once TRUSTED_SHARE of the
        work is done, or where no time was planned (expected is 0). Start-up and kernel references
        come before the first of it."""
        if self.work_done <= 0.0:
            return max(expected - elapsed, 0.0)
        share = min(self.work_done / self.work, 1.0)
        trust = min(share / TRUSTED_SHARE, 1.0) if expected else 1.0
        return (1 - share) * ((1 - trust) * expected + trust * elapsed / share)


class ProgressDisplay:
    """`with ProgressDisplay(console, tally, expected) as display: ... display.update()`.

    expected: seconds that the plan foresees, 0 where there is none. One thread alone updates it.
    """

    def __init__(
        self,
        console: Console,
        tally: Tally,
        expected: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._tally = tally
        self._expected = expected
        self._clock = clock
        self._start = clock()
        self._last_time = self._start
        self._last_share = 0.0
        self._bar = (
            Progress(
                BarColumn(),
                TextColumn("{task.description}", markup=False),
                console=console,
                transient=True,
            )
            if _shows_bars(console)
            else None
        )
        self._task = self._bar.add_task("starting", total=tally.work or 1) if self._bar else None

    def __enter__(self) -> ProgressDisplay:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        if kind is None:
            elapsed = self._clock() - self._start
            text = self._tally.describe(elapsed, self._expected)
            self._print(f"{text}, {duration_text(elapsed)}")

    def update(self) -> None:
        """Shows the tally, on plain output only where a tenth or ten seconds have passed."""
        now = self._clock()
        elapsed = now - self._start
        if self._bar is not None and self._task is not None:
            text = self._tally.describe(elapsed, self._expected)
            self._bar.update(self._task, completed=self._tally.work_done, description=text)
            return
        share = self._tally.work_done / self._tally.work if self._tally.work else 1.0
        # Ten seconds, then less and less often: an hour's run leaves some dozens of lines.
        pause = max(LINE_SECONDS, elapsed / 20)
        if share - self._last_share >= LINE_SHARE or now - self._last_time >= pause:
            self._last_share, self._last_time = share, now
            text = self._tally.describe(elapsed, self._expected)
            self._print(f"{share:4.0%}  {text}")

    def _print(self, text: str) -> None:
        say(self._console, text)


def _shows_bars(console: Console) -> bool:
    """A notebook draws them with ipywidgets, which Jupyter brings along and others may lack."""
    if console.quiet:
        return False
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal


def duration_text(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 0)} s"
    if seconds < 5400:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def bytes_text(count: int) -> str:
    """`1.25 MiB`, `300 KiB`."""
    return f"{count / 2**20:,.3g} MiB" if count >= 2**20 else f"{count / 2**10:,.3g} KiB"


def rate_text(rate: float) -> str:
    """`95.1 GFLOP/s`, `3.20 TFLOP/s`."""
    return f"{rate / 1e12:.2f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"
