"""What `test_faults` breaks: a Ray cluster of several nodes and a tracking server on this machine,
drivers in processes of their own, and studies that are compared with an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fake_trainer
import pandas as pd
import pytest
from mlflow import MlflowClient
from ray.cluster_utils import Cluster
from services import MlflowServer

from analysis.data.mlflow_view import TAG_KIND, TAG_TRIAL
from analysis.data.results import load_results
from analysis.data.schema import table_from
from study import StudySpec
from study.storage.store import Store

HERE = Path(__file__).parent
DRIVER_SECONDS = 300.0
"""How long a driver may take, restarted workers included."""

STUDY = """
name: NAME
law: {kind: cube, dimension: 2}
seeds: 2
base: {samples: 64, width: 65536, step_size: 1.0}
sweeps:
  - samples: [16, 32, 64, 128, 256]
  - width: [64, 1024]
  - step_size: [4.0]
audit: false
resources: {workers: 4}
"""
SLEEP = 0.5
"""Seconds a trial, so that there is something to disturb."""


class Driver:
    """A process of `fault_driver`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait(self) -> int:
        try:
            return self.process.wait(DRIVER_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the driver hangs: {self.said}") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


class Study:
    """A study on the bench. `text` may be edited between runs."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.name = bench, name
        self.text = STUDY.replace("NAME", name)
        self.folder = bench.folder / name
        self.folder.mkdir()
        self.storage = self.folder / "results"
        self.store = Store(self.storage)
        self._drivers = 0

    @property
    def spec(self) -> StudySpec:
        return StudySpec.from_text(self.text)

    def finished(self) -> set[str]:
        ledger = self.store.ledger()
        return {i for i, entry in ledger.entries.items() if entry.finished}

    def start(self, **environment: str) -> Driver:
        """A driver at work."""
        self._drivers += 1
        log = self.folder / f"log{self._drivers}"
        (self.folder / "spec.yaml").write_text(self.text)
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "fault_driver.py"), str(self.folder / "spec.yaml"),
                 str(self.storage), self.bench.server.url, self.bench.cluster.address],
                env={**os.environ, **environment}, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        return Driver(process, log)

    def finish(self) -> Driver:
        """Runs the study to its end. What was finished before is not trained again."""
        before = self.finished()
        self.bench.calls()
        driver = self.start()
        assert driver.wait() == 0, driver.said
        assert not before & set(self.bench.calls()), "a finished trial was trained again"
        return driver

    def wait_for_packs(self, count: int, driver: Driver) -> None:
        """Until that many packs are stored, or the driver is at its end."""
        deadline = time.monotonic() + DRIVER_SECONDS
        while len(self.store.pack_ids()) < count and driver.process.poll() is None:
            assert time.monotonic() < deadline, driver.said
            time.sleep(0.05)

    def undisturbed(self) -> pd.DataFrame:
        """The table of this study, made here and now without Ray, in one pack."""
        storage = Store(Path(tempfile.mkdtemp(dir=self.folder)) / "results")
        storage.claim(self.name, self.text, self.folder)
        trials = self.spec.trials()
        storage.write_pack(table_from(map(fake_trainer.trajectory, trials), self.name))
        storage.compile([t.trial_id for t in trials], storage.ledger())
        assert storage.local is not None
        return load_results(storage.local / "results.parquet")

    def check(self) -> None:
        """The table equals the undisturbed one, and MLflow has one finished run for each trial."""
        table = load_results(self.storage / "results.parquet")
        pd.testing.assert_frame_equal(table, self.undisturbed())
        client = MlflowClient(tracking_uri=self.bench.server.url)
        experiment = client.get_experiment_by_name(self.name)
        found = client.search_runs([experiment.experiment_id])
        runs = [run for run in found if run.data.tags[TAG_KIND] == "trial"]
        # Runs of trials that an edited spec no longer has stay.
        wanted = {t.trial_id for t in self.spec.trials()}
        logged = Counter(run.data.tags[TAG_TRIAL] for run in runs)
        assert wanted <= set(logged) <= self.finished()
        assert set(logged.values()) == {1}
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert sum(run.data.tags[TAG_KIND] == "study" for run in found) == 1


class Bench:
    """The machines, the tracking server, and the fake trainer's folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.fake = folder / "fake"
        (self.fake / "calls").mkdir(parents=True)
        self.control()
        patch.setenv("FAKE_TRAINER", str(self.fake))
        patch.setenv("PYTHONPATH", f"{HERE.parents[1]}{os.pathsep}{HERE}")
        # Sockets lie there, and their paths may have 107 characters at most.
        self._ray = tempfile.mkdtemp(prefix="fb-", dir="/tmp")
        patch.setenv("RAY_TMPDIR", self._ray)
        (Path(self._ray) / "ray").mkdir()
        options = {"num_cpus": 0, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=options)
        self.nodes: list[Any] = []
        self._added = 0
        self.server = MlflowServer(folder, f"sqlite:///{folder}/mlflow.db")
        self.server.start()
        self.faults: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()

    def close(self) -> None:
        self.server.stop()
        self.cluster.shutdown()
        shutil.rmtree(self._ray, ignore_errors=True)

    def inject(self, name: str) -> None:
        self.faults[name] += 1

    def nodes_are(self, count: int) -> None:
        while len(self.nodes) > count:
            self.remove_node(self.nodes[0])
        while len(self.nodes) < count:
            self.add_node()

    def add_node(self) -> str:
        """Its name: what FAKE_NODE is on it."""
        self._added += 1
        name = f"node{self._added}"
        self.nodes.append(
            self.cluster.add_node(
                num_cpus=2,
                num_gpus=0,
                env_vars={"FAKE_NODE": name},
            )
        )
        return name

    def remove_node(self, node: Any) -> None:
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def control(self, **settings: Any) -> None:
        """What the fake trainer reads at its next pack."""
        text = json.dumps({"sleep": SLEEP, **settings})
        (self.fake / "new.json").write_text(text)
        (self.fake / "new.json").replace(self.fake / "control.json")

    def calls(self) -> Counter[str]:
        """How often each trial was trained since the last look."""
        files = list((self.fake / "calls").iterdir())
        for file in files:
            file.unlink()
        return Counter(file.name.split(".")[0] for file in files)

    def workers(self) -> dict[int, str]:
        """Ray's processes that trained and are alive, and their nodes."""
        found = {}
        for file in (self.fake / "workers").glob("*"):
            try:
                command = Path(f"/proc/{file.name}/cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::"):
                found[int(file.name)] = file.read_text()
        return found

    def kill_a_worker(self, rng: random.Random) -> bool:
        """Whether there was one."""
        workers = sorted(self.workers())
        if workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
        return bool(workers)

    def summary(self) -> str:
        """Faults injected and survived, by kind."""
        lines = [f"  {name:<22} {self.survived[name]}/{n}" for name, n in self.faults.items()]
        head = (
            f"{sum(self.faults.values())} faults injected, {sum(self.survived.values())} survived"
        )
        return "\n".join([head, *lines])
