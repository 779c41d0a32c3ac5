"""Runs under Ray: nothing is trained twice, nothing is lost, whatever ends a run."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_trainer
import pandas as pd
import pytest
from processes import AGENTS, wait_until_gone
from rich.console import Console
from sessions import Workers

from analysis.data.results import load_results
from analysis.theory import KEYS
from study import StudySpec, cli, run
from study.commands import run as run_command
from study.commands.run import RunResult
from study.running import engine
from study.running.cluster import _connect
from study.spec.messages import SpecError
from study.storage import lock
from study.storage.lock import StorageLockedError
from study.storage.store import Store, StoreError

pytestmark = pytest.mark.ray

STUDY = """
name: fake
law: {kind: cube, dimension: 2}
seeds: 3
base: {samples: 256, width: 65536, step_size: 1.0}
sweeps:
  - samples: [16, 32, 64, 128, 256, 512]
  - width: [64, 256, 1024]
  - step_size: [0.5, 4.0]
audit: false
resources: {workers: 2}
"""
ONE_WORKER = STUDY.replace("workers: 2", "workers: 1")
"""For what does not depend on it: a worker's start takes longer than its packs."""
TRIALS = 3 * (6 + 3 + 2)


@pytest.fixture(autouse=True, scope="module")
def _report() -> Iterator[None]:
    """Leaves out the report, which takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.report.page.write_report", lambda *_args, **_options: None)
        yield


def train(
    storage: Path, text: str = STUDY, tracking_uri: str | None = None
) -> tuple[RunResult, str]:
    """Runs a study with the fake trainer; the result and what it printed."""
    out = io.StringIO()
    console = Console(file=out, width=120)
    spec = StudySpec.from_text(text)
    result = run(spec, storage, tracking_uri, trainer=fake_trainer.train, console=console)
    return result, out.getvalue()


def table(storage: Path) -> pd.DataFrame:
    return load_results(storage / "results.parquet")


@pytest.fixture(scope="module")
def whole(ray_session: Workers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of STUDY, trained in one go."""
    ray_session.reset()
    storage = tmp_path_factory.mktemp("uninterrupted") / "results"
    train(storage, ONE_WORKER)
    return storage


@pytest.fixture(scope="module")
def uninterrupted(whole: Path) -> pd.DataFrame:
    """The table of STUDY, trained in one go."""
    return table(whole)


def test_a_study_is_trained_once_and_grows_by_what_is_new(workers: Workers, tmp_path: Path) -> None:
    storage = tmp_path / "results"
    result, said = train(storage)
    assert workers.calls() == Counter(t.trial_id for t in StudySpec.from_text(STUDY).trials())
    assert (result.trained, result.exit_code) == (TRIALS, 0)
    assert result.counts == {"completed": TRIALS - 3, "diverged": 3, "failed": 0, "missing": 0}
    assert len(Store(storage).pack_ids()) > 4
    best = [v for v in result.verdicts if (v.quantity, v.axis) == ("best_score_error", "samples")]
    assert [round(v.exponent, 3) for v in best] == [0.5]
    assert "\x1b" not in said
    for name in ("verdicts.json", "results.parquet", "spec.yaml"):
        assert (storage / name).exists()
    kept = (storage / "theory.json").read_bytes()
    assert json.loads(kept)["theories"] == list(KEYS)
    before = table(storage)
    assert set(before["trial_id"]) == {t.trial_id for t in StudySpec.from_text(STUDY).trials()}

    result, said = train(storage)
    assert (workers.calls(), result.trained, result.exit_code) == (Counter(), 0, 0)
    assert "nothing to train" in said

    assert not (storage / "audit").exists()

    wider = ONE_WORKER.replace("[16, 32,", "[8, 16, 32,") + "theories: hrx\n"
    result, said = train(storage, wider)
    calls = workers.calls()
    new = [t for t in StudySpec.from_text(wider).trials() if t.samples == 8]
    assert calls == Counter(t.trial_id for t in new)
    assert result.trained == 3
    after = table(storage)
    pd.testing.assert_frame_equal(after[after["samples"] > 8].reset_index(drop=True), before)
    assert {v.theory_key for v in result.verdicts} == {"hrx"}
    assert (storage / "theory.json").read_bytes() == kept

    result, said = train(storage)  # the new trials stay in the store and out of the table
    assert workers.calls() == Counter()
    pd.testing.assert_frame_equal(table(storage), before)


