"""A results table with planted exponents, for the tests of figures and of the report.

With s = eta tau and u_N,seed lognormal (shared by a training set, as in a real study):

    bias      = u B min(1, s^-a)          variance = u V s^c / N
    kernel    = bias + variance           score_error = kernel (1 + w / m)
    coupling  = kernel w / m              the other terms: fixed shares of the kernel's error
    empirical Bayes = e F / N             e_N,seed lognormal, another one

The best effective time is then (a B N / (c V))^(1 / (a + c)), so that

    eta tau* ~ N^(1 / (a + c)),           best score error ~ N^(-a / (a + c)),
    coupling at fixed eta tau ~ 1 / m.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.data.results import tidy
from trainers.columns import UNTRAINED_ERRORS
from trainers.trial import Atoms, GaussianMixture, TrialConfig, recorded_steps

BIAS_POWER, VARIANCE_POWER = 0.8125, 0.4375
BIAS, VARIANCE, WIDTH_CONSTANT = 0.5, 2.0, 20.0
FLOOR = 0.3
ERROR_EXPONENT = BIAS_POWER / (BIAS_POWER + VARIANCE_POWER)  # 0.65
TIME_EXPONENT = 1 / (BIAS_POWER + VARIANCE_POWER)  # 0.8
KERNEL_COLUMNS = (
    "coupling", "label_mismatch", "early_stopping", "approximation", "bias", "variance",
    "kernel_score_error", "kernel_train_loss", "kernel_holdout_loss", "kernel_complexity",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """What to tabulate: base values where a sweep does not set the axis."""

    samples: Sequence[int] = (64, 128, 256, 512, 1024, 2048, 4096)
    widths: Sequence[int] = (64, 256, 1024, 4096, 8192)
    step_sizes: Sequence[float] = (0.25, 0.5, 1.0)
    seeds: int = 8
    base: tuple[int, int, float] = (512, 4096, 1.0)
    steps: int = 1000
    recorded: int = 40
    dimensions: Sequence[int] = (2,)
    laws: Sequence[str] = ("gaussian_mixture",)
    noise: float = 0.05
    kernel: bool = True
    study: str = "synthetic"
    more: Sequence[tuple[int, int]] = ()
    """Further points (N, m), at the base's step size."""
    limits: int = 0
    """Seeds of trials of infinite width, at every N and the base's step size."""
    own: float = 0.0
    """Noise of a network beside that of its training set."""
    untrained: float | None = None
    """Noise of empirical Bayes over data sets; None: its columns are null."""


def best_time(samples: float) -> float:
    """eta tau* of the planted law."""
    ratio = BIAS_POWER * BIAS * samples / (VARIANCE_POWER * VARIANCE)
    return float(ratio**TIME_EXPONENT)


def best_error(samples: float, width: float = np.inf) -> float:
    """The planted score error at the best effective time, without noise."""
    s = best_time(samples)
    return float(kernel_error(s, samples) * (1 + WIDTH_CONSTANT / width))


def kernel_error(s: float, samples: float) -> float:
    """bias + variance of the planted law at effective time s."""
    return float(BIAS * min(1.0, s**-BIAS_POWER) + VARIANCE * s**VARIANCE_POWER / samples)


def configs(grid: Grid) -> Iterator[TrialConfig]:
    """The trials of the three sweeps, each once."""
    n0, m0, eta0 = grid.base
    points = dict.fromkeys(
        [(n, m0, eta0) for n in grid.samples]
        + [(n0, m, eta0) for m in grid.widths]
        + [(n0, m0, eta) for eta in grid.step_sizes]
        + [(n, m, eta0) for n, m in grid.more]
    )
    for kind in grid.laws:
        for d in grid.dimensions:
            law = Atoms(dimension=d) if kind == "atoms" else GaussianMixture(dimension=d, seed=5)
            for n, m, eta in points:
                for seed in range(grid.seeds):
                    yield TrialConfig(
                        law=law, samples=n, width=m, step_size=eta, seed=seed,
                        steps=grid.steps, recorded=grid.recorded, kernel=grid.kernel,
                    )  # fmt: skip

            base = TrialConfig(
                law=law, samples=n0, width=m0, step_size=eta0, recorded=grid.recorded
            )
            every = dict.fromkeys([*grid.samples, *(n for n, _m in grid.more)])
            for n, seed in itertools.product(every, range(grid.limits)):
                yield base.changed(samples=n, width=np.inf, seed=seed)


