"""The audit's table: how it is stored and read, and the curves and exponents that it gives.

One Parquet file a setting, in `audit/` of a results directory; columns and quantities are those of
trainers.audit.columns. What the numbers mean for the theory's assumptions is in `assumptions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.results import ENDS, SOURCE, is_tracking_uri, parquet_files, with_ends
from analysis.data.schema import ResultsError, opened
from analysis.data.sweeps import AUDIT_KEYS, Setting, usual_noise
from analysis.fits.growth import Continuation, Growth
from analysis.levels.intervals import Array
from trainers.audit.columns import APPROXIMATION_SAMPLES, AUDIT_COLUMNS, PREDICTED
from trainers.audit.window import window
from trainers.errors import first_line
from trainers.trial import Diffusion

FORMAT_VERSION = 1
"""Version of the audit files' layout. Raise it when a column changes its meaning."""

_TYPES = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}

AUDIT_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field(c.name, _TYPES[c.type], metadata={"unit": c.unit, "meaning": c.meaning})
        for c in AUDIT_COLUMNS
    ],
    metadata={"format": "scorerates audit", "format_version": str(FORMAT_VERSION)},
)

BRACKET = 1.25
"""approximation(R_H) is trusted where its upper and its lower estimate agree within this factor."""

EARLIER_SAMPLES = 2048
EARLIER_FIRST, EARLIER_LAST = 8, EARLIER_SAMPLES // 16
"""N and the fitted indices of audits of version 1, whose eigenvalues hold the sampling bias."""

SPECTRAL = {
    Quantity.KERNEL_BEST_ERROR: "predicted_error",
    Quantity.KERNEL_BEST_TIME: "predicted_time",
}
"""Which of the audit's quantities predicts which of the trials', those of networks near the kernel
(BEST_ERROR, BEST_TIME) too."""

CONTINUED = {
    Quantity.BEST_ERROR: "predicted_error",
    Quantity.BEST_ERROR_ASSESSED: "predicted_error",
    Quantity.BEST_TIME: "predicted_time",
}
"""Which of the audit's quantities goes on beyond the range of which of the trials'."""

MINIMUM_DECADES = 1.2
"""The least range over which an exponent is asked for: of what is measured, and of what goes on."""
WINDOW = 10**MINIMUM_DECADES

Exponents = tuple[float | None, float | None]


# --- files --------------------------------------------------------------------------------------


