"""Networks that were kept are models of their trials' runs, and predict when MLflow alone loads
them."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from tracked import runs

from analysis.data.mlflow_view import TAG_TRIAL
from study.mlflow_view.models import TAG_NETWORK
from study.mlflow_view.tracking import Tracker
from study.running.worker import Job, train_into_store
from study.spec.sections import StudySpec
from study.storage.store import Store
from trainers import load_network
from trainers.kept.keep import Keep

SPEC = """
name: kept
law: {kind: cube, dimension: 3}
steps: 20
seeds: 2
recorded: 5
test_points: 32
holdout_points: 16
kernel: false
base: {samples: 16, width: 4, step_size: 1.0}
"""

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def stored(store: Store) -> pd.DataFrame:
    ledger = store.ledger()
    return pd.concat(t.to_pandas() for t in store.rows(list(ledger.entries), ledger))


def test_models_predict_what_the_networks_do(tmp_path: Path, uri: str) -> None:
    store = Store(tmp_path / "kept")
    store.claim("kept", SPEC, tmp_path)
    keep = Keep(("best", "last"), frozenset([0]))
    train_into_store(
        Job("kept", store, "cpu", 1, keep=keep), StudySpec.from_text(SPEC).trials(), {}
    )
    rows = stored(store)
    client = MlflowClient(tracking_uri=uri)
    for again in range(3):
        if again == 2:  # as if a driver had died before its runs ended
            for run in runs(uri, study="kept"):
                client.update_run(run.info.run_id, status="RUNNING")
        tracker = Tracker("kept", uri, SPEC, "", read=store.read)
        tracker.open()
        tracker.log_trials(rows)
        tracker.close("FINISHED")
    experiment = client.get_experiment_by_name("kept").experiment_id
    models = client.search_logged_models([experiment])
    networks = rows["network"].dropna().unique()
    assert {model.tags[TAG_NETWORK] for model in models} == set(networks)
    assert len(models) == len(networks) >= 1
    mlflow.set_tracking_uri(uri)
    data = pd.DataFrame(np.random.default_rng(0).normal(size=(7, 3)), columns=["x1", "x2", "x3"])
    data["t"] = np.linspace(0.1, 0.9, 7)
    x = torch.tensor(data[["x1", "x2", "x3"]].to_numpy(copy=True))
    t = torch.tensor(data["t"].to_numpy(copy=True))
    for model in models:
        assert model.status == "READY"
        run = client.get_run(model.source_run_id)
        network = load_network(store.read(f"networks/{model.tags[TAG_NETWORK]}.safetensors"))
        assert run.data.tags[TAG_TRIAL] == network.config.trial_id
        assert model.name == f"network-step-{network.step}"
        assert [one.model_id for one in run.outputs.model_outputs].count(model.model_id) == 1
        served = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
        assert served.metadata.signature.inputs.input_names() == ["x1", "x2", "x3", "t"]
        np.testing.assert_array_equal(served.predict(data).to_numpy(), network.f(x, t).numpy())
        score = served.predict(data, params={"predicts": "score"})
        np.testing.assert_array_equal(score.to_numpy(), network.score(x, t).numpy())
        with pytest.raises(mlflow.exceptions.MlflowException):
            served.predict(data.drop(columns="t"))


def test_a_network_that_is_gone_is_no_model(tmp_path: Path, uri: str) -> None:
    store = Store(tmp_path / "kept")
    store.claim("kept", SPEC, tmp_path)
    keep = Keep(("last",), frozenset([0]))
    train_into_store(
        Job("kept", store, "cpu", 1, keep=keep), StudySpec.from_text(SPEC).trials(), {}
    )
    rows = stored(store)
    tracker = Tracker("kept", uri, SPEC, "", read=lambda name: None)
    tracker.open()
    tracker.log_trials(rows)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("kept").experiment_id
    assert len(tracker.logged) == 2
    assert not client.search_logged_models([experiment])
