"""The MLflow view of a study: what its names are, and the results table read back from it.

`study.mlflow_view.tracking` writes the view. mlflow is imported where it is used: it takes a second
to load.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import itertools
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from analysis.data.schema import SCHEMA, TYPES, ResultsError, listed, read_parquet
from analysis.environment import environment_defaults
from analysis.text import shown
from trainers.columns import COLUMNS, IDENTITY_COLUMNS, TRIAL_COLUMNS, UNTRAINED_ERRORS
from trainers.errors import first_line

LOGGED_SERIES: tuple[str, ...] = (
    "score_error", "score_error_unweighted", "train_loss", "holdout_loss", "coupling",
    "label_mismatch", "early_stopping", "approximation", "kernel_score_error", "displacement",
    "flipped_fraction",
)  # fmt: skip
"""Step columns that go to MLflow; its pages slow down with many metric names.

Exactly, at every recorded step, they are in the tags SERIES of a trial's run; as metrics, which
cost a row of the database each, at some steps only: enough for a chart."""

LOGGED_ONCE: tuple[str, ...] = tuple(
    c.name
    for c in (*IDENTITY_COLUMNS, *TRIAL_COLUMNS)
    if c.name != "drawn_points"
    and (c.name not in UNTRAINED_ERRORS or UNTRAINED_ERRORS[c.name][1] == "score_error")
)
"""Columns of a trial that go to MLflow, exactly, in the tags VALUES: of what is possible without
training the whole errors alone, and no points to look at."""

CHOSEN: tuple[str, ...] = (
    "law", "dimension", "samples", "width", "step_size", "steps", "seed", "trainer",
    "initialisation", "feature_bias", "t_min", "t_max", "schedule", "g_min", "g_max",
    "precision", "copies", "time_law", "weight",
)  # fmt: skip
"""Columns that say what was chosen: a run's parameters."""

TAG_KIND = "scorerates.kind"
TAG_TRIAL = "scorerates.trial_id"
TAG_STATUS = "scorerates.status"
TAG_POINT = "scorerates.point_id"
TAG_VIEW = "scorerates.view"
VIEW = "2"
"""The version of the view, in every run. Runs without it are of the first one, whose parameters
were all columns of a trial; they are read as they were, and replaced when they are logged again."""

SERIES, VALUES, STEPS = "scorerates.series", "scorerates.values", "scorerates.steps"
EARLIER_STEPS = "recorded_steps"
"""Names by which the MLflow view is read back."""

MAX_PARAM = 6000
"""MLflow's limit on the length of a parameter; it cuts longer ones. Tags may have 8000."""

_MANNERS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default of 7 is minutes of silence
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for every run that ends
}


@contextlib.contextmanager
def mlflow_manners() -> Iterator[None]:
    """mlflow, quick to give up and quiet: settings it takes from the environment alone, so they
    are set for the while, and only where the user has not."""
    logger = logging.getLogger("mlflow.store.db.utils")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with environment_defaults(_MANNERS):
            yield
    finally:
        logger.setLevel(level)


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file of a sqlite database; None for every other address."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return Path(unquote(tracking_uri.removeprefix("sqlite:///").partition("?")[0])).absolute()


def load_view(tracking_uri: str, study: str | None, from_metrics: bool) -> pa.Table:
    """`analysis.data.results.load_results` for MLflow, unsorted. Raises ResultsError."""
    database, place = sqlite_file(tracking_uri), shown(tracking_uri)
    if database is not None and not database.is_file():  # mlflow would create it
        raise ResultsError(f"{place}: no such database")
    from mlflow import MlflowClient

    with mlflow_manners():
        try:
            client = MlflowClient(tracking_uri=tracking_uri)
            experiment = _experiment(client, place, study)
            stored = None if from_metrics else _stored_table(client, experiment)
            return _logged_table(client, experiment, place) if stored is None else stored
        except ResultsError:
            raise
        except Exception as error:  # of mlflow, the database's driver, or the network
            raise ResultsError(f"{place}: {what_failed(error, tracking_uri)}") from error


_SCHEMA = re.compile(r"out-of-date database schema \(found version (\w+)")


def what_failed(error: Exception, tracking_uri: str) -> str:
    """What went wrong with MLflow, in a line without passwords; of tables that another version of
    it made, what to do."""
    found = _SCHEMA.search(str(error))
    if found is None:
        return shown(first_line(error))
    import mlflow

    # MLflow says the same of both: it knows the steps up to its own tables.
    migrations = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    if any(migrations.glob(f"{found[1]}_*.py")):
        return (
            "its tables are of an older version of MLflow: copy the database, then "
            f"`mlflow db upgrade {shown(tracking_uri)}` brings them up to date"
        )
    return "its tables are of a newer version of MLflow: `pip install --upgrade mlflow`"


def _experiment(client: Any, place: str, study: str | None) -> Any:
    def holds_study(experiment: Any) -> bool:
        return any(True for _ in _runs(client, experiment.experiment_id, "study"))

    if study is not None:
        named = client.get_experiment_by_name(study)
        if named is not None and named.lifecycle_stage == "active" and holds_study(named):
            return named
    found = {e.name: e for e in client.search_experiments() if holds_study(e)}
    if study is None and len(found) == 1:
        return next(iter(found.values()))
    wanted = "name one with study=" if study is None else f"no study {study!r}"
    raise ResultsError(f"{place}: {wanted}; it holds {listed(sorted(found))}")


