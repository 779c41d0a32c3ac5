"""MLflow's pages: up on the port that was asked for, and gone however their command ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from study import cli


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_until(condition: bool, port: int, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while answers(port) is not condition:
        assert time.monotonic() < end, f"the server {'does not answer' if condition else 'stays'}"
        time.sleep(0.2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    command = [sys.executable, "-m", "study.cli", "ui", "--port", str(port)]
    command += ["--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(True, port)
        yield process, port
    finally:
        process.kill()
        process.wait()


@pytest.mark.services
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])  # what it can answer, and what nobody can
def test_the_server_goes_with_its_command(
    server: tuple[subprocess.Popen[bytes], int], name: str
) -> None:
    process, port = server
    os.kill(process.pid, signal.Signals[name])
    wait_until(False, port)
    code = process.wait(30)
    assert code == (0 if name == "SIGINT" else -signal.Signals[name])


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["ui", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_busy_port_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"--port {port}: cannot listen" in told(capsys, "--port", port)


def test_a_database_that_cannot_be_made_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    uri = "sqlite:////proc/nowhere/mlflow.db"
    message = told(capsys, "--port", str(free_port()), "--tracking-uri", uri)
    assert uri in message
    assert len(message.strip().splitlines()) == 1
