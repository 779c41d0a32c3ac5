"""The columns of results.parquet: names, types, units and meanings, in their order.

Standard library only: the driver, the workers and the analysis all read this list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainers.registry import KERNEL_LIMIT, TRAINERS

TIME_BINS = 4
"""Number of log-spaced bins of t in which the score error is also reported."""

TEST_GROUPS = 8
"""Number of groups of test points, drawn apart from each other: how the errors over them differ
tells the test set's own error."""

SKETCH_SIZE = 64
"""K, random projections of a trial's predictions that are kept: see `trainers.problem.sketch`."""

ERROR_COLUMNS: tuple[str, ...] = (
    "score_error",
    "score_error_unweighted",
    "score_error_select",
    "score_error_assess",
    *(f"score_error_bin{i}" for i in range(1, TIME_BINS + 1)),
    *(f"score_error_unweighted_bin{i}" for i in range(1, TIME_BINS + 1)),
    *(f"score_error_group{i}" for i in range(1, TEST_GROUPS + 1)),
    *(f"score_error_unweighted_group{i}" for i in range(1, TEST_GROUPS + 1)),
)
"""The columns that `EvaluationSet.weights` gives, in their order."""

SHOWN_POINTS, SHOWN_COLUMNS = 200, 3
"""Of a set of samples: the points that are kept to be looked at, and their leading columns."""

UNTRAINED = {
    "memorizer": "the memorizer f*_emp: the posterior mean under the law of the N clean points",
    "empirical_bayes": "empirical Bayes: the same, its density cut off by the formula",
    "empirical_bayes_best": "empirical Bayes with the cut-off that has the least error",
}
"""Estimates of f* from the clean points of a data set, without training."""

_BY_TIME = [name for name in ERROR_COLUMNS if "_bin" in name]
_BY_GROUP = [name for name in ERROR_COLUMNS if "_group" in name]

UNTRAINED_ERRORS: dict[str, tuple[str, str]] = {
    name.replace("score", estimator, 1): (estimator, name)
    for estimator in UNTRAINED
    for name in (
        "score_error",
        "score_error_unweighted",
        *_BY_TIME,
        *(_BY_GROUP if estimator == "empirical_bayes" else ()),
    )
}
"""Column -> the estimate that it is of, and the one of ERROR_COLUMNS that it is like."""

TABLE_MEASURES: tuple[tuple[str, str, str], ...] = (
    *[
        (f"tstr_{score}_{name}", "1", f"train on samples, test on real rows: {what}, by {model}")
        for score, what in (("auc", "AUC"), ("balanced", "balanced accuracy"))
        for name, model in (
            ("logistic", "logistic regression"),
            ("boosting", "gradient boosting"),
        )
    ],
    ("table_marginals", "1", "mean distance of marginals of samples and test rows, in [0, 1]"),
    ("table_correlations", "1", "mean absolute difference of their columns' correlations"),
    ("table_detection", "1", "AUC of telling samples from test rows; 1/2: they cannot be told"),
    ("table_closest", "1", "median distance of samples to the closest training row, encoded"),
)
"""Column, unit and meaning of what is measured of generated rows of a table, on its test part."""

ColumnType = Literal["string", "int", "float", "bool"]


@dataclass(frozen=True)
class Column:
    """A column of results.parquet. `per`: the value is the trial's, or changes with the step."""

    name: str
    type: ColumnType
    per: Literal["trial", "step"]
    unit: str
    meaning: str


def _columns(
    per: Literal["trial", "step"], rows: list[tuple[str, ColumnType, str, str]]
) -> list[Column]:
    return [Column(name, kind, per, unit, meaning) for name, kind, unit, meaning in rows]


IDENTITY_COLUMNS: tuple[Column, ...] = tuple(
    _columns(
        "trial",
        [
            ("trial_id", "string", "", "content id of the trial"),
            ("point_id", "string", "", "content id without the seed"),
            ("data_id", "string", "", "content id of the training set"),
            ("study", "string", "", "name of the study"),
            ("law", "string", "", "kind of the law of X_0"),
            ("law_id", "string", "", "content id of the law"),
            ("law_label", "string", "", "kind and parameters of the law"),
            ("dimension", "int", "1", "d"),
            ("samples", "int", "1", "N"),
            ("copies", "int", "1", "M, noisy copies of each clean point; 0: fresh at every step"),
            ("time_law", "string", "", "pi, the law of the training's times"),
            ("weight", "string", "", "w(t), the weight of the training loss"),
            ("width", "float", "1", "m; inf: the kernel limit, without a network"),
            ("step_size", "float", "1", "eta"),
            ("steps", "int", "steps", "the last step asked for; null at infinite width"),
            ("initialisation", "string", "", "symmetric or plain"),
            ("feature_bias", "bool", "", "whether the features hold a constant 1"),
            ("t_min", "float", "time", "T_0"),
            ("t_max", "float", "time", "T"),
            ("schedule", "string", "", "g: constant or linear"),
            ("g_min", "float", "1/time", "g at time 0"),
            ("g_max", "float", "1/time", "g at T, which is g_min where g is constant"),
            ("seed", "int", "", "seed of data and weights"),
            ("precision", "string", "", "floating-point type of the training"),
            (
                "trainer",
                "string",
                "",
                f"{', '.join([*TRAINERS, KERNEL_LIMIT])}, or module:Class@hash",
            ),
        ],
    )
)
"""Columns that follow from the configuration (and the study's name) alone."""

