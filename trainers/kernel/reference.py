"""The kernel's columns of a trial: kernel descent on the trial's own data.

One decomposition serves every width, step size and step of a data set (docs/theory.md, section 4).
This module turns it into the columns of the results table. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from trainers.kernel.product import KernelProduct
from trainers.kernel.terms import (
    KernelReference,
    KernelTrajectory,
    RidgeFamily,
    RkhsElement,
    Start,
    mean_square,
)
from trainers.limits import CLEAN_POINTS, INTERPOLATION_SAMPLES
from trainers.network.passes import BLOCKED, initial_weights, pad_samples, padded_length, predict
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import Samples, draw, stream
from trainers.trial import TrialConfig

KEPT_SAMPLES = 4096
"""From this N on a reference is kept for other packs: some 3 MB of file save a second of work, and
more than that above. Below, computing it again is cheaper than keeping it."""

NEVER_STOPPED = "never_stopped"

Array = NDArray[np.float64]


class ReferenceCache(Protocol):
    """Where packs leave kernel references for each other, as named arrays. It may forget."""

    def get(self, key: str) -> Mapping[str, NDArray[Any]] | None:
        """The arrays stored under `key`; None where there are none, or they cannot be read."""

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Stores arrays under `key`, in place of others."""


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
    return float(evaluation.mean_square(predicted - evaluation.test.fstar))


def shared_reference(
    key: str,
    data: Samples,
    evaluation: EvaluationSet,
    elements: Callable[[], Sequence[RkhsElement]],
    horizon: float,
    device: torch.device,
    cache: ReferenceCache | None,
) -> tuple[KernelReference, float]:
    """The kernel reference of a data set up to eta tau = `horizon`, and its interpolation_error:
    from `cache` where it has them under `key`, else computed, and left there.

    elements: gives f_H for each norm; asked for only where something is computed.
    """
    kept = cache if len(data) >= KEPT_SAMPLES else None
    if kept is not None and (arrays := kept.get(key)) is not None:
        restored = _restored(arrays, data, evaluation)
        if restored is not None and restored[0].descent.horizon >= horizon:
            return restored
    reference = KernelReference.build(
        data.z, data.x0, data.clean, evaluation.z, elements(), device=device, horizon=horizon
    )
    never_stopped = interpolation_error(data, evaluation, device)
    if kept is not None:
        kept.put(key, {**reference.to_arrays(), NEVER_STOPPED: np.asarray(never_stopped)})
    return reference, never_stopped


def _restored(
    arrays: Mapping[str, NDArray[Any]], data: Samples, evaluation: EvaluationSet
) -> tuple[KernelReference, float] | None:
    """The reference that shared_reference stored; None where it is of other data, or of another
    program."""
    own = {name: array for name, array in arrays.items() if name != NEVER_STOPPED}
    try:
        reference = KernelReference.from_arrays(own)
        never_stopped = float(arrays[NEVER_STOPPED])
    except (KeyError, TypeError, ValueError):
        return None
    pairs = (
        (reference.z, data.z),
        (reference.x0, data.x0),
        (reference.fstar, data.clean),
        (reference.eval_points, evaluation.z),
    )
    if not all(np.array_equal(a, b) for a, b in pairs):
        return None
    return reference, never_stopped


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
    known = evaluation.distribution.known
    with np.errstate(over="ignore", invalid="ignore"):
        series = {
            "kernel_score_error": evaluation.mean_square(got.kernel[:, :n] - fstar),
            "kernel_holdout_loss": mean_square(got.kernel[:, n:] - held) / 2,
            "kernel_train_loss": got.train_loss,
            "kernel_complexity": reference.descent.complexity(
                config.step_size * np.asarray(steps, dtype=np.float64)
            ),
            "bias": evaluation.mean_square(got.clean[:, :n] - fstar),
            "variance": evaluation.mean_square(got.noise[:, :n]) * (1.0 if known else np.nan),
            **_terms(reference, got, evaluation),
        }
    values = {
        "interpolation_error": never_stopped,
        "largest_step_size": reference.descent.largest_step_size,
    }
    return KernelColumns(series, values, got.kernel[:, :n])


def _terms(
    reference: KernelReference, got: KernelTrajectory, evaluation: EvaluationSet
) -> dict[str, Array]:
    if not len(reference.norms):
        return {}
    n, mean = len(evaluation.test), evaluation.mean_square
    element, surrogate = reference.elements[-1, :n], got.surrogate[-1, :, :n]
    approximation = mean(element - evaluation.test.fstar)
    return {
        "label_mismatch": mean(got.kernel[:, :n] - surrogate),
        "early_stopping": mean(surrogate - element),
        "approximation": np.full(len(got.steps), approximation),
    }
