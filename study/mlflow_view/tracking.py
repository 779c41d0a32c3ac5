"""The MLflow view of a study: one experiment, a parent run for the study, a nested run per trial.

The store is the truth and this is a view of it: what is logged can be logged again from the store
at any time (`scorerates sync`) and nothing is logged twice. Runs are found by their tags, never by
their names. One `log_batch` a trial; no autologging, no global state of mlflow's.
"""

from __future__ import annotations

import fcntl
import itertools
import math
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from analysis.data.mlflow_view import (
    LOGGED_ONCE,
    LOGGED_SERIES,
    MAX_PARAM,
    SERIES,
    TAG_KIND,
    TAG_STATUS,
    TAG_TRIAL,
    logged_value,
    mlflow_manners,
    series_as_tags,
    sqlite_file,
    steps_as_params,
)
from analysis.data.quantities import Curve
from analysis.data.quantity import Quantity
from analysis.text import shown
from analysis.verdicts.evaluation import Evaluation
from trainers.errors import UserError, first_line
from trainers.trial import TrialStatus

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
AXES = ("samples", "width", "step_size", "dimension", "seed")
"""Logged as metrics too: parameters are strings, which neither filter nor plot as numbers."""

CHARTED_STEPS = 12
ENDINGS = ("approximation", "displacement", "flipped_fraction")
"""A step column is a metric at CHARTED_STEPS recorded steps, ENDINGS at the last one alone. A value
costs 0.13 ms in sqlite, so that all 40 steps would be most of what tracking costs; the tags hold
them, exactly."""

ARTIFACTS = "mlartifacts"
"""Folder of the artifacts beside a sqlite database."""

MAX_METRICS, MAX_PARAMS, PAGE = 1000, 100, 1000


class TrackingError(UserError):
    """MLflow could not be reached or refused; results are in the store, `scorerates sync` logs
    them later."""


