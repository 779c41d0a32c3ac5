"""Errors of a trial at every recorded step, against the closed-form posterior mean.

The score error is E(f) = E||f(t, X_t) - f*(t, X_t)||^2, t ~ U[T_0, T], a mean over the test
set (docs/theory.md, section 1); the unweighted one has the factor alpha_t^2 / h_t^2. Every variant
(halves of the test set, bins of t) is a weighted sum of the same squared errors, so one product
gives all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.columns import ERROR_COLUMNS, TIME_BINS
from trainers.problem import diffusion as forward
from trainers.problem.distributions import Distribution
from trainers.problem.regression import Samples, draw, draw_holdout_set, draw_test_set, stream
from trainers.trial import TrialConfig

Array = NDArray[np.float64]

NOISE_POINTS = 16384
"""Draws behind sigma^2; fewer where f* itself sums over very many atoms."""


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
    def weights(self) -> Array:
        """[n_test, len(ERROR_COLUMNS)]: squared errors times this are the columns. A bin of t
        that holds no test point has NaN weights."""
        n = len(self.test)
        half = np.arange(n) < n // 2
        bins = forward.time_bin(self.config.diffusion, self.test.t)
        within = [bins == i for i in range(TIME_BINS)]
        factor = forward.unweighted_factor(self.test.alpha, self.test.h)

        def mean_over(chosen: NDArray[np.bool_]) -> Array:
            return chosen / chosen.sum() if chosen.any() else np.full(n, np.nan)

        everything = mean_over(np.ones(n, dtype=bool))
        columns = [everything, everything * factor, mean_over(half), mean_over(~half)]
        columns += [mean_over(chosen) for chosen in within]
        columns += [mean_over(chosen) * factor for chosen in within]
        return np.stack(columns, axis=1)

    @cached_property
    def noise_variance(self) -> float:
        """sigma^2 = E||X_0 - f*||^2 / d, from E||X_0||^2 exactly and E||f*||^2 by simulation."""
        count = getattr(self.config.law, "count", 1)
        n = max(256, min(NOISE_POINTS, int(2e8) // (count * self.config.dimension)))
        rng = stream("noise", self.config.study_seed, self.config.law.identity())
        fresh = draw(self.distribution, self.config.diffusion, n, True, rng)
        mean_square = float(np.mean(np.sum(fresh.fstar**2, axis=1)))
        return (self.distribution.second_moment - mean_square) / self.config.dimension

    def values(self) -> dict[str, float | str]:
        """The columns that are the law's alone."""
        residual = self.test.x0 - self.test.fstar
        return {
            "posterior_variance": float(np.mean(np.sum(residual**2, axis=1))),
            "noise_variance": self.noise_variance,
            "noise_source": "exact",
            "target_norm": float(np.mean(np.sum(self.test.fstar**2, axis=1))),
        }


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
        """Of predictions [B, d, n_test + n_holdout]: the ERROR_COLUMNS [B, C] and the holdout
        loss [B], 1/2 mean ||f - X_0||^2."""
        exact = predictions.double()
        errors = exact.new_empty((len(exact), len(ERROR_COLUMNS)))
        holdout = exact.new_empty(len(exact))
        for members, target, labels, weights in self._groups:
            own, n = exact[members], target.shape[1]
            errors[members] = (own[:, :, :n] - target).square().sum(1) @ weights
            holdout[members] = (own[:, :, n:] - labels).square().sum(1).mean(1) / 2
        return errors, holdout