TRIAL_COLUMNS: tuple[Column, ...] = tuple(
    _columns(
        "trial",
        [
            ("status", "string", "", "completed, diverged, pruned or failed"),
            ("message", "string", "", "why a trial did not complete"),
            (
                "diverged_step",
                "int",
                "steps",
                "step at which the training loss was found to diverge",
            ),
            (
                "posterior_variance",
                "float",
                "x^2",
                "E||X_0 - f*||^2: the noise, all d",
            ),
            (
                "noise_variance",
                "float",
                "x^2",
                "sigma^2, per coordinate, under the training's times and weight: what stopping "
                "rules use",
            ),
            (
                "noise_source",
                "string",
                "",
                "exact: from the law's own f*, not estimated; simulated: the mean of "
                "||X_0 - f*||^2 over draws, of a law of your own",
            ),
            ("target_norm", "float", "x^2", "E||f*||^2 on the test set"),
            (
                "effective_points",
                "float",
                "points",
                "effective number of test points behind score_error",
            ),
            ("effective_points_unweighted", "float", "points", "that of score_error_unweighted"),
            ("effective_points_bins", "float", "points", "the least of all bins of t, both errors"),
            (
                "interpolation_error",
                "float",
                "x^2",
                "E||f^K - f*||^2 as tau -> inf: kernel descent that is never stopped",
            ),
            (
                "largest_step_size",
                "float",
                "1",
                "2N / lambda_max(K): kernel descent's stability limit",
            ),
            *[
                (
                    name,
                    "float",
                    "1/x^2" if "_unweighted" in like else "x^2",
                    f"{like} of {UNTRAINED[estimator]}",
                )
                for name, (estimator, like) in UNTRAINED_ERRORS.items()
            ],
            (
                "memorizer_share",
                "float",
                "1",
                "share of f*_emp that one clean point holds: mean of sum_i w_i^2 in the first bin "
                "of t, w its weights of the clean points",
            ),
            (
                "empirical_bayes_best_cutoff",
                "float",
                "1",
                "that cut-off, of the density in (2 pi h)^(-d/2) / N; 0: none. The formula: N^-2",
            ),
            (
                "seconds",
                "float",
                "s",
                "the trial's share of its pack's training time, by operations",
            ),
            ("operations", "float", "flop", "of the training: 4 N m (k + d) tau of descent"),
            ("device", "string", "", "cpu, or the GPU's name"),
            ("node", "string", "", "host that trained it"),
            (
                "kernel_path",
                "string",
                "",
                "which step trained it: fused, triton, matmul or blocked; at infinite width, which "
                "route solved it: eigen or lanczos",
            ),
            (
                "kept",
                "string",
                "",
                "of which steps the network was to be kept: best, last, stops",
            ),
            ("sampled", "string", "", "at which steps the network was to be sampled, and how"),
            (
                "drawn_points",
                "string",
                "x",
                "exact draws at T_0, to look at beside `sample_points`, which see",
            ),
            *[
                (
                    f"{name}_exact",
                    "float",
                    unit,
                    f"{name} that a set of exact draws passes one time in 21",
                )
                for name, unit in (
                    ("sample_energy", "x"),
                    ("sample_wasserstein", "x"),
                    ("sample_divergence", "nat"),
                )
            ],
            ("sample_nll_exact", "float", "nat", "sample_nll of exact draws: the entropy of p_T0"),
            ("sample_energy_true", "float", "x", "sample_energy by the same sampler with f*"),
            ("girsanov_start", "float", "nat", "KL(p_T || N(0, I)); 0 where p_T is the start"),
            *[
                (f"{name}_real", "float", unit, f"{name} of the N real rows in place of samples")
                for name, unit, _meaning in TABLE_MEASURES
                if name not in ("table_detection", "table_closest")
            ],
            ("table_closest_real", "float", "1", "table_closest of the test part's rows"),
        ],
    )
)
"""Columns measured once a trial."""

