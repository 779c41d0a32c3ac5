"""Atoms: uniform on finitely many points, drawn once or the rows of a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from trainers.errors import LawError
from trainers.laws.atoms_file import AS_THEY_ARE, checked_points
from trainers.laws.csv_file import bytes_of_law
from trainers.laws.law import BOUNDED, Distribution, FloatArray, LawBase, Points, parameter_stream
from trainers.laws.mixture import MixtureOfNormals
from trainers.ranges import Seed, Size


class Atoms(LawBase):
    """Uniform on finitely many points: `count` points uniform on [-1, 1]^d drawn from `seed`, or,
    where `file` names a numeric CSV file, its rows, standardised column by column, or as they are.

    A law from a file is known by the file's SHA-256, never by its path. `dimension` and `count`
    are then the file's columns and rows: `resolve_atoms` fills them in.
    """

    sub_gaussian: ClassVar[str] = BOUNDED
    kind: Literal["atoms"] = "atoms"
    count: Size = 16
    seed: Seed = 0
    file: str | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    standardise: bool = True

    @model_validator(mode="after")
    def _file_has_hash(self) -> Atoms:
        if self.file is not None and self.sha256 is None:
            raise ValueError("law.file needs law.sha256: load the spec, or call resolve_atoms")
        if self.sha256 is None and not self.standardise:
            raise ValueError("law.standardise is of the rows of a law.file: name one, or remove it")
        return self

    def identity(self) -> dict[str, Any]:
        full = self.model_dump(mode="json", exclude={"file"})
        if self.sha256 is not None:
            del full["seed"]
        if self.standardise:  # ids are older than the choice
            del full["standardise"]
        return full

    @property
    def label(self) -> str:
        if self.sha256 is not None:
            name = f"file={Path(self.file).name}," if self.file else ""
            how = "" if self.standardise else ",standardise=false"
            return f"atoms[{name}data={self.sha256[:8]},count={self.count}{how}]"
        return f"atoms[count={self.count},seed={self.seed}]"

    @property
    def terms(self) -> int:
        return self.count

    @property
    def held_values(self) -> int:
        # points and their squares, lifted and as drawn, and a block of weights
        return self.count * (2 * self.dimension + 3)

    def distribution(self, points: Points) -> Distribution:
        if self.sha256 is not None:
            return MixtureOfNormals(_file_atoms(self, points), 0.0)
        shape = (self.count, self.dimension)
        return MixtureOfNormals(parameter_stream(self).uniform(-1, 1, shape), 0.0)


def _file_atoms(law: Atoms, held: Points) -> FloatArray:
    """The points of a law from a file: from `held`, else from the file itself if unchanged."""
    assert law.sha256 is not None
    key = law.sha256 if law.standardise else AS_THEY_ARE + law.sha256
    points: object = held.get(key)
    if points is None:
        data = bytes_of_law(law.file, law.sha256)
        points = checked_points(data, key, law.file or "")
    points = np.asarray(points, dtype=np.float64)
    if points.shape != (law.count, law.dimension):
        raise LawError(
            f"law.count = {law.count} and law.dimension = {law.dimension}, but the data with "
            f"SHA-256 {law.sha256[:8]}… have shape {points.shape}: use resolve_atoms"
        )
    return points
