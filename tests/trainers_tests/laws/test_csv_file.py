"""Tables as people save them: what is read, with which numbers, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from trainers.errors import LawError
from trainers.laws import csv_file
from trainers.laws.csv_file import CsvFile, number, parse_csv, read_bytes

PLAIN = "N,error\n64,0.5\n128,0.25\n"
NUMBERS = [[64, 0.5], [128, 0.25]]


def parsed(data: str | bytes, name: str = "t.csv") -> CsvFile:
    return parse_csv(Path(name), data.encode() if isinstance(data, str) else data)


def numbers(table: CsvFile) -> list[list[float | None]]:
    """Of all rows but the first."""
    decimals = table.decimals()
    return [[decimals.number(cell) for cell in row] for _, row in table.rows()][1:]


def zipped(**members: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.mkdir("folder")
        for name, text in members.items():
            archive.writestr(name, text)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "notes"),
    [
        (PLAIN, ()),
        (PLAIN.replace("\n", "\r\n"), ()),
        (PLAIN.replace("\n", "\r"), ()),
        ('"N" ,"error"\n"64","0.5"\n 128, 0.25 '.replace('" ,', '",'), ()),
        ("N,error\n64,5e-1\n+128,.25", ()),
        (PLAIN.replace(",", ";"), ("columns separated by semicolons",)),
        (PLAIN.replace(",", "\t"), ("columns separated by tabs",)),
        (PLAIN.replace(",", ",\t"), ()),
        ("N;error\n64;0,5\n128;0,25\n", ("columns separated by semicolons",)),
        ("sep=;\n" + PLAIN.replace(",", ";"), ("columns separated by semicolons",)),
        ('"SEP=\t"\r\n' + PLAIN.replace(",", "\t"), ("columns separated by tabs",)),
        ("sep=,\n" + PLAIN, ()),
        ("\n# of 2031\n\n" + PLAIN, ("line 2 left out, a comment",)),
        (PLAIN.encode("utf-8-sig"), ()),
        (PLAIN.encode("utf-16"), ("UTF-16",)),
        (b"\xfe\xff" + PLAIN.encode("utf-16-be"), ("UTF-16",)),
        (PLAIN.encode("utf-16-le"), ("UTF-16-LE without a byte-order mark",)),
        (PLAIN.encode("utf-16-be"), ("UTF-16-BE without a byte-order mark",)),
        (gzip.compress(PLAIN.encode(), mtime=0), ()),
        (bz2.compress(PLAIN.encode()), ()),
        (lzma.compress(PLAIN.encode()), ()),
        (zipped(t=PLAIN), ()),
    ],
)
def test_what_is_read(data: str | bytes, notes: tuple[str, ...]) -> None:
    table = parsed(data)
    assert numbers(table) == NUMBERS
    assert table.notes == notes


@pytest.mark.parametrize(
    ("text", "expected", "notes"),
    [
        ("a;b\n0,5;1,25\n-1,5e3;7\n", [[0.5, 1.25], [-1500, 7]], ("decimal commas",)),
        ("a;b\n1.234,5;1,234\n", [[1234.5, 1.234]], ("decimal commas",)),
        ('a,b\n"0,5","1,234"\n', [[0.5, 1.234]], ("decimal commas",)),
        (
            'a,b\n"1,234.5","12,345"\n',
            [[1234.5, 12345]],
            ("thousands separated by commas",),
        ),
        ('a,b\n"1,234",0.5\n', [[1234, 0.5]], ("thousands separated by commas",)),
        ("a\tb\n1,234,567\t3\n", [[1234567, 3]], ("thousands separated by commas",)),
        ("a;b\n12;3\n", [[12, 3]], ()),
        # a line of text with commas says nothing about numbers
        ('a,b\n0.5,"x, y"\n', [[0.5, None]], ()),
        ("a;b\n0,1;0,2\n", [[0.1, 0.2]], ("decimal commas",)),
    ],
)
def test_what_commas_mean(text: str, expected: list[list[float]], notes: tuple[str, ...]) -> None:
    table = parsed(text)
    assert numbers(table) == expected
    assert table.decimals().notes == notes


def test_decimal_commas_without_a_header() -> None:
    table = parsed("0,1;0,2\n0,3;0,4\n")
    decimals = table.decimals()
    assert [[decimals.number(c) for c in row] for _, row in table.rows()] == [
        [0.1, 0.2],
        [0.3, 0.4],
    ]


def test_only_the_columns_that_are_asked_for_decide_about_commas() -> None:
    table = parsed('run,a\n"1,5",0.5\n')
    assert table.decimals([1]).number("0.5") == 0.5
    with pytest.raises(LawError, match="mixes decimal commas and decimal points"):
        table.decimals()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b\n1,234;5,678\n", "line 2: '5,678' may be 5678 or 5.678: write it without the comma"),
        ('a,b\n"0,5",0.5\n', "mixes decimal commas and decimal points"),
        ('a,b\n"0,5","1,234.5"\n', "mixes decimal commas and decimal points"),
    ],
)
def test_commas_that_may_mean_either_are_refused(text: str, said: str) -> None:
    with pytest.raises(LawError, match=said):
        parsed(text).decimals()


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (gzip.compress(PLAIN.encode() * 50, mtime=0)[:-12], "t.csv.gz", "damaged or cut off"),
        (bz2.compress(PLAIN.encode())[:-12], "t.bz2", "damaged or cut off"),
        (lzma.compress(PLAIN.encode())[:-12], "t.xz", "damaged or cut off"),
        (zipped(t=PLAIN)[:40], "t.zip", "damaged or cut off"),
        (zipped(a=PLAIN, b=PLAIN), "t.zip", "holds 2 files: unpack it, and name one of them"),
        (zipped(), "t.zip", "holds 0 files"),
        (zipped(**{"[Content_Types].xml": "", "a": ""}), "t.xlsx", "workbook: save its sheet as"),
        (PLAIN.encode(), "t.zip", "is not packed, whatever the .zip in its name says: rename it"),
        (PLAIN.encode(), "t.csv.gz", "is not packed, whatever the .gz"),
        ("é,b\n1,2\n".encode("latin-1"), "t.csv", "(line 1 is none): save it as UTF-8"),
        ("a,b\n1,é\n".encode("latin-1"), "t.csv", "(line 2 is none): save it as UTF-8"),
        (b"PAR1\0\0\x15\0ab\0c\0", "t.csv", "holds binary data"),
        (b"sep=:\n1:2\n", "t.csv", "line 1 states the separator ':': use a comma"),
        (b"a b\n1 2\n3 4\n", "t.csv", "separated by spaces: write commas"),
        (b"| a | b |\n| 1 | 2 |\n", "t.csv", "separated by vertical bars: write commas"),
    ],
)
def test_what_is_refused(data: bytes, name: str, said: str) -> None:
    with pytest.raises(LawError) as raised:
        parsed(data, name)
    assert said in str(raised.value)
    assert name in str(raised.value)


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    text = 'sep=,\r\n# why\r\na,b\r\n\r\n1,"two\r\nlines"\r\n \r\n3,4'
    assert list(parsed(text).rows()) == [
        (3, ["a", "b"]), (5, ["1", "two\r\nlines"]), (8, ["3", "4"])
    ]  # fmt: skip
    with pytest.raises(LawError, match="line 4: unexpected end of data"):
        list(parsed('a,b\n\n1,2\n3,"4\n5,6\n').rows())


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1", 1), (" -1.5E-3 ", -0.0015), ("2031_01", None), ("٣", None), ("１２", None), ("", None)],
)
def test_what_a_number_is(cell: str, value: float | None) -> None:
    assert number(cell) == value


def test_a_pipe_is_read_once_and_refused_where_a_file_is_needed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(PLAIN,))
    writer.start()
    assert read_bytes(pipe) == PLAIN.encode()
    writer.join()
    with pytest.raises(LawError, match="is a pipe or a device: save its rows in a file"):
        read_bytes(pipe, regular=True)
    with pytest.raises(LawError, match="Is a directory"):
        read_bytes(tmp_path, regular=True)


def test_what_is_too_large_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as stream:
        stream.truncate(100_000_000)
    packed = gzip.compress(b"0" * (csv_file.MAXIMUM_BYTES + 1), 1)
    tracemalloc.start()
    with pytest.raises(LawError, match=r"large\.csv is larger than 64 MiB: take a part of its"):
        read_bytes(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(LawError, match="is larger than 64 MiB"):
        parsed(packed)


@pytest.mark.slow
def test_a_file_takes_some_times_its_size_in_memory() -> None:
    data = b"a,b\n" + b"0.5,12\n" * 200_000
    tracemalloc.start()
    table = parsed(data)
    assert sum(1 for _ in table.rows()) == 200_001
    assert tracemalloc.get_traced_memory()[1] < 2.5 * len(data)
    tracemalloc.stop()
