"""`scorerates ui`: MLflow's pages on this machine, for as long as the command runs.

The server is several processes in a group of their own, under a keeper that reads a pipe from this
process and writes nothing. However this process ends (Ctrl-C, a closed terminal, SIGKILL), the
kernel closes the pipe, and the keeper ends the group: no server and no open port are left behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from scorerates_main import for_python
from study.mlflow_view.tracking import check_database, ui_command, ui_environment
from study.running.interruption import Interrupted, interruptible
from study.spec.messages import SpecError

PATIENCE_SECONDS = 10.0
"""How long a server that was asked to end may take, before it is killed."""


def check_port(host: str, port: int) -> None:
    """Raises SpecError where somebody listens there already, or nobody can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SpecError(
                f"--port {port}: cannot listen on {host}: {error.strerror}; choose another --port, "
                "or end what uses it"
            ) from None


def serve(tracking_uri: str, host: str, port: int) -> int:
    """Serves MLflow until it ends or a signal comes; returns the exit code. Raises TrackingError
    where there is no such database and none can be made."""
    check_database(tracking_uri)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "study.commands.ui", *ui_command(host, port)],
        env=ui_environment(for_python(os.environ), tracking_uri),
        stdin=subprocess.PIPE,
        start_new_session=True,  # the terminal's signals are for us: the keeper goes by its pipe
    )
    assert keeper.stdin is not None
    with interruptible():
        try:
            code = keeper.wait()
        except Interrupted:
            keeper.stdin.close()
            keeper.wait()
            return 0
    return 2 if code else 0


def keep(command: Sequence[str]) -> int:
    """Runs a command until it ends or standard input does; returns its exit code."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end_with_the_pipe() -> None:
        sys.stdin.buffer.read()
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, number)
                server.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:  # all of the group have gone
                return

    watcher = threading.Thread(target=end_with_the_pipe, daemon=True)
    watcher.start()
    code = server.wait()
    if code < 0:  # it was ended: so are the others of its group
        watcher.join()
    return code


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
