"""Joint fits: planted surfaces, what a design can tell, intervals against simulation."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantities import curves
from analysis.data.curves.quantity import Quantity
from analysis.data.curves.trajectories import trials
from analysis.fits.joint import JointFit, fit_joint
from analysis.fits.power_law import FitStatus
from analysis.fits.surface import BIAS_VARIANCE, SURFACE, Surface, target_at
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.infinite_width import infinite_width

N = 2.0 ** np.arange(6, 13)
M = 2.0 ** np.arange(6, 14)
CROSS = np.array([(n, 2048.0) for n in N] + [(512.0, m) for m in M if m != 2048])
GRID = np.array([(n, m) for n in N[::2] for m in (64.0, 256.0, 1024.0, 4096.0)])


def fit(cells: np.ndarray, y: np.ndarray, **options: object) -> JointFit:
    axes = {"samples": cells[:, 0], "width": cells[:, 1]}
    return fit_joint(y, axes, **options)  # type: ignore[arg-type]


# --- planted surfaces ---------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [CROSS, GRID], ids=["cross", "grid"])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("units", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("b", "c", "ratio"), [(0.5, 1.0, 1.0), (0.65, 0.5, 0.3), (0.3, 1.2, 20.0)])
def test_planted_surface_without_noise(
    cells: np.ndarray, scale: float, units: float, b: float, c: float, ratio: float
) -> None:
    y = scale * (cells[:, 0] ** -b + ratio * cells[:, 1] ** -c)
    found = fit(cells * units, y)
    assert found.status is FitStatus.OK, found.message
    assert found.exponents[0, "samples"] == pytest.approx(b, abs=1e-6)
    assert found.exponents[1, "width"] == pytest.approx(c, abs=1e-6)
    assert found.intervals[0, "samples"] == pytest.approx((b, b), abs=1e-6)
    assert found.amplitudes == pytest.approx((scale * units**b, scale * ratio * units**c), rel=1e-5)
    predicted = found.predict(samples=cells[:, 0] * units, width=cells[:, 1] * units)
    assert predicted == pytest.approx(y, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize(("p", "q", "r"), [(0.8, 0.45, 1.0), (0.4, 0.6, 0.8)])
def test_bias_and_variance_in_time_give_the_rate_at_the_best_time(
    scale: float, p: float, q: float, r: float
) -> None:
    s, n = (v.ravel() for v in np.meshgrid(np.geomspace(4, 400, 8), N))
    y = scale * (0.5 * s**-p + 2 * s**q * n**-r)
    found = fit_joint(y, {"time": s, "samples": n}, BIAS_VARIANCE)
    assert found.ok
    assert found.exponents[0, "time"] == pytest.approx(p, abs=1e-6)
    assert found.exponents[1, "time"] == pytest.approx(-q, abs=1e-6)
    assert found.exponents[1, "samples"] == pytest.approx(r, abs=1e-6)
    assert found.rate == pytest.approx(r * p / (p + q), abs=1e-6)
    fine = np.geomspace(1, 1e5, 4000)
    best = [found.predict(time=fine, samples=np.full(4000, v)).min() for v in (100.0, 1000.0)]
    assert -np.diff(np.log(best))[0] / np.log(10) == pytest.approx(found.rate, abs=1e-4)


def test_a_floor_is_a_term_of_its_own() -> None:
    terms = (("samples",), ("width",), ())
    y = GRID[:, 0] ** -0.6 + 2 * GRID[:, 1] ** -1.0 + 0.01
    found = fit(GRID, y, terms=terms)
    assert found.exponents[0, "samples"] == pytest.approx(0.6, abs=1e-6)
    assert found.amplitudes[2] == pytest.approx(0.01, rel=1e-5)


def test_jacobian_and_gradient_against_differences() -> None:
    rng = np.random.default_rng(0)
    u = {"time": rng.normal(size=9), "samples": rng.normal(size=9)}
    surface = Surface(
        u, dict.fromkeys(u, 0.0), np.zeros(9), np.ones(9), BIAS_VARIANCE, smallest=-30.0
    )
    theta = np.array([0.1, -0.4, 0.7, -0.5, 0.9])
    jacobian = surface.jacobian(theta)[1]
    gradient = target_at(None, theta)[1]
    for j in range(5):
        step = np.eye(5)[j] * 1e-6
        up, down = theta + step, theta - step
        slope = (surface.jacobian(up)[0] - surface.jacobian(down)[0]) / 2e-6
        assert jacobian[:, j] == pytest.approx(slope, abs=1e-8)
        rate = (target_at(None, up)[0] - target_at(None, down)[0]) / 2e-6
        assert gradient[j] == pytest.approx(rate, abs=1e-8)


# --- what a design can tell ---------------------------------------------------------------------


def test_designs_that_do_not_determine_the_surface_are_refused() -> None:
    line = fit(np.column_stack([N, np.full(7, 64.0)]), N**-0.5)
    assert line.status is FitStatus.REFUSED
    assert "width takes 1 values while the other axes stay fixed" in line.message
    assert np.isnan(line.predict(samples=[64.0], width=[64.0])).all()
    diagonal = fit(np.column_stack([M, M]), M**-0.5)
    assert diagonal.status is FitStatus.REFUSED
    assert "add a sweep over samples alone" in diagonal.message
    bad = fit(CROSS, np.where(CROSS[:, 0] == 64, np.nan, 1.0))
    assert "values of y are not all finite" in bad.message
    assert fit(CROSS[:0], np.array([])).status is FitStatus.REFUSED
    flat = fit(CROSS, np.ones(len(CROSS)))
    assert not flat.ok or "seen" in flat.message


def test_arguments_that_cannot_be_meant_raise() -> None:
    with pytest.raises(ValueError, match="one value per y"):
        fit_joint([1.0], {"samples": [1.0, 2.0], "width": [1.0]})
    with pytest.raises(ValueError, match="not given: width"):
        fit_joint([1.0], {"samples": [1.0]})
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit(CROSS, CROSS[:, 0], level=95)


def test_a_cross_assumes_that_terms_add_up_and_a_grid_tests_it() -> None:
    rng = np.random.default_rng(0)
    assert "add up is assumed" in fit(CROSS, CROSS[:, 0] ** -0.5 + CROSS[:, 1] ** -1.0).message
    cells = np.tile(GRID, (6, 1))
    noise = np.exp(0.05 * rng.standard_normal(len(cells)))
    added = fit(cells, (cells[:, 0] ** -0.5 + 3 / cells[:, 1]) * noise)
    assert added.additivity is not None
    assert added.additivity > 0.01
    assert added.message == ""
    multiplied = fit(cells, cells[:, 0] ** -0.5 * (1 + 100 / cells[:, 1]) * noise)
    assert multiplied.additivity is not None
    assert multiplied.additivity < 1e-3


def test_a_term_that_is_not_there_is_said_to_be() -> None:
    found = fit(GRID, GRID[:, 0] ** -0.5)
    assert found.ok
    assert found.exponents[0, "samples"] == pytest.approx(0.5, abs=1e-6)
    assert np.isnan(found.exponents[1, "width"])
    assert "no width term is seen" in found.message


# --- intervals ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("cells", [CROSS, GRID], ids=["cross", "grid"])
def test_intervals_hold_the_planted_rate(coverage: ModuleType, cells: np.ndarray) -> None:
    """95 % intervals of 60 repetitions: no fewer than three standard errors below 92 %."""
    scenario = next(s for s in coverage.SURFACES if (len(s.cells) == len(GRID)) == (cells is GRID))
    assert coverage.joint_coverage(scenario, 5, 60).coverage >= 0.92 - 3 * np.sqrt(0.95 * 0.05 / 60)


def test_shared_data_widen_nothing_and_independent_data_are_not_linked() -> None:
    """Effects that a training set has at every width cancel in c; taken as independent, they do
    not."""
    rng = np.random.default_rng(1)
    cells = np.tile(CROSS, (6, 1))
    seed = np.repeat(np.arange(6), len(CROSS))
    effect = 0.2 * rng.standard_normal((6, len(N)))
    shared = effect[seed, np.searchsorted(N, cells[:, 0])]
    y = (cells[:, 0] ** -0.5 + 5 / cells[:, 1]) * np.exp(
        shared + 0.01 * rng.standard_normal(len(cells))
    )
    cluster = seed * 1000 + np.searchsorted(N, cells[:, 0])
    linked, loose = fit(cells, y, cluster=cluster), fit(cells, y)
    assert np.ptp(linked.intervals[1, "width"]) < 0.7 * np.ptp(loose.intervals[1, "width"])


def test_points_of_one_seed_that_share_its_data_are_left_out() -> None:
    """Taken as independent, what their data have in common would pass for none."""
    rng = np.random.default_rng(4)
    cells = np.tile(GRID, (4, 1))
    data = np.repeat(np.arange(4), len(GRID)) * 1000 + np.searchsorted(N, cells[:, 0])
    noise = 0.1 * rng.standard_normal(len(cells))
    y = (cells[:, 0] ** -0.5 + 5 / cells[:, 1]) * np.exp(noise)
    alone = (GRID[1] == GRID).all(axis=1)
    some = np.tile(~alone, 4) | (np.arange(len(cells)) < len(GRID))
    without = np.tile(~alone, 4)
    found, wanted = (fit(cells[k], y[k], cluster=data[k]) for k in (some, without))
    assert found.intervals == wanted.intervals
    assert found.cells == len(GRID) - 1
    assert "1 point of one seed left out" in found.message
    once = np.arange(len(cells)) < len(GRID)
    refused = fit(cells[once], y[once], cluster=data[once])
    assert refused.status is FitStatus.REFUSED
    assert "add seeds" in refused.message


def test_higher_level_gives_wider_interval() -> None:
    rng = np.random.default_rng(2)
    cells = np.tile(GRID, (4, 1))
    y = (cells[:, 0] ** -0.5 + 5 / cells[:, 1]) * np.exp(0.1 * rng.standard_normal(len(cells)))
    one, other = fit(cells, y), fit(cells, y, level=0.99)
    key = (0, "samples")
    assert other.intervals[key][0] < one.intervals[key][0] < one.exponents[key]
    assert one.exponents[key] < one.intervals[key][1] < other.intervals[key][1]


def test_one_value_a_cell_rests_on_the_residuals() -> None:
    rng = np.random.default_rng(3)
    y = (GRID[:, 0] ** -0.5 + 5 / GRID[:, 1]) * np.exp(0.05 * rng.standard_normal(len(GRID)))
    found = fit(GRID, y)
    low, high = found.intervals[0, "samples"]
    assert low < 0.5 < high
    assert found.terms == SURFACE


# --- a results table ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def additive(synthetic: ModuleType) -> pd.DataFrame:
    """The synthetic study, its score error made additive: kernel's error plus 2/m."""
    table: pd.DataFrame = synthetic.synthetic_table(synthetic.Grid(seeds=4, base=(512, 256, 1.0)))
    extra = 2.0 / table["width"].to_numpy(dtype=float)
    return table.assign(score_error=table["kernel_score_error"] + extra)


def test_a_study_reports_the_rate_at_infinite_width(
    additive: pd.DataFrame, synthetic: ModuleType
) -> None:
    verdict = next(v for v in evaluate(additive) if v.prediction == "best error against samples")
    wide = verdict.infinite_width
    assert wide is not None
    assert wide.status == "ok"
    assert "add up is assumed" in wide.message
    assert wide.ci_low < synthetic.ERROR_EXPONENT < wide.ci_high
    assert verdict.ci_high < synthetic.ERROR_EXPONENT  # the plain rate holds the error of width
    assert wide.width_exponent == pytest.approx(1.0, abs=0.2)
    assert verdict.to_dict()["infinite_width"]["exponent"] == wide.exponent


def test_a_study_of_one_width_has_none(additive: pd.DataFrame) -> None:
    one = additive[additive["width"] == 256]
    curve = next(c for c in curves(one) if c.quantity == Quantity.BEST_ERROR)
    assert infinite_width(trials(one), curve) is None
    two = additive[additive["width"].isin([256, 1024])]
    curve = next(c for c in curves(two) if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples"))
    told = infinite_width(trials(two), curve)
    assert told is not None
    assert told.status == "refused"
    assert "add a sweep over width alone" in told.message
