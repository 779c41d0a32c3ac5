"""The largest stable step size of the kernel, 2N / lambda_max(K), before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse.linalg import eigsh

from trainers.kernel.ntk import relu_ntk
from trainers.problem import diffusion as forward
from trainers.problem.distributions import make_distribution
from trainers.problem.regression import features, stream
from trainers.trial import TrialConfig

SAMPLES = 2048
"""lambda_max(K)/N is the top eigenvalue of an operator: it settles within some per cent."""


def stability_limit(config: TrialConfig) -> float:
    """2N / lambda_max(K), estimated from SAMPLES draws of the trial's law, whatever its own N.

    K is the kernel matrix (docs/theory.md, section 4); descent on the kernel diverges above it.
    """
    rng = stream("stability", config.law.identity())
    t = forward.sample_times(config.diffusion, SAMPLES, rng)
    x0 = make_distribution(config.law).sample(SAMPLES, rng)
    x = forward.forward_sample(config.diffusion, x0, t, rng)
    z = features(x, t, config.diffusion.t_min, config.bias)
    # v0: ARPACK would draw its first vector from numpy's global state.
    largest = eigsh(relu_ntk(z, z), k=1, v0=np.ones(SAMPLES), return_eigenvectors=False)
    return float(2 * SAMPLES / largest[0])


def stability_warnings(trials: Sequence[TrialConfig]) -> list[str]:
    """One message for every law and diffusion with a step size beyond its limit."""
    largest: dict[object, TrialConfig] = {}
    for trial in trials:
        key = (trial.law, trial.diffusion, trial.bias)
        if key not in largest or trial.step_size > largest[key].step_size:
            largest[key] = trial
    messages = []
    for trial in largest.values():
        limit = stability_limit(trial)
        if trial.step_size > limit:
            messages.append(
                f"step_size = {trial.step_size:g} is above the stability limit 2N/lambda_max = "
                f"{limit:.3g} of {trial.law.label} (d = {trial.dimension}): expect trials to "
                "diverge; they are recorded as diverged"
            )
    return messages
