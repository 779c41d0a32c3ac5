"""`scorerates fit`: planted exponents through the command line, verdicts, and messages."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from analysis.drawing.figure import draw
from analysis.figures.rates.curves import of_a_table
from analysis.fits.power_law import fit_power_law
from analysis.theory import MARGIN, Kind, Prediction
from analysis.verdicts.judging import judge
from study import cli
from study.commands.fit import read_columns

Capture = pytest.CaptureFixture[str]
N = 2.0 ** np.arange(6, 13)


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["fit", *(str(argument) for argument in arguments)])
    code = ended.value.code
    assert isinstance(code, int) or code is None
    return code or 0


def write(path: Path, mean: np.ndarray, sigma: float = 0.05, seeds: int = 6) -> Path:
    """Columns N, test error, run; a row per seed and N, names padded as people write them."""
    rng = np.random.default_rng(3)
    lines = [" N, test error ,run"]
    for seed in range(seeds):
        y = mean * np.exp(sigma * rng.standard_normal(len(N)))
        lines += [f"{n:g}, {v:.17g},run {seed}" for n, v in zip(N, y, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    return write(tmp_path / "errors [a].csv", 3 * N**-0.5)


def columns(path: Path) -> tuple[object, ...]:
    return (path, "--x", "N", "--y", "test error")


def test_a_table_of_the_fit_and_its_verdict(csv: Path, capsys: Capture) -> None:
    assert command(*columns(csv), "--seed", "run", "--theory", 0.4, "--kind", "bound") == 0
    told = capsys.readouterr().out
    assert "test error = A x^-b with x = N" in told
    assert "errors [a].csv" in told
    assert "per-seed slopes" in told
    assert "(whole seeds)" in told
    assert "held-out check" in told
    assert "curvature" in told
    assert "42 values at 7 N from 64 to 4096" in told
    assert "faster: b = 0.502" in told
    assert "] lies above the bound 0.4" in told


def test_json_has_the_numbers(csv: Path, capsys: Capture) -> None:
    assert command(*columns(csv), "--json", "--level", 0.9) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exponent"] == pytest.approx(0.5, abs=0.03)
    assert told["ci"][0] < told["exponent"] < told["ci"][1]
    assert told["amplitude"] == pytest.approx(3, rel=0.2)
    assert (told["level"], told["form"], told["verdict"]) == (0.9, "A x^-b", None)
    assert told["method"] == "t on log level means"


@pytest.mark.parametrize(
    ("options", "mean", "form"),
    [
        (["--offset"], N**-0.5 + 0.05, "A x^-b + c"),
        (["--log-power", 2], N**-0.5 * np.log(N) ** 2, "A x^-b (log x)^2"),
        (["--log-power", 1, "--offset"], (N**-0.5 + 0.05) * np.log(N), "(A x^-b + c) log x"),
    ],
)
def test_other_laws_of_growth(
    tmp_path: Path, capsys: Capture, options: list[object], mean: np.ndarray, form: str
) -> None:
    path = write(tmp_path / "t.csv", mean, sigma=0.0, seeds=1)
    assert command(*columns(path), *options, "--json", "--theory", 0.5, "--kind", "sharp") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exponent"] == pytest.approx(0.5, abs=1e-6)
    assert told["form"] == told["verdict"]["fit"]["form"] == form
    assert told["verdict"]["verdict"] == "agrees"


def test_a_doubled_theory_is_found_out(csv: Path, capsys: Capture) -> None:
    for kind, word in (("bound", "violates"), ("sharp", "disagrees")):
        assert command(*columns(csv), "--json", "--theory", 1.0, "--kind", kind) == 0
        assert json.loads(capsys.readouterr().out)["verdict"]["verdict"] == word


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--x", "n", "--y", "test error"], "--x n: no such column; there are N, test error, run"),
        (["--x", "N", "--y", "error"], "--y error: no such column; did you mean test error?"),
        (["--x", "N", "--y", "run"], "--y run: line 2 holds 'run 0' (42 such lines)"),
        (["--x", "N", "--y", "test error", "--seed", "rum"], "did you mean run?"),
        (["--x", "N", "--y", "N"], "--y N: also given as --x; each needs a column of its own"),
        (["--x", "N", "--y", "test error", "--seed", "N"], "--seed N: also given as --x"),
        (["--x", "N", "--y", "test error", "--level", 95], "--level 95: must lie between 0 and 1"),
        (["--x", "N", "--y", "test error", "--kind", "bound"], "give --theory too"),
        (["--x", "N", "--y", "test error", "--theory", 1], "--kind is missing; say bound"),
        (["--x", "N", "--y", "test error", "--theory", 1, "--kind", "at least"], "unknown; say"),
        (["--x", "N", "--y", "test error", "--theory", "nan", "--kind", "sharp"], "--theory nan"),
        (
            ["--x", "N", "--y", "test error", "--theory", 1, "--kind", "sharp", "--margin", 15],
            "--margin 15: must lie between 0 and 1",
        ),
    ],
)
def test_wrong_input_is_named(
    csv: Path, capsys: Capture, options: list[object], message: str
) -> None:
    assert command(csv, *options) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; put a line with the columns' names first"),
        ("N,e\n", "has a header and no rows"),
        ("N,e\n64,1\n128,\n", "--y e: line 3 holds ''"),
        ("N,e\n64,1\n0,2\n", "--x N: line 3 holds '0'"),
        ("N,e\n64,1\n128,-inf\n", "--y e: line 3 holds '-inf'"),
        ("N,e\n64,1\n128,2\n", "no exponent: 2 distinct x, and A x^-b needs at least 3"),
        ("N,e\n64,1\n128,2,3,4\n1,2,3,4,5\n", "line 3 has 4 fields and the header 2; name every"),
        ("N,e\n0,64,1\n0,128,2\n", "line 2 has 3 fields and the header 2; name every column"),
        ("N,e\n64,0,5\n128,0,3\n", "and the header 2; name every column, and write decimals with"),
        ("N e\n64 1\n128 2\n", "its columns are separated by spaces: write commas"),
        ("N;e\n64;1,234\n128;2,345\n", "'2,345' may be 2345 or 2.345: write it without"),
        ("N,e\n64,0.44\n\n\n128,0.32\n\n256,n/a\n", "--y e: line 7 holds 'n/a'"),
        ("N,e\n64,1_0\n", "--y e: line 2 holds '1_0'"),
        ("0,1\n64,0.5\n", "line 1 holds numbers"),
        ("64,1\n128,2\n", "line 1 holds numbers; put a line with the columns' names first"),
        ("N,e, e\n64,1,2\n128,2,3\n", "--y e: the header names it 2 times; rename the others"),
        ("N,e\n" + "".join(f"{2**i},{2.0 ** -abs(i - 4)}\n" for i in range(9)), "the curve turns"),
    ],
)
def test_tables_that_give_no_exponent(
    tmp_path: Path, capsys: Capture, text: str, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert command(path, "--x", "N", "--y", "e") == 2
    assert message in capsys.readouterr().err
    assert command(tmp_path / "none.csv", "--x", "N", "--y", "e") == 2
    assert "none.csv: No such file or directory; correct its name" in capsys.readouterr().err


ROWS = "N,e,run\n64,0.395,a\n128,0.285,a\n256,0.2175,a\n64,0.375,b\n128,0.295,b\n256,0.2015,b\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ROWS, ""),
        (
            ROWS.replace(",", ";").replace(".", ","),
            "columns separated by semicolons, decimal commas",
        ),
        ("sep=\t\n" + ROWS.replace(",", "\t"), "columns separated by tabs"),
        (ROWS.replace("64,", '"64",').replace("256", '"2,56"').replace("2,56", "256"), ""),
        ("# of 2031\n" + ROWS, "line 1 left out, a comment"),
        (ROWS.encode("utf-16-le"), "UTF-16-LE without a byte-order mark"),
        (gzip.compress(ROWS.encode(), mtime=0), ""),
    ],
)
def test_the_same_table_in_many_clothes(
    tmp_path: Path, capsys: Capture, data: str | bytes, said: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    x, y, seed, told = read_columns(path, "N", "e", "run")
    np.testing.assert_array_equal(x, [64, 128, 256, 64, 128, 256])
    np.testing.assert_array_equal(y, [0.395, 0.285, 0.2175, 0.375, 0.295, 0.2015])
    np.testing.assert_array_equal(seed, [0, 0, 0, 1, 1, 1])
    assert told == ([said] if said else [])


def test_a_pipe_is_read(tmp_path: Path, csv: Path, capsys: Capture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(csv.read_bytes(),))
    writer.start()
    assert command(*columns(pipe), "--json") == 0
    writer.join()
    through_a_pipe = json.loads(capsys.readouterr().out)
    assert command(*columns(csv), "--json") == 0
    assert json.loads(capsys.readouterr().out) == through_a_pipe


@pytest.mark.slow
def test_standard_input_is_read_like_a_file(csv: Path) -> None:
    """As a pipe, as the file itself, and where there is none."""
    fit = [sys.executable, "-m", "study.cli", "fit", "-", *map(str, columns(csv)[1:])]

    def piped(data: bytes, *options: str) -> subprocess.CompletedProcess[str]:
        made = subprocess.run([*fit, *options], input=data, capture_output=True, check=False)
        return subprocess.CompletedProcess(
            made.args, made.returncode, made.stdout.decode(), made.stderr.decode()
        )

    found = piped(csv.read_bytes(), "--json")
    assert found.returncode == 0
    with csv.open("rb") as file:
        same = subprocess.run([*fit, "--json"], stdin=file, capture_output=True, check=False)
    assert same.stdout.decode() == found.stdout
    assert "(t on log level means)" in piped(csv.read_bytes()).stdout
    assert "from standard input" in piped(gzip.compress(csv.read_bytes())).stdout
    wrong = piped(csv.read_bytes() + b"64, n/a, run 9\n")
    assert wrong.returncode == 2
    assert "error: standard input: --y test error: line 44 holds 'n/a'" in wrong.stderr
    closed = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *fit], capture_output=True, text=True, check=False
    )
    assert closed.returncode == 2
    assert closed.stderr.startswith("error: standard input is closed: ")


def test_json_has_every_note_that_the_text_has(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rng = np.random.default_rng(0)
    rows = [f"{n:g};{v:.5g};{s}" for s in range(3) for n, v in zip(N, noisy(rng), strict=True)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["N;e;seed", *rows, rows[0]]).replace(".", ",") + "\n")
    assert command(path, "--x", "N", "--y", "e", "--json") == 0
    read = capsys.readouterr()
    notes = json.loads(read.out)["notes"]
    assert command(path, "--x", "N", "--y", "e") == 0
    told = capsys.readouterr()
    assert told.err == read.err
    in_text = told.err.replace(f"{path}: ", "").splitlines()
    in_text += [line.split(maxsplit=1)[1] for line in told.out.splitlines() if line[:4] == "note"]
    assert [note.strip() for note in in_text] == notes
    assert [note.split()[0] for note in notes] == ["columns", "column", "1"]


def noisy(rng: np.random.Generator) -> np.ndarray:
    return np.asarray(3 * N**-0.5 * np.exp(0.05 * rng.standard_normal(len(N))))


def test_many_levels_and_huge_amplitudes_are_said_briefly(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "t.csv"
    path.write_text("day,e\n" + "".join(f"{2460000 + i},{0.9**i}\n" for i in range(64)))
    assert command(path, "--x", "day", "--y", "e") == 0
    told = capsys.readouterr().out
    assert "log10 A" in told
    assert "33 windows between" in told
    assert "64 values at 64 day from 2460000 to 2460063" in told
    assert len(told.splitlines()) < 12


def test_copies_and_rows_that_move_together_are_said(
    tmp_path: Path, csv: Path, capsys: Capture
) -> None:
    twice = tmp_path / "twice.csv"
    lines = csv.read_text().splitlines()
    twice.write_text("\n".join([*lines, *lines[1:]]) + "\n")
    assert command(*columns(twice), "--seed", "run") == 0
    assert "42 rows are copies of others, with the same x, y and seed" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    shift = 0.3 * rng.standard_normal(6)
    y = [N**-0.5 * np.exp(s + 0.02 * rng.standard_normal(len(N))) for s in shift]
    rows = [f"{n},{v}" for one in y for n, v in zip(N, one, strict=True)]
    shared = tmp_path / "shared.csv"
    shared.write_text("\n".join(["N,test error", *rows]) + "\n")
    assert command(*columns(shared), "--json") == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert "rows in the same place at each x move together" in note


def test_a_column_of_seeds_that_is_not_used_is_said(
    tmp_path: Path, csv: Path, capsys: Capture
) -> None:
    assert command(*columns(csv)) == 0
    told = capsys.readouterr()
    assert "column run has the same values at several x" in told.err
    assert "give --seed 'run'" in told.err
    assert "several x" not in told.out
    assert command(*columns(csv), "--seed", "run") == 0
    assert capsys.readouterr().err == ""
    own = tmp_path / "own.csv"
    rows = "".join(f"{2**i},{2.0**-i},{i}\n" for i in range(6))
    own.write_text(f"N,e,Trial\n{rows}")  # numbers of rows, not seeds: each at one x
    assert command(own, "--x", "N", "--y", "e") == 0
    assert capsys.readouterr().err == ""


def test_a_refused_fit_says_so_in_json_too(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "t.csv"
    path.write_text("N,e\n64,1\n128,2\n")
    assert command(path, "--x", "N", "--y", "e", "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["exponent"]) == ("refused", None)


def test_a_figure_is_drawn_beside_the_table(csv: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ("--seed", "run", "--theory", 0.4, "--kind", "bound")
    begins = {"svg": b"<?xml", "pdf": b"%PDF", "PNG": b"\x89PNG"}
    for suffix, start in begins.items():
        file = tmp_path / "new folder" / f"out.{suffix}"
        assert command(*columns(csv), *options, "--plot", file) == 0
        assert "faster: b = 0.502" in capsys.readouterr().out
        assert file.read_bytes().startswith(start)
    first = (tmp_path / "new folder" / "out.svg").read_bytes()
    assert command(*columns(csv), *options, "--json", "--plot", tmp_path / "again.svg") == 0
    assert json.loads(capsys.readouterr().out)["exponent"] == pytest.approx(0.5, abs=0.03)
    assert (tmp_path / "again.svg").read_bytes() == first


def test_a_figure_that_cannot_be_is_named_before_anything_is_read(
    tmp_path: Path, csv: Path, capsys: Capture
) -> None:
    assert command("nowhere.csv", "--x", "N", "--y", "e", "--plot", "out.txt") == 2
    assert "--plot out.txt: must end in .svg, .pdf or .png" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert command(*columns(csv), "--plot", tmp_path / "file" / "out.svg") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_figure_shows_the_values_their_means_the_fit_and_theory() -> None:
    """Names may hold what mathtext would read as a formula."""
    rng = np.random.default_rng(1)
    x = np.repeat(N, 5)
    y = 2 * x**-0.5 * np.exp(0.1 * rng.standard_normal(len(x)))
    found = fit_power_law(x, y)
    prediction = Prediction("p", "y", "x", 0.4, Kind.BOUND, MARGIN, source="", statement="")
    plot = of_a_table(("$N", "cost in $"), x, y, found, judge(prediction, found), "e.csv")
    assert "cost in $ against $N, from e.csv" in plot.caption
    table = plot.table
    above = table[table["panel"] == "panel 1"]
    trials = above[above["role"] == "trials"]
    assert (trials["x"].tolist(), trials["y"].tolist()) == (x.tolist(), y.tolist())
    means = above[above["role"] == "points"]
    assert means["y"].tolist() == pytest.approx([y[x == n].mean() for n in N])
    line = above[above["role"] == "line"]
    slope = np.polyfit(np.log(line["x"]), np.log(line["y"]), 1)[0]
    assert -slope == pytest.approx(found.exponent)
    bound = above[above["role"] == "theory"]
    assert np.diff(np.log(bound["y"])) / np.diff(np.log(bound["x"])) == pytest.approx(-0.4)
    assert bound["y"].iloc[0] == pytest.approx(means["y"].iloc[0])
    assert draw(plot).axes[0].get_ylabel() == r"cost in \$"
