"""Laws of X_0 (docs/theory.md, section 8): a file of `kinds` is a law, and is known everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.errors import LawError
from trainers.laws.atoms_file import load_atoms, resolve_atoms
from trainers.laws.found import KINDS, any_of
from trainers.laws.law import Distribution, LawBase, Points
from trainers.laws.subspace import Subspace

__all__ = [
    "KINDS",
    "LAWS",
    "Distribution",
    "Law",
    "LawBase",
    "LawError",
    "load_atoms",
    "make_distribution",
    "resolve_atoms",
]

LAWS: dict[str, type[LawBase]] = {**KINDS, "subspace": Subspace}
"""kind -> configuration."""

if TYPE_CHECKING:
    Law = LawBase
else:
    Law = any_of(LAWS.values())


def make_distribution(law: LawBase, atoms: Points | None = None) -> Distribution:
    """The distribution that `law` describes.

    `atoms` maps the SHA-256 of a data file to its standardised rows (`load_atoms`), for laws
    from a file; a file that is not in it is read from `law.file`. Raises LawError where
    the file cannot be read, or is not the one that the law was made from.
    """
    return law.distribution(atoms or {})
