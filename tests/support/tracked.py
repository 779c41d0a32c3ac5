"""Trials with awkward numbers, logged to MLflow and read back."""

from __future__ import annotations

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.data.mlflow_view import (
    LOGGED_ONCE,
    LOGGED_SERIES,
    TAG_KIND,
)
from analysis.data.results import tidy
from analysis.data.schema import table_from
from study.mlflow_view.tracking import Tracker
from trainers.columns import COLUMNS
from trainers.trial import Trajectory, TrialConfig, TrialStatus


def config(seed: int, samples: int = 64) -> TrialConfig:
    law = {"kind": "gaussian_mixture", "dimension": 2}
    values = {"law": law, "samples": samples, "width": 8, "step_size": 0.3, "seed": seed}
    return TrialConfig.model_validate(values)


def trajectory(seed: int, samples: int = 64) -> Trajectory:
    """Awkward numbers on purpose: thirds, tiny and huge values, and nulls."""
    steps = [0, 1, 3, 10]
    series: dict[str, list[float | None]] = {
        "score_error": [1 / 3 + seed, 0.1, 1e-17, 2 / 7],
        "train_loss": [1e300, 5e-324, 0.0, None],
        "coupling": [None, None, None, None],
        "bias": [1.0, 2.0, 3.0, 4.0],
    }
    values = {"noise_variance": 0.1 + seed / 3, "noise_source": "exact", "seconds": 0.25}
    return Trajectory(config(seed, samples), steps, values=values, series=series)


def diverged(seed: int) -> Trajectory:
    series: dict[str, list[float | None]] = {"score_error": [1.0, None, None]}
    values = {"diverged_step": 4}
    return Trajectory(config(seed), [0, 5, 9], TrialStatus.DIVERGED, "too large", values, series)


def frame_of(*trajectories: Trajectory) -> pd.DataFrame:
    return tidy(table_from(trajectories, "test").to_pandas())


def opened(uri: str, study: str = "test") -> Tracker:
    tracker = Tracker(study, uri, "name: test", "what it is")
    tracker.open()
    return tracker


def runs(uri: str, kind: str = "trial", study: str = "test") -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    return list(client.search_runs([experiment.experiment_id], f"tags.`{TAG_KIND}` = '{kind}'"))


LOGGED = [
    c.name for c in COLUMNS if c.name in (*LOGGED_ONCE, *LOGGED_SERIES, "step", "effective_time")
]


def assert_logged_columns_equal(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    for name in LOGGED:
        pd.testing.assert_series_equal(frame[name], other[name], check_exact=True)
