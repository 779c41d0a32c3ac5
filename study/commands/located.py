"""A study and its store, from what a command names; and which trials it has."""

from __future__ import annotations

from pathlib import Path

from analysis.searches.tuning import load_evaluations
from study.choosing.adaptive import replayed
from study.spec.contents import Contents
from study.spec.messages import SpecError
from study.spec.sections import StudySpec
from study.storage.store import Ledger, Store
from trainers.errors import UserError
from trainers.trial import TrialConfig

LONGEST_SHOWN = 80
"""Characters of a name that a message repeats."""


def store_of(spec: StudySpec, storage: str | Path | None) -> Store:
    """The store at `storage`, by default results/<study>."""
    return Store(storage if storage is not None else Path("results") / spec.name)


def located(source: str, storage: str | None) -> tuple[Store, StudySpec | None]:
    """The store that `source` means (a results directory or URL, a study's file, or the name of a
    study in ./results), and the study where it is a file. Raises SpecError."""
    path = Path(source)
    try:
        if path.suffix in (".yaml", ".yml") or path.is_file():
            spec = StudySpec.load(path)
            return store_of(spec, storage), spec
        if "://" in source or path.is_dir():
            return Store(source), None
        if (Path("results") / source).is_dir():
            return Store(Path("results") / source), None
    except (OSError, ValueError) as error:  # a name that is too long, say
        if isinstance(error, UserError):
            raise
    name = source if len(source) <= LONGEST_SHOWN else f"{source[:LONGEST_SHOWN]}..."
    raise SpecError(f"no study file, results directory or study in ./results is called {name!r}")


def owned(store: Store, spec: StudySpec | None) -> StudySpec:
    """`spec`, or the study as last run in `store`. Raises StoreError where the store is another
    study's, or nobody's, and SpecError where the stored study cannot be read."""
    if spec is None:
        text, folder, contents = store.spec_source()
        spec = StudySpec.from_text(text, folder, Contents.read(contents))
    store.check_owner(spec.name)
    return spec


def trials_of(store: Store, spec: StudySpec, ledger: Ledger) -> list[TrialConfig]:
    """The trials of `spec`; of an adaptive design those that it has asked for until now. Raises
    SpecError where it is a search."""
    if spec.design is None:
        return spec.trials()
    return replayed(spec.points(), spec.design, store, ledger).trials


def known_trials(store: Store, spec: StudySpec, ledger: Ledger) -> list[str]:
    """Ids of the trials of `spec`; of a search or a design those asked for until now."""
    if spec.search is None:
        return [trial.trial_id for trial in trials_of(store, spec, ledger)]
    evaluations = load_evaluations(store.url)
    return [] if evaluations is None else list(dict.fromkeys(evaluations["trial_id"]))
