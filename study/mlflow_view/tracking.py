"""The MLflow view of a study: an experiment, in it a run for the study, for points, for trials.

The store is the truth and this is a view of it: what is logged can be logged again from the store
at any time (`scorerates sync`) and nothing is logged twice. Runs are found by their tags, never by
their names. One `log_batch` a trial; no autologging, no global state of mlflow's. `contents` says
what each kind of run holds, `naming` what it is called.

A view that an earlier version of this program logged is replaced run by run: the new run is written
first and takes over the tags that a user gave, then the old one is deleted, which MLflow can undo.
Of trials that the study does not have any more, the old runs stay.
"""

from __future__ import annotations

import fcntl
import itertools
import math
import os
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from analysis.data.mlflow_view import (
    CHOSEN,
    LOGGED_ONCE,
    LOGGED_SERIES,
    TAG_KIND,
    TAG_POINT,
    TAG_STATUS,
    TAG_TRIAL,
    TAG_VIEW,
    VALUES,
    VIEW,
    mlflow_manners,
    series_as_tags,
    sqlite_file,
    steps_as_tags,
    trial_values,
    values_as_tags,
    what_failed,
)
from analysis.searches.tuning import load_evaluations
from analysis.text import shown
from analysis.verdicts.evaluation import Evaluation
from study.mlflow_view import contents
from study.mlflow_view.contents import Values
from study.mlflow_view.models import Read, log_networks
from study.mlflow_view.naming import Naming, naming_of
from study.spec.sections import StudySpec
from trainers.errors import UserError
from trainers.trial import TrialStatus

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
EXPERIMENT_KIND = "mlflow.experimentKind", "custom_model_development"
"""The tag by which MLflow opens an experiment on runs and charts, not on traces of agents."""

TAG_DIGEST = "scorerates.digest"
OF_A_POINT = tuple(name for name in CHOSEN if name != "seed")

ARTIFACTS = "mlartifacts"
"""Folder of the artifacts beside a sqlite database."""

MAX_METRICS, MAX_PARAMS, PAGE = 1000, 100, 1000


class TrackingError(UserError):
    """MLflow could not be reached or refused; results are in the store, `scorerates sync` logs
    them later."""


