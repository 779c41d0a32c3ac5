"""`scorerates status`: how many trials of a study are done, failed, diverged and missing."""

from __future__ import annotations

from study.commands.located import known_trials, owned
from study.spec.sections import StudySpec
from study.storage.store import Store


def status(store: Store, spec: StudySpec | None) -> tuple[str, dict[str, int]]:
    """The study's name, and its trials by status. Raises SpecError and StoreError."""
    spec = owned(store, spec)
    ledger = store.ledger()
    trial_ids = known_trials(store, spec, ledger)
    counts = {"trials": len(trial_ids), **ledger.counts(trial_ids)}
    others = len(ledger.entries.keys() - set(trial_ids))
    if others:
        counts["stored, but not of this study file"] = others
    return spec.name, counts
