"""The largest stable step size of the kernel, 2N / lambda_max(K), before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from trainers.kernel.ntk import relu_ntk_diagonal
from trainers.laws import DataFile, Points, make_distribution
from trainers.problem import diffusion as forward
from trainers.problem.regression import features, row_weights, stream
from trainers.problem.time_law import sample_times
from trainers.trial import TrialConfig

SAMPLES = 2048
"""lambda_max(K)/N is the top eigenvalue of an operator: it settles within some per cent."""

MAXIMUM_CHECKED = 16
"""Each takes some tenths of a second."""
MAXIMUM_DIMENSION = 10_000


def stability_limit(config: TrialConfig, points: Points | None = None) -> float:
    """2N / lambda_max(K), estimated from SAMPLES draws of the trial's law, whatever its own N.

    K is the kernel matrix (docs/theory.md, section 4) of rows drawn and weighted as in training;
    descent on the kernel diverges above it.
    points: of laws from files, as `make_distribution` takes them.
    """
    rng = stream("stability", config.law.identity())
    t = sample_times(config, SAMPLES, rng)
    x0 = make_distribution(config.law, points).sample(SAMPLES, rng)
    x = forward.forward_sample(config.diffusion, x0, t, rng)
    z = features(x, t, config.diffusion.t_min, config.bias)
    if (weights := row_weights(config, t)) is not None:
        z = np.sqrt(weights)[:, None] * z
    # v0: ARPACK would draw its first vector from numpy's global state.
    largest = eigsh(_kernel(z), k=1, v0=np.ones(SAMPLES), return_eigenvectors=False)
    return float(2 * SAMPLES / largest[0])


def _noise(trial: TrialConfig) -> str:
    given = {"time_law": trial.time_law, "weight": trial.weight}
    usual = {"time_law": "uniform", "weight": "x0"}
    return "".join(f", {name}: {value}" for name, value in given.items() if value != usual[name])


def _kernel(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """K [n, n] of features z [n, k] by one matrix product. acos loses half of the digits of small
    angles, which `relu_ntk` keeps at 6 k operations an entry; lambda_max needs three of them."""
    c = z @ z.T
    length = np.sqrt(2 * relu_ntk_diagonal(z))
    theta = np.arccos(np.clip(c / np.outer(length, length), -1, 1))
    return np.asarray(c * (np.pi - theta) / (2 * np.pi))


def stability_warnings(
    trials: Sequence[TrialConfig], files: Mapping[str, DataFile] | None = None
) -> list[str]:
    """One message for every law and diffusion with a step size beyond its limit: of the first
    MAXIMUM_CHECKED, those with the largest step sizes first, up to MAXIMUM_DIMENSION."""
    points = {sha256: file.points for sha256, file in (files or {}).items()}
    largest: dict[object, TrialConfig] = {}
    for trial in trials:
        key = (trial.law, trial.diffusion, trial.bias, trial.time_law, trial.weight)
        if key not in largest or trial.step_size > largest[key].step_size:
            largest[key] = trial
    ranked = sorted(largest.values(), key=lambda trial: -trial.step_size)
    possible = [trial for trial in ranked if trial.dimension <= MAXIMUM_DIMENSION]
    checked = possible[:MAXIMUM_CHECKED]
    messages = []
    if len(checked) < len(ranked):
        messages.append(
            f"step sizes are compared with the stability limit for {len(checked)} of "
            f"{len(ranked)} laws and diffusions: those with the largest, up to d = "
            f"{MAXIMUM_DIMENSION:,}"
        )
    for trial in checked:
        limit = stability_limit(trial, points)
        if trial.step_size > limit:
            messages.append(
                f"step_size = {trial.step_size:g} is above the stability limit 2N/lambda_max = "
                f"{limit:.3g} of {trial.law.label} (d = {trial.dimension}{_noise(trial)}): expect "
                "trials to diverge; they are recorded as diverged"
            )
    return messages