def audit_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of `trainers.audit.measure.audit` as a table in AUDIT_SCHEMA. Raises ValueError for a
    row that lacks a column or has another, or a value of another type."""
    names = set(AUDIT_SCHEMA.names)
    for row in rows:
        if set(row) != names:
            odd = ", ".join(sorted(set(row) ^ names))
            raise ValueError(f"an audit's row has exactly the columns of AUDIT_COLUMNS; odd: {odd}")
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=AUDIT_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"audit: {error}") from error


def load_audit(source: str | Path, audit_ids: Collection[str] | None = None) -> pd.DataFrame | None:
    """The audits in `audit/*.parquet` of a results directory (or beside a results.parquet), local
    or an fsspec URI; `audit_ids` picks some. None where there are none, and for a tracking URI.

    Raises ResultsError for a file that cannot be read or is no audit.
    """
    text = str(source)
    if is_tracking_uri(text):
        return None
    filesystem, path = fsspec.core.url_to_fs(text)
    folder = path.rpartition("/")[0] if path.endswith(".parquet") else path.rstrip("/")
    names = parquet_files(filesystem, f"{folder}/audit")
    if audit_ids is not None:
        kept = set(audit_ids)
        names = [n for n in names if n.rpartition("/")[2].removesuffix(".parquet") in kept]
    if not names:
        return None
    with ExitStack() as stack:
        return read_audits([(n, stack.enter_context(opened(filesystem, n))) for n in names])


def audit_beside(frame: pd.DataFrame) -> pd.DataFrame | None:
    """The audits stored beside the results that `load_results` read into `frame`, of the settings
    of its trials and, of several for one setting, the `preferred` one; None where there are none.
    Raises ResultsError as `load_audit` does."""
    source = frame.attrs.get(SOURCE)
    audit = None if source is None else load_audit(source)
    if audit is None:
        return None
    known = [key for key in AUDIT_KEYS if key in frame]
    rows = with_ends(frame[known].drop_duplicates()).to_dict("records")
    found = [_of_setting(audit, row) for row in rows]
    first = [preferred(own) for own in found if len(own)]
    kept = audit[audit["audit_id"].isin(first)].reset_index(drop=True)
    return kept if len(kept) else None


def read_audits(files: Iterable[tuple[str, Any]]) -> pd.DataFrame:
    """The audits of (name, open file), at least one. Raises ResultsError for one that cannot be
    read or is no audit."""
    return _typed(pa.concat_tables([_read(file, name) for name, file in files]).to_pandas())


def _read(file: Any, name: str) -> pa.Table:
    try:
        table = pq.ParquetFile(file, page_checksum_verification=True).read()
        version = int((table.schema.metadata or {}).get(b"format_version", FORMAT_VERSION))
        if version <= FORMAT_VERSION:
            for column in (c for c in ENDS if c not in table.column_names):
                table = table.append_column(column, pa.nulls(len(table), pa.float64()))
            return table.select(AUDIT_SCHEMA.names).cast(AUDIT_SCHEMA)
    except (pa.ArrowException, KeyError, ValueError, OSError, EOFError) as error:
        raise ResultsError(
            f"{name}: not an audit that can be read ({first_line(error)}); remove the "
            "file, and run the study again to measure it anew"
        ) from error
    raise ResultsError(
        f"{name}: has format version {version}, newer than this program's {FORMAT_VERSION}: "
        "update scorerates"
    )


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    dtypes = {"string": "str", "float": "float64", "int": "Int64", "bool": "bool"}
    return frame.astype({c.name: dtypes[c.type] for c in AUDIT_COLUMNS})


def with_diffusion(audit: pd.DataFrame, diffusion: Diffusion) -> pd.DataFrame:
    """An audit of this diffusion, g at 0 and at T said, which earlier versions did not."""
    return audit.assign(g_min=diffusion.g_min, g_max=diffusion.g_last)


# --- what it gives ------------------------------------------------------------------------------


def audit_of(audit: pd.DataFrame | None, row: Mapping[str, Any]) -> pd.DataFrame | None:
    """The audit of the setting that `row` (any trial's row, or a curve's law_id and fixed values)
    belongs to; None where it was not made. Of several the `preferred` one."""
    if audit is None or not all(key in row for key in AUDIT_KEYS):
        return None
    mine = _of_setting(audit, row)
    return mine[mine["audit_id"] == preferred(mine)] if len(mine) else None


def _of_setting(audit: pd.DataFrame, row: Mapping[Any, Any]) -> pd.DataFrame:
    """The audits of a setting, several perhaps. One of before g at 0 and at T were said is of a
    setting that does not say them either, or whose g is what goes unsaid."""
    usual = row["schedule"] == "constant" and row["g_min"] == Diffusion().g_min
    mine = audit
    for key in AUDIT_KEYS:
        same = mine[key].isna() if pd.isna(row[key]) else mine[key] == row[key]
        mine = mine[same | (mine[key].isna() & usual)] if key in ENDS else mine[same]
    return mine


def preferred(audits: pd.DataFrame) -> str:
    """Of several audits of one setting (an earlier version, other norms, another study seed) the
    id of that with the spectrum of the most samples, then one that says its whole diffusion, the
    first by id where all is equal; of a brief one only where there is no other."""

    def rank(entry: tuple[Any, pd.DataFrame]) -> tuple[bool, int, bool]:
        own = entry[1]
        return not _brief(own), spectrum_samples(own), bool(own["g_min"].notna().all())

    return str(max(audits.groupby("audit_id", sort=True), key=rank)[0])


def _brief(own: pd.DataFrame) -> bool:
    """Whether an audit holds what the spectrum predicts, and nothing else."""
    return set(own["quantity"]) <= {"spectrum_samples", *PREDICTED}


def setting_audit(setting: Setting, audit: pd.DataFrame | None) -> pd.DataFrame | None:
    """The audit of a setting; None where it was not made, or is a brief one."""
    first = setting.frame.trials.iloc[0]
    own = audit_of(audit, {key: first[key] for key in AUDIT_KEYS})
    return None if own is None or _brief(own) else own


def values_of(audit: pd.DataFrame | None, quantity: str) -> pd.DataFrame:
    """The rows of one quantity that hold a value, by x and seed; empty without an audit."""
    if audit is None:
        return pd.DataFrame(columns=AUDIT_SCHEMA.names)
    rows = audit[(audit["quantity"] == quantity) & audit["value"].notna()]
    return rows.sort_values(["x", "seed"])


def _spectrum_of(audit: pd.DataFrame | None, curve: Curve) -> pd.DataFrame | None:
    """The audit of the curve's setting, whose spectrum is that of the usual noise; None where it
    was not made, or training had another."""
    if not usual_noise(curve.fixed):
        return None
    return audit_of(audit, {**curve.fixed, "law_id": curve.law_id})


def exponents_for(audit: pd.DataFrame | None, curve: Curve) -> Exponents:
    """Capacity b and source s of the curve's setting, means over replicates; None where unknown,
    and where training had another noise than the spectrum's."""
    own = _spectrum_of(audit, curve)
    b, s = (values_of(own, name)["value"].mean() for name in ("capacity", "source"))
    known = bool(np.isfinite(b) and np.isfinite(s) and b > 0 and s > 0)
    return (float(b), float(s)) if known else (None, None)


