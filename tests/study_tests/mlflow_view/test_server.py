"""The MLflow view through a server, on PostgreSQL: the same numbers, none lost, no password."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from services import MlflowServer, postgresql
from tracked import (
    assert_logged_columns_equal,
    diverged,
    frame_of,
    opened,
    runs,
    trajectory,
)

from analysis.data.mlflow_view import (
    TAG_TRIAL,
)
from analysis.data.results import load_results
from analysis.data.schema import table_from
from analysis.verdicts.evaluation import Evaluation
from study.mlflow_view import publisher
from study.mlflow_view.publisher import Publisher
from study.mlflow_view.tracking import Tracker
from study.storage.store import Store

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL database, password included."""
    with postgresql() as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[MlflowServer]:
    """MLflow's server on PostgreSQL, artifacts through it: what a cluster has."""
    server = MlflowServer(tmp_path_factory.mktemp("server"), postgres)
    server.start()
    yield server
    server.stop()


def test_through_a_server_the_numbers_are_the_same(
    server: MlflowServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = server.url
    frame = frame_of(trajectory(1), trajectory(2), diverged(3))
    folder = tmp_path / "results"
    folder.mkdir()
    frame.to_parquet(folder / "results.parquet")
    tracker = opened(url)
    tracker.log_trials(frame)
    assert_logged_columns_equal(frame, load_results(url, "test", from_metrics=True))
    tracker.log_study(folder, Evaluation.unjudged(frame))
    tracker.close("FINISHED")
    pd.testing.assert_frame_equal(load_results(url, "test"), frame)
    assert opened(url).logged == set(frame["trial_id"])
    assert capfd.readouterr().out == ""
    assert (server.folder / "mlartifacts").is_dir(), "artifacts go through the server"


def test_a_server_that_dies_loses_no_trial_and_gets_none_twice(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(publisher, "BATCH_PACKS", 2)
    store, errors, ids = Store(tmp_path), list[str](), list[str]()
    told = Publisher(store, lambda: Tracker("down", server.url, "", ""), errors.append)
    told.start()
    for seed in range(24):
        pack = [trajectory(seed, n) for n in (16, 32)]
        ids += [t.config.trial_id for t in pack]
        told.pack_done(store.write_pack(table_from(pack, "down")), ids[-2:])
        if seed == 8:
            server.stop(signal.SIGKILL)
        if seed == 16:
            while not errors:
                time.sleep(0.05)
            server.start()
    tracker = told.finish()
    tracker.close("FINISHED")
    found = runs(server.url, study="down")
    assert sorted(r.data.tags[TAG_TRIAL] for r in found) == sorted(ids)
    assert {r.info.status for r in found} == {"FINISHED"}
    assert [r.info.status for r in runs(server.url, "study", "down")] == ["FINISHED"]
    assert len(errors) == 1
    assert load_results(server.url, "down", from_metrics=True)["trial_id"].nunique() == len(ids)


def test_the_databases_password_is_nowhere(server: MlflowServer, postgres: str) -> None:
    password = postgres.split(":")[2].partition("@")[0]
    opened(postgres, "direct").log_trials(frame_of(trajectory(1)))
    assert len(runs(server.url, study="direct")) == 1
    processes = [p for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert password.encode() not in b"".join(p.read_bytes() for p in processes)
    assert password not in server.log
    (parent,) = runs(server.url, "study", "direct")
    assert password not in str(parent)
