"""A CSV file with columns of numbers and of text, as it is before anything is made of it.

A column is numeric where every cell that is there is a number. A cell is missing where it is empty
or says so: see MISSING.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.errors import LawError
from trainers.laws.atoms_file import named_columns
from trainers.laws.csv_file import (
    ReadFile,
    check_unchanged,
    looks_like_a_number,
    parse_csv,
    read_bytes,
)

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-nan", "#n/a"})
"""What a missing cell holds, in small letters."""

KEY = "table:"
"""Before the SHA-256 under which a table is held: the same file may be a law of atoms too."""


@dataclass(frozen=True)
class Cells:
    """The columns of a file by name, in its order, each [count]: float64 with NaN for missing
    cells, or text (object) with None. notes: how the file was read."""

    columns: dict[str, NDArray[np.float64] | NDArray[np.object_]]
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Rows."""
        return len(next(iter(self.columns.values())))


class TableFile(ReadFile[Cells]):
    """Of a `table` law; its notes say too what laws found in it."""


def read_table(path: str | Path) -> TableFile:
    """A file, read once. Raises LawError naming the file, the line and a remedy: as `parse_csv`
    does, for ragged lines, lines above the table that are no names, and columns without a cell."""
    path = Path(path)
    data = read_bytes(path, regular=True)
    cells = _cells(path, data)
    return TableFile(path, data, cells, cells.notes)


def checked_cells(data: bytes, sha256: str, path: str | Path) -> Cells:
    """The cells in the bytes of a file that is known by this SHA-256. Raises LawError where the
    bytes are others. path: for messages."""
    check_unchanged(data, sha256, path)
    return _cells(Path(path), data)


def _cells(path: Path, data: bytes) -> Cells:
    table = parse_csv(path, data)
    rows = table.rows()
    line, first = next(rows, (0, []))
    if not first:
        raise LawError(f"{path} holds no rows")
    if any(looks_like_a_number(cell) for cell in first):
        raise LawError(
            f"{path}, line {line}: a number stands where names of columns should: put a line of "
            "names above the rows"
        )
    named_columns(path, line, first)  # refuses names that are missing or there twice
    names = [cell.strip() for cell in first]
    decimals = table.decimals()
    texts: list[list[str | None]] = [[] for _ in names]
    for line, row in rows:
        if len(row) != len(names):
            raise LawError(
                f"{path}, line {line} has {len(row)} cells, but the first line has {len(names)}: "
                "complete it"
            )
        for held, cell in zip(texts, row, strict=True):
            text = cell.strip()
            held.append(None if text.lower() in MISSING else text)
    if len(texts[0]) < 2:
        raise LawError(f"{path} holds fewer than two rows")
    columns: dict[str, NDArray[np.float64] | NDArray[np.object_]] = {}
    for name, held in zip(names, texts, strict=True):
        if all(text is None for text in held):
            raise LawError(f"{path}: every cell of {name} is missing: remove the column")
        numbers = [math.nan if text is None else decimals.number(text) for text in held]
        if any(value is None for value in numbers):
            columns[name] = np.array(held, dtype=object)
            continue
        values = np.array(numbers, dtype=np.float64)
        if np.isinf(values).any():
            raise LawError(f"{path}: {name} holds an infinite number: correct it")
        columns[name] = values
    return Cells(columns, (*table.notes, *decimals.notes))
