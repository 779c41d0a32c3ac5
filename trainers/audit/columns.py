"""The audit's table: its columns, its quantities with their units, and the content id of a setting.

Standard library and pydantic only: the driver and the analysis read this, and load no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainers.columns import ColumnType
from trainers.trial import NUMERICS_VERSION, TrialConfig, content_id

AUDIT_VERSION = 1
"""Part of every audit's id. Raise it when a change alters the audit's numbers alone."""

SPECTRUM_SAMPLES = 2048
"""N of the clean samples whose spectrum and target coefficients are fitted."""

FIRST_INDEX, LAST_INDEX = 8, SPECTRUM_SAMPLES // 16
"""Indices (from 1) of fits to eigenvalues l_i ~ i^-b. The few before them follow no power yet. A
sample's eigenvalues are too large, by a share that grows as i/N: at d = 2 those at N = 2048 exceed
those at N = 4096 by 8 % at i = 128 and 14 % at i = 256. A fit up to 128 is then too low in b by
0.03 or more, which no interval over replicates shows."""

APPROXIMATION_SAMPLES = 1024
"""M: clean points that f_H is fitted to."""


@dataclass(frozen=True)
class AuditColumn:
    """A column of an audit's Parquet file."""

    name: str
    type: ColumnType
    unit: str
    meaning: str


AUDIT_COLUMNS: tuple[AuditColumn, ...] = (
    AuditColumn("audit_id", "string", "", "content id of the setting that was audited"),
    AuditColumn("law", "string", "", "kind of the law of X_0"),
    AuditColumn("law_id", "string", "", "content id of the law"),
    AuditColumn("law_label", "string", "", "kind and parameters of the law"),
    AuditColumn("dimension", "int", "1", "d"),
    AuditColumn("t_min", "float", "time", "T_0"),
    AuditColumn("t_max", "float", "time", "T"),
    AuditColumn("schedule", "string", "", "g: constant or linear"),
    AuditColumn("feature_bias", "bool", "", "whether the features hold a constant 1"),
    AuditColumn("quantity", "string", "", "what was measured: see AUDIT_QUANTITIES"),
    AuditColumn("axis", "string", "", "what x is; null for a quantity of the setting alone"),
    AuditColumn("x", "float", "", "value on the axis"),
    AuditColumn("seed", "int", "", "replicate: an independent sample; null where exact"),
    AuditColumn("value", "float", "", "the value; null where infinite or not defined"),
    AuditColumn("unit", "string", "", "unit of the value"),
)
"""One row per quantity, value on its axis, and replicate."""


@dataclass(frozen=True)
class AuditQuantity:
    """axis: samples, t, radius, index or norm; empty for one number a replicate."""

    name: str
    axis: str
    unit: str
    meaning: str


AUDIT_QUANTITIES: dict[str, AuditQuantity] = {
    q.name: q
    for q in (
        AuditQuantity("support_radius", "", "x", "sup ||X_0||; null: infinite"),
        AuditQuantity("tail", "radius", "1", "P(||X_t|| > R), t ~ U[T_0, T]"),
        AuditQuantity("search_radius", "t", "x", "99.9 % quantile of ||X_t||: f* is searched here"),
        AuditQuantity("lipschitz_x", "t", "1", "largest ||df*/dx|| found: at most the supremum"),
        AuditQuantity(
            "lipschitz_t", "t", "x/time", "largest ||df*/dt|| found: at most the supremum"
        ),
        AuditQuantity("typical_slope_x", "t", "1", "99 % quantile of ||df*/dx|| over X_t"),
        AuditQuantity("typical_slope_t", "t", "x/time", "99 % quantile of ||df*/dt|| over X_t"),
        AuditQuantity("posterior_variance", "t", "x^2", "E||X_0 - f*||^2 at t: the noise, all d"),
        AuditQuantity("noise_variance", "t", "x^2", "the same per coordinate, sigma^2 at t"),
        AuditQuantity("smallest_eigenvalue", "samples", "x^2", "smallest eigenvalue of K/N"),
        AuditQuantity("largest_step_size", "samples", "1/x^2", "2N / lambda_max(K)"),
        AuditQuantity("ntk_eigenvalue", "index", "x^2", "i-th eigenvalue of K/N"),
        AuditQuantity("capacity", "", "1", "b: eigenvalues of K/N fall as i^-b"),
        AuditQuantity("source", "", "1", "s: squared coefficients of f* fall as i^-(1 + s b)"),
        AuditQuantity(
            "rate", "", "1", "s b/(s b + 1): the kernel's exponent in N; null for s <= 0"
        ),
        AuditQuantity("approximation", "norm", "x^2", "E||f_H - f*||^2 on fresh points"),
        AuditQuantity(
            "approximation_in_sample",
            "norm",
            "x^2",
            "mean ||f_H - f*||^2 on the points that f_H is fitted to",
        ),
    )
}


def audit_id(config: TrialConfig, numerics: int = NUMERICS_VERSION) -> str:
    """Content id of a trial's setting: law, diffusion, bias, study seed and norms. Trials that
    differ in anything else share one audit. numerics: 1 up to today's, of whose numbers it is."""
    full = config.identity()
    kept = {k: full[k] for k in ("law", "diffusion", "bias", "study_seed", "norms")}
    return content_id({**kept, "numerics": numerics, "audit": AUDIT_VERSION})


def audit_identity(config: TrialConfig) -> dict[str, Any]:
    """The AUDIT_COLUMNS that follow from the configuration alone."""
    return {
        "audit_id": audit_id(config),
        "law": config.law.kind,
        "law_id": config.law_id,
        "law_label": config.law.label,
        "dimension": config.dimension,
        "t_min": config.diffusion.t_min,
        "t_max": config.diffusion.t_max,
        "schedule": config.diffusion.schedule,
        "feature_bias": config.bias,
    }
