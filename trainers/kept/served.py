"""A network that was kept, as MLflow loads it: `mlflow.pyfunc.load_model("models:/<id>")`.

MLflow's `python_function` flavour calls `_load_pyfunc` of the module that a model's file names;
`study.mlflow_view.models` writes that file. No mlflow is needed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from trainers.kept.keep import PREDICTS, served_inputs, served_outputs
from trainers.kept.networks import Network, load_network


class Served:
    """What MLflow calls. network: the one that was kept."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """y [n, d] at the rows (x, t) of `data`: f, or what the parameter `predicts` names."""
        d = self.network.config.dimension
        values = torch.as_tensor(data[served_inputs(d)].to_numpy(dtype=np.float64, copy=True))
        predict = getattr(self.network, str((params or {}).get(PREDICTS, "f")))
        y = predict(values[:, :d], values[:, d]).numpy()
        return pd.DataFrame(y, columns=served_outputs(d))


def _load_pyfunc(path: str) -> Served:
    return Served(load_network(path))
