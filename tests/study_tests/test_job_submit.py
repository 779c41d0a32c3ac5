"""A study as a job on a cluster, as the steps in examples/cluster say: submitted, judged, fetched,
and extended. Real networks, a token, and Ray's own job server on the loopback."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_trainer import trajectory
from services import free_port

from analysis.data.schema import table_from
from study import StudySpec
from study.storage.store import Entry, Store

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
STUDY = """
name: submitted
law: {kind: cube, dimension: 2}
steps: 30
test_points: 64
holdout_points: 16
seeds: 2
base: {samples: 64, width: 32, step_size: 1.0}
sweeps:
  - samples: [16, 32, 64, 128]
audit: false
kernel: false
resources: {workers: 1}
"""
READY_SECONDS = 90.0


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Environment of those who know a cluster's address and token."""
    folder = tempfile.mkdtemp(prefix="js-", dir="/tmp")
    port, dashboard = free_port(), free_port()
    known = {
        **{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_TMPDIR": folder,
        "TORCH_COMPILE_DISABLE": "1",  # compiling takes longer than all the rest
        "PYTHONPATH": str(REPOSITORY),
        "ADDRESS": f"127.0.0.1:{port}",
    }
    options = {
        "port": port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "num-cpus": 1,
        "num-gpus": 0,
        "temp-dir": folder,
    }
    head = subprocess.Popen(
        [
            *_ray("start", "--head", "--block", "--disable-usage-stats"),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        env=known,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield known
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _ray(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ray.scripts.scripts", *arguments]


def submit(folder: Path, command: str, known: dict[str, str]) -> str:
    """What a job said that ran `command` of a shell in `folder` to its end. The job server comes up
    in its own time, and an error says that it has not."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        done = subprocess.run(
            [*_ray("job", "submit", "--working-dir", str(folder), "--"), "bash", "-c", command],
            env=known, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        if "submitted successfully" in said:
            assert done.returncode == 0, said
            return said
        assert time.monotonic() < deadline, said
        time.sleep(1)


def written(storage: Path) -> dict[str, Entry]:
    return dict(Store(storage).ledger().entries)


def test_a_submitted_study_trains_what_is_new_and_ends_with_its_report(tmp_path: Path) -> None:
    folder, storage = tmp_path / "job", tmp_path / "results"
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY.replace("64, 128]", "64, 128, 256]"))
    done, spec = StudySpec.from_text(STUDY), StudySpec.load(folder / "study.yaml")
    store = Store(storage)
    store.claim(done.name, done.text, tmp_path)
    store.write_pack(table_from(map(trajectory, done.trials()), done.name))
    first = written(storage)
    run = f"{sys.executable} -m study.cli run study.yaml --address auto --no-tracking"
    with cluster() as known:
        said = submit(folder, f"({run} || [ $? = 2 ]) && {run} --storage {storage}", known)
        assert "which Ray deletes: name a directory that stays" in said
        assert "8 of 10 trials are done, 2 to train" in said
        assert "succeeded" in said
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{known['RAY_API_SERVER_ADDRESS']}/api/jobs/", timeout=30)
        stranger = {k: v for k, v in known.items() if not k.startswith("RAY_AUTH")}
        turned_away = subprocess.run(
            [sys.executable, "-m", "study.cli", "run", "study.yaml", "--no-tracking",
             "--address", known["ADDRESS"], "--storage", str(tmp_path / "other")],
            env={**stranger, "HOME": str(tmp_path)}, cwd=folder, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip
        assert turned_away.returncode == 2, turned_away.stderr
        assert "does not let this driver in" in turned_away.stderr
        assert "`ray get-auth-token` on its head node prints it" in turned_away.stderr
    second = written(storage)
    assert {i: second[i] for i in first} == first, "a trial was trained again"
    assert set(second) == {t.trial_id for t in spec.trials()}

    verdicts = json.loads((storage / "verdicts.json").read_text())
    assert "samples" in {verdict["axis"] for verdict in verdicts}
    assert "the study holds no audit of this setting" in (storage / "report.html").read_text()