def synthetic_table(grid: Grid | None = None, random_seed: int = 0) -> pd.DataFrame:
    """The table as `load_results` gives it; null where not asked for."""
    grid = grid or Grid()
    generator = np.random.default_rng(random_seed)
    noise: dict[str, float] = {}
    frames = [_trial(config, grid, noise, generator) for config in configs(grid)]
    return tidy(pd.concat(frames, ignore_index=True))


def _trial(
    config: TrialConfig, grid: Grid, noise: dict[str, float], generator: np.random.Generator
) -> pd.DataFrame:
    n, m = config.samples, config.width
    if config.data_id not in noise:
        noise[config.data_id] = float(np.exp(grid.noise * generator.standard_normal()))
    u = noise[config.data_id]
    step = np.array(recorded_steps(config.steps, config.recorded))
    s = step * config.step_size
    with np.errstate(divide="ignore"):
        bias = u * BIAS * np.minimum(1.0, np.where(s > 0, s, 1.0) ** -BIAS_POWER)
    variance = u * VARIANCE * s**VARIANCE_POWER / n
    kernel = bias + variance
    error = kernel * (1 + WIDTH_CONSTANT / m)
    if grid.own and not config.infinite:
        error = error * float(np.exp(grid.own * generator.standard_normal()))
    values: dict[str, object] = {
        "trial_id": config.trial_id, "point_id": config.point_id, "data_id": config.data_id,
        "study": grid.study, "law": config.law.kind, "law_id": config.law_id,
        "law_label": config.law.label, "dimension": config.dimension, "samples": n, "width": m,
        "step_size": config.step_size, "steps": None if config.infinite else config.steps,
        "initialisation": config.initialisation, "feature_bias": config.bias,
        "t_min": config.diffusion.t_min, "t_max": config.diffusion.t_max,
        "schedule": config.diffusion.schedule, "seed": config.seed,
        "precision": config.precision, "trainer": config.trainer,
        "status": "completed", "message": "",
        "posterior_variance": 0.3 * config.dimension, "noise_variance": 0.3,
        "noise_source": "exact", "target_norm": 1.0, "seconds": 0.1,
        "operations": config.training_operations, "device": "cpu", "node": "host",
        "kernel_path": "fused",
        "step": step, "effective_time": s, "score_error": error,
        "score_error_unweighted": 3.0 * error,
        "score_error_select": error * 1.01, "score_error_assess": error * 0.99,
        "train_loss": 0.5 * (0.6 + bias) / (1 + s / 20), "holdout_loss": 0.5 * (0.6 + error),
        "displacement": 0.1 * np.sqrt(s), "flipped_fraction": 0.02 * np.sqrt(s / m),
    }  # fmt: skip
    if grid.untrained is not None:
        # Of its own generator: the other numbers do not know of it.
        own = np.random.default_rng(int(config.data_id, 16) % 2**32)
        floor = FLOOR / n * float(np.exp(grid.untrained * own.standard_normal()))
        for column, (estimator, like) in UNTRAINED_ERRORS.items():
            share = {"memorizer": 1.2, "empirical_bayes": 1.0, "empirical_bayes_best": 0.9}
            values[column] = floor * share[estimator] * (3 if "unweighted" in like else 1)
        values |= {"empirical_bayes_best_cutoff": 0.5, "memorizer_share": 2 / n}
    if config.infinite:
        values |= dict.fromkeys(("displacement", "flipped_fraction"), np.nan)
    for i in range(1, 5):
        values[f"score_error_bin{i}"] = error * (0.4 + 0.24 * i)
        values[f"score_error_unweighted_bin{i}"] = 3 * error * (1.6 - 0.24 * i)
    if grid.kernel:
        values |= {
            "coupling": kernel * WIDTH_CONSTANT / m, "label_mismatch": 0.05 * kernel,
            "early_stopping": 0.9 * kernel, "approximation": 0.02 * u + 0 * s,
            "bias": bias, "variance": variance, "kernel_score_error": kernel,
            "kernel_train_loss": 0.5 * (0.6 + bias), "kernel_holdout_loss": 0.5 * (0.6 + kernel),
            "kernel_complexity": 0.5 / np.sqrt(1 + s),
        }  # fmt: skip
    if config.infinite:
        values["coupling"] = np.nan
    return pd.DataFrame(values)
