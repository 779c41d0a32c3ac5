"""The regression problem of a trial: streams of randomness, features, training and evaluation sets.

Notation (docs/theory.md, section 2); all arrays float64, samples first:

| symbol | name | shape  | meaning                                                        |
|--------|------|--------|----------------------------------------------------------------|
| t_j    | t    | [n]    | time, t ~ U[T_0, T]                                            |
| X_0,j  | x0   | [n, d] | the label: f*(z_j) plus noise                                  |
| X_t,j  | xt   | [n, d] | alpha_t X_0 + sqrt(h_t) times a standard normal                |
| z_j    | z    | [n, k] | features (x, t - T_0, 1), k = d + 2; without bias k = d + 1    |
| f*     | fstar| [n, d] | E[X_0 | X_t], the closed-form posterior mean                   |
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.problem import diffusion as forward
from trainers.problem.distributions import Distribution
from trainers.trial import Diffusion, TrialConfig

Array = NDArray[np.float64]


def stream(purpose: str, *labels: Any) -> np.random.Generator:
    """A generator that depends on `purpose` and `labels` (JSON data) alone.

    The Philox key is the first 128 bits of their SHA-256: streams with different labels are
    independent, and the same on every machine and device.
    """
    text = json.dumps([purpose, *labels], sort_keys=True, separators=(",", ":"), allow_nan=False)
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def features(x: Array, t: Array, t_min: float, bias: bool) -> Array:
    """z = (x, t - T_0, 1) [n, k] of x [n, d] and t [n]; without `bias` the 1 is dropped."""
    columns = [x, (t - t_min)[:, None]]
    if bias:
        columns.append(np.ones((len(t), 1)))
    return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class Samples:
    """n i.i.d. triples (t, X_0, X_t) with what is known of them; see the module's table."""

    t: Array
    x0: Array
    xt: Array
    z: Array
    fstar: Array
    alpha: Array
    h: Array

    def __len__(self) -> int:
        return len(self.t)


def draw(
    distribution: Distribution,
    diffusion: Diffusion,
    n: int,
    bias: bool,
    rng: np.random.Generator,
) -> Samples:
    """n triples from `rng`, which is used up in a fixed order: times, then X_0, then the noise."""
    t = forward.sample_times(diffusion, n, rng)
    x0 = distribution.sample(n, rng)
    return from_noise(distribution, diffusion, t, x0, rng.standard_normal(x0.shape), bias)


def from_noise(
    distribution: Distribution, diffusion: Diffusion, t: Array, x0: Array, noise: Array, bias: bool
) -> Samples:
    """The triples of times t [n], X_0 [n, d] and standard normal noise [n, d]."""
    xt = forward.diffuse(diffusion, x0, t, noise)
    alpha, h = forward.alpha(diffusion, t), forward.h(diffusion, t)
    fstar = distribution.posterior_mean(xt, alpha, h)
    return Samples(t, x0, xt, features(xt, t, diffusion.t_min, bias), fstar, alpha, h)


def draw_training_set(config: TrialConfig, distribution: Distribution) -> Samples:
    """The N triples of a trial: the same for every m, eta and initialisation, independent over N.

    The stream does not depend on the diffusion: studies that vary T_0 compare like with like.
    """
    labels = (config.study_seed, config.law.identity(), config.samples, config.seed)
    rng = stream("training", *labels)
    return draw(distribution, config.diffusion, config.samples, config.bias, rng)


def draw_holdout_set(config: TrialConfig, distribution: Distribution) -> Samples:
    """The `holdout_points` labelled pairs for the holdout rule, apart from the test set: drawn as
    a user would draw them, like the training set."""
    rng = stream("holdout", config.study_seed, config.law.identity())
    return draw(distribution, config.diffusion, config.holdout_points, config.bias, rng)
