"""The results table read back: from a results directory, a file, or MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.data.files import open_file
from analysis.data.mlflow_view import load_view
from analysis.data.schema import COMPILED_OF, SCHEMA, ResultsError, listed, opened, read_parquet
from trainers.columns import COLUMNS
from trainers.trial import UNSAID, Diffusion, TrialStatus, content_id

SORT_KEYS = (
    "law_id", "dimension", "samples", "width", "step_size", "seed", "trial_id", "step",
)  # fmt: skip
"""The order of rows that `load_results` gives."""

SOURCE = "source"
"""The key in `DataFrame.attrs` of where a table was read from: its audit lies there too."""

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def load_results(
    source: str | Path, study: str | None = None, from_metrics: bool = False
) -> pd.DataFrame:
    """The results table of one study (or of all that `source` holds), sorted by SORT_KEYS.

    `source`: a results directory or a .parquet file, each local or an fsspec URI. Of a directory,
    its results.parquet, which holds the trials of the study as last run, unless trials/*.parquet
    have come since: then all that they hold, trials that the study no longer asks for included.
    Or an MLflow tracking URI, where `study` is the name of the experiment and may be left out if
    there is one study only. From MLflow the table is the stored
    results.parquet of a finished study; `from_metrics`, or an unfinished study, rebuilds it from
    the logged runs: the columns that are logged have the same values, the others are null.

    Types: int64 (Int64 with nulls), float64, bool, str. A trial stored twice is kept once: its
    best status, then the first file by name. A constant g that files of earlier versions do not say
    is read as 1; compiled anew, by a run or `scorerates analyze`, they say it. `attrs["source"]` of
    a table from files says where it came from. Raises ResultsError.
    """
    text = str(source)
    if is_tracking_uri(text):
        return tidy(load_view(text, study, from_metrics).to_pandas())
    frame = tidy(_read_files(text).to_pandas())
    if study is not None:
        names = sorted(frame["study"].dropna().unique())
        frame = frame[frame["study"] == study].reset_index(drop=True)
        if frame.empty:
            raise ResultsError(f"{text}: no study {study!r}; it holds {listed(names)}")
    frame.attrs[SOURCE] = text if "://" in text else str(Path(text).absolute())
    return frame


def is_tracking_uri(source: str) -> bool:
    """Whether `source` names an MLflow tracking server or database rather than files."""
    scheme = source.partition("://")[0].partition("+")[0] if "://" in source else ""
    return scheme in _DATABASES or (scheme in ("http", "https") and not source.endswith(".parquet"))


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with every column of the schema and its type, each trial once, sorted."""
    frame = frame.reindex(columns=SCHEMA.names)
    # Files older than a choice lack its column: all of their trials are of what stays unsaid.
    for name, unsaid in UNSAID.items():
        frame[name] = frame[name].astype(object).where(frame[name].notna(), unsaid)
    frame = with_ends(frame)
    for column in COLUMNS:
        values = frame[column.name]
        complete = not values.isna().any()
        dtypes: dict[str, Any] = {
            "string": "str",
            "float": "float64",
            "int": "int64" if complete else "Int64",
            "bool": "bool" if complete else "boolean",
        }
        dtype = dtypes[column.type]
        if str(values.dtype) != dtype:
            frame[column.name] = values.astype(dtype)
        if column.type == "string":
            frame[column.name] = _printable(frame[column.name])
    return _each_trial_once(frame).sort_values(list(SORT_KEYS), ignore_index=True)


ENDS = ("g_min", "g_max")
"""Columns that results and audits of earlier versions lack: g at 0 and at T."""


def with_ends(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with g at 0 and at T of trials from before these columns: what a constant g is where
    a study does not say it. Of a linear one they stay unknown."""
    constant = frame.get("schedule", pd.Series("", frame.index)) == "constant"
    first, last = (
        frame[name].astype(float) if name in frame else pd.Series(np.nan, frame.index)
        for name in ENDS
    )
    first = first.mask(constant & first.isna(), Diffusion().g_min)
    return frame.assign(g_min=first, g_max=last.mask(constant & last.isna(), first))


_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
"""What moves a terminal's cursor or turns the direction of text; not tabs and line ends."""


def _printable(values: pd.Series) -> pd.Series:
    """Text without control characters: a file may come from anybody, and its text goes to terminals
    and pages."""
    texts = values.dropna().unique()
    if not any(re.search(_CONTROL, text) for text in texts):
        return values
    return values.str.replace(_CONTROL, "\N{REPLACEMENT CHARACTER}", regex=True)


def status_rank(frame: pd.DataFrame) -> pd.Series[int]:
    """The place of each row's status in the order of TrialStatus, the best one first."""
    order = {str(status): rank for rank, status in enumerate(TrialStatus)}
    return frame["status"].astype(str).map(order).fillna(len(order))


def best_status(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows are of the best status that their trial has."""
    rank = status_rank(frame)
    return (rank == rank.groupby(frame["trial_id"].to_numpy()).transform("min")).to_numpy()


def _each_trial_once(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[best_status(frame)].drop_duplicates(["trial_id", "step"])


def _read_files(source: str) -> pa.Table:
    filesystem, path = fsspec.core.url_to_fs(source)
    tables = []
    for name in _files(filesystem, path, source):
        with opened(filesystem, name) as file:
            tables.append(read_parquet(file, name))
    return pa.concat_tables(tables)


def packs_id(names: Iterable[str]) -> str:
    """What identifies a set of files in trials/, by their names without `.parquet`."""
    return content_id(sorted(names))


def _files(filesystem: fsspec.AbstractFileSystem, path: str, source: str) -> Iterator[str]:
    filesystem.invalidate_cache()
    if filesystem.isfile(path):
        if not path.endswith(".parquet"):
            raise ResultsError(
                f"{source} is no results table: name a results directory, such as results/STUDY, "
                "or a .parquet file"
            )
        return iter([path])
    if not filesystem.exists(path):
        inside = "results/" + source
        hint = f"; did you mean {inside}?" if Path(inside).is_dir() else ""
        raise ResultsError(f"{source}: no such file or directory{hint}")
    trials = parquet_files(filesystem, f"{path.rstrip('/')}/trials")
    whole = f"{path.rstrip('/')}/results.parquet"
    if filesystem.isfile(whole) and (not trials or _compiled_of(filesystem, whole, trials)):
        return iter([whole])
    if trials:
        return iter(trials)
    raise ResultsError(
        f"{source}: holds no results: neither trials/*.parquet nor results.parquet. Run the study "
        "first, or name its results directory"
    )


def parquet_files(filesystem: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The Parquet files in a folder, sorted; none where there is no folder. Not by a glob: the
    folder's own name may hold `[`, `*` or `?`."""
    try:
        names = [str(name) for name in filesystem.ls(folder, detail=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    files = ((name.rpartition("/")[2], name) for name in names)
    return sorted(
        name for file, name in files if file.endswith(".parquet") and not file.startswith(".")
    )


def _compiled_of(filesystem: fsspec.AbstractFileSystem, whole: str, trials: Sequence[str]) -> bool:
    """Whether the table `whole` was compiled from exactly these files."""
    names = (str(name).rsplit("/", 1)[-1].removesuffix(".parquet") for name in trials)
    try:
        with open_file(filesystem, whole) as file:
            metadata = pq.read_schema(file).metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return bool(metadata.get(COMPILED_OF.encode()) == packs_id(names).encode())
