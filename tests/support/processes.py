"""The processes of a run, found by a folder that their environment names."""

from __future__ import annotations

import time
from pathlib import Path

AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's own: they outlive a killed driver by up to a minute, until their cluster times out."""


def processes_of(folder: Path, ignored: tuple[str, ...] = ()) -> list[str]:
    """Command lines of this machine's processes whose environment names `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return [command for command in found if not command.startswith(ignored)]


def wait_until_gone(folder: Path, ignored: tuple[str, ...] = ()) -> None:
    """Waits for the end of those processes, half a minute at most."""
    deadline = time.monotonic() + 30
    while processes_of(folder, ignored):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.1)
