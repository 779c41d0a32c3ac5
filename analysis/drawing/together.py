"""Draws many plots at once: some here, others in processes of their own.

matplotlib draws on one core, and the figures of a page take longer than all fits that they show.
The processes run this module, not the caller's script, as those of `multiprocessing` would: a
script without a guard may write a report.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from analysis.drawing.figure import Drawn, render
from analysis.drawing.plot import Plot

LEAST = 8
"""Plots that a process draws while it starts and loads matplotlib: with fewer it is no help."""

Numbered = list[tuple[int, Plot]]


def render_all(plots: Sequence[Plot], processes: int | None = None) -> list[Drawn]:
    """As `render` makes each, in order; the key of plot i is f<i>. processes: at most so many at
    once, this one included, by default one a core, or OMP_NUM_THREADS where it is set. What a
    process fails to draw is drawn here."""
    most = _cores() if processes is None else processes
    count = max(1, min(most, len(plots) // LEAST))
    numbered = list(enumerate(plots))
    own, *others = [numbered[i::count] for i in range(count)]
    with tempfile.TemporaryDirectory(prefix="scorerates-") as folder:
        started = [_started(part, Path(folder) / f"{i}") for i, part in enumerate(others)]
        try:
            drawn = _drawn(own)
            for part, (process, place) in zip(others, started, strict=True):
                drawn |= _loaded(place) if process.wait() == 0 else _drawn(part)
        finally:  # nobody waits for what they draw after an error here
            for process, _place in started:
                process.kill()
                process.wait()
    return [drawn[number] for number in range(len(plots))]


def _cores() -> int:
    """Those that this process may use: OMP_NUM_THREADS, where it is set to a number."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _started(part: Numbered, place: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A process that draws a part, which it finds at `place` and puts what it made there."""
    place.write_bytes(pickle.dumps(part))
    paths = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "analysis.drawing.together", str(place)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, place


def _loaded(place: Path) -> dict[int, Drawn]:
    made: dict[int, Drawn] = pickle.loads(place.read_bytes())
    return made


def _drawn(part: Numbered) -> dict[int, Drawn]:
    return {number: render(plot, f"f{number}") for number, plot in part}


if __name__ == "__main__":
    there = Path(sys.argv[1])
    there.write_bytes(pickle.dumps(_drawn(pickle.loads(there.read_bytes()))))