class Tracker:
    """Writes one study to one tracking server or database.

    logged: ids of the trials whose finished run is there. Every method raises TrackingError.
    """

    def __init__(
        self, study: str, tracking_uri: str, spec_text: str = "", description: str = ""
    ) -> None:
        self._study, self._uri = study, tracking_uri
        self._spec_text, self._description = spec_text, description
        self._experiment = ""
        self._parent = ""
        self._failed: dict[str, str] = {}
        self.logged: set[str] = set()

    def open(self) -> None:
        """Creates what is missing (schema, experiment, parent run), finds what is there, and
        deletes the half-written runs of a driver that died."""
        with self._reported():
            with _schema_lock(self._uri):
                self._client = MlflowClient(tracking_uri=self._uri)
            self._experiment = self._find_experiment()
            self._follow_the_database()
            self._parent = self._find_parent()
            # All pages first: deleting between two pages would shift runs past the second.
            for run in list(self._runs(f"tags.`{TAG_KIND}` = 'trial'")):
                trial_id = run.data.tags[TAG_TRIAL]
                status = run.info.status if SERIES in run.data.tags else "of an older version"
                if status == "FINISHED" and trial_id not in self.logged:
                    self.logged.add(trial_id)
                elif status == "FAILED" and trial_id not in self._failed:
                    self._failed[trial_id] = run.info.run_id
                else:
                    self._client.delete_run(run.info.run_id)
                    continue
                if run.data.tags.get(PARENT) != self._parent:  # its parent is gone for good
                    self._client.set_tag(run.info.run_id, PARENT, self._parent)

    def log_trials(self, frame: pd.DataFrame) -> None:
        """Logs the trials of `frame` (rows of the results table) that are not there yet. A trial
        that failed before and has results now replaces its failed run."""
        with self._reported():
            for trial_id, rows in frame.groupby("trial_id", sort=False):
                if trial_id not in self.logged:
                    self._log_trial(str(trial_id), rows.sort_values("step"))

    def log_study(self, folder: Path, evaluation: Evaluation) -> None:
        """Logs the study's files, verdicts and rate curves to the parent run."""
        described = [verdict.to_dict() for verdict in evaluation]
        metrics, tags = _verdict_metrics(described), _verdict_tags(described)
        with self._reported():
            for key in self._client.get_run(self._parent).data.tags:
                if key.startswith("verdict ") and key not in tags:
                    self._client.delete_tag(self._parent, key)
            self._log(self._parent, metrics, {}, tags)
            self._log_curves(evaluation.curves)
            for name in ("report.html", "results.parquet", "verdicts.json", "spec.yaml"):
                if (Path(folder) / name).is_file():
                    self._client.log_artifact(self._parent, str(Path(folder) / name))
            if (Path(folder) / "figures").is_dir():
                self._client.log_artifacts(self._parent, str(Path(folder) / "figures"), "figures")

    def close(self, status: str) -> None:
        """Ends the parent run: FINISHED, FAILED or KILLED. Runs of trials that are still open go: a
        request whose answer got lost was sent twice."""
        with self._reported():
            opened = f"tags.`{TAG_KIND}` = 'trial' and attributes.status = 'RUNNING'"
            for run in list(self._runs(opened)):
                self._client.delete_run(run.info.run_id)
            self._client.set_terminated(self._parent, status)

    # --- finding --------------------------------------------------------------------------------

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            location = artifact_location(self._uri)
            made: str = self._client.create_experiment(self._study, artifact_location=location)
            return made
        if found.lifecycle_stage != "active":
            self._client.restore_experiment(found.experiment_id)
        identifier: str = found.experiment_id
        return identifier

    def _find_parent(self) -> str:
        tags = {
            TAG_KIND: "study",
            NOTE: f"{self._description}\n\n```yaml\n{self._spec_text}\n```".strip(),
        }
        condition = f"tags.`{TAG_KIND}` = 'study'"
        kept = self._runs(condition)
        deleted = self._runs(condition, ViewType.DELETED_ONLY)
        for run in itertools.chain(kept, deleted):
            identifier: str = run.info.run_id
            if run.info.lifecycle_stage != "active":  # somebody deleted it: its trials need it
                self._client.restore_run(identifier)
            self._client.update_run(identifier, status="RUNNING")
            for key, value in tags.items():
                self._client.set_tag(identifier, key, value)
            return identifier
        run = self._client.create_run(self._experiment, tags=tags, run_name=f"study {self._study}")
        created: str = run.info.run_id
        return created

    def _follow_the_database(self) -> None:
        """A sqlite database that was moved took its artifacts along. MLflow keeps their place as
        an absolute path, would write to the old one, and has no call to change that."""
        database, location = sqlite_file(self._uri), artifact_location(self._uri)
        if database is None or location is None:
            return
        old = self._client.get_experiment(self._experiment).artifact_location.rstrip("/")
        # Only what this project named itself, not a place of the user's choice.
        if old == location or old.rpartition("/")[2] != ARTIFACTS:
            return
        with closing(sqlite3.connect(database, timeout=60.0)) as connection, connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (location, int(self._experiment)),
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
                " WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (location, len(old) + 1, int(self._experiment), len(old) + 1, f"{old}/"),
            )

    def _runs(self, condition: str, view: int = ViewType.ACTIVE_ONLY) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], condition, view, PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    # --- writing --------------------------------------------------------------------------------

    def _log_trial(self, trial_id: str, rows: pd.DataFrame) -> None:
        first = rows.iloc[0]
        status = str(first["status"])
        failed = status == TrialStatus.FAILED
        if failed and trial_id in self._failed:
            return
        columns = {name: rows[name].to_numpy(float, na_value=math.nan) for name in LOGGED_SERIES}
        series = {name: v.tolist() for name, v in columns.items() if not np.isnan(v).all()}
        now = int(time.time() * 1000)
        seconds = first["seconds"]
        began = now - int(1000 * seconds) if pd.notna(seconds) else now
        tags = {
            TAG_KIND: "trial",
            TAG_TRIAL: trial_id,
            TAG_STATUS: status,
            PARENT: self._parent,
            NOTE: _description(first),
            **series_as_tags(series),
        }
        run = self._client.create_run(self._experiment, began, tags, run_name=run_name(first))
        params = {n: logged_value(first[n])[:MAX_PARAM] for n in LOGGED_ONCE if pd.notna(first[n])}
        params["width"] = f"{first['width']:.0f}"  # a whole number, or inf
        steps = [int(s) for s in rows["step"]]
        params |= steps_as_params(steps)
        self._log(run.info.run_id, _trial_metrics(first, series, steps), params, {})
        self._client.set_terminated(run.info.run_id, "FAILED" if failed else "FINISHED")
        if failed:
            self._failed[trial_id] = run.info.run_id
            return
        self.logged.add(trial_id)
        if trial_id in self._failed:
            self._client.delete_run(self._failed.pop(trial_id))

    def _log_curves(self, curves: Sequence[Curve]) -> None:
        """Rate curves with step = the axis: the pages have logarithmic axes on line charts only.
        A curve is logged once: a step written again would be a second point."""
        there = set(self._client.get_run(self._parent).data.metrics)
        logged = [
            curve
            for curve in curves
            if curve.axis in ("samples", "width") and curve.quantity in _CURVES
        ]
        names = _distinct_names(
            [(f"{c.quantity} by {c.axis}", c.law, c.dimension, c.fixed) for c in logged]
        )
        metrics = []
        for curve, name in zip(logged, names, strict=True):
            levels = [(int(x), float(curve.y[curve.x == x].mean())) for x in np.unique(curve.x)]
            name = f"{name} {len(levels)} levels {len(curve.x)} trials"
            if name not in there:
                metrics += [(name, y, x) for x, y in levels]
        self._log(self._parent, metrics, {}, {})

    def _log(
        self,
        run_id: str,
        metrics: Sequence[tuple[str, float, int]],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        now = int(time.time() * 1000)
        values = [Metric(k, v, now, step) for k, v, step in metrics if math.isfinite(v)]
        strings = [Param(k, v) for k, v in params.items()]
        labels = [RunTag(k, v) for k, v in tags.items()]
        parts = max(len(values) / MAX_METRICS, len(strings) / MAX_PARAMS, len(labels) / MAX_PARAMS)
        for i in range(math.ceil(parts)):
            self._client.log_batch(
                run_id,
                values[i * MAX_METRICS : (i + 1) * MAX_METRICS],
                strings[i * MAX_PARAMS : (i + 1) * MAX_PARAMS],
                labels[i * MAX_PARAMS : (i + 1) * MAX_PARAMS],
            )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Whatever mlflow raises as a TrackingError; and not many minutes of silent retries."""
        try:
            with mlflow_manners():
                yield
        except TrackingError:
            raise
        except Exception as error:
            raise TrackingError(
                f"MLflow at {shown(self._uri)}: {shown(first_line(error))} (the results are in the "
                "store; `scorerates sync` logs them)"
            ) from error


# --- what is logged -------------------------------------------------------------------------------

_CURVES = (Quantity.BEST_ERROR, Quantity.BEST_TIME, Quantity.COUPLING_AT_TIME)


def run_name(row: pd.Series) -> str:
    """Says what a trial is. The axes come first: lists of runs show some twenty characters."""
    return (
        f"N={row['samples']:05d} m={row['width']:05g} eta={row['step_size']:g} "
        f"seed={row['seed']:02d} d={row['dimension']} {row['law']}"
    )


def _description(row: pd.Series) -> str:
    if math.isinf(row["width"]):
        return (
            f"The kernel limit m = inf: descent in closed form with step size "
            f"{row['step_size']:g} on N = {row['samples']} samples of {row['law_label']} in "
            f"dimension {row['dimension']}, seed {row['seed']}. Metrics are at log-spaced steps; "
            "score_error is E||f^K - f*||^2 against the closed-form posterior mean."
        )
    return (
        f"A network of width m = {row['width']:g}, trained by {row['trainer']} with step size "
        f"{row['step_size']:g} for {row['steps']} steps on N = {row['samples']} samples of "
        f"{row['law_label']} in dimension {row['dimension']}, seed {row['seed']}. "
        "Metrics are recorded at log-spaced steps; score_error is "
        "E||f_W - f*||^2 against the closed-form posterior mean."
    )


def _trial_metrics(
    first: pd.Series, series: Mapping[str, list[float]], steps: Sequence[int]
) -> list[tuple[str, float, int]]:
    metrics = [(name, float(first[name]), 0) for name in AXES]
    errors = np.asarray(series.get("score_error", [math.nan]))
    if np.isfinite(errors).any():
        best = int(np.nanargmin(errors))
        metrics += [("best_score_error", float(errors[best]), 0), ("best_step", steps[best], 0)]
    charted = np.unique(np.linspace(0, len(steps) - 1, CHARTED_STEPS).round().astype(int)).tolist()
    for name, values in series.items():
        finite = [i for i in charted if math.isfinite(values[i])]
        shown_at = finite[-1:] if name in ENDINGS else finite
        metrics += [(name, values[i], steps[i]) for i in shown_at]
    return metrics


def _verdict_metrics(verdicts: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, int]]:
    metrics = []
    for verdict, name in zip(verdicts, _verdict_names(verdicts), strict=True):
        parts = ("exponent", "ci_low", "ci_high", "theory_exponent")
        known = [part for part in parts if verdict[part] is not None]
        metrics += [(f"{part} {name}", float(verdict[part]), 0) for part in known]
    return metrics


def _verdict_tags(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {
        f"verdict {name}": f"{v['verdict']}: {v['reason']}"[:4900]
        for v, name in zip(verdicts, _verdict_names(verdicts), strict=True)
    }


def _verdict_names(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    return _distinct_names(
        [
            (
                f"{v['quantity']} by {v['axis']}",
                str(v["law"]),
                int(v["dimension"]),
                {**v["fixed"], "prediction": v["prediction"]},
            )
            for v in verdicts
        ]
    )


def _distinct_names(subjects: Sequence[tuple[str, str, int, Mapping[str, Any]]]) -> list[str]:
    """Names within MLflow's alphabet (letters, digits, `_-. `) and its 250 characters, of (what,
    law, dimension, what else was held fixed). Subjects that agree in the first three also name what
    they differ in: one must not overwrite the other."""
    alike: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for what, law, dimension, fixed in subjects:
        alike.setdefault((what, law, dimension), []).append(fixed)
    names = []
    for what, law, dimension, fixed in subjects:
        others = alike[what, law, dimension]
        axes = sorted(fixed.keys() - {"effective_time"})  # measured: a new name with every trial
        told = [k for k in axes if any(o.get(k) != fixed[k] for o in others)]
        text = " ".join([what, law, f"d{dimension}", *(f"{k} {fixed[k]}" for k in told)])
        names.append("".join(c if c.isalnum() or c in "_-. " else "_" for c in text)[:200])
    return names


# --- where ----------------------------------------------------------------------------------------


def artifact_location(tracking_uri: str) -> str | None:
    """Artifacts beside a sqlite database; None where a server decides."""
    database = sqlite_file(tracking_uri)
    return None if database is None else (database.parent / ARTIFACTS).as_uri()


def check_database(tracking_uri: str) -> None:
    """Makes MLflow's tables where there are none. Raises TrackingError where that cannot be: the
    server itself would try for ever."""
    try:
        with mlflow_manners(), _schema_lock(tracking_uri):
            MlflowClient(tracking_uri=tracking_uri).search_experiments(max_results=1)
    except Exception as error:  # of mlflow, the database's driver, or the network
        raise TrackingError(
            f"--tracking-uri {shown(tracking_uri)}: {shown(first_line(error))}; name another "
            "database, or make its folder writable"
        ) from None


def ui_command(host: str, port: int) -> list[str]:
    """argv of MLflow's server; start it with `ui_environment`. One worker: the
    default of four stalls every request by some 44 ms and takes 3 GiB."""
    command = [sys.executable, "-m", "mlflow", "server"]
    return [*command, "--host", host, "--port", str(port), "--workers", "1"]


def ui_environment(environment: Mapping[str, str], tracking_uri: str) -> dict[str, str]:
    """`environment` with the database, whose password a command line would show to every user of
    this machine, and without the server's job runner, which this project has no use for."""
    return {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **environment,
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
    }


@contextmanager
def _schema_lock(tracking_uri: str) -> Iterator[None]:
    """One driver at a time creates the tables of a sqlite database: two at once break each other.
    The lock is on the directory, which leaves no file behind."""
    database = sqlite_file(tracking_uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(database.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot lock a directory
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
