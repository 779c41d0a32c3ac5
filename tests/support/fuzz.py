"""Random studies, tables and command lines through `scorerates`, in one process.

`python tests/support/fuzz.py FOLDER SEED COUNT` prints a line for every input that is answered with
anything but exit code 0 or 2, with a traceback, a message of more than 30 lines, or not within
LIMIT seconds of a core and WAIT of the clock; then a line of counts. The same seed makes the same
inputs.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import random
import signal
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from study import cli

LIMIT, WAIT = 60, 240
"""Seconds of a core, and by the clock: a machine that is busy hangs for nobody."""
LINES = 30

STUDIES = [
    {
        "name": "fuzz",
        "description": "of no use",
        "law": {"kind": "gaussian_mixture", "dimension": 2, "components": 3, "std": 0.1, "seed": 5},
        "diffusion": {"t_min": 0.05, "t_max": 1.0},
        "steps": 20,
        "seeds": 2,
        "audit": False,
        "stopping": ["oracle", "holdout"],
        "resources": {"workers": 2, "memory_per_pack": 1},
        "base": {"samples": 32, "width": 64, "step_size": 1.0, "initialisation": "symmetric"},
        "sweeps": [{"samples": [16, 32, 64]}, {"width": [32, 64]}, {"step_size": [0.25, 1.0]}],
    },
    {
        "name": "search",
        "law": [{"kind": "cube", "dimension": 1}, {"kind": "sphere", "dimension": 3}],
        "steps": 20,
        "base": {"samples": 32},
        "search": {
            "samplers": ["random", "tpe"],
            "evaluations": 8,
            "space": {"width": {"low": 32, "high": 64}, "step_size": {"low": 0.1, "high": 2}},
        },
    },
    {
        "name": "design",
        "law": {"kind": "atoms", "file": "points.csv"},
        "steps": 20,
        "base": {"samples": [16, 32, 64], "width": 64, "step_size": 1.0},
        "design": {
            "kind": "adaptive",
            "half_width": {"best_score_error": 0.1},
            "budget": {"trials": 50},
            "pilot": 3,
        },
    },
]

WORDS = [
    *("", " ", "x[/b]", "[red]", "nan", "inf", "-inf", ".inf", "1e400", "1e-400", "1_000", "0x10"),
    *(
        "0o7",
        "1,5",
        "no",
        "yes",
        "~",
        "null",
        "٣",
        "ä",
        "日本",
        "\x00",
        "\x1b[31m",
        "a\nb",
        "../..",
    ),
    *("/", "a" * 300, "s3://", "<b>", "&", "{}", "[]", "*a", "&a 1", "!!int 3", "<<", "%YAML 1.1"),
    *("- -", "? x", "'", '"', "descent", "adam", "cube"),
]

NUMBERS: list[Any] = [
    *(0, 1, -1, 2, 3, 7, 63, 10**3, 10**6, 10**9, 10**12, 2**31, 2**63, 2**64, 10**30, 10**400),
    *(0.0, -0.0, 0.1, 0.5, 1e-3, 1e-9, 1e-30, 1e-300, 5e-324, 1e9, 1e30, 1e300, -1e300),
    *(float("inf"), float("nan"), True, False, None),
]


class TooLong(BaseException):
    """An input was not answered in time."""


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that a study holds, sections and lists too."""
    if not isinstance(tree, dict | list):
        return [path]
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [path, *(leaf for key, value in inner for leaf in leaves(value, (*path, key)))]


