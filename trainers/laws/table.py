"""The rows of a table with numeric and categorical columns, as points of R^d and back.

| symbol | meaning                                                            | shape  | unit |
|--------|--------------------------------------------------------------------|--------|------|
| X_0    | a row, encoded: a coordinate a number, one a category              | [n, d] | 1    |
| u      | a number less the training part's mean, over its standard          | [n]    | 1    |
|        | deviation; or Phi^-1 of its mid-rank there (`quantile`)            |        |      |
| c      | 1 at a row's own category, -1 at the others (Chen, Zhang and       | [n, K] | 1    |
|        | Hinton 2023 call them analog bits)                                 |        |      |

Nobody knows the law of the rows: f* is NaN, and so is all that is measured against it. The rows are
split once into a training, a holdout and a test part; what the encoding takes from rows (means,
ranks, categories, what stands in for missing cells) is the training part's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from scipy import special

from trainers.errors import LawError
from trainers.laws.csv_file import bytes_of_law, number
from trainers.laws.law import Distribution, FloatArray, LawBase, Part, Points, parameter_stream
from trainers.laws.mixture_noise import Signal
from trainers.laws.table_file import KEY, Cells, TableFile, checked_cells, read_table
from trainers.ranges import Seed, Size

MOST_CATEGORIES = 50
"""Of a column of text that was not declared: a column of more is rather a name than a category."""

FEW_ODD = 0.1
"""Share of cells that are no numbers up to which a column is of numbers, and these are errors."""

EXACT = 2**53
"""Below it whole numbers are float64 numbers; above it some are none, and int64 ends at 2^63."""

Share = Annotated[float, Field(ge=0.001, le=0.5, allow_inf_nan=False)]


class Table(LawBase):
    """The rows of a CSV file with columns of numbers and of categories, split into a training, a
    holdout and a test part; its f* is not known.

    Categorical are the columns that `categorical` and `target` name, those of text, and numeric
    ones of two values. `seed` draws the split. A law is known by the file's SHA-256, never by its
    path; `dimension` and `count` are the encoded columns and the rows: `resolve_table` fills them
    in.
    """

    known: ClassVar[bool] = False
    lists: ClassVar[frozenset[str]] = frozenset({"drop", "categorical"})
    kind: Literal["table"] = "table"
    file: str | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    count: Size = 2
    target: str | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: Literal["standardise", "quantile"] = "standardise"
    missing: Literal["refuse", "impute"] = "refuse"
    holdout: Share = 0.1
    test: Share = 0.2
    seed: Seed = 0

    @model_validator(mode="after")
    def _has_a_file(self) -> Table:
        if self.sha256 is None:
            raise ValueError("law.file is missing: name the CSV file of the table")
        return self

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"file"})

    @property
    def label(self) -> str:
        name = f"file={Path(self.file).name}," if self.file else ""
        other = "" if self.numeric == "standardise" else f",numeric={self.numeric}"
        split = f",split={self.seed}" if self.seed else ""
        assert self.sha256 is not None
        return f"table[{name}data={self.sha256[:8]},count={self.count}{other}{split}]"

    @property
    def most_samples(self) -> int:
        return len(self.split["train"])

    @property
    def held_values(self) -> int:
        return 2 * self.count * self.dimension

    @property
    def split(self) -> dict[Part, NDArray[np.int64]]:
        """Part -> its rows of the file, in random order: each row is in one part."""
        order = parameter_stream(self).permutation(self.count)
        held = max(1, round(self.holdout * self.count))
        tested = held + max(1, round(self.test * self.count))
        return {"holdout": order[:held], "test": order[held:tested], "train": order[tested:]}

    def distribution(self, points: Points) -> TableRows:
        cells = _cells_of(self, points)
        codec = Codec.fitted(self, cells)
        if codec.dimension != self.dimension or cells.count != self.count:
            raise LawError(
                f"law.count = {self.count} and law.dimension = {self.dimension}, but the table has "
                f"{cells.count} rows and {codec.dimension} encoded columns: use resolve_table"
            )
        parts = {part: codec.encode(cells, rows) for part, rows in self.split.items()}
        return TableRows(codec, parts, "train")


# --- rows to points and back ----------------------------------------------------------------------


@dataclass(frozen=True)
class Numeric:
    """A column of numbers. knots: values of the training part, rising; scores: u at them; u is
    linear in between, and beyond them (`standardise`) or as at the end (`quantile`). whole: only
    whole numbers below EXACT stand there. fill: what stands in for a missing cell, the median."""

    name: str
    knots: FloatArray
    scores: FloatArray
    whole: bool
    fill: float
    clipped: bool

    width: ClassVar[int] = 1

    @classmethod
    def fitted(cls, name: str, values: FloatArray, how: str) -> Numeric:
        """Of the values [n] of the training part, NaN where missing. Raises LawError where they are
        constant."""
        there = values[np.isfinite(values)]
        if len(there) == 0 or there.min() == there.max():
            raise LawError(f"{name} is constant in the training part: add it to law.drop")
        whole = bool((there == np.round(there)).all() and np.abs(there).max() < EXACT)
        filled = np.where(np.isfinite(values), values, np.median(there))
        fill = float(np.median(there))
        if how == "standardise":
            knots = np.array([filled.min(), filled.max()])
            scores = (knots - filled.mean()) / filled.std()
            return cls(name, knots, scores, whole, fill, False)
        knots, counts = np.unique(filled, return_counts=True)
        mid_ranks = (np.cumsum(counts) - counts / 2) / len(filled)
        return cls(name, knots, special.ndtri(mid_ranks), whole, fill, True)

    def encode(self, values: NDArray[Any]) -> FloatArray:
        """u [n, 1] of values [n]."""
        numbers = np.asarray(values, dtype=np.float64)
        filled = np.where(np.isnan(numbers), self.fill, numbers)
        return self._between(filled, self.knots, self.scores)[:, None]

    def decode(self, u: FloatArray) -> NDArray[Any]:
        """Values [n] of u [n, 1], in the range of the training part; whole ones rounded."""
        inside = np.clip(u[:, 0], self.scores[0], self.scores[-1])
        values = self._between(inside, self.scores, self.knots)
        return np.round(values).astype(np.int64) if self.whole else values

    def _between(self, x: FloatArray, at: FloatArray, values: FloatArray) -> FloatArray:
        if self.clipped:
            return np.asarray(np.interp(x, at, values))
        slope = (values[-1] - values[0]) / (at[-1] - at[0])
        return np.asarray(values[0] + slope * (x - at[0]))


@dataclass(frozen=True)
class Categorical:
    """A column of K categories, those of the training part in order. fill: the most frequent, for a
    missing cell. A category that the training part lacks is encoded as none of them."""

    name: str
    categories: tuple[str, ...]
    fill: str

    @property
    def width(self) -> int:
        """K."""
        return len(self.categories)

    @classmethod
    def fitted(cls, name: str, values: NDArray[Any]) -> Categorical:
        """Of the cells [n] of the training part. Raises LawError where there is one category."""
        there = [text for text in _texts(values) if text is not None]
        counts = Counter(there)
        if len(counts) < 2:
            raise LawError(f"{name} is constant in the training part: add it to law.drop")
        categories = tuple(sorted(counts, key=_in_order))
        return cls(name, categories, max(categories, key=lambda one: counts[one]))

    def encode(self, values: NDArray[Any]) -> FloatArray:
        """c [n, K] of cells [n]."""
        place = {category: i for i, category in enumerate(self.categories)}
        out = np.full((len(values), self.width), -1.0)
        for row, text in enumerate(_texts(values)):
            column = place.get(self.fill if text is None else text)
            if column is not None:
                out[row, column] = 1.0
        return out

    def decode(self, c: FloatArray) -> NDArray[Any]:
        """Categories [n] of c [n, K]: the largest coordinate's. Numbers where all that are drawn
        are whole ones as they are written: of the number 1 nobody knows whether it was 01."""
        texts = np.array(self.categories, dtype=object)[c.argmax(axis=1)]
        written = all(_whole_as_written(text) for text in set(texts))
        return texts.astype(np.int64) if written else np.asarray(texts)


@dataclass(frozen=True)
class Codec:
    """How rows of a table are points, column by column."""

    columns: tuple[Numeric | Categorical, ...]
    target: str | None

    @classmethod
    def fitted(cls, law: Table, cells: Cells) -> Codec:
        """On the law's training part. Raises LawError for columns that are not there, missing cells
        where they are refused, and columns that are constant or rather names than categories."""
        _refuse_unknown(law, cells)
        rows = law.model_copy(update={"count": cells.count}).split["train"]
        columns: list[Numeric | Categorical] = []
        for name, values in cells.columns.items():
            if name in law.drop:
                continue
            _refuse_missing(law, name, values)
            if _categorical(law, name, values):
                column = Categorical.fitted(name, values[rows])
                if column.width > MOST_CATEGORIES and name not in law.categorical:
                    raise LawError(_why_not_categories(name, column.width, values))
                columns.append(column)
            else:
                columns.append(Numeric.fitted(name, np.asarray(values, float)[rows], law.numeric))
        if not columns:
            raise LawError("law.drop leaves no column: shorten it")
        return cls(tuple(columns), law.target)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Column -> its coordinates of X_0."""
        ends = np.cumsum([0, *(column.width for column in self.columns)]).tolist()
        pairs = zip(self.columns, ends[:-1], ends[1:], strict=True)
        return {column.name: slice(start, end) for column, start, end in pairs}

    @property
    def dimension(self) -> int:
        """d."""
        return sum(column.width for column in self.columns)

    def encode(self, cells: Cells, rows: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """X_0 [n, d] of those rows."""
        parts = [column.encode(cells.columns[column.name][rows]) for column in self.columns]
        return np.concatenate(parts, axis=1)

    def decode(self, x: FloatArray) -> dict[str, NDArray[Any]]:
        """Rows of the table: column -> values [n], of points x [n, d], any that are finite. Numbers
        are kept to the range of the training part, whole ones rounded; of categories the largest
        coordinate is meant. What `encode` made of rows in that range comes back as it was."""
        return {c.name: c.decode(np.asarray(x)[:, self.slices[c.name]]) for c in self.columns}

    def rows(self, x: FloatArray) -> FloatArray:
        """The points [n, d] of the rows that points x [n, d] decode to."""
        decoded = self.decode(x)
        return np.concatenate([c.encode(decoded[c.name]) for c in self.columns], axis=1)


class TableRows(Distribution):
    """A part of a table's rows, as a law that is drawn from without replacement: n draws hold every
    row equally often, to within once. f*, the density and the noise are not known: NaN."""

    known = False
    uniforms = 1
    work = 1

    def __init__(self, codec: Codec, parts: Mapping[Part, FloatArray], part: Part) -> None:
        self.codec, self.points = codec, parts[part]
        self._parts = parts
        self.dimension = codec.dimension
        squares = np.square(self.points).sum(axis=1)
        self.second_moment = float(squares.mean())
        self.support_radius = float(np.sqrt(squares.max()))

    def part(self, name: Part) -> TableRows:
        return TableRows(self.codec, self._parts, name)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        rounds = -(-n // len(self.points))
        order = np.concatenate([rng.permutation(len(self.points)) for _ in range(rounds)])
        return np.asarray(self.points[order[:n]])

    def transform(self, u: FloatArray) -> FloatArray:
        rows = (u[:, 0] * len(self.points)).astype(np.int64)
        return np.asarray(self.points[np.minimum(rows, len(self.points) - 1)])

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        return float("nan")

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return np.full(x.shape, np.nan)

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return np.full(len(x), np.nan)

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return np.full(len(x), np.nan)


# --- what a file decides of a law -----------------------------------------------------------------


def resolve_table(
    mapping: Mapping[str, Any], folder: Path, key: str, held: MutableMapping[str, Any]
) -> dict[str, Any]:
    """A spec's raw mapping of a `table` law, with what its file decides filled in: `file` as an
    absolute path, `sha256`, `dimension` and `count`. `held` takes the file, with what was found in
    it among its notes. Raises LawError naming the key."""
    given = dict(mapping)
    if not isinstance(given.get("file"), str | Path):
        raise LawError(f"{key}.file must be the path of a CSV file: name the table's")
    try:
        path = (folder / given["file"]).resolve()
        here = (f for f in held.values() if isinstance(f, TableFile) and f.path == path)
        file = next(here, None) or read_table(path)
    except (LawError, OSError, ValueError, RuntimeError) as error:
        raise LawError(f"{key}.file: {error}") from error
    cells = file.points
    for name in Table.lists & given.keys():
        listed = given[name] if isinstance(given[name], list | tuple) else [given[name]]
        given[name] = tuple(listed)
    filled = {"count": cells.count, "sha256": file.sha256}
    try:
        law = Table.model_validate({"dimension": 1, **given, **filled, "file": str(path)})
    except ValidationError:
        return {"dimension": 1, **given, **filled, "file": str(path)}  # the spec says what is wrong
    try:
        codec = Codec.fitted(law, cells)
    except LawError as error:
        raise LawError(f"{key}.file: {path}: {error}") from error
    filled["dimension"] = codec.dimension
    for name, value in filled.items():
        if mapping.get(name) not in (None, value):
            raise LawError(
                f"{key}.{name} = {mapping[name]}, but {path} gives {value}: remove {key}.{name}"
            )
    notes = tuple(dict.fromkeys((*file.notes, *_found(law, codec, cells))))
    held[KEY + file.sha256] = replace(file, notes=notes)
    return {**given, **filled, "file": str(path)}


def _found(law: Table, codec: Codec, cells: Cells) -> list[str]:
    """What to tell of how a table is encoded."""
    sizes = {part: len(rows) for part, rows in law.split.items()}
    notes = [
        f"{cells.count} rows: {sizes['train']} to train on, {sizes['holdout']} held out, "
        f"{sizes['test']} to test; d = {codec.dimension}"
    ]
    numbers = [c.name for c in codec.columns if isinstance(c, Numeric)]
    if numbers:
        how = {"standardise": "standardised", "quantile": "quantile-normalised"}[law.numeric]
        notes.append(f"numeric, {how}: {' '.join(numbers)}")
    for column in codec.columns:
        if isinstance(column, Categorical):
            shown = " ".join(column.categories[:8]) + (" ..." if column.width > 8 else "")
            why = "the target" if column.name == law.target else "found"
            why = "declared" if column.name in law.categorical else why
            notes.append(f"categorical ({why}): {column.name} ({shown})")
    holes = {
        name: gaps
        for name, values in cells.columns.items()
        if name not in law.drop and (gaps := _gaps(values))
    }
    if holes:
        notes.append("imputed: " + ", ".join(f"{n} of {name}" for name, n in holes.items()))
    for column in codec.columns:
        values = cells.columns[column.name]
        if values.dtype == np.float64 and (np.diff(values.astype(float)) == 1).all():
            notes.append(f"{column.name} counts the rows (add it to law.drop if it is an index)")
    return notes


def _cells_of(law: Table, held: Points) -> Cells:
    """The cells of a law's file: from `held`, else from the file itself if unchanged."""
    assert law.sha256 is not None
    cells = held.get(KEY + law.sha256)
    if cells is None:
        data = bytes_of_law(law.file, law.sha256)
        cells = checked_cells(data, law.sha256, law.file or "")
    assert isinstance(cells, Cells)
    return cells


def _categorical(law: Table, name: str, values: NDArray[Any]) -> bool:
    if name == law.target or name in law.categorical or values.dtype == object:
        return True
    numbers = values.astype(float)
    return len(np.unique(numbers[np.isfinite(numbers)])) == 2


def _why_not_categories(name: str, width: int, values: NDArray[Any]) -> str:
    """Of a column of many different texts: most of them may be numbers."""
    odd = [str(v) for v in values if v is not None and number(str(v)) is None]
    if len(odd) <= FEW_ODD * len(values):
        more = f" ({len(odd)} such cells)" if len(odd) > 1 else ""
        return (
            f"{name} holds numbers but for {odd[0]!r}{more}: correct it, or leave the cell empty "
            "and set law.missing: impute"
        )
    return (
        f"{name} holds {width} different texts, rather names than categories: add it to law.drop, "
        "or to law.categorical"
    )


def _refuse_unknown(law: Table, cells: Cells) -> None:
    named = {"target": (law.target,) if law.target else (), "drop": law.drop}
    named["categorical"] = law.categorical
    for key, names in named.items():
        for name in names:
            if name not in cells.columns:
                there = ", ".join(list(cells.columns)[:30])
                raise LawError(f"law.{key} names {name!r}, which is no column: it has {there}")
            if key != "drop" and name in law.drop:
                raise LawError(f"law.{key} and law.drop both name {name!r}: keep one")


def _refuse_missing(law: Table, name: str, values: NDArray[Any]) -> None:
    gaps = _gaps(values)
    if gaps and name == law.target:
        raise LawError(f"{gaps} cells of the target {name} are missing: remove those rows")
    if gaps and law.missing == "refuse":
        raise LawError(
            f"{gaps} cells of {name} are missing: fill them in, add it to law.drop, or set "
            "law.missing: impute"
        )


def _gaps(values: NDArray[Any]) -> int:
    return sum(text is None for text in _texts(values))


def _texts(values: NDArray[Any]) -> list[str | None]:
    """Cells as text, whole numbers without a point, missing ones None."""
    if values.dtype == object:
        return [None if value is None else str(value) for value in values]
    return [
        None if np.isnan(v) else f"{int(v)}" if v == int(v) else repr(v) for v in values.tolist()
    ]


def _whole_as_written(text: str) -> bool:
    """Whether a text is a whole number, and the one way in which that is written: 2020_01 and 01
    are not, though int() reads them."""
    try:
        return str(int(text)) == text and abs(int(text)) < EXACT
    except ValueError:
        return False


def _in_order(text: str) -> tuple[int, float, str]:
    """Numbers by their size, then texts."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