STEP_COLUMNS: tuple[Column, ...] = tuple(
    _columns(
        "step",
        [
            ("step", "int", "steps", "tau"),
            ("effective_time", "float", "1", "eta tau, the sum of the step sizes so far"),
            (
                "score_error",
                "float",
                "x^2",
                "E||f_W - f*||^2: lambda-weighted score matching error",
            ),
            ("score_error_unweighted", "float", "1/x^2", "the same with lambda = 1"),
            ("score_error_select", "float", "x^2", "score_error on the first half of the groups"),
            (
                "score_error_assess",
                "float",
                "x^2",
                "score_error on the second half of the groups",
            ),
            *[
                (f"score_error_bin{i}", "float", "x^2", f"score_error in bin {i} of t")
                for i in range(1, TIME_BINS + 1)
            ],
            *[
                (
                    f"score_error_unweighted_bin{i}",
                    "float",
                    "1/x^2",
                    f"unweighted error in bin {i} of t",
                )
                for i in range(1, TIME_BINS + 1)
            ],
            *[
                (
                    f"score_error_group{i}",
                    "float",
                    "x^2",
                    f"score_error on group {i} of the test set",
                )
                for i in range(1, TEST_GROUPS + 1)
            ],
            *[
                (
                    f"score_error_unweighted_group{i}",
                    "float",
                    "1/x^2",
                    f"unweighted error on test group {i}",
                )
                for i in range(1, TEST_GROUPS + 1)
            ],
            ("train_loss", "float", "x^2", "L(W) = 1/(2N) sum w_j ||f_W(z_j) - X_{0,j}||^2"),
            ("holdout_loss", "float", "x^2", "the same mean on pairs that training never saw"),
            ("coupling", "float", "x^2", "E||f_W - f^K||^2"),
            (
                "memorizer_distance",
                "float",
                "x^2",
                "E||f_W - f*_emp||^2: the distance to the memorizer",
            ),
            (
                "generalization_gap",
                "float",
                "x^2",
                "loss on fresh copies of held-out points less that of training points; null where "
                "there are no copies",
            ),
            ("label_mismatch", "float", "x^2", "E||f^K - f~^K||^2 at the largest R_H"),
            ("early_stopping", "float", "x^2", "E||f~^K - f_H||^2 at the largest R_H"),
            ("approximation", "float", "x^2", "E||f_H - f*||^2 at the largest R_H"),
            ("bias", "float", "x^2", "E||f^K on clean labels - f*||^2"),
            ("variance", "float", "x^2", "E||f^K - f^K on clean labels||^2"),
            ("kernel_score_error", "float", "x^2", "E||f^K - f*||^2"),
            ("kernel_train_loss", "float", "x^2", "training loss of f^K"),
            ("kernel_holdout_loss", "float", "x^2", "holdout loss of f^K"),
            ("kernel_complexity", "float", "1", "[1/N sum_i min(l_i/N, 1/(eta tau))]^(1/2)"),
            ("displacement", "float", "1", "||W(tau) - W(0)||_F"),
            (
                "flipped_fraction",
                "float",
                "1",
                "share of activations 1[w.z > 0] flipped since tau = 0",
            ),
            (
                "sketch",
                "string",
                "x",
                f"at the best and at the last step, {SKETCH_SIZE} random projections of f_W on the "
                "test set (float32 in base64): the mean square difference of two trials' is about "
                "E||f_1 - f_2||^2",
            ),
            (
                "network",
                "string",
                "",
                "where the network is kept: the SHA-256 of its file, networks/<it>.safetensors",
            ),
            ("sample_energy", "float", "x", "energy distance of samples at T_0 to exact draws"),
            ("sample_wasserstein", "float", "x", "sliced 2-Wasserstein distance of the same"),
            (
                "sample_points",
                "string",
                "x",
                f"{SHOWN_POINTS} of the samples at T_0, the leading {SHOWN_COLUMNS} columns or "
                "fewer (float32 in base64, point by point)",
            ),
            ("sample_nll", "float", "nat", "-E log p_T0 of samples"),
            (
                "sample_divergence",
                "float",
                "nat",
                "KL(p_T0 || law of samples), by nearest neighbours",
            ),
            (
                "girsanov_score",
                "float",
                "nat",
                "1/2 int g E||s_f - score||^2 dt: with girsanov_start a bound on that divergence",
            ),
            (
                "sample_modes",
                "float",
                "1",
                "total variation of the modes' shares among samples from those among exact draws; "
                "of mixtures of normals",
            ),
            (
                "share_memorized",
                "float",
                "1",
                "f_mem: share of denoised samples whose nearest training point is closer than 1/3 "
                "of the second nearest one that differs from it",
            ),
            *[(name, "float", unit, meaning) for name, unit, meaning in TABLE_MEASURES],
        ],
    )
)
"""Columns measured at every recorded step. Not asked for, or after divergence: null, never 0."""

COLUMNS: tuple[Column, ...] = IDENTITY_COLUMNS + TRIAL_COLUMNS + STEP_COLUMNS
"""All columns, in the order of the file."""