def _runs(client: Any, experiment_id: str, kind: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], f"tags.`{TAG_KIND}` = '{kind}'", page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _stored_table(client: Any, experiment: Any) -> pa.Table | None:
    """results.parquet of a finished study, or None."""
    name = "results.parquet"
    for run in _runs(client, experiment.experiment_id, "study"):
        if run.info.status != "FINISHED":
            continue
        if any(item.path == name for item in client.list_artifacts(run.info.run_id)):
            with tempfile.TemporaryDirectory(prefix="scorerates-") as folder:
                path = client.download_artifacts(run.info.run_id, name, folder)
                return read_parquet(path, f"{name} of {experiment.name}")
    return None


def _logged_table(client: Any, experiment: Any, place: str) -> pa.Table:
    """The table rebuilt from the tags of the trials' runs."""
    tables = {}
    runs = [
        run
        for run in _runs(client, experiment.experiment_id, "trial")
        if run.info.status in ("FINISHED", "FAILED")
    ]
    # A run of an earlier view may stand beside the one that replaces it: the later one counts.
    for run in sorted(
        runs, key=lambda run: (TAG_VIEW in run.data.tags, run.info.status != "FAILED")
    ):
        tags, params = run.data.tags, run.data.params
        earlier = TAG_VIEW not in tags
        text = _joined(EARLIER_STEPS, params) if earlier else _joined(STEPS, tags)
        steps: list[int] = json.loads(text or "[]")
        values = params if earlier else json.loads(_joined(VALUES, tags) or "{}")
        series = _series_from(tags, len(steps))
        if series is None or not steps or "step_size" not in values:
            raise ResultsError(
                f"{place}: run {run.info.run_id} of study {experiment.name!r} was not logged by "
                "this version, or was changed: `scorerates sync` logs it anew"
            )
        columns = {}
        for c in COLUMNS:
            if c.name == "step":
                found: list[Any] = steps
            elif c.name == "effective_time":
                found = [float(values["step_size"]) * step for step in steps]
            elif c.per == "trial":
                found = [_parsed(c.type, values.get(c.name))] * len(steps)
            else:
                found = series.get(c.name, [None] * len(steps))
            columns[c.name] = pa.array(found, TYPES[c.type])
        tables[values["trial_id"]] = pa.table(columns, schema=SCHEMA)
    if not tables:
        raise ResultsError(f"{place}: study {experiment.name!r} has no finished trial yet")
    return pa.concat_tables(tables.values())


def logged_value(value: Any) -> str:
    """A value of a trial column as text; `_parsed` gives the same value back."""
    return repr(float(value)) if isinstance(value, float) else str(value)


def values_as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """What a trial has once, as JSON of name -> text."""
    texts = {name: logged_value(value)[:MAX_PARAM] for name, value in values.items()}
    return _in_parts(VALUES, json.dumps(texts, separators=(",", ":")))


def trial_values(tags: Mapping[str, str]) -> dict[str, Any]:
    """What a trial has once, from the tags of its run; None what it has not. Raises ValueError for
    tags that `values_as_tags` did not write."""
    texts = json.loads(_joined(VALUES, tags))
    return {c.name: _parsed(c.type, texts.get(c.name)) for c in (*IDENTITY_COLUMNS, *TRIAL_COLUMNS)}


def steps_as_tags(steps: list[int]) -> dict[str, str]:
    """The recorded steps as JSON."""
    return _in_parts(STEPS, json.dumps(steps, separators=(",", ":")))


def series_as_tags(series: Mapping[str, list[float]]) -> dict[str, str]:
    """Step columns (NaN is null) as JSON of name -> base64 of little-endian float64."""
    encoded = {
        name: base64.b64encode(np.asarray(values, dtype="<f8").tobytes()).decode()
        for name, values in series.items()
    }
    return _in_parts(SERIES, json.dumps(encoded, separators=(",", ":")))


def _series_from(tags: Mapping[str, str], length: int) -> dict[str, list[float | None]] | None:
    """What `series_as_tags` was given, null as None; None where the tags do not hold that."""
    try:
        encoded = json.loads(_joined(SERIES, tags))
        found = {k: np.frombuffer(base64.b64decode(v), dtype="<f8") for k, v in encoded.items()}
    except (ValueError, binascii.Error):
        return None
    if any(len(values) != length for values in found.values()):
        return None
    return {k: [None if v != v else v for v in values.tolist()] for k, values in found.items()}


def _in_parts(name: str, text: str) -> dict[str, str]:
    """`text` under as many names as MLflow's limit on the length of a value asks for."""
    parts = [text[i : i + MAX_PARAM] for i in range(0, len(text), MAX_PARAM)]
    return {name + (f"_{i}" if i else ""): part for i, part in enumerate(parts)}


def _joined(name: str, values: Mapping[str, str]) -> str:
    names = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(1)))
    return "".join(map(str, itertools.takewhile(lambda v: v is not None, map(values.get, names))))


def _parsed(kind: str, text: str | None) -> Any:
    if text is None:
        return None
    if kind == "bool":
        return text == "True"
    return {"string": str, "int": int, "float": float}[kind](text)
