"""`scorerates fit`: a power law, and a verdict on it, for anyone's table of x, y and seed."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from analysis.theory import MARGIN, Kind, Prediction
from study.spec.messages import SpecError, on_one_line
from study.terminal import literal, say
from trainers.errors import LawError
from trainers.laws.csv_file import Decimals, looks_like_a_number, parse_csv, read_bytes

if TYPE_CHECKING:  # loaded on use: every other command starts without them
    import numpy as np
    from numpy.typing import NDArray

    from analysis.drawing.plot import Plot
    from analysis.fits.growth import Growth
    from analysis.fits.power_law import PowerLawFit
    from analysis.verdicts.judging import Verdict

SEED_NAMES = frozenset(
    [
        "seed",
        "seeds",
        "seed_id",
        "random_seed",
        "rng",
        "rep",
        "reps",
        "repeat",
        "repetition",
        "replicate",
        "replicates",
        "replica",
        "replication",
        "run",
        "run_id",
        "trial",
        "fold",
        "split",
    ]
)
"""Column names that say which rows share effects, as people call them."""

STDIN = 0
"""The descriptor of standard input."""

MOST_SLOPES = 8
"""More local slopes than this are told by the first, the middle and the last, and their span."""

PICTURES = (".svg", ".pdf", ".png")
"""How the name of a figure may end."""

KINDS = (Kind.BOUND, Kind.SHARP)


def fit(
    csv: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="A table with a header, a row per value of y; - is standard input.",
        ),
    ],
    x: Annotated[str, typer.Option("--x", help="The column of x, such as the sample size.")],
    y: Annotated[str, typer.Option("--y", help="The column of y, such as the error.")],
    seed: Annotated[
        str | None,
        typer.Option(help="A column that says which rows of different x share effects."),
    ] = None,
    level: Annotated[float, typer.Option(help="Of the interval.")] = 0.95,
    offset: Annotated[bool, typer.Option("--offset", help="Fit A x^-b + c, c >= 0.")] = False,
    log_factor: Annotated[
        float, typer.Option("--log-power", help="p of a known factor (log x)^p.")
    ] = 0.0,
    theory: Annotated[
        float | None, typer.Option(help="An exponent b to judge; error ~ x^-b.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="What theory says of b: bound (at least) or sharp (equal).")
    ] = None,
    margin: Annotated[float, typer.Option(help="What counts as equal, a share of b.")] = MARGIN,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw data, fit and theory: FILE.svg, .pdf or .png."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Fit a power law to a CSV table: exponent with interval, diagnostics, and a verdict."""
    from analysis.fits.growth import log_power
    from analysis.fits.power_law import fit_power_law
    from analysis.fits.remarks import remarks
    from analysis.levels.intervals import Method
    from analysis.verdicts.judging import judge

    piped = csv == Path("-")
    if piped:
        if sys.stdin is None:
            raise SpecError("standard input is closed: pipe the table in, or name its file")
        csv = Path("standard input")
    prediction = _prediction(csv.stem, x, y, theory, kind, margin)
    if not 0 < level < 1:
        raise SpecError(f"--level {level:g}: must lie between 0 and 1, such as 0.95")
    if not math.isfinite(log_factor):
        raise SpecError(f"--log-power {log_factor}: must be a number, such as 1")
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise SpecError(f"--plot {plot}: must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    xs, ys, seeds, read = read_columns(csv, x, y, seed, STDIN if piped else None)
    growth = log_power(log_factor, offset)
    found = fit_power_law(xs, ys, seeds, level=level, growth=growth)
    verdict = None if prediction is None else judge(prediction, found)
    linked = seeds if found.ok and found.method is Method.SEEDS else None
    resampled = _resampled(xs, ys, linked, growth, level)
    notes = [note for note in (found.message, *remarks(xs, ys, seeds)) if note]
    for note in read:
        typer.echo(on_one_line(f"{csv}: {note}"), err=True)
    if as_json:
        described = _described(found, verdict, resampled, [*read, *notes])
        print(json.dumps(described, indent=2, allow_nan=False))
    elif found.ok:
        _print(csv, x, y, found, verdict, resampled, notes)
    if not found.ok:
        raise SpecError(f"{csv}: no exponent: {found.message}")
    if plot is not None:
        from analysis.figures.rates.curves import of_a_table  # with it, what pages are made of

        _draw(plot, of_a_table((x, y), xs, ys, found, verdict, csv.name))
        if not as_json:
            typer.echo(f"figure: {plot}")


def _draw(path: Path, figure: Plot) -> None:
    """Writes the figure to `path`. Raises SpecError where that cannot be."""
    from analysis.data.files import write_whole
    from analysis.drawing.figure import draw, written  # loads matplotlib

    try:
        write_whole(path, written(draw(figure), path.suffix.lower()))
    except OSError as error:
        raise SpecError(f"--plot {path}: cannot be written: {error.strerror or error}") from None


def _prediction(
    name: str, x: str, y: str, theory: float | None, kind: str | None, margin: float
) -> Prediction | None:
    if theory is None:
        if kind is not None:
            raise SpecError(f"--kind {kind}: give --theory too, the exponent that is judged")
        return None
    if kind not in KINDS:
        said = "is missing" if kind is None else f"{kind}: unknown"
        raise SpecError(f"--kind {said}; say bound (b is at least) or sharp (b equals) --theory")
    if not math.isfinite(theory):
        raise SpecError(f"--theory {theory}: must be a number, such as 0.5")
    if not 0 < margin < 1:
        raise SpecError(f"--margin {margin:g}: must lie between 0 and 1, such as {MARGIN:g}")
    return Prediction(
        name, y, x, theory, Kind(kind), margin, source="given on the command line",
        statement=f"{y} falls as {x}^-{theory:g}"
        + (" or faster." if kind == Kind.BOUND else "."),
    )  # fmt: skip


def read_columns(
    path: Path, x: str, y: str, seed: str | None, descriptor: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64] | None, list[str]]:
    """x, y [n] and seed [n] or None, of a CSV file with a header, and what to say of how it was
    read; seeds numbered in order of their first row. descriptor: of the file where it is open
    already. Raises SpecError naming the option, the column and the row that is wrong."""
    import numpy as np

    try:
        table = parse_csv(path, read_bytes(path, descriptor=descriptor))
        rows = table.rows()
        line, first = next(rows, (0, []))
        names = _header(path, line, first)
        wanted = _wanted(path, names, {"--x": x, "--y": y, "--seed": seed})
        like = _seed_like(names, wanted) if seed is None else None
        if like is not None:
            wanted.append(like)
        decimals = table.decimals(wanted[:2])
        lines: list[int] = []
        cells: list[list[str]] = []
        for line, row in rows:
            if len(row) > len(names):
                raise SpecError(
                    f"{path}: line {line} has {len(row)} fields and the header {len(names)}; name "
                    "every column, and write decimals with a point"
                )
            lines.append(line)
            cells.append([row[c].strip() if c < len(row) else "" for c in wanted])
    except LawError as error:
        raise SpecError(str(error)) from None
    told = [", ".join(notes)] if (notes := (*table.notes, *decimals.notes)) else []
    if not lines:
        raise SpecError(f"{path}: has a header and no rows")
    xs, ys = (
        _numbers(f"{path}: {option} {name}", lines, [row[i] for row in cells], decimals)
        for i, (option, name) in enumerate([("--x", x), ("--y", y)])
    )
    if seed is None:
        if like is not None:
            told += _unused(names[like], [row[2] for row in cells], xs)
        return xs, ys, None, told
    order: dict[str, int] = {}
    for line, row in zip(lines, cells, strict=True):
        if not row[2]:
            raise SpecError(f"{path}: --seed {seed}: line {line} is empty; name its seed")
        order.setdefault(row[2], len(order))
    return xs, ys, np.asarray([order[row[2]] for row in cells], dtype=np.int64), told


