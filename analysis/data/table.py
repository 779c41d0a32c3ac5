"""The results table, a column at a time: what a study of 100,000 trials is analysed through.

A table of 4 million rows does not fit a small driver, and no number needs all of it: verdicts read
a few columns, a figure those of its sweep. So the values that a trial has once are held once a
trial, and those of every step stay where they are, a DataFrame or results.parquet, until they are
asked for.

B trials, R rows: a trial's rows stand together, in the order of their steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.data.files import open_file
from analysis.data.results import best_status, load_results, tidy, with_ends
from analysis.data.schema import SCHEMA
from trainers.columns import COLUMNS

Positions = NDArray[np.integer[Any]]

_ONCE = [c.name for c in COLUMNS if c.per == "trial"]
_FIRST = pa.schema([SCHEMA.field(name) for name in (*_ONCE, "step")])
_PART = 1000  # trials made whole at a time


class _Source(Protocol):
    """Where the columns are."""

    def __contains__(self, name: object) -> bool: ...

    def column(self, name: str, at: Positions) -> Any:
        """The values of a column at these rows of the source, as an array of pandas or numpy."""


@dataclass(frozen=True, eq=False)
class Table:
    """Trials and their recorded rows. `table[names]` gives columns as a DataFrame of R rows.

    trials: [B] rows with what a trial has once (and perhaps other columns, at its first step).
    starts, counts: [B], the trial's first row in the source, and how many there are.
    """

    trials: pd.DataFrame
    starts: Positions
    counts: Positions
    source: _Source

    @classmethod
    def of(cls, frame: pd.DataFrame | Table) -> Table:
        """A table over the rows of `frame`: its columns trial_id and step say which is which. A
        trial given twice has its best status, with the rows of that; a step given twice counts
        once, as it is given first; trials stay in their order. A frame of before g was a column
        has what `load_results` gives it."""
        if isinstance(frame, Table):
            return frame
        who = pd.factorize(frame["trial_id"])[0]
        step = frame["step"].to_numpy(dtype=np.int64)
        follows = np.diff(who) * (step.max(initial=0) + 1) + np.diff(step)
        if (follows <= 0).any():
            if "status" in frame:
                best = best_status(frame)
                frame, who, step = frame[best], who[best], step[best]
            first = ~frame.duplicated(["trial_id", "step"]).to_numpy()
            order = np.lexsort((step[first], who[first]))
            frame, who = frame[first].iloc[order], who[first][order]
        starts = np.flatnonzero(np.diff(who, prepend=-1))
        counts = np.diff(starts, append=len(who))
        trials = with_ends(frame.iloc[starts].reset_index(drop=True))
        return cls(trials, starts, counts, _Given(frame))

    def __len__(self) -> int:
        return int(self.counts.sum())

    def __contains__(self, name: object) -> bool:
        return name in self.source

    def __getitem__(self, names: Sequence[str]) -> pd.DataFrame:
        first = np.cumsum(self.counts) - self.counts
        at = np.repeat(self.starts - first, self.counts) + np.arange(len(self))
        return pd.DataFrame({name: self._column(name, at) for name in names}, copy=False)

    def _column(self, name: str, at: Positions) -> Any:
        if name not in _ONCE:
            return self.source.column(name, at)
        values = self.trials[name]
        if values.dtype != "str":
            return values.array.repeat(self.counts)
        # In categories, sorted as the strings are, a row costs a small number and not a string.
        once = pd.Categorical(values)
        return pd.Categorical.from_codes(
            np.repeat(once.codes, self.counts), dtype=once.dtype, validate=False
        )

    def take(self, positions: Positions) -> Table:
        """The trials at these places, in this order."""
        return Table(
            self.trials.iloc[positions].reset_index(drop=True),
            self.starts[positions],
            self.counts[positions],
            self.source,
        )

    def only(self, keep: pd.Series[bool] | NDArray[np.bool_]) -> Table:
        """The trials for which `keep` [B] holds."""
        return self.take(np.flatnonzero(np.asarray(keep, dtype=bool)))

    def by_id(self) -> Table:
        """The trials sorted by trial_id."""
        return self.take(self.trials["trial_id"].argsort(kind="stable").to_numpy())

    def parts(self) -> Iterator[pd.DataFrame]:
        """The whole rows, some trials at a time, as `load_results` gives them."""
        for start in range(0, len(self.trials), _PART):
            part = self.take(np.arange(start, min(start + _PART, len(self.trials))))
            yield part[SCHEMA.names].astype({n: self.trials[n].dtype for n in _ONCE})


class _Given:
    """Columns of a DataFrame in memory."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __contains__(self, name: object) -> bool:
        return name in self._frame

    def column(self, name: str, at: Positions) -> Any:
        return self._frame[name].array.take(at)


