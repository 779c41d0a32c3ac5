"""The regression problem of a trial: streams of randomness, features, training and holdout sets.

Notation (docs/theory.md, section 2); all arrays float64, samples first:

| symbol | name | shape  | meaning                                                        |
|--------|------|--------|----------------------------------------------------------------|
| t_j    | t    | [n]    | time, t ~ U[T_0, T], in training t ~ pi (`time_law`)           |
| X_0,j  | x0   | [n, d] | the label: f*(z_j) plus noise                                  |
| X_t,j  | xt   | [n, d] | alpha_t X_0 + sqrt(h_t) times a standard normal                |
| z_j    | z    | [n, k] | features (x, t - T_0, 1), k = d + 2; without bias k = d + 1    |
| f*     | fstar| [n, d] | E[X_0 | X_t], the closed-form posterior mean; NaN: not known   |
| w_j    |      | [n]    | weight of the row in the training loss (`time_law`)            |

A training set has M noisy copies of each of N clean points: n = N M rows, copy after copy.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.laws import Distribution
from trainers.problem import diffusion as forward
from trainers.problem import time_law
from trainers.trial import Diffusion, TrialConfig

Array = NDArray[np.float64]


def stream(purpose: str, *labels: Any) -> np.random.Generator:
    """A generator that depends on `purpose` and `labels` (JSON data) alone.

    The Philox key is the first 128 bits of their SHA-256: streams with different labels are
    independent, and the same on every machine and device.
    """
    return np.random.Generator(np.random.Philox(key=_key(purpose, *labels)))


def _key(purpose: str, *labels: Any) -> int:
    text = json.dumps([purpose, *labels], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


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

    @property
    def clean(self) -> Array:
        """f* [n, d]; 0 where it is not known, so that the labels are its noise, and all of f^K is
        what the noise makes."""
        return np.zeros_like(self.x0) if np.isnan(self.fstar).all() else self.fstar


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
    """The N M rows of a trial: the same for every m, eta and initialisation, independent over N.
    Where they are fresh, the N of step 0.

    The streams depend neither on the diffusion, nor on M, pi or w: studies that vary those compare
    like with like, and the first copies of many are those of few.
    """
    labels = _labels(config)
    rng = stream("training", *labels)
    t = time_law.sample_times(config, config.samples, rng)
    x0 = distribution.part("train").sample(config.samples, rng)
    times, noises = [t], [rng.standard_normal(x0.shape)]
    for copy in range(1, config.rows // config.samples):
        rng = stream("training", *labels, "copy", copy)
        times.append(time_law.sample_times(config, config.samples, rng))
        noises.append(rng.standard_normal(x0.shape))
    x0, t, noise = np.tile(x0, (len(times), 1)), np.concatenate(times), np.concatenate(noises)
    return from_noise(distribution, config.diffusion, t, x0, noise, config.bias)


def _labels(config: TrialConfig) -> tuple[Any, ...]:
    return (config.study_seed, config.law.identity(), config.samples, config.seed)


def row_weights(config: TrialConfig, t: Array) -> Array | None:
    """w_j [n] of a training set's rows at times t [n]; None where all are 1."""
    if config.weight == "x0":
        return None
    process = config.diffusion
    return time_law.weight(config.weight, forward.alpha(process, t), forward.h(process, t))


def scaled(data: Samples, weights: Array | None) -> Samples:
    """The same with z, x0 and fstar times w^(1/2): rows of weight 1 that say as much."""
    if weights is None:
        return data
    root = np.sqrt(weights)[:, None]
    return replace(data, z=root * data.z, x0=root * data.x0, fstar=root * data.fstar)


@dataclass(frozen=True)
class Rows:
    """Rows of a training set as a trainer sees them: features z [n, k], labels x0 [n, d], and
    weights [n], None where all are 1."""

    z: Array
    x0: Array
    weights: Array | None = None

    def scaled(self) -> tuple[Array, Array]:
        """z and x0, times w^(1/2)."""
        if self.weights is None:
            return self.z, self.x0
        root = np.sqrt(self.weights)[:, None]
        return root * self.z, root * self.x0


class FreshRows:
    """The rows of every step of a training set with fresh noise: those of step 0 as they were
    drawn, then the same N clean points at new times, with new noise. Every step has a part of one
    stream of its own: any can be asked for, at no matter what was asked before."""

    def __init__(self, config: TrialConfig, first: Samples) -> None:
        self._config = config
        self._points = first.x0
        self._key = _key("fresh", *_labels(config))
        self._step = 0
        self._rows = self._first = Rows(first.z, first.x0, row_weights(config, first.t))

    def at(self, step: int) -> Rows:
        """The N rows of `step`."""
        if step != self._step:  # the trials of a data set ask for a step one after the other
            self._step, self._rows = step, self._drawn(step) if step else self._first
        return self._rows

    def _drawn(self, step: int) -> Rows:
        config, x0 = self._config, self._points
        bits = np.random.Philox(key=self._key, counter=[0, 0, 0, step])
        rng = np.random.Generator(bits)
        t = time_law.sample_times(config, len(x0), rng)
        x = forward.diffuse(config.diffusion, x0, t, rng.standard_normal(x0.shape))
        z = features(x, t, config.diffusion.t_min, config.bias)
        return Rows(z, x0, row_weights(config, t))


def gap_features(config: TrialConfig, data: Samples, holdout: Samples) -> tuple[Array, Array]:
    """Features [n, k] and labels [n, d] of fresh copies of the clean points of a training set, at
    the times and with the noise of the held-out pairs [n], which have the same law but for their
    clean points. Every clean point comes equally often, to within once."""
    noise = (holdout.xt - holdout.alpha[:, None] * holdout.x0) / np.sqrt(holdout.h)[:, None]
    x0 = data.x0[np.arange(config.gap_points) % config.samples]
    x = forward.diffuse(config.diffusion, x0, holdout.t, noise)
    return features(x, holdout.t, config.diffusion.t_min, config.bias), x0


def draw_holdout_set(config: TrialConfig, distribution: Distribution) -> Samples:
    """The `holdout_points` labelled pairs for the holdout rule, apart from the test set: drawn as
    a user would draw them, like the training set."""
    rng = stream("holdout", config.study_seed, config.law.identity())
    held_out = distribution.part("holdout")
    return draw(held_out, config.diffusion, config.holdout_points, config.bias, rng)