def _seed_like(names: list[str], used: list[int]) -> int | None:
    """The first column that is called as seeds are, and used for nothing else."""
    return next(
        (i for i, name in enumerate(names) if name.lower() in SEED_NAMES and i not in used), None
    )


def _unused(name: str, labels: list[str], x: NDArray[np.float64]) -> list[str]:
    """A sentence that a column looks like seeds, where its values come again at other x."""
    places: dict[str, set[float]] = {}
    for label, at in zip(labels, x.tolist(), strict=True):
        places.setdefault(label, set()).add(at)
    if sum(len(found) > 1 for label, found in places.items() if label) < 2:
        return []
    return [
        f"column {name} has the same values at several x, and rows of different x are taken to be "
        f"independent: if those with the same {name} share data or initial weights, give --seed "
        f"{name!r}"
    ]


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    """The names of the columns as they stand in the file."""
    if not cells:
        raise SpecError(f"{path}: is empty; put a line with the columns' names first")
    if all(map(looks_like_a_number, cells)):
        raise SpecError(
            f"{path}: line {line} holds numbers; put a line with the columns' names first"
        )
    return [cell.strip() for cell in cells]


def _wanted(path: Path, names: list[str], options: dict[str, str | None]) -> list[int]:
    """Where the columns stand that the options name."""
    wanted = {option: name for option, name in options.items() if name is not None}
    problems = [
        _missing(option, name, names) for option, name in wanted.items() if name not in names
    ]
    problems += [
        f"{one} {name}: also given as {other}; each needs a column of its own"
        for (other, first), (one, name) in itertools.combinations(wanted.items(), 2)
        if first == name
    ]
    problems += [
        f"{option} {name}: the header names it {names.count(name)} times; rename the others"
        for option, name in wanted.items()
        if names.count(name) > 1
    ]
    if problems:
        raise SpecError(*problems, source=str(path))
    return [names.index(name) for name in wanted.values()]


def _missing(option: str, name: str, columns: list[str]) -> str:
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(columns)}"
    return f"{option} {name}: no such column; {hint}"


