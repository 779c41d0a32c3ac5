"""How good a network's samples are, held against exact draws of p_T0 (docs/theory.md, 14.3).

Every trial has draws, a start and noise of its own, from (study seed, law, seed): levels of an axis
share them, seeds do not. What exact draws reach is the law's, and shared by its trials.

Girsanov: KL(p_T0 || law of samples) <= KL(p_T || start) + 1/2 int_{T_0}^T g E||s_f - score||^2 dt,
for the reverse process in continuous time (Chen et al. 2023). Both terms are columns, the second
from the test set; for g = 1 it is (T - T_0)/2 times the unweighted score error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.columns import SHOWN_COLUMNS, SHOWN_POINTS
from trainers.kept.keep import Grid, Sampler, Sampling
from trainers.kept.networks import Networks
from trainers.laws import Distribution
from trainers.laws.mixture import MixtureOfNormals
from trainers.laws.table import TableRows
from trainers.problem import diffusion as forward
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import stream
from trainers.problem.sketch import as_text
from trainers.sampling.distances import (
    directions,
    energy_distance,
    neighbour_divergence,
    share_memorized,
    sliced_wasserstein,
)
from trainers.sampling.samplers import exact_draws, sample, true_predictor
from trainers.sampling.tables import table_columns
from trainers.trial import Diffusion, TrialConfig

SETS = 20
"""Pairs of sets of exact draws behind a level: a further pair passes the largest of them one time
in 21."""

MOST_MODES = 64
"""Of a law whose modes are counted: the shares of more are mostly chance in a set of samples."""

START_DRAWS = 2**14
"""Of X_T, behind KL(p_T || N(0, I))."""

SAMPLE_COLUMNS = (
    "sample_energy",
    "sample_wasserstein",
    "sample_nll",
    "sample_divergence",
    "girsanov_score",
    "sample_modes",
    "share_memorized",
)
"""Of every network and step that is sampled; of tables TABLE_COLUMNS too."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """What exact draws of a law reach: its columns, and the shares of its modes [K] among them,
    None where it has none. theta: directions of the sliced distance [L, d]."""

    distribution: Distribution
    columns: dict[str, float]
    shares: Array | None
    theta: Array

    @classmethod
    def of(cls, config: TrialConfig, distribution: Distribution, sampling: Sampling) -> Exact:
        """Of the trial's law, at its T_0, in sets as large as those of the samples."""
        process, n = config.diffusion, compared(distribution, sampling)
        rng = stream("sample levels", config.study_seed, config.law.identity())
        theta = directions(config.dimension, rng)

        def drawn(count: int = n) -> Array:
            return exact_draws(distribution.part("test"), process, process.t_min, count, rng)

        if distribution.known:
            pairs = [(drawn(), drawn()) for _ in range(SETS)]
        else:  # rows that are drawn without replacement: in one piece, no row is in both
            pairs = [(both[:n], both[n:]) for both in (drawn(2 * n) for _ in range(SETS))]
        every = np.concatenate([points for pair in pairs for points in pair])
        start = _start(config, distribution, sampling, rng)
        true = np.full_like(start, np.nan)
        if distribution.known:
            true = sample(
                true_predictor(distribution, process), process, start[None], [rng], *_by(sampling)
            )[0]
        columns = {
            "sample_energy_exact": max(energy_distance(*pair) for pair in pairs),
            "sample_wasserstein_exact": max(sliced_wasserstein(*pair, theta) for pair in pairs),
            "sample_divergence_exact": max(_divergence(distribution, *pair) for pair in pairs),
            "sample_nll_exact": _nll(distribution, process, every),
            "sample_energy_true": energy_distance(true, pairs[0][0]),
            "girsanov_start": 0.0,
        }
        if sampling.start == "normal":
            columns["girsanov_start"] = start_divergence(distribution, process, rng)
        return cls(distribution, columns, _shares(distribution, process, every), theta)


