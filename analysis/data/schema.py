"""The results table: its schema, how it is built, and how one file of it is read.

One row per trial and recorded step; the columns, their units and meanings are those of
`trainers.columns`, and travel in the file as metadata of each field. What was not asked for, or is
not a finite number (after a divergence), is null, never 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import IO, Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.data.files import open_file
from trainers.columns import COLUMNS, IDENTITY_COLUMNS, STEP_COLUMNS, TRIAL_COLUMNS
from trainers.errors import UserError, first_line
from trainers.trial import Trajectory, TrialConfig

FORMAT_VERSION = 1
"""Version of the table's layout. Raise it when a column changes its meaning."""

TYPES = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}

SCHEMA: pa.Schema = pa.schema(
    [
        pa.field(
            c.name, TYPES[c.type], metadata={"unit": c.unit, "meaning": c.meaning, "per": c.per}
        )
        for c in COLUMNS
    ],
    metadata={"format": "scorerates results", "format_version": str(FORMAT_VERSION)},
)
"""Schema of results.parquet and of every file of the store: all columns, all nullable."""

COMPILED_OF = "compiled_of"
"""Metadata of results.parquet: `packs_id` of the files in trials/ that it was compiled from."""

_BATCH = 2000  # trials built at a time: bounds the Python objects alive to a few million


class ResultsError(UserError, ValueError):
    """There is no results table at the source, or it cannot be read; the message says which."""


# --- building -----------------------------------------------------------------------------------


def table_from(trajectories: Iterable[Trajectory], study: str) -> pa.Table:
    """The results table of `trajectories`, in their order, one row per recorded step, in SCHEMA.

    `effective_time` is eta * step. None, NaN and infinities become null, and so does an empty
    message. Raises ValueError for a value or series that is not among the columns.
    """
    iterator = iter(trajectories)
    batches = []
    while batch := list(itertools.islice(iterator, _BATCH)):
        batches.append(_batch_table(batch, study))
    return pa.concat_tables(batches) if batches else SCHEMA.empty_table()


def _batch_table(batch: list[Trajectory], study: str) -> pa.Table:
    for trajectory in batch:
        _check_names(trajectory)
    trial_rows = [_trial_row(trajectory, study) for trajectory in batch]
    lengths = np.array([len(t.steps) for t in batch])
    owner = pa.array(np.repeat(np.arange(len(batch)), lengths))
    steps = np.fromiter(itertools.chain.from_iterable(t.steps for t in batch), np.int64)
    step_sizes = np.repeat([t.config.step_size for t in batch], lengths)
    columns: dict[str, pa.Array] = {
        "step": pa.array(steps),
        "effective_time": pa.array(step_sizes * steps),
    }
    for column in IDENTITY_COLUMNS + TRIAL_COLUMNS:
        values = [row.get(column.name) for row in trial_rows]
        array = _array(column.name, values)
        # Of all numbers the width alone may be infinite.
        columns[column.name] = (array if column.name == "width" else _finite(array)).take(owner)
    for column in STEP_COLUMNS:
        if column.name not in columns:
            values = []
            for trajectory in batch:
                series: dict[str, list[Any]] = {**trajectory.series, **trajectory.texts}
                values.extend(series.get(column.name, [None] * len(trajectory.steps)))
            columns[column.name] = _finite(_array(column.name, values))
    return pa.Table.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _check_names(trajectory: Trajectory) -> None:
    unknown = set(trajectory.values).difference(c.name for c in TRIAL_COLUMNS)
    unknown |= {*trajectory.series, *trajectory.texts}.difference(c.name for c in STEP_COLUMNS)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ValueError(f"not a column of the results table (trainers.columns): {names}")


def _trial_row(trajectory: Trajectory, study: str) -> dict[str, Any]:
    return {
        **trajectory.values,
        **identity_row(trajectory.config, study),
        "status": str(trajectory.status),
        "message": trajectory.message or None,
    }


def identity_row(config: TrialConfig, study: str) -> dict[str, Any]:
    """The IDENTITY_COLUMNS of a trial: what follows from its configuration alone."""
    return {
        "trial_id": config.trial_id,
        "point_id": config.point_id,
        "data_id": config.data_id,
        "study": study,
        "law": config.law.kind,
        "law_id": config.law_id,
        "law_label": config.law.label,
        "dimension": config.dimension,
        "samples": config.samples,
        "copies": 0 if config.fresh else config.copies,
        "time_law": config.time_law,
        "weight": config.weight,
        "width": float(config.width),
        "step_size": config.step_size,
        "steps": None if config.infinite else config.steps,
        "initialisation": config.initialisation,
        "feature_bias": config.bias,
        "t_min": config.diffusion.t_min,
        "t_max": config.diffusion.t_max,
        "schedule": config.diffusion.schedule,
        "g_min": config.diffusion.g_min,
        "g_max": config.diffusion.g_last,
        "seed": config.seed,
        "precision": config.precision,
        "trainer": config.trainer_label,
    }


def _array(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, SCHEMA.field(name).type, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"{name}: {error}") from error


def _finite(array: pa.Array) -> pa.Array:
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))


# --- reading ------------------------------------------------------------------------------------


def listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def read_parquet(file: Any, name: str) -> pa.Table:
    """The results table in `file` (a path, or open for reading), cast to SCHEMA; `name` is for the
    message of ResultsError. Columns that the file lacks are null."""
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ResultsError(
            f"{name}: cannot be read ({first_line(error)}); remove the file, and run the "
            "study again to train what it held"
        ) from error
    missing = [k for k in ("trial_id", "step", "status") if k not in table.column_names]
    if missing:
        raise ResultsError(f"{name}: not a results table: it has no column {', '.join(missing)}")
    version = int((table.schema.metadata or {}).get(b"format_version", FORMAT_VERSION))
    if version > FORMAT_VERSION:
        raise ResultsError(
            f"{name}: has format version {version}, newer than this program's {FORMAT_VERSION}: "
            "update scorerates"
        )
    try:
        return pa.Table.from_arrays(
            [
                table[field.name].cast(field.type)
                if field.name in table.column_names
                else pa.nulls(table.num_rows, field.type)
                for field in SCHEMA
            ],
            schema=SCHEMA,
        )
    except pa.ArrowException as error:
        raise ResultsError(f"{name}: not a results table: {error}") from error


def opened(filesystem: fsspec.AbstractFileSystem, name: str) -> IO[bytes]:
    """`analysis.data.files.open_file`, but raises ResultsError."""
    try:
        return open_file(filesystem, name)
    except OSError as error:
        raise ResultsError(
            f"{name}: cannot be read ({error.strerror or error}); remove it, and run the study "
            "again to train what it held"
        ) from None
