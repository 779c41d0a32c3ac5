"""A table as people save it: its encoding, separator and decimal sign are found, or refused.

One reader for the points of a law and for `scorerates fit`. The bytes are read once, so a pipe
will do, and what was read can be hashed. Rows are parsed one by one: besides what is made of its
cells, a file takes its own size in memory and that of its text. Standard library only.

| what varies | read                                      | refused, with the reason           |
|-------------|-------------------------------------------|------------------------------------|
| encoding    | UTF-8; UTF-16, with or without its mark   | others                             |
| packing     | gzip, bzip2, xz; zip with one file        | damaged; several files; a workbook |
| separator   | comma, semicolon, tab; a line `sep=;`     | spaces, vertical bars              |
| decimals    | point; comma where no cell says otherwise | both; `1,234` alone                |
| thousands   | `"1,234.5"`, `1.234,5`                    |                                    |
| comments    | lines with # above the table              |                                    |
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import itertools
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from trainers.errors import LawError, unreadable

MAXIMUM_BYTES = 64 << 20
"""Of a file, as it is and unpacked: it is parsed in some seconds."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SAMPLE = 20
"""Rows that tell the separator."""

_PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open
}  # fmt: skip
_ZIP = b"PK\x03\x04"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+),\d+([eE][+-]?\d+)?", re.ASCII)


def number(cell: str) -> float | None:
    """The number that a cell holds; NaN or an infinity where it says so; None where it is no
    number, which digits with underscores, or of other scripts, are not."""
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def looks_like_a_number(cell: str) -> bool:
    """Whether a cell is a number, whatever its comma means."""
    text = cell.strip()
    return number(text) is not None or bool(
        _DECIMAL_COMMA.fullmatch(text) or _THOUSANDS.fullmatch(text)
    )


@dataclass(frozen=True)
class Decimals:
    """What a comma in a number is."""

    decimal_comma: bool = False
    thousands_comma: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell of it."""
        told = {
            "decimal commas": self.decimal_comma,
            "thousands separated by commas": self.thousands_comma,
        }
        return tuple(text for text, true in told.items() if true)

    def number(self, cell: str) -> float | None:
        """As `number`, with this comma."""
        if "," not in cell:
            return number(cell)
        text = cell.strip()
        if self.decimal_comma and _DECIMAL_COMMA.fullmatch(text):
            return number(text.replace(".", "").replace(",", "."))
        if self.thousands_comma and _THOUSANDS.fullmatch(text):
            return number(text.replace(",", ""))
        return None


@dataclass(frozen=True)
class CsvFile:
    """A table in text. before: lines above it. notes: what was found out about it."""

    path: Path
    text: str
    separator: str
    before: int
    notes: tuple[str, ...]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line in the file, cells) of every row that is not blank. Raises LawError."""
        return _rows(self.path, self.text, self.separator, self.before)

    def decimals(self, columns: Collection[int] | None = None) -> Decimals:
        """What commas mean in these columns, by default in all. Raises LawError where they may
        mean either, or one thing here and another there."""
        if "," not in self.text or (self.separator == "," and '"' not in self.text):
            return Decimals()
        decimal = thousands = point = False
        unclear = ("", 0)
        for line, row in self.rows():
            for cell in row if columns is None else [row[c] for c in columns if c < len(row)]:
                if "," not in cell:
                    point = point or ("." in cell and number(cell) is not None)
                    continue
                text = cell.strip()
                comma, parted = _DECIMAL_COMMA.fullmatch(text), _THOUSANDS.fullmatch(text)
                if comma and parted:
                    unclear = (text, line)
                decimal = decimal or bool(comma and not parted)
                thousands = thousands or bool(parted and not comma)
        if decimal and (point or thousands):
            raise LawError(
                f"{self.path} mixes decimal commas and decimal points: write every number with a "
                "point"
            )
        text, line = unclear
        if line and not decimal and not thousands and not point:
            raise LawError(
                f"{self.path}, line {line}: {text!r} may be {text.replace(',', '')} or "
                f"{text.replace(',', '.')}: write it without the comma"
            )
        return Decimals(decimal, thousands or bool(line and point))


P = TypeVar("P")


@dataclass(frozen=True)
class ReadFile(Generic[P]):
    """A data file as it was read once. data: its bytes. points: what laws take of it. notes: what a
    reader should know of how it was read."""

    path: Path
    data: bytes
    points: P
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the very bytes that the points were read from."""
        return hashlib.sha256(self.data).hexdigest()


def check_unchanged(data: bytes, sha256: str, path: str | Path) -> None:
    """Raises LawError where a law's file has other bytes than those of this SHA-256."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise LawError(
            f"law.file: {path} does not hold the data with SHA-256 {sha256[:8]}… that the law was "
            "made from: restore the file, or load the spec again"
        )


def bytes_of_law(file: str | None, sha256: str) -> bytes:
    """Of a law's file, where they were not handed on. Raises LawError where it names none."""
    if file is None:
        raise LawError(
            f"the data with SHA-256 {sha256[:8]}… are not here, and law.file does not say "
            "where: load the spec again"
        )
    return read_bytes(Path(file))


def read_bytes(path: Path, regular: bool = False, descriptor: int | None = None) -> bytes:
    """The bytes of a file, read once. regular: refuse a pipe or a device, which may keep one
    waiting. descriptor: of what is open already, `path` being what to call it. Raises LawError."""
    file = path if descriptor is None else descriptor
    try:
        kind = os.stat(file)
        if regular and not (stat.S_ISREG(kind.st_mode) or stat.S_ISDIR(kind.st_mode)):
            raise LawError(f"{path} is a pipe or a device: save its rows in a file")
        if stat.S_ISREG(kind.st_mode):
            _refuse_large(path, kind.st_size)
        with open(file, "rb", closefd=descriptor is None) as stream:
            data = stream.read(MAXIMUM_BYTES + 1)
    except LawError:
        raise
    except (OSError, ValueError) as error:
        raise LawError(unreadable(path, error)) from error
    _refuse_large(path, len(data))
    return data


