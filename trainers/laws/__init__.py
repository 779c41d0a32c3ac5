"""Laws of X_0 (docs/theory.md, section 8): a file of `kinds` is a law, and is known everywhere.
One of your own is in a file beside the study (trainers.laws.own)."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.errors import LawError
from trainers.laws.atoms_file import AtomsFile, checked_points, load_atoms, resolve_atoms
from trainers.laws.found import KINDS, OWN_KIND, any_or_own
from trainers.laws.law import Distribution, FloatArray, LawBase, Points
from trainers.laws.own.law import OwnLaw, own_class
from trainers.laws.subspace import Subspace
from trainers.laws.table import Table, resolve_table
from trainers.laws.table_file import KEY, Cells, TableFile, checked_cells

__all__ = [
    "KINDS",
    "LAWS",
    "OWN_KIND",
    "DataFile",
    "Distribution",
    "Law",
    "LawBase",
    "LawError",
    "OwnLaw",
    "Points",
    "checked_data",
    "load_atoms",
    "make_distribution",
    "own_class",
    "resolve_atoms",
    "resolve_files",
]

LAWS: dict[str, type[LawBase]] = {**KINDS, "subspace": Subspace, "table": Table}
"""kind -> configuration."""

if TYPE_CHECKING:
    Law = LawBase
else:
    Law = any_or_own(LAWS)


DataFile = AtomsFile | TableFile
"""A file that a law names, as it was read."""


def resolve_files(
    mapping: Mapping[str, Any], folder: str | Path, held: MutableMapping[str, Any]
) -> dict[str, Any]:
    """A spec's raw `law` mapping with what its data file decides filled in: see `resolve_atoms` and
    `resolve_table`. `held` takes the files by the keys of `Points`."""
    if mapping.get("kind") == "table":
        return resolve_table(mapping, Path(folder), "law", held)
    return resolve_atoms(mapping, folder, held)


def checked_data(data: bytes, key: str, path: str | Path) -> FloatArray | Cells:
    """What laws take of the bytes of a file that is known by a key of `Points`. Raises LawError
    where the bytes are others. path: for messages."""
    if key.startswith(KEY):
        return checked_cells(data, key.removeprefix(KEY), path)
    return checked_points(data, key, path)


def make_distribution(law: LawBase, atoms: Points | None = None) -> Distribution:
    """The distribution that `law` describes.

    `atoms` maps the SHA-256 of a data file to its standardised rows (`load_atoms`), that of a
    table after `table:` to its cells, for laws from a file; a file that is not in it is read from
    `law.file`. Raises LawError where the file cannot be read, or is not the one that the law was
    made from.
    """
    return law.distribution(atoms or {})