class _Stored:
    """Columns of a file of the store, read when they are asked for: the row groups that hold
    something wanted, one after the other. The file stays open: it may be replaced meanwhile."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def __contains__(self, name: object) -> bool:
        return name in SCHEMA.names

    def column(self, name: str, at: Positions) -> Any:
        field = SCHEMA.field(name).type
        number = np.int64 if pa.types.is_integer(field) else np.float64
        whole = np.empty(self._bounds[-1], dtype=object if pa.types.is_string(field) else number)
        for group in np.unique(np.searchsorted(self._bounds, at, side="right") - 1):
            values = self._file.read_row_group(int(group), columns=[name])[name]
            whole[self._bounds[group] : self._bounds[group + 1]] = values.to_numpy()
        return pd.array(whole[at], dtype="str") if whole.dtype == object else whole[at]


def load_table(source: str) -> Table:
    """The table of a results.parquet, its trials sorted as `load_results` sorts them; what every
    step has stays in the file until it is asked for. A table that the store did not compile, with
    columns missing or a trial in two places, is loaded whole. Raises ResultsError."""
    filesystem, path = fsspec.core.url_to_fs(source)
    texts = [name for name in _ONCE if pa.types.is_string(SCHEMA.field(name).type)]
    try:
        file = pq.ParquetFile(open_file(filesystem, path), read_dictionary=texts)
    except (pa.ArrowException, OSError):
        return Table.of(load_results(source))
    found = _trials(file) if file.schema_arrow.names == SCHEMA.names else None
    if found is None:
        return Table.of(load_results(source))
    once, starts = found
    trials = tidy(once.to_pandas())[_ONCE]
    counts = np.diff(starts, append=file.metadata.num_rows)
    order = pd.Index(once["trial_id"].to_pandas()).get_indexer(trials["trial_id"])
    return Table(trials, starts[order], counts[order], _Stored(file))


def _trials(file: pq.ParquetFile) -> tuple[pa.Table, Positions] | None:
    """The first row of every trial, and where it is; None where a trial's rows do not stand
    together in the order of their steps."""
    firsts, starts = [], []
    before, last = 0, ("", -1)
    for group in range(file.num_row_groups):
        part = file.read_row_group(group, columns=[*_ONCE, "step"])
        ids = part["trial_id"].cast(pa.string())
        who, step = pd.factorize(ids.to_pandas())[0], part["step"].to_numpy()
        goes_on = np.diff(who, prepend=0 if ids[0].as_py() == last[0] else -1) == 0
        if (goes_on & (np.diff(step, prepend=last[1]) <= 0)).any():
            return None
        first = np.flatnonzero(~goes_on)
        firsts.append(part.take(first).cast(_FIRST))
        starts.append(first + before)
        before, last = before + len(part), (ids[-1].as_py(), step[-1])
    if not firsts:
        return None
    found = pa.concat_tables(firsts)
    alone = len(found["trial_id"].unique()) == len(found)
    return (found, np.concatenate(starts)) if alone else None
