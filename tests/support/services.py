"""Real servers for tests, on the loopback: MLflow's, and PostgreSQL from Debian's package."""

from __future__ import annotations

import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.mlflow_view.tracking import ui_command, ui_environment

START_SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class MlflowServer:
    """`mlflow server` on a database; artifacts go through it. It may be stopped and started."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self.database, self.port = folder, database, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self, wait: bool = True) -> None:
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                ui_command("127.0.0.1", self.port),
                cwd=self.folder,
                env=ui_environment(os.environ, self.database),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while wait and not self.answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.25)

    def answers(self) -> bool:
        # Not /health: that answers even where the interface refuses.
        name = "api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
        try:
            with urllib.request.urlopen(f"{self.url}/{name}", timeout=5):
                return True
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)
            self._process.wait(30)
            self._process = None


@contextmanager
def postgresql() -> Iterator[str]:
    """URL, with its password, of an empty database on a server of its own."""
    programs = _programs()
    # Not pytest's folder: it is closed to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    user, password, port = _user(), secrets.token_hex(12), free_port()
    try:
        (folder / "password").write_text(password)
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        become = [] if user is None else ["runuser", "-u", user, "--"]
        made = subprocess.run(
            [*become, f"{programs}/initdb", "--pgdata", str(folder / "data"), "--username", "me",
             "--auth", "scram-sha-256", "--pwfile", str(folder / "password"), "--no-sync"],
            cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [*become, f"{programs}/postgres", "-D", str(folder / "data"), "-k", str(folder),
                 "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
                cwd=folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            url = f"postgresql://me:{password}@127.0.0.1:{port}/postgres"
            _await(url, server, folder / "log")
            yield url
        finally:
            os.killpg(server.pid, signal.SIGQUIT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> str:
    """The folder of PostgreSQL's programs, the newest version's."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: float(p.split("/")[4]))
    on_path = shutil.which("postgres")
    if not found and not on_path:
        reason = "needs a PostgreSQL server: apt-get install postgresql"
        # .ci/run installs it, and sets CI: there a test is never left out.
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    return found[-1] if found else os.path.dirname(str(on_path))


def _user() -> str | None:
    """The server refuses to run as root; another user runs it as it is."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
