"""The report is cut short at every file it writes: one line, and the same command goes on."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_trainer import trajectory

from analysis.data import files
from analysis.data.schema import table_from
from analysis.report import page
from study import StudySpec, cli
from study.storage.store import Store

pytestmark = pytest.mark.usefixtures("fingerprints")

STUDY = """
name: small
law: {kind: cube, dimension: 2}
seeds: 3
base: {samples: 64, width: 64, step_size: 1.0}
sweeps: {samples: [16, 32, 64]}
"""


def analyze() -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["analyze", "small.yaml"])
    return int(ended.value.code or 0)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(STUDY)
    spec = StudySpec.load(tmp_path / "small.yaml")
    store = Store(tmp_path / "results" / "small")
    store.claim(spec.name, spec.text, spec.folder)
    store.write_pack(table_from([trajectory(trial) for trial in spec.trials()], "small"))
    return tmp_path / "results" / "small"


def fail_at(
    monkeypatch: pytest.MonkeyPatch, moment: int, failure: Callable[[], None]
) -> list[Path]:
    """`failure` happens before the report's file of this number; returns those that were written,
    for as long as the test goes on."""
    written: list[Path] = []

    def write(path: Path, data: Any) -> None:
        if len(written) == moment:
            failure()
        files.write_whole(path, data)
        written.append(path)

    monkeypatch.setattr(page, "write_whole", write)
    return written


def _raise(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


def _signal(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


FAILURES = {
    "full disk": (_raise(errno.ENOSPC), 3, "No space left on device"),
    "i/o error": (_raise(errno.EIO), 3, "Input/output error"),
    "ctrl-c": (_signal(signal.SIGINT), 130, "stopped"),
    "sigterm": (_signal(signal.SIGTERM), 143, "stopped"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        *(("full disk", moment) for moment in (0, 1, 5, 13)),
        *(("ctrl-c", moment) for moment in (0, 1, 5, 13)),
        # In the same places the same happens as of the two above.
        ("i/o error", 1),
        ("sigterm", 5),
    ],
)
def test_one_line_and_the_same_command_goes_on(
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    moment: int,
) -> None:
    failure, code, words = FAILURES[kind]
    with monkeypatch.context() as patched:
        written = fail_at(patched, moment, failure)
        assert analyze() == code
        assert len(written) == moment
    told = capsys.readouterr().err.strip()
    assert words in told
    assert "Traceback" not in told
    assert len(told.splitlines()) == 1
    assert all(path.stat().st_size for path in stored.rglob("*") if path.name != ".lock")
    assert analyze() == 0
    assert (stored / "report.html").is_file()
    assert not list(stored.rglob("*.tmp"))
