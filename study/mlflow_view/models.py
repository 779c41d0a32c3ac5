"""Networks that were kept, as models of their trials' runs: fetched and used by MLflow alone.

    mlflow.pyfunc.load_model("models:/<model id>").predict(frame)   # columns x1 ... xd, t

A model is the network's file with a description of what goes in and out; `trainers.kept.served`
predicts. Its tag TAG_NETWORK tells which network it is, so that none is there twice.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from trainers.kept.keep import PREDICTS, SUFFIX, served_inputs, served_outputs

TAG_NETWORK = "scorerates.network"
FILE = f"network{SUFFIX}"
SERVED = "trainers.kept.served"

Read = Callable[[str], bytes | None]
"""The content of a file of the study's storage, None where there is none."""


def log_networks(client: MlflowClient, run: Any, rows: pd.DataFrame, read: Read) -> None:
    """The networks of a trial (its rows of the results table) as models of its run."""
    if "network" not in rows:
        return
    kept = rows.loc[rows["network"].notna(), ["network", "step", "dimension"]]
    kept = kept.drop_duplicates("network")
    for row in kept.to_dict("records"):
        content = read(f"networks/{row['network']}{SUFFIX}")
        if content is None:  # removed since: the next run of the study trains it again
            continue
        # Those of a run that was half written when its driver died, and went.
        left = f"tags.`{TAG_NETWORK}` = '{row['network']}'"
        for old in client.search_logged_models([run.info.experiment_id], left):
            client.delete_logged_model(old.model_id)
        step = int(row["step"])
        model = client.create_logged_model(
            run.info.experiment_id,
            f"network-step-{step}",
            run.info.run_id,
            tags={TAG_NETWORK: str(row["network"])},
            model_type="score network",
        )
        with tempfile.TemporaryDirectory(prefix="scorerates-") as folder:
            (Path(folder) / FILE).write_bytes(content)
            _described(model.model_id, int(row["dimension"])).save(str(Path(folder) / "MLmodel"))
            client.log_model_artifacts(model.model_id, folder)
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step)])


def _described(model_id: str, dimension: int) -> Model:
    """The file that says how the model is loaded, and its signature."""
    columns = served_inputs(dimension), served_outputs(dimension)
    x, y = (Schema([ColSpec(DataType.double, name) for name in names]) for names in columns)
    params = ParamSchema([ParamSpec(PREDICTS, DataType.string, "f")])
    signature = ModelSignature(x, y, params)
    model = Model(signature=signature, model_id=model_id)
    python = platform.python_version()
    model.add_flavor("python_function", loader_module=SERVED, data=FILE, python_version=python)
    return model
