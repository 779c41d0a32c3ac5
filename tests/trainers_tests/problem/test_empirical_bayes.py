"""The memorizer and empirical Bayes: exact sums, the law of atoms, a density's gradient, rates."""

from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from trainers.columns import UNTRAINED_ERRORS
from trainers.laws import make_distribution
from trainers.laws.mixture import MixtureOfNormals
from trainers.limits import TILE
from trainers.problem.empirical_bayes import (
    Memorizer,
    best_cutoff,
    empirical_bayes,
    formula_cutoff,
    memorize,
    untrained,
)
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import draw_training_set
from trainers.trial import TrialConfig

CPU = torch.device("cpu")
Array = np.ndarray[Any, np.dtype[np.float64]]


def exact(points: Array, x: Array, alpha: Array, h: Array) -> Memorizer:
    """f_emp, log S and sum w^2 with 60 digits, point after point."""
    means, log_sums, shares = [], [], []
    with mp.workdps(60):
        for xi, a, v in zip(x, alpha, h, strict=True):
            exponents = [
                -sum((mpf(p) - mpf(a) * mpf(q)) ** 2 for p, q in zip(xi, row, strict=True))
                / (2 * mpf(v))
                for row in points
            ]
            top = max(exponents)
            weights = [mp.exp(e - top) for e in exponents]
            total = sum(weights)
            log_sums.append(float(top + mp.log(total)))
            shares.append(float(sum((w / total) ** 2 for w in weights)))
            means.append(
                [
                    float(sum(w * mpf(q) for w, q in zip(weights, column, strict=True)) / total)
                    for column in points.T
                ]
            )
    return Memorizer(np.array(means), np.array(log_sums), np.array(shares))


def case(
    n_points: int, t: tuple[float, float], d: int = 3, n: int = 24, spread: float = 1.0
) -> tuple[Array, Array, Array, Array]:
    """points, x, alpha, h: x are noisy points, `spread` times as noisy as they should be."""
    rng = np.random.default_rng(n_points)
    points = rng.standard_normal((n_points, d))
    times = np.geomspace(*t, n)
    alpha, h = np.exp(-times / 2), -np.expm1(-times)
    x = alpha[:, None] * points[rng.integers(n_points, size=n)]
    return points, x + spread * np.sqrt(h)[:, None] * rng.standard_normal(x.shape), alpha, h


@pytest.mark.parametrize(
    "given",
    [
        case(40, (0.05, 1.0)),
        case(1, (0.05, 1.0)),
        case(40, (1e-5, 1e-4)),
        case(40, (0.05, 1.0), spread=10.0),
        case(15, (1e-3, 9.0), d=1),
    ],
    ids=["plain", "one point", "tiny h", "far points", "one dimension"],
)
def test_memorizer_is_the_exact_sum(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TILE, "cpu", 7)  # several tiles of either kind, the last ones not full
    found, expected = memorize(*given, device=CPU), exact(*given)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.log_sum, expected.log_sum, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.share, expected.share, rtol=1e-12)


def test_tiles_do_not_show() -> None:
    points, x, alpha, h = case(1100, (0.01, 1.0), n=600)
    found = memorize(points, x, alpha, h, CPU)
    few = memorize(points[::-1].copy(), x[:5], alpha[:5], h[:5], CPU)
    np.testing.assert_allclose(found.mean[:5], few.mean, rtol=1e-12)
    np.testing.assert_allclose(found.log_sum[:5], few.log_sum, rtol=1e-12)


def test_memorizer_is_the_posterior_mean_of_the_law_whose_atoms_are_the_points() -> None:
    points, x, alpha, h = case(50, (0.05, 1.0))
    law, found = MixtureOfNormals(points, 0.0), memorize(points, x, alpha, h, CPU)
    np.testing.assert_allclose(found.mean, law.posterior_mean(x, alpha, h), rtol=1e-11, atol=1e-12)
    log_density = found.log_sum - np.log(50) - 1.5 * np.log(2 * np.pi * h)
    np.testing.assert_allclose(log_density, law.log_marginal(x, alpha, h), rtol=1e-11)