def value(rng: random.Random) -> Any:
    """Anything that a study may hold."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice([1, 2, 3, 16, 64, 0.1, 0.5, 1.5, 1e-3, "descent", "cube"])
    if kind < 0.6:
        return rng.choice(NUMBERS)
    if kind < 0.8:
        return rng.choice(WORDS)
    if kind < 0.9:
        return [value(rng) for _ in range(rng.choice([0, 1, 2, 5]))]
    return {rng.choice(["low", "high", "kind", "x", "samples"]): value(rng) for _ in range(2)}


def study(rng: random.Random, folder: Path) -> str:
    """A study in which one to three things are not as they should be."""
    tree = json.loads(json.dumps(rng.choice(STUDIES)))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        *above, last = rng.choice(leaves(tree)[1:])
        place = tree
        for key in above:
            place = place[key]
        what = rng.random()
        if isinstance(place[last], int | float) and what < 0.6:
            place[last] *= rng.choice([2, 3, 10, 1000, 10**6, 0.5, 0.1, 1e-3, 1e-6])
        elif what < 0.7:
            place[last] = value(rng)
        elif what < 0.8:
            del place[last]
        elif isinstance(place, dict):
            place[str(last)[:-1] or "y"] = place.pop(last)
        else:
            place.append(place[last])
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    if rng.random() < 0.15:
        text = edited(text, rng)
    (folder / "points.csv").write_bytes(
        table(rng) if rng.random() < 0.5 else b"x,y\n1,2\n3,5\n4,4\n"
    )
    return text


def edited(text: str, rng: random.Random) -> str:
    """`text` with a few letters, words or lines too many, too few, or elsewhere."""
    for _ in range(rng.choice([1, 2, 5])):
        at = rng.randrange(len(text) + 1)
        what = rng.random()
        if what < 0.4:
            text = text[:at] + rng.choice(WORDS) + text[at:]
        elif what < 0.7:
            text = text[:at] + text[at + rng.choice([1, 2, 10]) :]
        else:
            lines = text.splitlines(keepends=True)
            rng.shuffle(lines)
            text = "".join(lines)
    return text


STEPS: list[Callable[[int], float]] = [
    lambda i: 2.0**i,
    lambda i: 2.0**i,
    lambda i: 10.0**-i,
    lambda i: 1e9 + i * 1e-6,
    lambda i: 2000.0 + i,
    float,
]

HEADERS = [*[["N", "error", "seed"]] * 4, ["N", "error"], ["0", "1"], ["N", "N"], ["", "N"]]


def table(rng: random.Random) -> bytes:
    """A CSV file as people have them, and worse."""
    separator = rng.choice([*[","] * 8, ";", "\t", "|", " "])
    comma = rng.random() < 0.1
    names, step = rng.choice(HEADERS), rng.choice(STEPS)
    rows = []
    for i in range(rng.choice([0, 1, 5, 8, 8, 8, 40])):
        error = rng.lognormvariate(0, 0.1) * (step(i) + 1) ** -0.4
        cells = [f"{step(i):.9g}", f"{error:.6g}", str(i % 3)]
        rows.append([c.replace(".", ",") if comma else c for c in cells][: len(names)])
    if rows and rng.random() < 0.3:
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = str(rng.choice([*NUMBERS, *WORDS]))[:500]
    quoted = rng.random() < 0.1
    lines = [separator.join(f'"{c}"' if quoted else c for c in r) for r in [names, *rows]]
    text = rng.choice(["\n", "\n", "\r\n", "\r"]).join(lines)
    if rng.random() < 0.15:
        text = edited(text, rng)
    text = rng.choice([*[""] * 9, "sep=;\n", "# made\n", "\n\n", "\ufeff"]) + text
    encoding = rng.choice([*["utf-8"] * 7, "utf-16", "utf-16-le", "latin-1"])
    data = text.encode(encoding, "replace")
    if rng.random() < 0.05:
        data = data[: rng.randrange(len(data) + 1)] + rng.randbytes(3)
    return data


def packed(data: bytes, rng: random.Random, folder: Path) -> Path:
    """A file with `data`, compressed as its name says, or not, or not to its end."""
    ending = rng.choice([*["csv"] * 7, "txt", "csv.gz", "zip", "xz"])
    path = folder / f"rows.{ending}"
    if ending == "csv.gz":
        data = gzip.compress(data, mtime=0)
    elif ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(rng.choice([0, 1, 1, 1, 2])):
                archive.writestr(f"{i}.csv", data)
        data = path.read_bytes()
    if rng.random() < 0.05:
        data = data[: rng.randrange(len(data) + 1)]
    path.write_bytes(data)
    return path


OPTIONS = [
    *("--storage", "--device", "--workers", "--tracking-uri", "--dimension", "--json", "--nothing"),
    *("--x", "--y", "--seed", "--theory", "--kind", "--level", "--offset"),
]

FITS: list[list[str]] = [
    *[[]] * 3,
    ["--seed", "seed"],
    ["--theory", "0.4", "--kind", "bound"],
    ["--seed", "seed", "--theory", "0.4", "--kind", "sharp"],
    ["--offset"],
]

OTHERS = ["plan", "analyze", "status", "sync", "theory", "fit", "search", "run", "none"]


def arguments(rng: random.Random, folder: Path) -> list[str]:
    """A command line. What it names lies in `folder`; it never trains or serves anything."""
    what = rng.random()
    file = folder / "study.yaml"
    if what < 0.5:
        file.write_text(study(rng, folder), encoding="utf-8", errors="replace")
        given = ["plan", str(file), "--no-calibrate", "--storage", str(folder / "results")]
    elif what < 0.9:
        columns = rng.choice([*[("N", "error")] * 7, ("0", "1"), ("N", "N"), ("error", "N")])
        given = ["fit", str(packed(table(rng), rng, folder)), "--x", columns[0], "--y", columns[1]]
        given += rng.choice(FITS)
    else:
        file.write_text(yaml.safe_dump(STUDIES[0]))
        given = [rng.choice(OTHERS), *rng.choice([[str(folder)], [rng.choice(WORDS)], ["-d", "2"]])]
        if given[0] in ("run", "search"):  # never a study that could begin
            given = [given[0], str(folder / "nothing.yaml")]
    for _ in range(rng.choice([*[0] * 16, 1, 2])):
        option = [rng.choice(OPTIONS)]
        if rng.random() < 0.8:
            option.append(str(value(rng))[:400].replace("\x00", ""))
        at = rng.randrange(1, len(given) + 1)
        given[at:at] = option
    return given


def answered(given: list[str]) -> tuple[int | str, str]:
    """Exit code, or what went wrong, and what was printed."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    code: int | str = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        signal.alarm(WAIT)
        try:
            cli.main(given)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except TooLong:
            code = "no answer"
        except BaseException:
            code = "traceback"
            out.write(traceback.format_exc())
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
    out.flush()
    return code, out.buffer.getvalue().decode(errors="replace")  # type: ignore[attr-defined]


def main(folder: Path, seed: int, count: int) -> int:
    """Prints what goes wrong; returns how often."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong

    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, ring)
    os.chdir(folder)
    counts: Counter[str] = Counter()
    slowest = 0.0
    for index in range(count):
        rng = random.Random(f"{seed} {index}")
        given = arguments(rng, folder)
        began = time.process_time()
        code, text = answered(given)
        slowest = max(slowest, time.process_time() - began)
        wrong = code not in (0, 2) or "Traceback" in text
        wrong |= code == 2 and not 1 <= len(text.strip().splitlines()) <= LINES
        counts[f"exit {code}" if isinstance(code, int) else code] += 1
        if wrong:
            counts["wrong"] += 1
            print(
                json.dumps({"index": index, "given": given, "code": code, "text": text[-1500:]}),
                flush=True,
            )
    print(json.dumps({"inputs": count, **counts, "slowest": round(slowest, 1)}))
    return counts["wrong"]


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), 1))