def spectral_rates(
    audit: pd.DataFrame | None, curve: Curve
) -> dict[Quantity, tuple[float, Growth]]:
    """What the spectrum of the curve's setting predicts for the kernel over the samples of the
    curve: the exponent b of its best error and of its best time, least squares in logarithms over
    the curve's levels, and what the prediction has beside x^-b. Nothing where it does not reach all
    of the levels, was not measured, or is of another noise than training had."""
    own = _spectrum_of(audit, curve)
    levels = np.unique(curve.x)
    if own is None or curve.axis != "samples" or len(levels) < 2:
        return {}
    found = {}
    for quantity, name in SPECTRAL.items():
        mean = _of_all_replicates(own, name).groupby("x")["value"].mean()
        if len(mean) and mean.index[0] <= levels[0] and levels[-1] <= mean.index[-1]:
            found[quantity] = _rate(mean, levels)
    return found


def _rate(predicted: pd.Series[float], levels: Array) -> tuple[float, Growth]:
    at = _between(predicted.index.to_numpy(dtype=float), np.log(predicted.to_numpy()))
    b = -float(np.polyfit(np.log(levels), at(levels), 1)[0])
    return b, Growth("g(x)", lambda x: np.exp(at(x) + b * np.log(x)), within=True)


def _between(x: Array, logs: Array) -> Callable[[Array], Array]:
    """A curve between the x at which its logs are known, straight in log-log: x [n] -> logs [n]."""
    return lambda at: np.asarray(np.interp(np.log(at), np.log(x), logs))


def continuation(audits: Mapping[str, pd.DataFrame], curve: Curve) -> Continuation | None:
    """How a best error or best time over N goes on beyond the samples of the curve, by the spectrum
    of its setting: the geometric mean over the draws of the law that were audited, where the curve
    pools draws. audits: by law_id. None where the spectrum is not known at all levels and over
    a WINDOW beyond them, or is of another noise than training had."""
    name = CONTINUED.get(Quantity(curve.quantity))
    levels = np.unique(curve.x)
    if name is None or curve.axis != "samples" or not len(levels):
        return None
    tables: list[pd.DataFrame] = []
    for one in curve.draws or (curve,):
        own = _spectrum_of(audits.get(one.law_id), one)
        if own is not None and len(rows := _of_all_replicates(own, name)):
            table = rows.pivot(index="x", columns="seed", values="value").sort_index()
            reaches = table.index[0] <= levels[0] and WINDOW * levels[-1] <= table.index[-1]
            if reaches and (table > 0).all(axis=None):
                tables.append(table.map(math.log))
    if not tables:
        return None
    each = pd.concat([table.mean(axis=1) for table in tables], axis=1, join="inner").sort_index()
    x = each.index.to_numpy(dtype=float)
    mean = each.mean(axis=1).to_numpy(dtype=float)
    # of a law's own curve, replicates show the spectrum's error; of many draws, these show it
    alike = mean[:, None] if curve.draws else tables[0].loc[each.index].to_numpy(dtype=float)

    ends = window_exponents(x, alike, float(levels[-1]))
    return Continuation(
        "the kernel's spectrum",
        _between(x, mean),
        float(ends.min()),
        float(ends.max()),
        float(x[-1]),
        len(tables) if curve.draws else 0,
        alone=curve.fixed.get("width", math.inf) == math.inf,  # or it grows with N
    )


def window_exponents(x: Array, logs: Array, start: float) -> Array:
    """The exponents of each of R curves, logs [X, R] at x [X], over every window of WINDOW or more
    between `start` and the last x."""
    u = np.log(np.concatenate([[start], x[x > start]]))
    values = np.stack([np.interp(u, np.log(x), own) for own in logs.T], axis=1)
    first, last = np.nonzero(u[None, :] - u[:, None] >= np.log(WINDOW) - 1e-9)
    return np.asarray((values[first] - values[last]) / (u[last] - u[first])[:, None])