def test_duplicates_count_twice_and_change_nothing_else() -> None:
    points, x, alpha, h = case(9, (0.05, 1.0))
    once = memorize(points, x, alpha, h, CPU)
    twice = memorize(np.concatenate([points, points]), x, alpha, h, CPU)
    np.testing.assert_allclose(twice.mean, once.mean, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(twice.log_sum, once.log_sum + np.log(2), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(twice.share, once.share / 2, rtol=1e-13)


def test_in_the_far_tail_it_stays_within_the_points() -> None:
    points, x, alpha, h = case(9, (1e-8, 1.0))
    far = memorize(points, 1e100 * x, alpha, h, CPU)
    low, high = points.min(0), points.max(0)
    assert (far.mean >= low - 1e-12).all()
    assert (far.mean <= high + 1e-12).all()
    cut = empirical_bayes(far, 1e100 * x, alpha, 1.0)
    np.testing.assert_allclose(cut, 1e100 * x / alpha[:, None], rtol=1e-12)


@pytest.mark.parametrize("kappa", [0.01, 1.0, 3.0])
def test_empirical_bayes_is_tweedies_formula_on_a_density_kept_from_vanishing(kappa: float) -> None:
    """An independent route: p^ written out, its gradient by autograd."""
    points, x, alpha, h = case(12, (0.05, 1.0), n=200, spread=2.0)
    at = torch.tensor(x, requires_grad=True)
    a, v, atoms = torch.tensor(alpha)[:, None], torch.tensor(h)[:, None], torch.tensor(points)
    square = ((at[:, None] - a[:, None] * atoms) ** 2).sum(2)
    peak = (2 * torch.pi * v) ** -1.5
    density = peak[:, 0] * torch.exp(-square / (2 * v)).mean(1)
    (gradient,) = torch.autograd.grad(density.sum(), at)
    floor = kappa * peak[:, 0] / 12
    expected = (at + v * gradient / torch.maximum(density, floor)[:, None]) / a
    share = float((density < floor).double().mean())
    assert 0.05 < share < 1  # both branches are met
    found = empirical_bayes(memorize(points, x, alpha, h, CPU), x, alpha, kappa)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("target", ["between", "memorizer", "x"])
def test_best_cutoff_is_the_least_of_a_fine_grid(target: str) -> None:
    points, x, alpha, h = case(12, (0.05, 1.0), n=300, spread=2.0)
    made = memorize(points, x, alpha, h, CPU)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, 300) / 300
    fstar = {
        "between": empirical_bayes(made, x, alpha, 0.7) + 0.3 * points[:1],
        "memorizer": made.mean - 0.3 * (x / alpha[:, None] - made.mean),
        "x": x / alpha[:, None],
    }[target]

    def error(kappa: float) -> float:
        f = empirical_bayes(made, x, alpha, kappa)
        return float(np.square(f - fstar).sum(1) @ weights)

    best = best_cutoff(made, x, alpha, fstar, weights)
    grid = [0.0, *np.geomspace(1e-30, 100, 4000)]
    least = min(map(error, grid))
    assert error(best) <= least * (1 + 1e-9)
    if target == "memorizer":  # every cut leads away from the truth
        assert best == 0
    elif target == "x":
        assert best == np.inf
    else:
        assert error(best) >= 0.99 * least
        assert 0.3 < best < 3.0


def config(**changes: Any) -> TrialConfig:
    values = {
        "law": {"kind": "gaussian_mixture", "dimension": 2, "components": 8, "seed": 5},
        "samples": 64,
        "width": 8,
        "step_size": 1.0,
        **changes,
    }
    return TrialConfig.model_validate(values)


def columns(c: TrialConfig, sets: dict[str, EvaluationSet]) -> dict[str, float | None]:
    law = make_distribution(c.law)
    evaluation = sets.setdefault(c.law_id, EvaluationSet.draw(c, law))
    return untrained(draw_training_set(c, law).x0, evaluation, CPU).columns


def test_columns_are_means_over_the_test_set() -> None:
    """By another route: bins and groups of the whole errors add up to them, each with its share."""
    sets: dict[str, EvaluationSet] = {}
    got = columns(config(), sets)
    assert set(got) == {*UNTRAINED_ERRORS, "empirical_bayes_best_cutoff", "memorizer_share"}
    (evaluation,) = sets.values()
    test, w = evaluation.test, evaluation.point_weights
    data = draw_training_set(config(), evaluation.distribution)
    square = np.square(test.xt[:, None] - test.alpha[:, None, None] * data.x0).sum(2)
    p = np.exp(-square / (2 * test.h[:, None]))
    error = np.square(p @ data.x0 / p.sum(1, keepdims=True) - test.fstar).sum(1)
    assert got["memorizer_error"] == pytest.approx(error @ w, rel=1e-9)
    early = w * (test.t < 0.05 * 20 ** (1 / 4))  # the first of four bins from 0.05 to 1
    share = np.square(p / p.sum(1, keepdims=True)).sum(1)
    assert got["memorizer_share"] == pytest.approx(share @ early / early.sum(), rel=1e-9)
    unweighted = error @ (w * (test.alpha / test.h) ** 2)
    assert got["memorizer_error_unweighted"] == pytest.approx(unweighted, rel=1e-9)
    groups = [got[f"empirical_bayes_error_group{i}"] for i in range(1, 9)]
    assert got["empirical_bayes_error"] == pytest.approx(np.mean(groups, dtype=float), rel=1e-9)  # type: ignore[arg-type]
    for estimator in ("memorizer", "empirical_bayes", "empirical_bayes_best"):
        bins = [got[f"{estimator}_error_bin{i}"] for i in range(1, 5)]
        whole = got[f"{estimator}_error"]
        assert None not in bins
        assert whole is not None
        assert min(bins) < whole < max(bins)  # type: ignore[type-var]
    assert got["empirical_bayes_best_error"] <= min(  # type: ignore[operator]
        got["memorizer_error"],  # type: ignore[type-var]
        got["empirical_bayes_error"],
    )


def test_what_is_no_number_is_none() -> None:
    """For t above 1500 alpha is 0 to rounding: a cut density leaves x / 0."""
    c = config(law={"kind": "cube", "dimension": 60}, diffusion={"t_min": 0.05, "t_max": 5000.0})
    got = columns(c, {})
    assert got["empirical_bayes_error"] is None
    assert got["memorizer_error"] is not None
    best = got["empirical_bayes_best_error"]
    assert best is not None
    assert best <= got["memorizer_error"]


@pytest.mark.slow
def test_the_memorizers_error_at_four_dimensions() -> None:
    """The figures of docs/theory.md, section 7.7, within the scatter of eight data sets."""
    law = {"kind": "gaussian_mixture", "dimension": 4, "components": 2, "std": 0.5}
    sets: dict[str, EvaluationSet] = {}
    for n, expected in ((256, 0.016), (512, 0.0091), (1024, 0.0049)):
        trials = [config(law=law, samples=n, seed=seed) for seed in range(8)]
        errors = [columns(c, sets)["memorizer_error"] for c in trials]
        assert np.mean(errors, dtype=float) == pytest.approx(expected, rel=0.15)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        {"kind": "gaussian_mixture", "dimension": 2, "components": 8, "std": 0.1, "seed": 5},
        {"kind": "atoms", "dimension": 2, "count": 16, "seed": 5},
    ],
    ids=["mixture", "atoms"],
)
def test_error_falls_as_one_over_n_on_the_quickstarts_laws(law: dict[str, Any]) -> None:
    sets: dict[str, EvaluationSet] = {}
    levels = [64, 128, 256, 512, 1024]
    means = []
    for n in levels:
        trials = [config(law=law, samples=n, seed=seed) for seed in range(64)]
        errors = [columns(c, sets)["empirical_bayes_error"] for c in trials]
        means.append(np.mean(errors, dtype=float))  # type: ignore[arg-type]
    exponent = -np.polyfit(np.log(levels), np.log(means), 1)[0]
    assert 0.85 < exponent < 1.1


def test_the_formulas_cutoff() -> None:
    assert formula_cutoff(1) == 1
    assert formula_cutoff(100) == pytest.approx(1e-4)
