"""`scorerates sync`: MLflow brought up to date with the stored results."""

from __future__ import annotations

from study.commands.analyze import conclude, report_folder
from study.commands.located import owned
from study.mlflow_view.tracking import tracker_of
from study.spec.sections import StudySpec
from study.storage.store import Store


def sync(store: Store, spec: StudySpec | None, tracking_uri: str) -> tuple[str, int]:
    """The study's name, and how many of its trials MLflow lacked. Raises SpecError,
    StoreError and TrackingError."""
    spec = owned(store, spec)
    ledger = store.ledger()
    tracker = tracker_of(spec, tracking_uri, store.read)
    tracker.open()
    with report_folder(store) as folder:
        evaluation = conclude(store, spec, ledger, folder)
        before = len(tracker.logged)
        for rows in evaluation.table.parts():
            tracker.log_trials(rows)
        added = len(tracker.logged) - before
        tracker.log_study(folder, evaluation)
        tracker.close("FINISHED")
    return spec.name, added