def _of_all_replicates(own: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The rows of one quantity at those x at which every replicate has a value: the replicates that
    have one elsewhere are a selection."""
    rows = values_of(own, quantity)
    asked = own[own["quantity"] == quantity]["seed"].nunique()
    return rows[rows.groupby("x")["seed"].transform("size") == asked]


def spectrum_samples(own: pd.DataFrame) -> int:
    """N of the sample whose spectrum an audit measured."""
    rows = values_of(own, "spectrum_samples")
    return int(rows["value"].iloc[0]) if len(rows) else EARLIER_SAMPLES


def operator_eigenvalues(own: pd.DataFrame) -> pd.DataFrame:
    """Rows of the eigenvalues that stand for the operator's, at the indices that every replicate
    has: those of the sample less their bias, or, in audits of version 1, as they are."""
    rows = _of_all_replicates(own, "operator_eigenvalue")
    return rows if len(rows) else values_of(own, "ntk_eigenvalue")


def index_window(own: pd.DataFrame) -> tuple[int, int]:
    """First and last index that are fitted: `trainers.audit.window`, by the means over replicates;
    of audits of version 1 their own. Raises ValueError for an audit without eigenvalues."""
    if not len(values_of(own, "operator_eigenvalue")):
        return EARLIER_FIRST, EARLIER_LAST
    operator = operator_eigenvalues(own).groupby("x")["value"].mean()
    sample = values_of(own, "ntk_eigenvalue").groupby("x")["value"].mean()[operator.index]
    excess = (sample / operator - 1).to_numpy(dtype=float)
    return window(int(own["dimension"].iloc[0]), operator.index.to_numpy(dtype=float), excess)


def fitted_eigenvalues(own: pd.DataFrame) -> pd.DataFrame:
    """The rows of `operator_eigenvalues` within `index_window`."""
    rows = operator_eigenvalues(own)
    return rows[rows["x"].between(*index_window(own))]


def trusted_norms(own: pd.DataFrame) -> list[float]:
    """The R_H at which the two estimates of approximation(R_H), means over replicates of the
    errors on fresh points and on the fitted ones, agree within BRACKET."""
    above, below = (
        values_of(own, name).groupby("x")["value"].mean()
        for name in ("approximation", "approximation_in_sample")
    )
    ratio = above / below
    return [float(x) for x in ratio.index[(ratio <= BRACKET) & (ratio >= 1 / BRACKET)]]


def audit_curves(audit: pd.DataFrame | None) -> list[Curve]:
    """Eigenvalues of the kernel's operator against their index within `index_window`, and
    approximation(R_H) on fresh points over `trusted_norms`: two curves a setting. None of settings
    whose features lack the constant: functions are homogeneous there, and the exponents that
    theory names are not theirs.

    One replicate gives a whole curve, whose points share its sample: `linked`, so that intervals
    are made from one slope a replicate, never from the points' scatter. They say what another
    sample would change. That the points are no exact power law is for the exponent at large x
    (`analysis.fits.asymptotic`).
    """
    if audit is None:
        return []
    found: list[Curve] = []
    for _, own in audit[audit["feature_bias"]].groupby("audit_id", sort=True):
        eigenvalues = fitted_eigenvalues(own)
        error = values_of(own, "approximation")
        error = error[error["x"].isin(trusted_norms(own))]
        samples = {"samples": spectrum_samples(own)}
        found += _curve(Quantity.NTK_EIGENVALUE, "index", eigenvalues, samples)
        found += _curve(
            Quantity.APPROXIMATION, "norm", error, {"clean_points": APPROXIMATION_SAMPLES}
        )
    return found


def _curve(
    quantity: Quantity, axis: str, rows: pd.DataFrame, points: Mapping[str, int]
) -> Iterator[Curve]:
    if rows.empty:
        return
    first = rows.iloc[0]
    yield Curve(
        quantity=quantity,
        axis=axis,
        law=str(first["law_label"]),
        law_id=str(first["law_id"]),
        dimension=int(first["dimension"]),
        fixed={
            "law": str(first["law"]),
            "t_min": float(first["t_min"]),
            "t_max": float(first["t_max"]),
            "schedule": str(first["schedule"]),
            **{name: None if pd.isna(first[name]) else float(first[name]) for name in ENDS},
            "feature_bias": bool(first["feature_bias"]),
            **points,
            "audit_id": str(first["audit_id"]),
        },
        x=rows["x"].to_numpy(dtype=float),
        y=rows["value"].to_numpy(dtype=float),
        seed=rows["seed"].to_numpy(dtype=np.int64),
        censored=np.zeros(len(rows), dtype=bool),
        linked=True,
    )
