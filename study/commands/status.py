"""`scorerates status`: how many trials of a study are done, failed, diverged and missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.text import counted
from study.commands.located import known_trials, owned, trials_of
from study.running.progress import bytes_text
from study.spec.search import SearchSection
from study.spec.sections import StudySpec
from study.storage.earlier import changed_trainers
from study.storage.store import Ledger, Store


def status(store: Store, spec: StudySpec | None) -> tuple[str, dict[str, int], list[str]]:
    """The study's name, its trials by status, and what else there is to say. Raises SpecError and
    StoreError."""
    spec = owned(store, spec)
    ledger = store.ledger()
    if spec.search is not None and store.local is not None:
        return spec.name, *_of_search(store, store.local, spec, spec.search, ledger)
    trial_ids = known_trials(store, spec, ledger)
    counts = {"trials": len(trial_ids), **ledger.counts(trial_ids)}
    others = ledger.entries.keys() - set(trial_ids)
    notes = _networks(spec, ledger, trial_ids)
    if others and spec.search is None:
        earlier = {
            i: trial for trial in trials_of(store, spec, ledger) for i in trial.earlier_ids()
        }
        done = {i for i in others & earlier.keys() if ledger.finished(i)}
        again = {earlier[i].trial_id for i in done}
        again = {trial_id for trial_id in again if not ledger.finished(trial_id)}
        if done:
            counts["of an earlier version"] = len(done)
        if again:
            some = counts["completed"] + counts["diverged"]
            reads = "leaves them out beside today's" if some else "reads them as they are"
            notes.append(
                f"{len(again):,} trials were trained by an earlier version of this program, "
                f"whose numbers differ: `scorerates analyze` {reads}, the next `scorerates run` "
                "trains them anew"
            )
        others -= earlier.keys()
    if others:
        counts["stored, but not of this study file"] = len(others)
        notes += changed_trainers(spec, store)
    return spec.name, counts, notes


def _of_search(
    store: Store, folder: Path, spec: StudySpec, section: SearchSection, ledger: Ledger
) -> tuple[dict[str, int], list[str]]:
    """Evaluations wanted, and those done until now by the status of their trials; what is left is
    missing. A pruned one is completed up to the step at which it was ended. And what there is to
    say of the finals."""
    from study.commands.plans.of_search import (  # loads optuna
        evaluations_so_far,
        finals_now,
        guided_of,
    )

    found = evaluations_so_far(spec, section, folder)
    asked = [trial.trial_id for one in found for trial in one.trials]
    wanted = len(found) * section.evaluations
    counts = ledger.counts(asked)
    finals = finals_now(spec, section, store, ledger, found, guided_of(spec, section))
    done = sum(t.trial_id in ledger.entries for one in finals for t in one.trials)
    most = "" if all(one.begun for one in finals) else "at most "
    many = f"{most}{counted(sum(one.wanted for one in finals), 'trial')}"
    notes = [f"finals of {many}, {done:,} done"] if finals else []
    return {"evaluations": wanted, **counts, "missing": wanted - len(asked)}, notes


def _networks(spec: StudySpec, ledger: Ledger, trial_ids: Sequence[str]) -> list[str]:
    """What networks are kept, and of which trials they are missing."""
    entries = [ledger.entries[i] for i in trial_ids if i in ledger.entries]
    named = frozenset[str]().union(*(entry.networks for entry in entries))
    there = named & ledger.networks.keys()
    notes = []
    if there:
        size = bytes_text(sum(ledger.networks[network] for network in there))
        of = sum(bool(entry.networks & there) for entry in entries)
        notes.append(f"{len(there):,} networks of {of:,} trials are kept, {size}")
    keep = spec.kept()
    lacking = sum(entry.finished and not entry.done(keep) for entry in entries)
    if lacking:
        notes.append(
            f"{lacking:,} trials lack networks or samples that the study asks for: the next "
            "`scorerates run` trains them again"
        )
    return notes