def _numbers(
    column: str, lines: list[int], cells: list[str], decimals: Decimals
) -> NDArray[np.float64]:
    import numpy as np

    numbers = map(decimals.number, cells)
    values = np.asarray([math.nan if n is None else n for n in numbers], dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        first = int(wrong[0])
        more = f" ({len(wrong)} such lines)" if len(wrong) > 1 else ""
        raise SpecError(
            f"{column}: line {lines[first]} holds {cells[first][:60]!r}{more}; a power law needs "
            "finite positive numbers: correct such lines, or leave them out knowingly"
        )
    return values


def _resampled(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    seed: NDArray[np.int64] | None,
    growth: Growth,
    level: float,
) -> tuple[float, float] | None:
    """Bootstrap interval over seeds, a cross-check; None where seeds do not stand at every x once,
    or the form has an offset."""
    import numpy as np

    from analysis.fits.bootstrap import bootstrap_exponents

    if seed is None or growth.offset or len(np.unique(seed)) < 3:
        return None
    try:
        found = bootstrap_exponents(x, y / growth.of(x), seed, np.random.default_rng(0))
    except ValueError:
        return None
    return found.interval(level)


def _described(
    fit: PowerLawFit,
    verdict: Verdict | None,
    resampled: tuple[float, float] | None,
    notes: list[str],
) -> dict[str, Any]:
    from analysis.verdicts.judging import plain_json

    keep = (
        "status", "message", "exponent", "ci", "amplitude", "log_amplitude", "offset", "level",
        "method", "seeds", "trials", "levels", "range_decades", "local_slopes", "curvature",
        "misfit", "asymptotic", "holdout", "log_bias", "residuals",
    )  # fmt: skip
    plain: dict[str, Any] = plain_json({name: getattr(fit, name) for name in keep})
    plain["notes"] = notes
    plain["form"] = fit.growth.form
    plain["bootstrap"] = plain_json(resampled)
    plain["verdict"] = None if verdict is None else verdict.to_dict()
    return plain


def _print(
    csv: Path,
    x: str,
    y: str,
    fit: PowerLawFit,
    verdict: Verdict | None,
    resampled: tuple[float, float] | None,
    notes: list[str],
) -> None:
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    share = f"{100 * fit.level:g} %"
    for row in _rows(fit, x, share, resampled, notes):
        table.add_row(*map(literal, row))
    if verdict is not None:
        table.add_row("verdict", literal(f"{verdict.verdict}: {verdict.reason}"))
    else:
        table.add_row("verdict", "none without a theory: --theory B, with --kind bound or sharp")
    say(console, f"{y} = {fit.growth.form} with x = {x}, from {csv}")
    console.print(table)


def _rows(
    fit: PowerLawFit, x: str, share: str, resampled: tuple[float, float] | None, notes: list[str]
) -> list[tuple[str, str]]:
    digits = 6 + max(0, math.ceil(-math.log10(max(fit.range_decades, 1e-9))))

    def at(value: float) -> str:
        return f"{value:.{digits}g}"

    rows = [
        ("b", f"{fit.exponent:.4g}"),
        (f"{share} interval", f"[{fit.ci[0]:.4g}, {fit.ci[1]:.4g}] ({fit.method})"),
    ]
    if resampled is not None:
        rows.append(("bootstrap", f"[{resampled[0]:.4g}, {resampled[1]:.4g}] (whole seeds)"))
    rows.append(
        ("A", f"{fit.amplitude:.4g}")
        if 0 < fit.amplitude < math.inf
        else ("log10 A", f"{fit.log_amplitude / math.log(10):.6g}")
    )
    if fit.growth.offset:
        rows.append(("c", f"{fit.offset:.4g}"))
    rows.append(
        (
            "data",
            f"{fit.trials} values at {fit.points} {x} from {at(min(fit.levels))} to "
            f"{at(max(fit.levels))} ({fit.range_decades:.2g} decades)",
        )
    )
    slopes, shown = fit.local_slopes, fit.local_slopes
    if len(slopes) > MOST_SLOPES:
        shown = (slopes[0], slopes[len(slopes) // 2], slopes[-1])
    local = ", ".join(f"{s.exponent:.3g} ({at(s.low)} to {at(s.high)})" for s in shown)
    if len(slopes) > len(shown):
        least, most = (end(s.exponent for s in slopes) for end in (min, max))
        local += f"; {len(slopes)} windows between {least:.3g} and {most:.3g}"
    rows.append(("local b", local))
    bend = fit.curvature or fit.misfit
    if bend is not None:
        what = "curvature" if fit.curvature is not None else "bend left over"
        rows.append((what, f"p = {bend.p_value:.2g}, b changes by {bend.drift:.2g} over the range"))
    if fit.asymptotic is not None and not fit.asymptotic.plain:
        seen = fit.asymptotic
        told = f"[{seen.low:.4g}, {seen.high:.4g}] if a correction dies out"
        if seen.roughness > 1:
            told += f"; level means scatter {seen.roughness:.2g} times as much as seeds explain"
        rows.append((f"b at large {x}", told))
    if fit.holdout is not None:
        h = fit.holdout
        rows.append(
            (
                "held-out check",
                f"{x} = {at(h.x)}: forecast {h.predicted:.4g}, observed {h.observed:.4g} "
                f"(p = {h.p_value:.2g})",
            )
        )
    return rows + [("note", note) for note in notes]
