"""`scorerates ui`: MLflow's pages on this machine."""

from __future__ import annotations

import os
import signal
import subprocess

from study.mlflow_view.tracking import ui_command, ui_environment
from study.running.interruption import Interrupted, interruptible


def serve(tracking_uri: str, host: str, port: int) -> int:
    """Serves MLflow until it ends or a signal comes; returns the exit code."""
    command, environment = ui_command(host, port), ui_environment(os.environ, tracking_uri)
    # A group of its own: the server is several processes, and all of them must go with us.
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    with interruptible():
        try:
            code = server.wait()
        except Interrupted:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()
            return 0
    return 2 if code else 0
