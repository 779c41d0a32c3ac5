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

from trainers.kept.networks import Network, load_network

PREDICTS = "predicts"
"""The parameter that says what is predicted: f, score, eps or v (`trainers.kept.networks`)."""


def inputs(dimension: int) -> list[str]:
    """The columns that are asked for: x1 ... xd, and t."""
    return [*(f"x{i + 1}" for i in range(dimension)), "t"]


def outputs(dimension: int) -> list[str]:
    """The columns that are given."""
    return [f"y{i + 1}" for i in range(dimension)]


class Served:
    """What MLflow calls. network: the one that was kept."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """y [n, d] at the rows (x, t) of `data`: f, or what the parameter `predicts` names."""
        d = self.network.config.dimension
        values = torch.as_tensor(data[inputs(d)].to_numpy(dtype=np.float64, copy=True))
        predict = getattr(self.network, str((params or {}).get(PREDICTS, "f")))
        return pd.DataFrame(predict(values[:, :d], values[:, d]).numpy(), columns=outputs(d))


def _load_pyfunc(path: str) -> Served:
    return Served(load_network(path))