def parse_csv(path: Path, data: bytes) -> CsvFile:
    """The table in the bytes of a file. Raises LawError naming the file, the line and a remedy."""
    text, notes = _text(path, _unpacked(path, data))
    before, stated = 0, None
    for match in _LINE.finditer(text):
        line = match[0].strip()
        state = re.fullmatch(r'"?sep=(.)"?', match[0].strip("\r\n "), re.IGNORECASE)
        if line.startswith("#"):
            notes.append(f"line {before + 1} left out, a comment")
        elif state and stated is None:
            stated = state[1]
        elif line:
            break
        before += 1
    if stated is not None and stated not in SEPARATORS:
        raise LawError(
            f"{path}, line {before} states the separator {stated!r}: use a comma, a semicolon or "
            "a tab"
        )
    separator = stated or _separator(path, text, before)
    if separator != ",":
        notes.append(f"columns separated by {SEPARATORS[separator]}")
    return CsvFile(path, text, separator, before, tuple(notes))


def _rows(path: Path, text: str, separator: str, before: int) -> Iterator[tuple[int, list[str]]]:
    lines = (match[0] for match in _LINE.finditer(text))
    reader = csv.reader(
        itertools.islice(lines, before, None),
        delimiter=separator,
        skipinitialspace=True,
        strict=True,
    )
    line = before + 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield line, row
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise LawError(f"{path} is not a CSV file: line {line}: {error}") from error


def _refuse_large(path: Path, size: int) -> None:
    if size > MAXIMUM_BYTES:
        raise LawError(
            f"{path} is larger than {MAXIMUM_BYTES >> 20} MiB: take a part of its rows or columns"
        )


def _unpacked(path: Path, data: bytes) -> bytes:
    opened = next((kind for magic, kind in _PACKED.items() if data.startswith(magic)), None)
    if opened is None and not data.startswith(_ZIP):
        if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zip") and data:
            raise LawError(
                f"{path} is not packed, whatever the {path.suffix} in its name says: rename it, or "
                "pack it"
            )
        return data
    try:
        if opened is not None:
            with opened(io.BytesIO(data)) as stream:
                unpacked: bytes = stream.read(MAXIMUM_BYTES + 1)
        else:
            with zipfile.ZipFile(io.BytesIO(data)) as archive, _only_member(path, archive) as only:
                unpacked = only.read(MAXIMUM_BYTES + 1)
    except NotImplementedError as error:
        raise LawError(f"{path} cannot be unpacked ({error}): unpack it first") from error
    except LawError:
        raise
    except (
        OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile
    ) as error:  # fmt: skip
        raise LawError(
            f"{path} is packed, and damaged or cut off ({error}): copy or pack it again"
        ) from error
    _refuse_large(path, len(unpacked))
    return unpacked


def _only_member(path: Path, archive: zipfile.ZipFile) -> IO[bytes]:
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if "[Content_Types].xml" in names:
        raise LawError(f"{path} is a workbook: save its sheet as CSV")
    if len(names) != 1:
        raise LawError(f"{path} holds {len(names)} files: unpack it, and name one of them")
    return archive.open(names[0])


def _text(path: Path, data: bytes) -> tuple[str, list[str]]:
    encoding, name = "utf-8-sig", "UTF-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = name = "UTF-16"
    elif b"\0" in data:
        zeros = [data[start::2].count(0) for start in (0, 1)]
        if min(zeros) > 0 or 4 * max(zeros) < len(data):
            raise LawError(f"{path} holds binary data: save it as CSV, in UTF-8")
        encoding = "UTF-16-LE" if zeros[1] else "UTF-16-BE"
        name = f"{encoding} without a byte-order mark"
    try:
        return data.decode(encoding), [] if name == "UTF-8" else [name]
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LawError(
            f"{path} is not a CSV file in {name} (line {line} is none): save it as UTF-8"
        ) from error


def _separator(path: Path, text: str, before: int) -> str:
    """The mark that parts the first rows into equally many cells, most of them numbers. Where none
    does, the first that stands in the first row: the caller names the row that does not fit."""
    best, separator = 0.0, None
    for mark in SEPARATORS:
        try:
            rows = [row for _, row in itertools.islice(_rows(path, text, mark, before), _SAMPLE)]
        except LawError:
            continue
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            cells = [cell for row in rows[1:] or rows for cell in row]
            # a text column may well be there; a single row may be nothing but names
            share = (1 + sum(map(looks_like_a_number, cells))) / len(cells)
            if share > best:
                best, separator = share, mark
    if separator is not None:
        return separator
    first = next(itertools.islice(_LINE.finditer(text), before, None), None)
    head = "" if first is None else first[0]
    for mark, many in ((r"\s*\|\s*", "vertical bars"), (r"\s+", "spaces")):
        cells = re.split(mark, head.strip().strip("|"))
        following = [m[0] for m in itertools.islice(_LINE.finditer(text), before + 1, before + 4)]
        alike = [len(re.split(mark, line.strip().strip("|"))) for line in following if line.strip()]
        if len(cells) > 1 and alike and set(alike) == {len(cells)} and "," not in head:
            raise LawError(f"{path}: its columns are separated by {many}: write commas")
    return next((mark for mark in ("\t", ";", ",") if mark in head), ",")
