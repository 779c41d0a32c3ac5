"""`cut_driver.py FOLDER SIGNAL FIRST EVERY`: `scorerates run` on the study of test_cut_short, cut
short by SIGNAL at every so many file operations below results/, and then run again.

Each run is a fork of this process, which has imported everything. Packs are trained one after the
other by the fake trainer where Ray would do it, and plots are blank: what is tested is what lies
between. The undisturbed run is in FOLDER/undisturbed; the one cut short before operation n and the
one after it are in FOLDER/n: what they said in `said` and `said-again`, how they ended in
`codes.json`. `counts.json` is the number of operations of the last run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import fake_trainer

import analysis.report.page
from analysis.drawing.figure import Drawn
from study import cli
from study.commands import run as run_command
from study.planning.plan import Slots
from study.running import session
from study.running.watch import Watch
from study.running.worker import Job, train_into_store

STUDY = """
name: cut
law: {kind: cube, dimension: 2}
seeds: 2
base: {samples: 256, width: 65536, step_size: 1.0}
sweeps:
  - samples: [16, 32, 64, 128]
  - step_size: [0.5, 4.0]
audit: false
"""
_OPERATIONS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Operations:
    """Counts the file operations below a folder; before number `last` comes the signal."""

    def __init__(self, folder: Path, last: int | None, number: int) -> None:
        self.count = 0
        self._below, self._last, self._number = f"{folder}{os.sep}", last, number
        self._sync = os.fsync
        os.fsync = self._synced  # type: ignore[assignment]
        sys.addaudithook(self._audited)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _OPERATIONS or (event == "open" and not arguments[2] & _WRITING):
            return
        if not isinstance(arguments[0], int):
            self._next(os.path.abspath(os.fsdecode(arguments[0])))

    def _synced(self, descriptor: int) -> None:
        self._next(os.readlink(f"/proc/self/fd/{descriptor}"))
        self._sync(descriptor)

    def _next(self, path: str) -> None:
        if path.startswith(self._below):
            if self.count == self._last:
                self._last = None
                os.kill(os.getpid(), self._number)
            self.count += 1


def train(
    job: Job, atoms: Mapping[str, Any], slots: Slots, workers: int | None, watch: Watch
) -> None:
    """In place of `study.running.engine.train`."""
    while (work := watch.scheduler.next_work(slots.device)) is not None:
        counts = train_into_store(job, work.trials, atoms)
        watch.scheduler.came_back(work, counts["pack_id"])


@contextmanager
def two_slots(*_: Any) -> Iterator[Slots]:
    """In place of a Ray session."""
    yield Slots(2, "cpu")


def run(folder: Path, said: str, last: int | None = None, number: int = 0) -> int:
    """The exit code of a run in `folder`."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.chdir(folder)
        output = os.open(said, os.O_CREAT | os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        operations = Operations(folder / "results", last, number)
        code = 99
        try:
            cli.main(["run", "study.yaml", "--no-tracking"])
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        Path("counts.json").write_text(json.dumps(operations.count))
        sys.stdout.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def folder_of(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(STUDY)
    return folder


def main(parent: Path, number: int, first: int, every: int) -> None:
    (parent / "fake" / "calls").mkdir(parents=True)
    (parent / "fake" / "control.json").write_text("{}")
    os.environ["FAKE_TRAINER"] = str(parent / "fake")
    analysis.report.page.render_all = lambda plots: [
        Drawn("<svg/>", b"%PDF", ("",) * len(plot.panels)) for plot in plots
    ]
    run_command.run = partial(run_command.run, trainer=fake_trainer.train)
    session.engine.train, session.ray_here = train, two_slots  # type: ignore[assignment]
    undisturbed = folder_of(parent, "undisturbed")
    assert run(undisturbed, "said") == 0, (undisturbed / "said").read_text()
    for last in range(first, json.loads((undisturbed / "counts.json").read_text()), every):
        folder = folder_of(parent, str(last))
        codes = [run(folder, "said", last, number), run(folder, "said-again")]
        (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), signal.Signals[sys.argv[2]], *map(int, sys.argv[3:]))