class Tracker:
    """Writes one study to one tracking server or database.

    read: gives files of the study's storage; without it no network becomes a model.
    logged: ids of the trials whose finished run is there. Every method raises TrackingError.
    """

    def __init__(
        self,
        study: str,
        tracking_uri: str,
        spec_text: str = "",
        description: str = "",
        naming: Naming | None = None,
        search: bool = False,
        read: Read | None = None,
    ) -> None:
        self._study, self._uri = study, tracking_uri
        self._spec_text, self._description = spec_text, description
        self._naming = naming or Naming()
        self._search = search  # every trial is a point of its own: no runs for those
        self._read = read
        self._experiment = ""
        self._parent = ""
        self._failed: dict[str, str] = {}
        self._points: dict[str, tuple[str, Mapping[str, float]]] = {}
        self._earlier: dict[str, list[Any]] = defaultdict(list)
        self._earlier_studies: list[Any] = []
        self._system: list[Any] = []
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
            self._find_points()
            self._find_trials()

    def log_trials(self, frame: pd.DataFrame) -> None:
        """Logs the trials of `frame` (rows of the results table) that are not there yet. A trial
        that failed before and has results now replaces its failed run."""
        with self._reported():
            for trial_id, rows in frame.groupby("trial_id", sort=False):
                if trial_id not in self.logged:
                    self._log_trial(str(trial_id), rows.sort_values("step"))

    def log_study(self, folder: Path, evaluation: Evaluation) -> None:
        """Logs the study's files, verdicts, points and curves; of a search, the best so far."""
        described = [verdict.to_dict() for verdict in evaluation]
        metrics = contents.verdict_metrics(described, self._naming)
        tags = contents.verdict_tags(described, self._naming)
        found = load_evaluations(str(folder)) if self._search else None
        if found is not None:
            won = contents.search_metrics(found, evaluation.table.trials, self._naming)
            metrics, tags = metrics + won[0], tags | won[1]
        with self._reported():
            parent = self._client.get_run(self._parent)
            for key in parent.data.tags:
                if key.startswith(("verdict/", "best/")) and key not in tags:
                    self._client.delete_tag(self._parent, key)
            self._log(self._parent, _news(metrics, parent), {}, tags)
            if found is not None:
                self._name_trials(found, evaluation)
            if not self._search:
                self._log_points(evaluation)
                self._log_curves(evaluation)
            for name in ("report.html", "results.parquet", "verdicts.json", "spec.yaml"):
                if (Path(folder) / name).is_file():
                    self._client.log_artifact(self._parent, str(Path(folder) / name))
            if (Path(folder) / "figures").is_dir():
                self._client.log_artifacts(self._parent, str(Path(folder) / "figures"), "figures")
            self._replace_study()

    def log_system(self) -> None:
        """Logs what this machine's processors, memory, disks and network are doing, as MLflow's own
        system metrics; their page shows them by the time at which they were logged."""
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        with self._reported():
            if not self._system:
                # Processors are compared with the call before, the network with the beginning.
                self._system = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
                self._system[0].collect_metrics()
                self._system[0].clear_metrics()
                return
            there = self._client.get_run(self._parent).data._metric_objs
            step = 1 + max((m.step for m in there if m.key.startswith("system/")), default=-1)
            values: Values = []
            for monitor in self._system:
                monitor.collect_metrics()
                found = monitor.aggregate_metrics()
                monitor.clear_metrics()
                values += [(f"system/{name}", float(value), step) for name, value in found.items()]
            self._log(self._parent, values, {}, {})

    def close(self, status: str) -> None:
        """Ends the parent run: FINISHED, FAILED or KILLED. Runs of trials that are still open go: a
        request whose answer got lost was sent twice."""
        with self._reported():
            opened = f"tags.`{TAG_KIND}` = 'trial' and attributes.status = 'RUNNING'"
            for run in list(self._runs(opened)):
                self._client.delete_run(run.info.run_id)
            opened = f"tags.`{TAG_KIND}` = 'point' and attributes.status = 'RUNNING'"
            for run in list(self._runs(opened)):
                self._client.set_terminated(run.info.run_id, status)
            self._client.set_terminated(self._parent, status)

    # --- finding --------------------------------------------------------------------------------

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            location = artifact_location(self._uri)
            made: str = self._client.create_experiment(self._study, location, self._labels())
            return made
        for key, value in self._labels().items():
            if not found.tags.get(key):
                self._client.set_experiment_tag(found.experiment_id, key, value)
        if found.lifecycle_stage != "active":
            self._client.restore_experiment(found.experiment_id)
        identifier: str = found.experiment_id
        return identifier

    def _labels(self) -> dict[str, str]:
        """Tags of the experiment: its kind and description."""
        kind, model_training = EXPERIMENT_KIND
        return {kind: model_training, NOTE: self._description}

    def _find_parent(self) -> str:
        naming = self._naming.described
        text = "\n\n".join(
            filter(None, [self._description, naming, f"```yaml\n{self._spec_text}\n```"])
        )
        tags = {TAG_KIND: "study", TAG_VIEW: VIEW, NOTE: text}
        condition = f"tags.`{TAG_KIND}` = 'study'"
        kept = list(self._runs(condition))
        self._earlier_studies = [run for run in kept if TAG_VIEW not in run.data.tags]
        deleted = self._runs(condition, ViewType.DELETED_ONLY)
        for run in itertools.chain(kept, deleted):
            if TAG_VIEW not in run.data.tags:
                continue
            identifier: str = run.info.run_id
            if run.info.lifecycle_stage != "active":  # somebody deleted it: its trials need it
                self._client.restore_run(identifier)
            self._client.update_run(identifier, status="RUNNING")
            for key, value in tags.items():
                self._client.set_tag(identifier, key, value)
            return identifier
        for run in self._earlier_studies:
            tags = {**_tags_of_the_user(run), **tags}
        run = self._client.create_run(self._experiment, tags=tags, run_name=f"study {self._study}")
        created: str = run.info.run_id
        return created

    def _find_points(self) -> None:
        for run in list(self._runs(f"tags.`{TAG_KIND}` = 'point'")):
            point_id = run.data.tags[TAG_POINT]
            if self._search or point_id in self._points:
                self._client.delete_run(run.info.run_id)
                continue
            self._points[point_id] = run.info.run_id, run.data.metrics
            self._set_parent(run, self._parent)

    def _find_trials(self) -> None:
        # All pages first: deleting between two pages would shift runs past the second.
        for run in list(self._runs(f"tags.`{TAG_KIND}` = 'trial'")):
            tags, status = run.data.tags, run.info.status
            trial_id = tags[TAG_TRIAL]
            if TAG_VIEW not in tags and status in ("FINISHED", "FAILED"):
                self._earlier[trial_id].append(run)
            elif VALUES in tags and status == "FINISHED" and trial_id not in self.logged:
                self.logged.add(trial_id)
                self._set_parent(run, self._place(trial_values(tags)))
            elif VALUES in tags and status == "FAILED" and trial_id not in self._failed:
                self._failed[trial_id] = run.info.run_id
                self._set_parent(run, self._place(trial_values(tags)))
            else:
                self._client.delete_run(run.info.run_id)
        for trial_id in self.logged & self._earlier.keys():
            self._delete_earlier(trial_id)

    def _set_parent(self, run: Any, parent: str) -> None:
        if run.data.tags.get(PARENT) != parent:  # that one is gone for good
            self._client.set_tag(run.info.run_id, PARENT, parent)

    def _place(self, row: Mapping[str, Any]) -> str:
        """The run that a trial's stands in: its point's, which is made where there is none."""
        point_id = str(row["point_id"])
        if self._search:
            return self._parent
        if point_id not in self._points:
            run = self._client.create_run(
                self._experiment,
                tags={
                    TAG_KIND: "point",
                    TAG_VIEW: VIEW,
                    TAG_POINT: point_id,
                    PARENT: self._parent,
                    NOTE: "The trials that differ in their seed only, taken together.",
                },
                run_name=self._naming.point(row),
            )
            self._log(run.info.run_id, [], contents.parameters(row, OF_A_POINT), {})
            self._points[point_id] = run.info.run_id, {}
        return self._points[point_id][0]

    def _delete_earlier(self, trial_id: str) -> None:
        for run in self._earlier.pop(trial_id, []):
            self._client.delete_run(run.info.run_id)

    def _replace_study(self) -> None:
        """An earlier version's run of the study goes; what is left of its trials' moves over."""
        for run in itertools.chain.from_iterable(self._earlier.values()):
            self._set_parent(run, self._parent)
        for run in self._earlier_studies:
            self._client.delete_run(run.info.run_id)
        self._earlier_studies = []

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
            connection.execute(
                "UPDATE logged_models SET artifact_location = ? || substr(artifact_location, ?)"
                " WHERE experiment_id = ? AND substr(artifact_location, 1, ?) = ?",
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
        first = contents.record(rows.iloc[0])
        status = str(first["status"])
        failed = status == TrialStatus.FAILED
        if failed and trial_id in self._failed:
            return
        columns = {name: rows[name].to_numpy(float, na_value=math.nan) for name in LOGGED_SERIES}
        series = {name: v.tolist() for name, v in columns.items() if not np.isnan(v).all()}
        now = int(time.time() * 1000)
        seconds = first["seconds"]
        began = now - int(1000 * seconds) if pd.notna(seconds) else now
        steps = [int(s) for s in rows["step"]]
        tags: dict[str, str] = {}
        for run in self._earlier.get(trial_id, []):
            tags |= _tags_of_the_user(run)
        tags |= {
            TAG_KIND: "trial",
            TAG_VIEW: VIEW,
            TAG_TRIAL: trial_id,
            TAG_POINT: str(first["point_id"]),
            TAG_STATUS: status,
            PARENT: self._place(first),
            NOTE: contents.description(first),
            **values_as_tags({n: first[n] for n in LOGGED_ONCE if pd.notna(first[n])}),
            **steps_as_tags(steps),
            **series_as_tags(series),
        }
        name = self._naming.trial(first)
        run = self._client.create_run(self._experiment, began, tags, run_name=name)
        metrics = contents.trial_metrics(first, series, steps)
        self._log(run.info.run_id, metrics, contents.parameters(first), {})
        if self._read is not None:
            log_networks(self._client, run, rows, self._read)
        self._client.set_terminated(run.info.run_id, "FAILED" if failed else "FINISHED")
        self._delete_earlier(trial_id)
        if failed:
            self._failed[trial_id] = run.info.run_id
            return
        self.logged.add(trial_id)
        if trial_id in self._failed:
            self._client.delete_run(self._failed.pop(trial_id))

    def _log_points(self, evaluation: Evaluation) -> None:
        for point in contents.points(evaluation.table):
            run_id = self._place(point.row)
            there = self._points[point.point_id][1]
            news = [value for value in point.metrics if there.get(value[0]) != value[1]]
            self._log(run_id, news, {}, {})
            self._points[point.point_id] = run_id, {name: v for name, v, _ in point.metrics}

    def _name_trials(self, evaluations: pd.DataFrame, evaluation: Evaluation) -> None:
        """A search's trials get names and tags that say what each was for."""
        roles = contents.roles(evaluations)
        rows = evaluation.table.trials.drop_duplicates("trial_id").set_index("trial_id")
        for run in list(self._runs(f"tags.`{TAG_KIND}` = 'trial'")):
            trial_id = run.data.tags[TAG_TRIAL]
            if trial_id not in roles or trial_id not in rows.index:
                continue
            word, tags = roles[trial_id]
            row = contents.record(rows.loc[trial_id])
            pilot = rows["samples"].nunique() > 1 and "samples" not in self._naming.varying
            size = f"N{row['samples']} " if pilot else ""
            name = f"{word} {size}{self._naming.trial(row)}"
            if run.info.run_name != name:
                self._client.update_run(run.info.run_id, name=name)
            self._log(run.info.run_id, [], {}, _other(tags, run.data.tags))

    def _log_curves(self, evaluation: Evaluation) -> None:
        """A run for each curve. One that changed is written anew: a step written again would be a
        second point."""
        there = {}
        for run in list(self._runs(f"tags.`{TAG_KIND}` = 'curve'")):
            there[run.data.tags.get(TAG_DIGEST, "")] = run
        wanted = {one.digest: one for one in contents.curve_runs(evaluation.curves, self._naming)}
        for digest, one in wanted.items():
            if digest in there:
                self._set_parent(there[digest], self._parent)
                continue
            tags = {
                TAG_KIND: "curve",
                TAG_VIEW: VIEW,
                PARENT: self._parent,
                NOTE: "Level means over seeds; the step is the axis, or its log2.",
            }
            run = self._client.create_run(self._experiment, tags=tags, run_name=one.name)
            params = contents.parameters(one.row, OF_A_POINT)
            self._log(run.info.run_id, one.metrics, params, {TAG_DIGEST: digest})
            self._client.set_terminated(run.info.run_id)
        for digest, run in there.items():
            if digest not in wanted:
                self._client.delete_run(run.info.run_id)

    def _log(
        self,
        run_id: str,
        metrics: Values,
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
                f"MLflow at {shown(self._uri)}: {what_failed(error, self._uri)} (the results are "
                "in the store; `scorerates sync` logs them)"
            ) from error


def tracker_of(spec: StudySpec, tracking_uri: str, read: Read | None = None) -> Tracker:
    """The tracker of a study; nothing is opened yet. read: gives its kept networks, which become
    models."""
    naming, search = naming_of(spec), bool(spec.search)
    return Tracker(spec.name, tracking_uri, spec.text, spec.description, naming, search, read)


def _news(metrics: Values, run: Any) -> Values:
    """Of `metrics`, by name and step, what the run does not hold: no step again, and of those
    without steps only what changed. A search's steps only grow."""
    there = {m.key: m for m in run.data._metric_objs}
    return [
        (name, value, step)
        for name, value, step in metrics
        if name not in there
        or step > there[name].step
        or (step == 0 and there[name].step == 0 and value != there[name].value)
    ]


def _other(tags: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if there.get(key) != value}


def _tags_of_the_user(run: Any) -> dict[str, str]:
    """The tags that neither MLflow nor this program gave."""
    ours = ("mlflow.", "scorerates.", "verdict ")
    return {k: v for k, v in run.data.tags.items() if not k.startswith(ours)}


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
        told = what_failed(error, tracking_uri)
        if "mlflow" not in told:
            told += "; name another database, or make its folder writable"
        raise TrackingError(f"--tracking-uri {shown(tracking_uri)}: {told}") from None


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
