"""CSV files of atoms: standardisation, the completed mapping, and what is refused."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from analysis.data.sweeps import data_file, standardised
from trainers.errors import LawError
from trainers.laws import checked_data, make_distribution
from trainers.laws.atoms_file import checked_points, load_atoms, read_atoms, resolve_atoms
from trainers.trial import Atoms, Subspace


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def to_file(text: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return to_file


@pytest.mark.parametrize("header", ["", "x,y,z\n", '"a, b",y,"z"\n'])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_columns_are_standardised(write: Callable[..., Path], header: str, newline: str) -> None:
    raw = np.random.default_rng(0).normal([5, -3, 1e6], [0.1, 10, 1e3], size=(200, 3))
    lines = "".join(",".join(map(repr, row)) + "\n" for row in raw.tolist())
    points = load_atoms(write((header + lines).replace("\n", newline)))
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(points.var(axis=0), 1, rtol=1e-12)
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(points, expected, rtol=1e-9, atol=1e-9)


def test_what_a_file_may_hold(write: Callable[..., Path]) -> None:
    # a byte-order mark, blank lines, spaces, exponents, no newline at the end
    points = load_atoms(write(b"\xef\xbb\xbf 1,2e0\n\n3, 4\n\n"))
    np.testing.assert_allclose(points, [[-1, -1], [1, 1]])
    # huge and tiny scales, and offsets a million times the spread
    points = load_atoms(write("1e200,1e-200,1000000.25\n3e200,3e-200,1000000.75\n"))
    np.testing.assert_allclose(points, [[-1, -1, -1], [1, 1, 1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,abc\n", r"line 2, column 2: 'abc' is not a number"),
        ("x,y\n1,2\n\n3,\n", r"line 4, column 2 \(y\): '' is not a number"),
        ("1,two\n3,4\n", r"line 1, column 2: 'two' is not a number"),
        ("x,y\n1,2\nnan,4\n", r"line 3, column 1 \(x\): 'nan' is not finite"),
        ("1,2\n3,-inf\n", r"line 2, column 2: '-inf' is not finite"),
        ("x,y\n1,2\n3,4,5\n", r"line 3 has 3 cells, but the first line has 2"),
        ("x,y\n1,2\n3,2\n", r"column 2 \(y\) is constant .*remove it"),
        ("0.1,1\n0.1,2\n0.1,3\n", r"column 1 is constant"),
        ("1,2\n", r"holds one row of numbers: a law takes at least two"),
        ("x,y\n1,2\n", r"holds one row of numbers"),
        ("-1.7e308,1\n1.7e308,2\n", r"column 1 spans more than .*rescale"),
        (",x\n0,1.5\n1,2.5\n", r"line 1: column 1 has no name in the header.*index"),
        (",0,1\n0,1.5,3\n1,2.5,4\n", r"line 1: column 1 has no name in the header.*index"),
        ("Unnamed: 0,x\n0,1.5\n1,2.5\n", r"column 1 has no name in the header.*index"),
        ("x,y,x\n1,2,3\n4,5,6\n", r"line 1: the header names two columns 'x': remove one"),
        ("id,x\n2031_01,2\n2031_02,5\n", r"line 2, column 1 \(id\): '2031_01' is not a number"),
        ("x,y\n1,٣\n2,٤\n", r"line 2, column 2 \(y\): '٣' is not a number"),
        ("x\n1,5\n2,5\n", r"line 2 has 2 cells, but the first line has 1: .*with a point"),
        ("x,y\n1e9,1\n1000000000.00001,2\n", r"column 1 \(x\) varies in its last digits only"),
        ("", "no rows of numbers"),
        ("x,y\n", "no rows of numbers"),
        (b"\xff\xfe1,2", "not a CSV file in UTF-16"),
    ],
)
def test_what_is_refused(write: Callable[..., Path], text: str | bytes, message: str) -> None:
    path = write(text)
    with pytest.raises(LawError, match=message) as caught:
        load_atoms(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("a,b,c", "0,1,2\n0.5,-1.5,3.25\n4.5,1,2\n"),  # pandas
        ("a,b,c", "0,1,2\n5,3,8\n2,7,1\n"),
        ("a,b", "0,1\n5,3.5\n2,7.25\n"),
        ("a", "0\n0.5\n1.5\n"),
        ("a,b,c", "2019,2020,2021\n14,15,9\n3,26,5\n"),  # years
        ("a,b", "1990,1995\n1.5,2.5\n3.5,4.5\n"),
        ("a,b,c", "64,128,256\n0.5,0.25,0.125\n0.75,0.5,0.25\n"),
        ("a;b", "7;8\n0,5;1,5\n2,5;3,5\n"),
    ],
)
def test_a_header_of_numbers_is_not_trained_on(
    write: Callable[..., Path], names: str, text: str
) -> None:
    with pytest.raises(LawError, match=r"line 1: .* looks like a header of numbers.*put a line of"):
        load_atoms(write(text))
    assert len(load_atoms(write(f"{names}\n{text}"))) == 3 if text.count("\n") == 3 else 4


@pytest.mark.parametrize("text", ["0,1\n1,0\n1,1\n", "3\n5\n4\n", "2019,2020\n2021,2025\n"])
def test_whole_numbers_alone_are_data(write: Callable[..., Path], text: str) -> None:
    file = read_atoms(write(text))
    assert len(file.points) == text.count("\n")
    assert file.notes[0].startswith("no header: line 1 (")


def test_how_a_file_was_read_is_told(write: Callable[..., Path]) -> None:
    assert read_atoms(write("x,y\n1,2\n3,5\n4,4\n")).notes == ()
    assert read_atoms(write("1,2\n3,5\n4,4\n")).notes == (
        "no header: line 1 (1,2) is the first row",
    )
    file = read_atoms(write("i;x\n7;0,5\n8;2,5\n9;3,0\n"))
    assert file.notes == (
        "columns separated by semicolons",
        "decimal commas",
        "column 1 (i) counts the rows (remove it if it is an index)",
    )
    expected = load_atoms(write("7,0.5\n8,2.5\n9,3.0\n", "points.csv"))
    np.testing.assert_array_equal(file.points, expected)


def test_two_columns_of_one_scale_far_from_zero_keep_their_digits(
    write: Callable[..., Path],
) -> None:
    points = load_atoms(write("t,x\n1700000000,1\n1700000001,2\n1700000003,4\n"))
    np.testing.assert_allclose(points[:, 0], points[:, 1], rtol=1e-9)  # seconds since 1970


def test_a_worker_refuses_bytes_that_are_not_those_of_the_law(write: Callable[..., Path]) -> None:
    file = read_atoms(write("x,y\n1,2\n3,5\n4,4\n"))
    np.testing.assert_array_equal(checked_points(file.data, file.sha256, "a"), file.points)
    with pytest.raises(LawError, match="a does not hold the data with SHA-256 "):
        checked_points(file.data.replace(b"5", b"6"), file.sha256, "a")


def test_a_pipe_is_no_file_of_a_law(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(LawError, match=r"law\.file: .* is a pipe or a device"):
        resolve_atoms({"kind": "atoms", "file": "pipe.csv"}, tmp_path)


PIECES = [
    *"0123456789,;\t.\n\r\"'#-+eE_ |",
    "sep=",
    "x",
    "nan",
    "1e400",
    "٣",
    "\0",
    "0,1,2\n",
    "1,234",
]


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES), max_size=60), st.sampled_from(["utf-8", "utf-16-le"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_is_points_or_refused(
    tmp_path: Path, pieces: list[str], encoding: str
) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("".join(pieces).encode(encoding))
    try:
        points = load_atoms(path)
    except LawError:
        return
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(points.var(axis=0), 1, rtol=1e-9)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(LawError, match=r"cannot read .*none\.csv: No such file"):
        load_atoms(tmp_path / "none.csv")
    with pytest.raises(LawError, match="cannot read"):
        load_atoms(tmp_path)
    with pytest.raises(LawError, match=r"law\.file: cannot read .*none\.csv"):
        resolve_atoms({"kind": "atoms", "file": "none.csv"}, tmp_path)


def test_resolving_fills_in_what_the_file_decides(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    text = "x,y\n1,2\n3,4\n5,7\n"
    path = write(text)
    given = {"kind": "atoms", "file": "data.csv"}
    expected = {
        "kind": "atoms",
        "file": str(path),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "dimension": 2,
        "count": 3,
    }
    assert resolve_atoms(given, tmp_path) == expected
    assert given == {"kind": "atoms", "file": "data.csv"}  # left as it was
    assert resolve_atoms({**given, "dimension": 2, "count": 3}, tmp_path) == expected
    assert resolve_atoms(expected, "/") == expected  # resolving twice changes nothing
    outer = {"kind": "subspace", "dimension": 5, "inner": given}
    assert resolve_atoms(outer, tmp_path) == {**outer, "inner": expected}


@pytest.mark.parametrize(
    "mapping",
    [
        {"kind": "cube", "dimension": 2},
        {"kind": "atoms", "dimension": 2, "count": 4},
        {"kind": "subspace", "dimension": 3, "inner": {"kind": "cube", "dimension": 2}},
    ],
)
def test_laws_without_a_file_come_back_as_they_are(mapping: dict[str, Any]) -> None:
    assert resolve_atoms(mapping, "/nowhere") == mapping


def test_what_contradicts_the_file(write: Callable[..., Path], tmp_path: Path) -> None:
    write("1,2\n3,4\n5,7\n")
    given = {"kind": "atoms", "file": "data.csv"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({**given, "dimension": 3}, "law.dimension = 3, but"),
        ({**given, "count": 4}, "law.count = 4, but"),
        ({**given, "sha256": "0" * 64}, "law.sha256 = 0000"),
        ({**given, "file": 3}, "law.file = 3 must be the path"),
        ({"kind": "subspace", "inner": {**given, "count": 9}}, "law.inner.count = 9, but"),
        ({"kind": "subspace", "inner": {**given, "file": "no"}}, "law.inner.file: cannot read"),
    ]
    for mapping, message in cases:
        with pytest.raises(LawError, match=re.escape(message)):
            resolve_atoms(mapping, tmp_path)


def test_the_law_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("x,y\n1,10\n2,30\n6,20\n")
    points = load_atoms(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    law = Atoms(dimension=2, count=3, file=str(path), sha256=sha256)
    for distribution in (make_distribution(law), make_distribution(law, {sha256: points})):
        found = np.unique(distribution.sample(200, np.random.default_rng(0)), axis=0)
        np.testing.assert_array_equal(found, np.unique(points, axis=0))
        assert distribution.second_moment == pytest.approx(2)  # two columns of variance 1
    inner: Any = make_distribution(Subspace(dimension=4, inner=law), {sha256: points})
    assert inner.second_moment == pytest.approx(2)
    with pytest.raises(LawError, match=r"have shape \(2, 2\): use resolve_atoms"):
        make_distribution(law, {sha256: points[:2]})
    path.write_text("1,10\n2,30\n6,21\n")
    with pytest.raises(LawError, match="restore the file"):
        make_distribution(law)
    path.unlink()
    with pytest.raises(LawError, match="cannot read"):
        make_distribution(law)
    with pytest.raises(LawError, match=r"law\.file does not say where"):
        make_distribution(law.model_copy(update={"file": None}))


def test_rows_may_be_taken_as_they_are(write: Callable[..., Path]) -> None:
    path = write("x,y\n1,7\n3,7\n4.5,7\n")
    held: dict[str, Any] = {}
    mapping = {"kind": "atoms", "file": str(path), "standardise": False}
    law = Atoms(**resolve_atoms(mapping, "/", held))
    (key,) = held
    assert key == f"rows:{law.sha256}"
    rows = [[1, 7], [3, 7], [4.5, 7]]
    made: list[Any] = [make_distribution(law, {key: held[key].points}), make_distribution(law)]
    for one in made:
        np.testing.assert_array_equal(one.means, rows)
    np.testing.assert_array_equal(checked_data(held[key].data, key, "a"), rows)
    assert law.label == f"atoms[file={path.name},data={law.sha256[:8]},count=3,standardise=false]"
    assert data_file(law.label) == path.name
    assert not standardised(law.label)
    scaled = law.model_copy(update={"standardise": True})
    assert standardised(scaled.label)
    assert "standardise" not in scaled.identity()
    assert law.identity() == {**scaled.identity(), "standardise": False}
    with pytest.raises(LawError, match=r"column 2 \(y\) is constant"):
        resolve_atoms({**mapping, "standardise": True}, "/", held)


def test_one_file_both_ways_is_read_once(write: Callable[..., Path]) -> None:
    path = write("x,y\n1,2\n3,5\n4,4\n")
    held: dict[str, Any] = {}
    resolve_atoms({"kind": "atoms", "file": str(path)}, "/", held)
    path.write_text("x,y\n1,2\n3,5\n4,5\n")
    resolve_atoms({"kind": "atoms", "file": str(path), "standardise": False}, "/", held)
    assert len({file.sha256 for file in held.values()}) == 1 < len(held)


def test_rows_as_they_are_that_no_network_takes(write: Callable[..., Path]) -> None:
    with pytest.raises(LawError, match=r"column 1 \(x\) has an entry of size 2e\+09, above 1,000"):
        read_atoms(write("x,y\n1,2\n-2e9,5\n"), standardise=False)
    with pytest.raises(ValidationError, match=r"law\.standardise is of the rows of a law\.file"):
        Atoms(dimension=2, standardise=False)
