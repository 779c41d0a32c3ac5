"""Atoms from a numeric CSV file: read, checked, standardised, and known by the file's SHA-256."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.errors import LawError
from trainers.laws.csv_file import (
    CsvFile,
    ReadFile,
    check_unchanged,
    looks_like_a_number,
    number,
    parse_csv,
    read_bytes,
)

SMALLEST_VARIATION = 1e-10
"""Of a column, as a share of its largest entry. Rounding, at 1e-16, is then a millionth of it."""
YEARS = range(1900, 2101)
_CHECKED = 100
"""Rows that a header of numbers is told from."""

LARGEST = 1e6
"""Size of an entry that is taken as it is: float32 squares it, and sums over d."""

AS_THEY_ARE = "rows:"
"""Before the SHA-256 under which rows are held that are not standardised."""

FloatArray = NDArray[np.float64]


class AtomsFile(ReadFile[FloatArray]):
    """Its points [count, d] are the rows, standardised."""

    prefix = ""

    @property
    def key(self) -> str:
        """Under which it is held."""
        return self.prefix + self.sha256


class RowsFile(AtomsFile):
    """Its points [count, d] are the rows as they are."""

    prefix = AS_THEY_ARE


def load_atoms(path: str | Path) -> FloatArray:
    """The rows of a numeric CSV file as points [count, d], standardised column by column.

    Every column then has mean 0 and variance 1 (the variance of the rows themselves, with
    1/count). Encodings, separators and decimal signs: trainers.laws.csv_file. A first line in
    which no cell is a number is taken as a header. Raises LawError naming the file, and the line
    and column, for a missing or empty file, text, NaN or infinite cells, ragged lines, a header of
    numbers, an index column saved by accident, two columns of one name, and columns that are
    constant, or vary by rounding only.
    """
    return read_atoms(path).points


def read_atoms(path: str | Path, standardise: bool = True, data: bytes | None = None) -> AtomsFile:
    """A data file, read once, or of its bytes. Raises LawError as `load_atoms` does; rows that are
    not standardised may have constant columns, and no entry above LARGEST."""
    path = Path(path)
    data = read_bytes(path, regular=True) if data is None else data
    made = AtomsFile if standardise else RowsFile
    return made(path, data, *_points(path, data, standardise))


def checked_points(data: bytes, key: str, path: str | Path) -> FloatArray:
    """The points in the bytes of a file that is held under this key. Raises LawError where the
    bytes are others. path: for messages."""
    check_unchanged(data, key.removeprefix(AS_THEY_ARE), path)
    return _points(Path(path), data, not key.startswith(AS_THEY_ARE))[0]


def _points(path: Path, data: bytes, standardise: bool) -> tuple[FloatArray, tuple[str, ...]]:
    values, names, notes = _numbers(parse_csv(path, data))
    if not standardise:
        return _as_they_are(path, values, names), (*notes, *_indices(values, names))
    # shifted by its first row and scaled by its largest entry, a column neither overflows nor
    # loses its variance to cancellation
    largest = np.abs(values).max(axis=0)
    with np.errstate(over="ignore"):
        values -= values[0].copy()
    scale = np.abs(values).max(axis=0)
    for name, size, held in zip(names, scale, largest, strict=True):
        if size == 0:
            raise LawError(f"{path}, {name} is constant and cannot be standardised: remove it")
        if not np.isfinite(size):
            raise LawError(f"{path}, {name} spans more than floating point holds: rescale it")
        if size < SMALLEST_VARIATION * held:
            raise LawError(
                f"{path}, {name} varies in its last digits only (by {size:.2g} of {held:.6g}), "
                "where rounding is: subtract its offset where the data are made, or remove it"
            )
    notes = (*notes, *_indices(values, names))
    values /= scale
    values -= values.mean(axis=0)
    values /= values.std(axis=0)
    return values, notes


def _as_they_are(path: Path, values: FloatArray, names: list[str]) -> FloatArray:
    for name, largest in zip(names, np.abs(values).max(axis=0), strict=True):
        if largest > LARGEST:
            raise LawError(
                f"{path}, {name} has an entry of size {largest:.3g}, above {LARGEST:,.0f}: rescale "
                "it, or leave out standardise: false"
            )
    return values.copy()


def _indices(values: FloatArray, names: list[str]) -> tuple[str, ...]:
    """A note for each column that counts the rows."""
    return tuple(
        f"{name} counts the rows (remove it if it is an index)"
        for index, name in enumerate(names)
        if len(values) > 2 and (np.diff(values[:, index]) == 1).all()
    )


def _numbers(table: CsvFile) -> tuple[FloatArray, list[str], tuple[str, ...]]:
    """The cells [count, d], what to call the columns in messages, and notes."""
    path, notes, rows = table.path, table.notes, table.rows()
    line, first = next(rows, (0, []))
    if not first:
        raise LawError(f"{path} holds no rows of numbers")
    names = [f"column {i}" for i in range(1, len(first) + 1)]
    numeric = [looks_like_a_number(cell) for cell in first]
    unnamed = len(first) > 1 and not first[0].strip() and all(numeric[1:])
    if unnamed or not any(numeric):
        names = named_columns(path, line, first)
    else:
        _refuse_header_of_numbers(table, line, first)
        rows = itertools.chain([(line, first)], rows)
        notes = (*notes, f"no header: line {line} ({_shown(first)[:60]}) is the first row")
    decimals = table.decimals()
    cells = array("d")
    for line, row in rows:
        if len(row) != len(names):
            raise LawError(
                f"{path}, line {line} has {len(row)} cells, but the first line has {len(names)}: "
                "complete it, and write decimals with a point"
            )
        for name, cell in zip(names, row, strict=True):
            value = decimals.number(cell)
            if value is None:
                raise LawError(
                    f"{path}, line {line}, {name}: {cell[:60]!r} is not a number: correct it, or "
                    "remove the column"
                )
            if not math.isfinite(value):
                raise LawError(
                    f"{path}, line {line}, {name}: {cell[:60]!r} is not finite: drop the row, or "
                    "fill it in"
                )
            cells.append(value)
    if not cells:
        raise LawError(f"{path} holds no rows of numbers")
    values = np.frombuffer(cells).reshape(-1, len(names))
    if len(values) == 1:
        raise LawError(f"{path} holds one row of numbers: a law takes at least two")
    return values, names, (*notes, *decimals.notes)


def named_columns(path: Path, line: int, cells: list[str]) -> list[str]:
    """What to call columns in messages, of the line of their names. Raises LawError for names that
    are missing or there twice."""
    names = [f"column {i}" for i in range(1, len(cells) + 1)]
    given = [cell.strip() for cell in cells]
    if not all(given) or "Unnamed: 0" in given:
        nameless = next(i for i, name in enumerate(given) if name in ("", "Unnamed: 0"))
        raise LawError(
            f"{path}, line {line}: {names[nameless]} has no name in the header: remove the "
            "column if it is an index, else name it"
        )
    twice = [name for i, name in enumerate(given) if name in given[:i]]
    if twice:
        raise LawError(
            f"{path}, line {line}: the header names two columns {twice[0][:60]!r}: remove one, or "
            "rename it"
        )
    return [f"{name} ({cell})" for name, cell in zip(names, given, strict=True)]


def _refuse_header_of_numbers(table: CsvFile, line: int, cells: list[str]) -> None:
    """pandas names columns 0, 1, 2, and tables of years have years: whole numbers above cells that
    are none, or that are no years. Digits alone cannot tell such a header from data."""
    if not all(map(_whole, cells)):
        return
    following = [cell for _, row in itertools.islice(table.rows(), 1, _CHECKED) for cell in row]
    others = [
        cell
        for cell in following
        if looks_like_a_number(cell) and not _whole(cell) and any(map(str.isdigit, cell))
    ]
    named = list(map(int, cells))
    rising = len(named) > 1 and {b - a for a, b in itertools.pairwise(named)} == {1}
    counted = named == list(range(len(named))) and (len(named) > 2 or bool(others))
    years = rising and all(n in YEARS for n in named)
    if (
        counted
        or (rising and others)
        or (others and len(others) == len(following))
        or (years and not all(number(cell) in YEARS for cell in following))
    ):
        raise LawError(
            f"{table.path}, line {line}: {_shown(cells)} looks like a header of numbers, such as "
            "pandas writes: give the columns names instead; if it is data, put a line of names "
            "above it"
        )


def _shown(cells: list[str]) -> str:
    return ",".join(cell.strip() for cell in cells[:3]) + (",..." if len(cells) > 3 else "")


def _whole(cell: str) -> bool:
    digits = cell.strip().removeprefix("-").removeprefix("+")
    return digits.isascii() and digits.isdigit() and len(digits) < 20


def resolve_atoms(
    mapping: Mapping[str, Any],
    folder: str | Path,
    held: MutableMapping[str, AtomsFile] | None = None,
) -> dict[str, Any]:
    """A spec's raw `law` mapping, with what its data file decides filled in.

    For {kind: atoms, file: data.csv}: reads the file (relative to `folder`) and adds `file` as an
    absolute path, `sha256` of its bytes, `dimension` and `count`. The `inner` law of a subspace
    is treated likewise; any other mapping comes back as it is. `held` takes the files by SHA-256:
    hand them on, since a file may be edited before it trains. Raises LawError, naming the key,
    where a given dimension, count or sha256 is not the file's, and where `load_atoms` does.
    """
    return _resolve(mapping, Path(folder), "law", {} if held is None else held)


def _resolve(
    mapping: Mapping[str, Any], folder: Path, key: str, held: MutableMapping[str, AtomsFile]
) -> dict[str, Any]:
    resolved = dict(mapping)
    if isinstance(resolved.get("inner"), Mapping):
        resolved["inner"] = _resolve(resolved["inner"], folder, f"{key}.inner", held)
    if resolved.get("kind") != "atoms" or resolved.get("file") is None:
        return resolved
    if not isinstance(resolved["file"], str | Path):
        raise LawError(f"{key}.file = {resolved['file']!r} must be the path of a CSV file")
    standardise = resolved.get("standardise", True) is not False
    try:
        path = (folder / resolved["file"]).resolve()
        # two laws of one file are of one moment
        read = [f for f in held.values() if f.path == path]
        same = (f for f in read if type(f) is (AtomsFile if standardise else RowsFile))
        data = read[0].data if read else None
        file = next(same, None) or read_atoms(path, standardise, data)
    except (LawError, OSError, ValueError, RuntimeError) as error:
        raise LawError(f"{key}.file: {error}") from error
    count, dimension = file.points.shape
    filled = {"dimension": dimension, "count": count, "sha256": file.sha256}
    held[file.key] = file
    for name, value in filled.items():
        given = resolved.get(name)
        if given is not None and given != value:
            raise LawError(f"{key}.{name} = {given}, but {path} gives {value}: remove {key}.{name}")
    return {**resolved, **filled, "file": str(path)}
