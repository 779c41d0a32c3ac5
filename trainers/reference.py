"""The kernel's side of a trial: what its columns say of kernel descent on the same data.

One decomposition serves every width, step size and step of a data set (THEORY section 4); here it
is turned into the columns of the results table. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from trainers.decomposition import (
    KernelReference,
    KernelTrajectory,
    RidgeFamily,
    RkhsElement,
    Start,
    mean_square,
)
from trainers.evaluation import EvaluationSet
from trainers.kernel_product import KernelProduct
from trainers.network import BLOCKED, initial_weights, pad_samples, padded_length, predict
from trainers.regression import Samples, draw, stream
from trainers.trial import TrialConfig

CLEAN_POINTS = 1024
"""M: clean points (z, f*(z)), independent of every training set, that f_H is fitted to."""

INTERPOLATION_SAMPLES = 8192
"""Largest N whose never-stopped limit is computed: it takes a stored K (512 MiB) and N^3/3
operations."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KernelColumns:
    """Kernel descent along one trial's recorded steps.

    series: step columns of the table, [R] each, NaN where not defined. values: trial columns.
    test: f^K on the test set, [R, n_test, d], which the network's coupling is measured against.
    """

    series: dict[str, Array]
    values: dict[str, float]
    test: Array


def rkhs_elements(
    config: TrialConfig, evaluation: EvaluationSet, device: torch.device
) -> list[RkhsElement]:
    """f_H for each R_H of `config.norms`: shared by all trials of a law."""
    if not config.norms:
        return []
    rng = stream("rkhs", config.study_seed, config.law.identity())
    clean = draw(evaluation.distribution, config.diffusion, CLEAN_POINTS, config.bias, rng)
    family = RidgeFamily(clean.z, clean.fstar, device)
    return [family.element(norm) for norm in config.norms]


def interpolation_error(
    data: Samples, evaluation: EvaluationSet, device: str | torch.device = "cpu"
) -> float:
    """E||f - f*||^2 of the ridgeless interpolant kappa(., Z) K^+ X_0: the limit tau -> inf.

    NaN above INTERPOLATION_SAMPLES, and where K is singular to rounding (duplicate points): the
    limit is then the pseudo-inverse's, which only a full decomposition gives.
    """
    if len(data) > INTERPOLATION_SAMPLES:
        return float("nan")
    kernel = KernelProduct(data.z, device, store=False)
    # K equals its transpose, which has the layout that LAPACK overwrites in place.
    gram = kernel.gram().cpu().numpy().T
    try:
        factor = scipy.linalg.cho_factor(gram, overwrite_a=True)
    except scipy.linalg.LinAlgError:
        return float("nan")
    weights = torch.as_tensor(scipy.linalg.cho_solve(factor, data.x0).T, device=kernel.device)
    predicted = kernel.at(evaluation.test.z, weights).T.cpu().numpy()
    return float(mean_square(predicted - evaluation.test.fstar))


def initial_predictions(config: TrialConfig, z: Array) -> Array:
    """f_W(0) at z [n, k]: [n, d], float64."""
    w, a = initial_weights(config)
    points = torch.as_tensor(pad_samples(z, padded_length(len(z))))[None]
    scale = torch.full((1, 1, 1), config.width**-0.5, dtype=torch.float64)
    weights, signs = torch.as_tensor(w)[None], torch.as_tensor(a)[None]
    values = predict(BLOCKED, weights, signs, points, scale)[0, :, : len(z)]
    return np.asarray(values.T.numpy())


def start_of(config: TrialConfig, reference: KernelReference, device: torch.device) -> Start | None:
    """Where a trial's kernel descent starts: None for 0 (symmetric), else its network's f_W(0)."""
    if config.initialisation == "symmetric":
        return None
    both = np.concatenate([reference.z, reference.eval_points])
    f0 = initial_predictions(config, both)
    n = len(reference.z)
    return reference.start(f0[:n], f0[n:], device)


def kernel_columns(
    config: TrialConfig,
    reference: KernelReference,
    evaluation: EvaluationSet,
    steps: Sequence[int],
    never_stopped: float,
    start: Start | None = None,
) -> KernelColumns:
    """The columns of one trial, from the reference of its data set.

    bias: error of kernel descent on clean labels; variance: mean square of its noise part. The
    terms of the decomposition are those at the largest R_H. Not finite (diverged): NaN.
    """
    got = reference.at(list(map(float, steps)), config.step_size, start)
    n = len(evaluation.test)
    fstar, held = evaluation.test.fstar, evaluation.holdout.x0
    with np.errstate(over="ignore", invalid="ignore"):
        series = {
            "kernel_score_error": mean_square(got.kernel[:, :n] - fstar),
            "kernel_holdout_loss": mean_square(got.kernel[:, n:] - held) / 2,
            "kernel_train_loss": got.train_loss,
            "kernel_complexity": reference.descent.complexity(
                config.step_size * np.asarray(steps, dtype=np.float64)
            ),
            "bias": mean_square(got.clean[:, :n] - fstar),
            "variance": mean_square(got.noise[:, :n]),
            **_terms(reference, got, fstar, n),
        }
    values = {
        "interpolation_error": never_stopped,
        "largest_step_size": reference.descent.largest_step_size,
    }
    return KernelColumns(series, values, got.kernel[:, :n])


def _terms(
    reference: KernelReference, got: KernelTrajectory, fstar: Array, n: int
) -> dict[str, Array]:
    if not len(reference.norms):
        return {}
    element, surrogate = reference.elements[-1, :n], got.surrogate[-1, :, :n]
    approximation = mean_square(element - fstar)
    return {
        "label_mismatch": mean_square(got.kernel[:, :n] - surrogate),
        "early_stopping": mean_square(surrogate - element),
        "approximation": np.full(len(got.steps), approximation),
    }