def test_a_trial_that_raises_fails_alone_and_is_tried_again(
    workers: Workers, tmp_path: Path, uninterrupted: pd.DataFrame
) -> None:
    workers.control(raise_width=256)
    result, said = train(tmp_path / "r", ONE_WORKER)
    assert (result.exit_code, result.counts["failed"], result.counts["completed"]) == (3, 3, 27)
    assert "3 trials failed; running the same command tries them again" in said
    assert "3 x ArithmeticError: planted at width 256" in said
    rows = table(tmp_path / "r").query("status == 'failed'")
    assert set(rows["width"]) == {256}
    assert rows["score_error"].isna().all()
    assert set(workers.calls().values()) == {1}

    workers.control()
    result, said = train(tmp_path / "r", ONE_WORKER)
    assert (result.exit_code, result.trained) == (0, 3)
    assert set(workers.calls()) == set(rows["trial_id"])
    pd.testing.assert_frame_equal(table(tmp_path / "r"), uninterrupted)


def test_when_every_trial_fails_the_command_says_so(
    workers: Workers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = []

    def with_fake(*arguments: Any, **options: Any) -> RunResult:
        results.append(run(*arguments, **options, trainer=fake_trainer.train))
        return results[-1]

    monkeypatch.setattr(run_command, "run", with_fake)
    text = ONE_WORKER[: STUDY.index("sweeps")].replace("65536", "64")
    text += ONE_WORKER[STUDY.index("audit") :]
    (tmp_path / "s.yaml").write_text(text)
    workers.control(raise_width=64)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", f"{tmp_path}/s.yaml", "--storage", f"{tmp_path}/r", "--no-tracking"])
    (result,) = results
    assert (ended.value.code, result.exit_code, result.counts["failed"]) == (3, 3, 3)
    assert result.verdicts == []
    told = capsys.readouterr()
    assert "3 x ArithmeticError" in told.out + told.err


def test_a_trial_that_kills_its_worker_fails_alone(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ATTEMPTS_AFTER_A_CRASH", 0)
    workers.control(kill_width=64)
    text = STUDY.replace("seeds: 3", "seeds: 1")
    text = text[: text.index("sweeps")] + "sweeps: {samples: 16, width: [64, 128, 256]}\n"
    text += "audit: false\n"
    result, said = train(tmp_path / "r", text)
    assert (result.exit_code, result.counts["failed"], result.counts["completed"]) == (3, 1, 2)
    assert "warning: a pack of 2 trials lost its worker in 1 of 1 attempts" in said
    (failure,) = table(tmp_path / "r").query("status == 'failed'").itertuples()
    assert failure.width == 64
    assert "died" in failure.message


def test_a_damaged_file_is_told_and_its_trials_are_trained_again(
    workers: Workers, tmp_path: Path, whole: Path, uninterrupted: pd.DataFrame
) -> None:
    shutil.copytree(whole, tmp_path / "r")
    store = Store(tmp_path / "r")
    pack_id = store.pack_ids()[0]
    lost = set(store.read_pack(pack_id)["trial_id"].to_pylist())
    path = tmp_path / "r" / "trials" / f"{pack_id}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    workers.calls()
    result, said = train(tmp_path / "r", ONE_WORKER)
    assert f"{pack_id}.parquet was damaged" in said
    assert set(workers.calls()) == lost
    assert result.trained == len(lost)
    pd.testing.assert_frame_equal(table(tmp_path / "r"), uninterrupted)


def test_a_full_disk_ends_the_run_at_once_and_says_so(
    workers: Workers, tmp_path: Path, uninterrupted: pd.DataFrame
) -> None:
    workers.control(full=True)
    with pytest.raises(StoreError, match="No space left on device; what is stored is safe"):
        train(tmp_path / "r", ONE_WORKER)
    assert set(workers.calls().values()) == {1}, "a pack was trained again for nothing"
    workers.control()
    result, _ = train(tmp_path / "r", ONE_WORKER)
    assert (result.trained, result.exit_code) == (TRIALS, 0)
    pd.testing.assert_frame_equal(table(tmp_path / "r"), uninterrupted)


def test_a_driver_whose_storage_was_taken_over_stops(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.1)
    workers.control(sleep=1.0)
    stored = Store(tmp_path / "r")

    def take_over() -> None:
        while not stored.pack_ids():
            time.sleep(0.05)
        (tmp_path / "r" / ".lock").write_text('{"pid": 7, "host": "elsewhere"}')

    thread = threading.Thread(target=take_over, daemon=True)
    thread.start()
    with pytest.raises(StorageLockedError, match="taken over by process 7 on host elsewhere"):
        train(tmp_path / "r", ONE_WORKER)
    thread.join()
    assert 0 < len(stored.ledger().entries) < TRIALS
    assert not (tmp_path / "r" / "results.parquet").exists()


def test_what_cannot_run_is_said_before_anything_starts(workers: Workers, tmp_path: Path) -> None:
    for resources, said in [
        ("{cpus_per_pack: 64}", "no node has room for a pack of resources.cpus_per_pack = 64"),
        ("{gpus_per_pack: 0.5}", "gpus_per_pack = 0.5, but the device is cpu"),
        ("{workers: 2}\ndevice: cuda", "Ray finds no GPU here"),
    ]:
        with pytest.raises(SpecError, match=said):
            train(tmp_path / "r", STUDY.replace("{workers: 2}", resources))
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        with pytest.raises(SpecError, match=f"cannot reach a Ray cluster at '{address}'"):
            _connect(address)
    with Store(tmp_path / "r").lock(), pytest.raises(StorageLockedError, match="in use by process"):
        train(tmp_path / "r")
    assert workers.calls() == Counter()


def test_a_tracking_server_that_fails_costs_no_result(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def open(self) -> None:
            raise ConnectionError("nobody answers at http://nowhere")

    module = type(sys)("study.mlflow_view.tracking")
    module.tracker_of = lambda spec, uri, read: Broken()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "study.mlflow_view.tracking", module)
    result, said = train(tmp_path / "r", ONE_WORKER, tracking_uri="http://nowhere")
    assert result.exit_code == 0
    assert said.count("nobody answers at http://nowhere") == 1
    assert "scorerates sync" in said


DRIVER = """
import sys
import fake_trainer
from study import StudySpec, run
from rich.console import Console
spec = StudySpec.load(sys.argv[1])
out = run(spec, sys.argv[2], None, trainer=fake_trainer.train, console=Console(width=120))
sys.exit(out.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_stopped_loses_nothing_that_was_finished(
    number: signal.Signals, workers: Workers, tmp_path: Path, uninterrupted: pd.DataFrame
) -> None:
    theirs = Workers(tmp_path / "fake")
    theirs.control(sleep=0.4)
    # Ctrl-C reaches several workers, the others the driver alone.
    (tmp_path / "s.yaml").write_text(STUDY if number == signal.SIGINT else ONE_WORKER)
    storage = tmp_path / "r"
    environment = {**os.environ, **theirs.environment}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "s.yaml"), str(storage)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as driver:
        deadline = time.monotonic() + 90
        while len(Store(storage).pack_ids()) < 2:
            assert driver.poll() is None, driver.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # Ctrl-C reaches the whole process group, Ray included.
        os.killpg(driver.pid, number) if number == signal.SIGINT else driver.send_signal(number)
        said, _ = driver.communicate(timeout=60)
    wait_until_gone(theirs.folder, AGENTS if number == signal.SIGKILL else ())

    spec = StudySpec.from_text(STUDY)
    ids = [t.trial_id for t in spec.trials()]
    ledger = Store(storage).ledger()
    finished = [i for i in ids if ledger.finished(i)]
    assert 0 < len(finished) < TRIALS
    if number == signal.SIGKILL:
        assert driver.returncode == -number
    else:
        assert driver.returncode == 128 + number, said
        assert f"stopped: {len(finished)} of {TRIALS} trials done; the same command" in said
        assert "Traceback" not in said

    result, said = train(storage, ONE_WORKER)
    assert workers.calls() == Counter(set(ids) - set(finished))
    assert (result.trained, result.exit_code) == (TRIALS - len(finished), 0)
    assert f"{len(finished)} of {TRIALS} trials are done" in said
    pd.testing.assert_frame_equal(table(storage), uninterrupted)
