"""Atoms from a numeric CSV file: read, checked, standardised, and known by the file's SHA-256."""

from __future__ import annotations

import csv
import hashlib
import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.errors import LawError

FloatArray = NDArray[np.float64]


def load_atoms(path: str | Path) -> FloatArray:
    """The rows of a numeric CSV file as points [count, d], standardised column by column.

    Every column then has mean 0 and variance 1 (the variance of the rows themselves, with
    1/count). Comma-separated, UTF-8; blank lines are skipped. A first line in which no cell is a
    number is taken as a header. Raises LawError naming the file, and the line and column, for
    a missing or empty file, text, NaN or infinite cells, ragged lines, an unnamed header cell
    (an index column saved by accident) and constant columns.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            values, names = _parse(path, csv.reader(stream))
    except OSError as error:
        raise _unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LawError(f"{path} is not a CSV file in UTF-8: {error}") from error
    # shifted by its first row and scaled by its largest entry, a column neither overflows nor
    # loses its variance to cancellation
    with np.errstate(over="ignore"):
        values -= values[0].copy()
    scale = np.abs(values).max(axis=0)
    for name, size in zip(names, scale, strict=True):
        if size == 0:
            raise LawError(f"{path}, {name} is constant and cannot be standardised: remove it")
        if not np.isfinite(size):
            raise LawError(f"{path}, {name} spans more than floating point holds: rescale it")
    values /= scale
    values -= values.mean(axis=0)
    values /= values.std(axis=0)
    return values


def _parse(path: Path, reader: Any) -> tuple[FloatArray, list[str]]:
    """The cells [count, d] of a csv.reader, and what to call the columns in messages."""
    cells = array("d")
    names: list[str] = []
    for row in reader:
        if not row:
            continue
        line = f"{path}, line {reader.line_num}"
        if not names:
            names = [f"column {i}" for i in range(1, len(row) + 1)]
            if not any(map(_is_number, row)):
                if not all(cell.strip() for cell in row):
                    unnamed = names[[cell.strip() for cell in row].index("")]
                    raise LawError(
                        f"{line}: {unnamed} has no name in the header: remove the column if it is "
                        "an index, else name it"
                    )
                names = [f"{name} ({cell.strip()})" for name, cell in zip(names, row, strict=True)]
                continue
        if len(row) != len(names):
            raise LawError(f"{line} has {len(row)} cells, but the first line has {len(names)}")
        try:
            numbers = list(map(float, row))
        except ValueError:
            bad = list(map(_is_number, row)).index(False)
            raise LawError(
                f"{line}, {names[bad]}: {row[bad]!r} is not a number: give numbers separated by "
                "commas"
            ) from None
        if not all(map(math.isfinite, numbers)):
            bad = list(map(math.isfinite, numbers)).index(False)
            raise LawError(
                f"{line}, {names[bad]}: {row[bad]!r} is not finite: drop the row, or fill it in"
            )
        cells.extend(numbers)
    if not cells:
        raise LawError(f"{path} holds no rows of numbers")
    return np.frombuffer(cells).reshape(-1, len(names)), names


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal. Raises LawError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> LawError:
    return LawError(f"cannot read {path}: {error.strerror or error}")


def resolve_atoms(mapping: Mapping[str, Any], folder: str | Path) -> dict[str, Any]:
    """A spec's raw `law` mapping, with what its data file decides filled in.

    For {kind: atoms, file: data.csv}: reads the file (relative to `folder`) and adds `file` as an
    absolute path, `sha256` of its bytes, `dimension` and `count`. The `inner` law of a subspace
    is treated likewise; any other mapping comes back as it is. Raises LawError, naming the key,
    where a given dimension, count or sha256 is not the file's, and where `load_atoms` does.
    """
    return _resolve(mapping, Path(folder), "law")


def _resolve(mapping: Mapping[str, Any], folder: Path, key: str) -> dict[str, Any]:
    resolved = dict(mapping)
    if isinstance(resolved.get("inner"), Mapping):
        resolved["inner"] = _resolve(resolved["inner"], folder, f"{key}.inner")
    if resolved.get("kind") != "atoms" or resolved.get("file") is None:
        return resolved
    if not isinstance(resolved["file"], str | Path):
        raise LawError(f"{key}.file = {resolved['file']!r} must be the path of a CSV file")
    path = (folder / resolved["file"]).resolve()
    try:
        count, dimension = load_atoms(path).shape
        found = {"dimension": dimension, "count": count, "sha256": sha256_of(path)}
    except LawError as error:
        raise LawError(f"{key}.file: {error}") from error
    for name, value in found.items():
        given = resolved.get(name)
        if given is not None and given != value:
            raise LawError(f"{key}.{name} = {given}, but {path} gives {value}: remove {key}.{name}")
    return {**resolved, **found, "file": str(path)}