def compared(distribution: Distribution, sampling: Sampling) -> int:
    """How many samples are held against as many exact draws: of a table at most half of its test
    rows, so that two sets of those have no row in common."""
    if distribution.known:
        return sampling.points
    tested = distribution.part("test")
    assert isinstance(tested, TableRows)  # of no other law f* is unknown
    return min(sampling.points, len(tested.points) // 2)


@dataclass(frozen=True)
class Quality:
    """How good a network's samples are: the SAMPLE_COLUMNS, of tables the TABLE_COLUMNS too, NaN
    where not defined; and some of them to look at, beside exact draws, as the results table holds
    them (`trainers.columns`), None where they are not finite."""

    columns: dict[str, float]
    points: str | None
    drawn: str | None


def qualities(
    configs: Sequence[TrialConfig],
    networks: Networks,
    evaluations: Sequence[EvaluationSet],
    training: Sequence[Array],
    exact: Sequence[Exact],
    sampling: Sampling,
) -> list[Quality]:
    """Of B networks; training: their clean points [N, d]."""
    rngs = [stream("samples", c.study_seed, c.law.identity(), c.seed) for c in configs]
    draws, starts = [], []
    for config, one, rng in zip(configs, exact, rngs, strict=True):
        law, process = one.distribution, config.diffusion
        held_out, count = law.part("test"), compared(law, sampling)
        draws.append(exact_draws(held_out, process, process.t_min, count, rng))
        starts.append(_start(config, law, sampling, rng))
    process = networks.diffusion
    found = sample(
        networks, process, np.stack(starts), rngs, *_by(sampling), device=networks.device
    )
    # A sample that left the numbers of float64 has no distance to anything.
    fine = np.isfinite(found).all(axis=(1, 2)) & (np.abs(found).max(axis=(1, 2)) < 1e100)
    usable = np.where(fine[:, None, None], found, 0.0)
    denoised = networks(torch.as_tensor(usable), process.t_min).cpu().numpy()
    scores = score_terms(networks, evaluations)
    made = []
    for b, (one, own) in enumerate(zip(exact, usable, strict=True)):
        law, held = one.distribution, draws[b]
        few = own[: len(held)]
        values = {
            "sample_energy": energy_distance(few, held),
            "sample_wasserstein": sliced_wasserstein(few, held, one.theta),
            "sample_nll": _nll(law, process, own),
            "sample_divergence": _divergence(law, held, own),
            "sample_modes": np.nan,
            "share_memorized": share_memorized(denoised[b], training[b]),
        }
        if isinstance(law, TableRows) and fine[b]:
            values |= table_columns(law, denoised[b], training[b])
        if one.shares is not None:
            shares = _shares(law, process, own)
            assert shares is not None
            values["sample_modes"] = float(np.abs(shares - one.shares).sum() / 2)
        lost = {} if fine[b] else dict.fromkeys(values, np.nan)
        every = dict.fromkeys(SAMPLE_COLUMNS, np.nan)
        columns = {**every, **values, **lost, "girsanov_score": scores[b]}
        made.append(Quality(columns, _shown(found[b]), _shown(held)))
    return made


def _divergence(law: Distribution, x: Array, y: Array) -> float:
    """KL(law of x || law of y); NaN of a table, whose rows have no density."""
    return neighbour_divergence(x, y) if law.known else float("nan")


def _shown(points: Array) -> str | None:
    return as_text(points[:SHOWN_POINTS, :SHOWN_COLUMNS].ravel())


def score_terms(networks: Networks, evaluations: Sequence[EvaluationSet]) -> list[float]:
    """1/2 int g E||s_f - score||^2 dt of B networks, over their test sets, which have one size."""
    x = np.stack([one.test.xt for one in evaluations])
    t = np.stack([one.test.t for one in evaluations])
    f = networks(torch.as_tensor(x), torch.as_tensor(t)).cpu().numpy()
    found = []
    for own, one in zip(f, evaluations, strict=True):
        test, process = one.test, one.config.diffusion
        squares = np.square(own - test.fstar).sum(1)
        weight = forward.rate(process, test.t) * forward.unweighted_factor(test.alpha, test.h)
        mean = float((squares * weight) @ one.point_weights)
        found.append(0.5 * (process.t_max - process.t_min) * mean)
    return found


def start_divergence(
    distribution: Distribution, process: Diffusion, rng: np.random.Generator
) -> float:
    """KL(p_T || N(0, I)), by START_DRAWS exact draws of X_T."""
    x = exact_draws(distribution, process, process.t_max, START_DRAWS, rng)
    normal = 0.5 * (np.square(x).sum(1) + x.shape[1] * np.log(2 * np.pi))
    return float(np.mean(normal)) - _nll(distribution, process, x, process.t_max)


def _by(sampling: Sampling) -> tuple[Sampler, int, Grid]:
    return sampling.sampler, sampling.grid_steps, sampling.grid


def _start(
    config: TrialConfig,
    distribution: Distribution,
    sampling: Sampling,
    rng: np.random.Generator,
) -> Array:
    """y [n, d] at T."""
    process = config.diffusion
    if sampling.start == "exact":
        return exact_draws(distribution, process, process.t_max, sampling.points, rng)
    return rng.standard_normal((sampling.points, config.dimension))


def _nll(
    distribution: Distribution, process: Diffusion, points: Array, t: float | None = None
) -> float:
    """-E log p_t of points [n, d], at T_0 where t is None."""
    t = process.t_min if t is None else t
    alpha, h = forward.alpha(process, t), forward.h(process, t)
    return -float(distribution.log_marginal(points, alpha, h).mean())


def _shares(distribution: Distribution, process: Diffusion, points: Array) -> Array | None:
    """The share of the points [n, d] at T_0 that is nearest to each mode [K]; None where the law is
    no mixture of 2 to MOST_MODES normals."""
    if not isinstance(distribution, MixtureOfNormals):
        return None
    if not 2 <= len(distribution.means) <= MOST_MODES:
        return None
    centres = float(forward.alpha(process, process.t_min)) * distribution.means
    scores = points @ centres.T - 0.5 * np.square(centres).sum(1)
    return np.bincount(scores.argmax(1), minlength=len(centres)) / len(points)
