"""Errors of a trial at every recorded step, against the closed-form posterior mean.

The score error is E(f) = E||f(t, X_t) - f*(t, X_t)||^2, t ~ U[T_0, T], a weighted mean over the
test set (docs/theory.md, section 1; `test_points`); the unweighted one has the factor
alpha_t^2 / h_t^2. Every variant (halves and groups of the test set, bins of t) is a weighted sum of
the same squared errors, so one product gives all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.columns import ERROR_COLUMNS, TEST_GROUPS, TIME_BINS
from trainers.laws import Distribution
from trainers.problem import diffusion as forward
from trainers.problem import time_law
from trainers.problem.regression import Samples, draw_holdout_set, stream
from trainers.problem.test_points import draw_test_set, group_sizes, time_weights
from trainers.trial import TrialConfig

Array = NDArray[np.float64]

NOISE_POINTS = 2**16
"""Points behind sigma^2; fewer where the posterior itself sums over very many atoms."""

NOISE_WORK = int(2e8)
"""Operations spent on sigma^2, less than a second's."""


@dataclass(frozen=True)
class EvaluationSet:
    """The test and the holdout triples of a law: shared by all of its trials."""

    config: TrialConfig
    distribution: Distribution
    test: Samples
    holdout: Samples

    @classmethod
    def draw(cls, config: TrialConfig, distribution: Distribution) -> EvaluationSet:
        return cls(
            config,
            distribution,
            draw_test_set(config, distribution),
            draw_holdout_set(config, distribution),
        )

    @cached_property
    def z(self) -> Array:
        """Features [n_test + n_holdout, k] of the points where networks are evaluated."""
        return np.concatenate([self.test.z, self.holdout.z])

    @cached_property
    def point_weights(self) -> Array:
        """[n_test]: a sum of values times this is their mean under t ~ U[T_0, T]; sums to 1."""
        weights = time_weights(self.config.diffusion, self.test.t)
        groups = _groups(len(self.test))
        sums = (groups @ weights)[np.argmax(groups, axis=0)]
        return np.asarray(weights / sums / TEST_GROUPS)

    def mean_square(self, vectors: Array) -> Array:
        """E||.||^2 under t ~ U[T_0, T] of vectors at the test points: [..., n_test, d] -> [...]."""
        return np.asarray(np.square(vectors).sum(-1) @ self.point_weights)

    @cached_property
    def weights(self) -> Array:
        """[n_test, len(ERROR_COLUMNS)]: squared errors times this are the columns. A bin of t
        that holds no test point has NaN weights."""
        whole, groups = self.point_weights, _groups(len(self.test))
        bins = forward.time_bin(self.config.diffusion, self.test.t)
        factor = forward.unweighted_factor(self.test.alpha, self.test.h)
        half: NDArray[np.bool_] = np.any(groups[: TEST_GROUPS // 2], axis=0)

        def mean_over(chosen: NDArray[np.bool_]) -> Array:
            inside = np.where(chosen, whole, 0.0)
            return inside / inside.sum() if chosen.any() else np.full(len(whole), np.nan)

        within = [mean_over(bins == i) for i in range(TIME_BINS)]
        by_group = [mean_over(group) for group in groups]
        columns = [whole, whole * factor, mean_over(half), mean_over(~half)]
        columns += within + [w * factor for w in within]
        columns += by_group + [w * factor for w in by_group]
        return np.stack(columns, axis=1)

    @cached_property
    def effective_points(self) -> dict[str, float]:
        """(sum w)^2 / sum w^2 of the weights of both whole errors; the least of the bins'."""
        size = dict(zip(ERROR_COLUMNS, _effective(self.weights), strict=True))
        return {
            "effective_points": size["score_error"],
            "effective_points_unweighted": size["score_error_unweighted"],
            "effective_points_bins": min(v for name, v in size.items() if "_bin" in name),
        }

    @cached_property
    def noise_variance(self) -> float:
        """sigma^2 = E||X_0 - f*||^2 / d: the mean of the posterior variance, in closed form given
        X_t, over evenly spread triples with t ~ U[T_0, T]."""
        return posterior_variance(self.config, self.distribution) / self.config.dimension

    @cached_property
    def weighted_noise_variance(self) -> float:
        """E_pi[w(t) ||X_0 - f*||^2] / d: the same as the training loss holds it."""
        config = self.config
        if config.time_law == "uniform" and config.weight == "x0":
            return self.noise_variance
        total = posterior_variance(config, self.distribution, weighted=True)
        return total / config.dimension

    def values(self) -> dict[str, float | str | None]:
        """The columns that are the law's alone, and those of training's times and weights."""
        return {
            "posterior_variance": self.noise_variance * self.config.dimension,
            "noise_variance": self.weighted_noise_variance,
            "noise_source": self.distribution.noise_source if self.distribution.known else None,
            "target_norm": float(self.mean_square(self.test.fstar)),
            **self.effective_points,
        }


def posterior_variance(
    config: TrialConfig, distribution: Distribution, weighted: bool = False
) -> float:
    """E||X_0 - f*||^2, t ~ U[T_0, T]; weighted: times w(t), t ~ pi (`time_law`). Never negative."""
    n = max(256, min(NOISE_POINTS, NOISE_WORK // distribution.work))
    diffusion = config.diffusion

    factor = time_law.weighted_times(config, np.empty(0))[1] if weighted else 1.0

    def signal(u: Array) -> tuple[Array, Array]:
        if weighted:
            t, _ = time_law.weighted_times(config, u)
        else:
            t = diffusion.t_min + (diffusion.t_max - diffusion.t_min) * u
        return forward.alpha(diffusion, t), forward.h(diffusion, t)

    rng = stream("noise", config.study_seed, config.law.identity())
    return factor * distribution.mean_posterior_variance(signal, n, rng)


def _groups(n: int) -> NDArray[np.bool_]:
    """[TEST_GROUPS, n]: which points are in which group."""
    number = np.repeat(np.arange(TEST_GROUPS), group_sizes(n))
    return np.asarray(number == np.arange(TEST_GROUPS)[:, None])


def _effective(weights: Array) -> list[float]:
    """Effective sizes of columns of weights; 0 for NaN."""
    with np.errstate(invalid="ignore"):
        sizes = weights.sum(axis=0) ** 2 / np.square(weights).sum(axis=0)
    return [float(v) for v in np.nan_to_num(sizes)]


class Evaluator:
    """Errors of a batch of trials, on the device, in float64."""

    def __init__(self, sets: list[EvaluationSet], device: torch.device) -> None:
        """`sets`: one evaluation set for each trial of the batch, all of the same sizes."""

        def tensor(values: Array) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float64).to(device)

        distinct = list({id(s): s for s in sets}.values())
        self._groups = []
        for one in distinct:
            # The trials of the set; all of them, which copies nothing, where it is the only one.
            members: Tensor | slice = slice(None)
            if len(distinct) > 1:
                members = torch.tensor([i for i, s in enumerate(sets) if s is one], device=device)
            target, labels = tensor(one.test.fstar.T), tensor(one.holdout.x0.T)
            self._groups.append((members, target, labels, tensor(one.weights)))

    def measure(self, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """Of predictions [B, d, n_test + n_holdout or more]: the ERROR_COLUMNS [B, C] and the
        holdout loss [B], 1/2 mean ||f - X_0||^2."""
        exact = predictions.double()
        errors = exact.new_empty((len(exact), len(ERROR_COLUMNS)))
        holdout = exact.new_empty(len(exact))
        for members, target, labels, weights in self._groups:
            own, n = exact[members], target.shape[1]
            errors[members] = (own[:, :, :n] - target).square().sum(1) @ weights
            held = own[:, :, n : n + labels.shape[1]]
            holdout[members] = (held - labels).square().sum(1).mean(1) / 2
        return errors, holdout
