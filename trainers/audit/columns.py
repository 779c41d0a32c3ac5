"""The audit's table: its columns, its quantities with their units, and the content id of a setting.

Standard library and pydantic only: the driver and the analysis read this, and load no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainers.columns import ColumnType
from trainers.trial import NUMERICS_VERSION, TrialConfig, content_id

AUDIT_VERSION = 3
"""Part of every audit's id. Raise it when a change alters the audit's numbers alone."""

SPECTRUM_SAMPLES = 8192
"""N of the clean samples whose spectrum and target coefficients are measured, where the study does
not say."""

REPLICATES = 4
"""Independent samples, where the caller does not say."""

PREDICTED = ("predicted_error", "predicted_time")
"""What a spectrum predicts of the kernel over N."""

BRIEF_SAMPLES, BRIEF_REPLICATES = 4096, 1
"""Of a brief audit: what a spectrum predicts, and nothing else. It takes a twentieth of the time of
a whole one."""
BRIEF_DRAWS = 30
"""Draws of a law with a brief audit: their mean is known well enough, and of many draws all would
take hours."""

PARTS = 4
"""Parts of such a sample, whose spectra show the sampling bias: see `window`."""


SEARCH_STARTS, NOISE_DRAWS = 512, 4096
"""Points from which the largest slopes of f* are looked for, and at which noise is measured."""

COMPONENT_BUDGET = 2e8
"""Products of points, coordinates and components that one measurement of f* may take: laws of very
many atoms are measured on fewer points."""


def search_starts(terms: int, d: int, most: int = SEARCH_STARTS) -> int:
    """Of a law whose f* is a sum of so many terms."""
    return max(16, min(most, int(COMPONENT_BUDGET / (100 * terms * d * d))))


def noise_draws(terms: int, d: int, most: int = NOISE_DRAWS) -> int:
    """The same, of the noise."""
    return max(256, min(most, int(COMPONENT_BUDGET / (terms * d))))


def leading_count(samples: int) -> int:
    """How many eigenpairs of a sample of N points are computed: 327 at N = 8192."""
    return samples // 25


def audit_bytes(samples: int) -> int:
    """Memory that a sample's spectrum takes: K, and bases of block Lanczos
    (`trainers.kernel.leading`)."""
    return 8 * samples * (samples + 12 * leading_count(samples))


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
    AuditColumn("g_min", "float", "1/time", "g at time 0; null in audits of before version 3"),
    AuditColumn("g_max", "float", "1/time", "g at T; null in audits of before version 3"),
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
    """axis: samples, t, radius, index, norm or variance; empty for one number a replicate."""

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
        AuditQuantity("spectrum_samples", "", "1", "N of the sample whose spectrum is measured"),
        AuditQuantity("ntk_eigenvalue", "index", "x^2", "i-th eigenvalue of K/N"),
        AuditQuantity(
            "operator_eigenvalue", "index", "x^2", "the same less its sampling bias (jackknife)"
        ),
        AuditQuantity("capacity", "", "1", "b: eigenvalues of K/N fall as i^-b"),
        AuditQuantity("source", "", "1", "s: squared coefficients of f* fall as i^-(1 + s b)"),
        AuditQuantity(
            "rate", "", "1", "s b/(s b + 1): the kernel's exponent in N; null for s <= 0"
        ),
        AuditQuantity(
            "predicted_error",
            "samples",
            "x^2",
            "the kernel's best error at N that the spectrum and f*'s coefficients predict, as far "
            "as the spectrum that is known reaches",
        ),
        AuditQuantity("predicted_time", "samples", "1", "the effective time of that best error"),
        AuditQuantity(
            "mode_learning_time",
            "variance",
            "1",
            "effective time at which kernel descent has learned half of the part of f* that a mode "
            "of X_0 of this variance (x^2) is; of laws with independent modes alone",
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


def audit_id(
    config: TrialConfig,
    samples: int = SPECTRUM_SAMPLES,
    numerics: int = NUMERICS_VERSION,
    version: int = AUDIT_VERSION,
    brief: bool = False,
) -> str:
    """Content id of a trial's setting: law, diffusion, bias, study seed and norms. Trials that
    differ in anything else share one audit. samples: N of the spectrum. numerics, version: of the
    trials' numbers and the audit's, 1 up to today's. brief: of the spectrum's predictions alone."""
    full = config.identity()
    kept = {k: full[k] for k in ("law", "diffusion", "bias", "study_seed", "norms")}
    spectrum = {"spectrum_samples": samples} if version > 1 else {}
    alone = {"brief": True} if brief else {}
    return content_id({**kept, "numerics": numerics, "audit": version, **spectrum, **alone})


def audit_identity(
    config: TrialConfig, samples: int = SPECTRUM_SAMPLES, brief: bool = False
) -> dict[str, Any]:
    """The AUDIT_COLUMNS that follow from the configuration and from how much is measured."""
    return {
        "audit_id": audit_id(config, samples, brief=brief),
        "law": config.law.kind,
        "law_id": config.law_id,
        "law_label": config.law.label,
        "dimension": config.dimension,
        "t_min": config.diffusion.t_min,
        "t_max": config.diffusion.t_max,
        "schedule": config.diffusion.schedule,
        "g_min": config.diffusion.g_min,
        "g_max": config.diffusion.g_last,
        "feature_bias": config.bias,
    }
