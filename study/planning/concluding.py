"""What comes after the last trial: the audit of each setting, fits, figures and the page.

| part        | model                                                                          |
|-------------|--------------------------------------------------------------------------------|
| an audit    | for each replicate: float64 operations of block Lanczos on N points and of      |
|             | eigenvalues of their parts, values of f* in each coordinate of many points, and |
|             | seconds for the rest; a brief one has no values of f*                           |
| the page    | seconds a setting that is judged and drawn, and a trial that is read            |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from analysis.data.sweeps import family
from study.planning.cost import Speeds
from study.planning.plan import makespan
from trainers.audit.columns import (
    AUDIT_VERSION,
    BRIEF_REPLICATES,
    PARTS,
    REPLICATES,
    SEARCH_STARTS,
    audit_id,
    leading_count,
    noise_draws,
    search_starts,
)
from trainers.limits import BASIS
from trainers.trial import NUMERICS_VERSION, TrialConfig

AUDIT_START, REPLICATE_SECONDS = 9.0, 2.0
"""Seconds until a worker has loaded what an audit needs, and of each replicate. Brief audits come
after whole ones, when it has."""
UNEVEN = 1.2
"""Blocks are thin and bases are read again and again: so much longer than matrix products."""
SLOPE_POINTS, VALUE_SECONDS = 8e5, 1e-8
"""Points and times at which a replicate asks for f* and its slopes; seconds of a coordinate of a
term of it."""
AUDIT_TIMES, TERM_SECONDS = 14, 5.5e-9
"""Times at which f* is measured; seconds of a term of f*, where there are very many."""
NOISE_PASSES = 10
"""The noise between components is a sum over pairs: so many times a value of f*."""

PAGE_SECONDS, PAGE_SECONDS_A_SETTING, PAGE_SECONDS_A_TRIAL = 4.0, 8.0, 0.004


@dataclass(frozen=True)
class Wanted:
    """An audit: of the setting of a trial, with N of its spectrum; brief: the spectrum's
    predictions alone."""

    config: TrialConfig
    samples: int
    brief: bool = False

    def key(self, numerics: int = NUMERICS_VERSION, version: int = AUDIT_VERSION) -> str:
        """Its `audit_id`; of earlier numerics or of an earlier version."""
        return audit_id(self.config, self.samples, numerics, version, self.brief)


def audit_seconds(wanted: Wanted, speeds: Speeds) -> float:
    """Seconds of one worker for an audit."""
    config, samples = wanted.config, wanted.samples
    basis = BASIS * leading_count(samples)
    lanczos = 2 * samples**2 * basis + 6 * samples * basis**2
    parts = 4 / 3 * PARTS * (samples / PARTS) ** 3
    spectrum = UNEVEN * (lanczos + parts) / speeds.products
    if wanted.brief:
        return BRIEF_REPLICATES * spectrum
    return AUDIT_START + REPLICATES * (REPLICATE_SECONDS + spectrum + _asking(config))


def _asking(config: TrialConfig) -> float:
    """Seconds in which a replicate asks for f* and its slopes."""
    d, terms = config.dimension, config.law.terms
    starts = search_starts(terms, d)
    noise = AUDIT_TIMES * NOISE_PASSES * noise_draws(terms, d) * terms * TERM_SECONDS
    if starts == SEARCH_STARTS:
        return SLOPE_POINTS * d**2 * terms * VALUE_SECONDS + noise
    # a law of very many terms is asked at fewer points
    slopes = 2 * (d + 1) * (4 * starts + 128 * min(32, 3 * starts // 8))
    return AUDIT_TIMES * slopes * terms * TERM_SECONDS + noise


def audits_seconds(audits: Iterable[Wanted], at_once: int, speeds: Speeds) -> float:
    """Seconds until the last of the audits ends, so many side by side."""
    return makespan([audit_seconds(one, speeds) for one in audits], at_once)


def page_seconds(trials: Collection[TrialConfig]) -> float:
    """Seconds of the driver for verdicts, figures and the page of all trials; the draws of a law
    are one setting."""
    laws = {law: family(law.label) or law.label for law in {t.law for t in trials}}
    settings = {
        (laws[t.law], t.dimension, t.diffusion, t.trainer_label, t.copies, t.time_law, t.weight)
        for t in trials
    }
    return (
        PAGE_SECONDS + len(settings) * PAGE_SECONDS_A_SETTING + len(trials) * PAGE_SECONDS_A_TRIAL
    )
