"""The quantities that curves show."""

from __future__ import annotations

from enum import StrEnum


class Quantity(StrEnum):
    """What a curve shows; one value per trial, per data set (UNTRAINED), or per pair of twins."""

    BEST_ERROR = "best_score_error"
    BEST_ERROR_ASSESSED = "best_score_error_assessed"
    BEST_ERROR_UNWEIGHTED = "best_score_error_unweighted"
    BEST_TIME = "best_effective_time"
    FINAL_ERROR = "final_score_error"
    INTERPOLATION_ERROR = "interpolation_error"
    ERROR_AT_TIME = "score_error_at_fixed_time"
    COUPLING_AT_TIME = "coupling_at_fixed_time"
    KERNEL_BEST_ERROR = "kernel_best_score_error"
    KERNEL_BEST_TIME = "kernel_best_effective_time"
    GENERALIZATION_TIME = "generalization_time"
    MEMORIZATION_TIME = "memorization_time"
    MEMORIZATION_RATIO = "memorization_ratio"
    MEMORIZER = "memorizer_error"
    MEMORIZER_SHARE = "memorizer_share"
    EMPIRICAL_BAYES = "empirical_bayes_error"
    EMPIRICAL_BAYES_UNWEIGHTED = "empirical_bayes_error_unweighted"
    EMPIRICAL_BAYES_BEST = "empirical_bayes_best_error"
    TWINS_BEST = "twin_disagreement"
    TWINS_LAST = "twin_disagreement_at_last_step"
    SAMPLE_ENERGY = "sample_energy"
    SAMPLE_WASSERSTEIN = "sample_wasserstein"
    SAMPLE_DIVERGENCE = "sample_divergence"
    GIRSANOV = "girsanov"
    GIRSANOV_RATIO = "girsanov_ratio"
    APPROXIMATION = "approximation"
    NTK_EIGENVALUE = "ntk_eigenvalue"


OF_THE_KERNEL = (
    Quantity.INTERPOLATION_ERROR,
    Quantity.KERNEL_BEST_ERROR,
    Quantity.KERNEL_BEST_TIME,
)
"""Quantities of the kernel limit alone, whatever the width."""

OF_DESCENT = (Quantity.BEST_TIME, Quantity.ERROR_AT_TIME)
"""Quantities of the clock eta tau of gradient descent, which tells nothing of other trainers."""

UNTRAINED = (
    Quantity.MEMORIZER,
    Quantity.EMPIRICAL_BAYES,
    Quantity.EMPIRICAL_BAYES_UNWEIGHTED,
    Quantity.EMPIRICAL_BAYES_BEST,
    Quantity.MEMORIZER_SHARE,
)
"""Quantities of a data set, without training; each is the column of its name."""

SAMPLED = (
    Quantity.SAMPLE_ENERGY,
    Quantity.SAMPLE_WASSERSTEIN,
    Quantity.SAMPLE_DIVERGENCE,
    Quantity.GIRSANOV,
    Quantity.GIRSANOV_RATIO,
)
"""Of samples of the network at the best step: docs/theory.md, section 14.3."""

OF_DIVERGENCE = (Quantity.SAMPLE_DIVERGENCE, Quantity.GIRSANOV_RATIO)
"""Quantities of the divergence of samples, as nearest neighbours tell it."""

CLOCKS = (
    Quantity.GENERALIZATION_TIME,
    Quantity.MEMORIZATION_TIME,
    Quantity.MEMORIZATION_RATIO,
)
"""Of trials whose clean points have several noisy copies: docs/theory.md, section 12."""

GEOMETRIC = (Quantity.BEST_TIME, Quantity.KERNEL_BEST_TIME, *CLOCKS)
"""Quantities whose level means are geometric ones: times are very skewed over seeds."""
