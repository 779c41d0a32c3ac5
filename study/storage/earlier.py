"""What a study was when it was last run in its store, against what it is now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.spec.contents import Contents
from study.spec.sections import StudySpec
from study.spec.strict_yaml import YamlError, read_yaml
from study.storage.store import Store, StoreError


def _last(spec: StudySpec, store: Store) -> tuple[str, Any]:
    """Text of the study as it was last run, and what its files held; empty and None where it was
    not, or was cut short while these were written."""
    if store.owner() != spec.name:
        return "", None
    try:
        text, _folder, contents = store.spec_source()
    except StoreError:
        return "", None
    return text, contents


def check_kind(spec: StudySpec, store: Store) -> None:
    """Raises StoreError where a search would write over the results of a study of rates, or that
    over a search's."""
    try:
        stored: Any = read_yaml(_last(spec, store)[0])
    except YamlError:
        return
    if stored is None:
        return
    searched = isinstance(stored, Mapping) and "search" in stored
    if searched is not (spec.search is not None):
        kinds = ["a study of rates", "a search"]
        kind, other = reversed(kinds) if searched else kinds
        raise StoreError(
            f"{store.place} holds the results of {kind}, and {spec.name!r} is now the name of "
            f"{other}: give this one another name, or another --storage"
        )


def changed_trainers(spec: StudySpec, store: Store) -> list[str]:
    """A line for each trainer of the user's own whose file is another one than when the study was
    last run: why nothing of it counts as done, and how to have both."""
    before = Contents.read(_last(spec, store)[1]).trainers
    lines = []
    for name, sha256 in spec.contents().trainers.items():
        if before.get(name, sha256) != sha256:
            module, _, made = name.partition(":")
            file, copy = f"{module.rpartition('.')[2]}.py", f"{module}2:{made}"
            lines.append(
                f"{file} has changed since this study was last run: what its earlier version "
                f"trained stays in {store.place}, and counts for this study no more; to hold the "
                f"two against each other, keep the earlier file, put the new one in a copy of it, "
                f'and name both: trainer: ["{name}", "{copy}"]'
            )
    return lines
