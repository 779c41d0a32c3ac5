"""What a study will decide: half-widths against those of tables with the scatter that was planned
for, verdicts against those of drawn studies, and the reasons why a study cannot decide."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from analysis.data.curves.quantities import curves
from analysis.data.curves.quantity import Quantity
from analysis.levels.intervals import student
from analysis.theory import Kind
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.expected import Expected, Planned, draws, expected, measured_scales
from analysis.verdicts.judging import Word, judge
from analysis.verdicts.pilots import MIDDLE, PILOTS, Pilot, best_time, noise_is_fitted

N = (64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)
ALONG = Planned("samples", 2, N, N, (8,) * 7, (0,) * 7, (2000.0,) * 7)
ACROSS = Planned(
    "width", 2, (64.0, 256.0, 1024.0, 4096.0, 8192.0), (512.0,) * 5, (8,) * 5, (0,) * 5, (1e3,) * 5
)


def by_quantity(
    planned: Planned, scales: dict[tuple[str, int], float] | None = None
) -> dict[str, Expected]:
    """Those of each quantity's first prediction: the spectrum's of networks come after theory's."""
    found: dict[str, Expected] = {}
    for one in expected(planned, scales):
        found.setdefault(str(one.prediction.quantity), one)
    return found


# --- half-widths ----------------------------------------------------------------------------------


def test_the_half_width_is_that_of_the_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    """An independent route: t times the root of sum w^2 sigma^2 / n, w the slope's contrast."""
    plain = replace(PILOTS[Quantity.BEST_ERROR], tested=0.0)
    monkeypatch.setattr("analysis.verdicts.expected.PILOTS", {Quantity.BEST_ERROR: plain})
    planned = replace(ALONG, seeds=(40,) * 7)
    sigma, u = plain.at(np.array(N), 2), np.log(N) - np.log(N).mean()
    parts = (u / (u @ u)) ** 2 * sigma**2 / 40
    freedom = parts.sum() ** 2 / np.sum(parts**2 / 39)
    half = math.sqrt(parts.sum()) * student(0.95, freedom)
    assert by_quantity(planned)["best_score_error"].half_width == pytest.approx(half, rel=0.1)


def test_two_levels_narrow_it_as_far_as_pairs_and_the_kernel_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """var = paired^2 / 8 + sigma^2 / 128 a level, in place of sigma^2 / 8."""
    pilot = Pilot((0.2,) * 3, (0.0,) * 3, paired=0.03)
    monkeypatch.setattr("analysis.verdicts.expected.PILOTS", {Quantity.BEST_ERROR: pilot})
    alone = by_quantity(ALONG)["best_score_error"].half_width
    both = by_quantity(replace(ALONG, limits=(128,) * 7))["best_score_error"].half_width
    ratio = math.sqrt((0.03**2 / 8 + 0.2**2 / 128) / (0.2**2 / 8))
    assert both / alone == pytest.approx(ratio, rel=0.2)


def test_the_test_set_is_in_it_whatever_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    pilot = Pilot((0.001,) * 3, (0.0,) * 3, tested=0.05)
    monkeypatch.setattr("analysis.verdicts.expected.PILOTS", {Quantity.BEST_ERROR: pilot})
    u = np.log(N) - np.log(N).mean()
    half = student(0.95, 7) * 0.05 / math.sqrt(u @ u)
    found = by_quantity(replace(ALONG, seeds=(50,) * 7))["best_score_error"].half_width
    assert found == pytest.approx(half, rel=0.25)


def test_what_the_spectrum_leaves_open_is_in_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-widths are of the range as ever. Exponents are open as far from an edge as half of the
    interval at large N: what the spectrum leaves open, and t s and its drift in quadrature."""
    pilot = Pilot((0.2,) * 3, (0.0,) * 3, beyond=0.1)
    monkeypatch.setattr("analysis.verdicts.expected.PILOTS", {Quantity.BEST_ERROR: pilot})
    planned = replace(ALONG, seeds=(60,) * 7)
    (alone, *_), (about, *_), (network, *_) = (
        expected(one)
        for one in (
            planned,
            replace(planned, audited=True),
            replace(planned, audited=True, one_width=True),
        )
    )
    half = alone.half_width
    assert (about.half_width, network.half_width) == (half, half)
    at_large = 0.1 + math.hypot(half, 0.05 / math.log(64))
    bound, margin = about.prediction.exponent, about.prediction.margin
    # violates where the upper end is below the bound, consistent where the lower one is above it
    # less its margin
    open_ = (bound - at_large, bound * (1 - margin) + at_large)
    (band,) = about.undecided
    assert band == pytest.approx(open_, abs=0.015)
    assert alone.undecided == ()
    assert np.ptp(network.undecided) >= np.ptp(band)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "own", "limits"), [(0.25, 0.0, 0), (0.25, 0.04, 64)])
def test_predicted_half_widths_are_those_of_the_study(
    synthetic: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    noise: float,
    own: float,
    limits: int,
) -> None:
    """A study of 5 seeds tells the scatter; that of 12 then has the half-width that was told. (The
    tables know nothing of groups of test points, so neither do the pilots here.)"""
    bare = {quantity: replace(pilot, tested=0.0) for quantity, pilot in PILOTS.items()}
    monkeypatch.setattr("analysis.verdicts.expected.PILOTS", bare)
    grid = synthetic.Grid(seeds=5, noise=noise, own=own)
    scales = measured_scales(curves(synthetic.synthetic_table(grid, random_seed=1)))
    planned = replace(ALONG, seeds=(12,) * 7, limits=(limits,) * 7)
    told = by_quantity(planned, scales)
    made = replace(grid, seeds=12, limits=limits)
    for verdict in evaluate(synthetic.synthetic_table(made, random_seed=2)):
        if verdict.quantity in ("best_score_error", "best_score_error_unweighted"):
            if verdict.fixed.get("width") == np.inf:
                continue
            half = (verdict.ci_high - verdict.ci_low) / 2
            assert 1 / 1.5 < told[verdict.quantity].half_width / half < 1.5, verdict.quantity


@pytest.mark.slow
def test_scales_are_ratios_to_the_pilots(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=24, noise=0.3, recorded=20))
    scales = measured_scales(curves(table))
    sigma = PILOTS[Quantity.BEST_ERROR].at(np.array(N), 2)
    expected_scale = 0.3 / math.sqrt(float(np.mean(sigma**2)))
    assert scales["best_score_error", 2] == pytest.approx(expected_scale, rel=0.15)
    # along m and eta a planted seed moves all levels alike: nothing is left of it
    assert scales["coupling_at_fixed_time", 2] < 1e-6
    assert scales["score_error_at_fixed_time", 2] < 1e-3
    assert measured_scales([]) == {}


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_exponents_that_stay_open_are_those_that_drawn_studies_leave_open() -> None:
    """New draws at the planted b: in the middle of a band most are undetermined, far from all bands
    nearly none."""
    one = by_quantity(ALONG)["best_score_error"]
    (low, high) = one.undecided[0]
    assert one.prediction.kind is Kind.BOUND
    assert low < one.prediction.exponent < high + one.half_width

    def open_at(b: float) -> float:
        words = []
        for fit in draws("best_score_error", ALONG, count=72)[32:]:
            seen = fit.asymptotic
            assert seen is not None
            shifted = replace(one.prediction, exponent=one.prediction.exponent - b)
            moved = replace(shifted, margin=0.15 * one.prediction.exponent / abs(shifted.exponent))
            words.append(judge(moved, fit).verdict)
        return float(np.mean([word is Word.UNDETERMINED for word in words]))

    assert open_at((low + high) / 2) > 0.4
    assert open_at(high + 2 * one.half_width) < 0.35
    assert open_at(low - 2 * one.half_width) < 0.35


@pytest.mark.slow
def test_more_seeds_leave_less_open() -> None:
    few, many = (by_quantity(replace(ALONG, seeds=(n,) * 7)) for n in (4, 64))
    for name in ("best_score_error", "best_effective_time"):
        assert many[name].half_width < 0.5 * few[name].half_width
        lengths = [sum(high - low for low, high in e[name].undecided) for e in (many, few)]
        assert lengths[0] < lengths[1]
    assert many["best_score_error"].will_decide
    assert "will decide" in many["best_score_error"].told


def test_what_does_not_depend_on_its_axis_is_told_by_the_change() -> None:
    steps = (0.5, 1.0, 2.0)
    planned = Planned("step_size", 2, steps, (512.0,) * 3, (8,) * 3, (0,) * 3, (1e3,) * 3)
    one = by_quantity(planned)["score_error_at_fixed_time"]
    assert one.will_decide
    assert one.half_width < 0.002
    loud = by_quantity(planned, {("score_error_at_fixed_time", 2): 200.0})
    assert not loud["score_error_at_fixed_time"].will_decide
    assert "may stay open" in loud["score_error_at_fixed_time"].told


# --- why not --------------------------------------------------------------------------------------


def test_a_range_that_is_too_short_is_named() -> None:
    short = replace(
        ALONG, levels=N[:4], samples=N[:4], seeds=(8,) * 4, limits=(0,) * 4, times=(2e3,) * 4
    )
    one = by_quantity(short)["best_score_error"]
    assert not one.will_decide
    assert one.told.startswith("cannot: needs 5 values of N or more over a factor of 15.8")
    assert "from 64 to 1014" in one.told


@pytest.mark.slow
def test_steps_that_end_before_the_best_time_are_named() -> None:
    one = by_quantity(replace(ALONG, times=(50.0,) * 7))
    assert "more steps (they end at ητ = 50" in one["best_score_error"].told
    assert best_time(4096, 2) > 50
    assert not by_quantity(ALONG)["best_score_error"].needs


@pytest.mark.slow
def test_the_unstopped_error_needs_noise_to_be_fitted() -> None:
    assert "every trial to fit its noise" in by_quantity(ALONG)["final_score_error"].told
    assert noise_is_fitted(128, 2, 2e3)
    assert not noise_is_fitted(512, 2, 2e3)
    longer = by_quantity(replace(ALONG, times=(1e6,) * 7))["final_score_error"]
    assert not longer.needs  # pilots say nothing of such times


@pytest.mark.slow
def test_one_seed_has_an_interval_and_the_audits_exponents_are_left_to_it() -> None:
    one = by_quantity(replace(ALONG, seeds=(1,) * 7))
    assert 0 < one["best_score_error"].half_width < math.inf
    kernel = by_quantity(ALONG)["kernel_best_effective_time"]
    assert "comes from the audit" in kernel.told
    assert not kernel.will_decide


@pytest.mark.slow
def test_what_is_not_measured_is_not_promised() -> None:
    assert "coupling_at_fixed_time" in by_quantity(ACROSS)
    assert not by_quantity(replace(ACROSS, kernel=False))
    without = by_quantity(replace(ALONG, kernel=False))
    assert "interpolation_error" not in without
    assert "best_score_error" in without
    assert "best_effective_time" not in by_quantity(replace(ALONG, descends=False))


# --- the pilots -----------------------------------------------------------------------------------


def test_pilot_figures_between_their_dimensions() -> None:
    pilot = Pilot((0.4, 0.2, 0.1), (0.5, 0.3, 0.1), exponent=(0.7, 0.6, 0.5))
    at = np.array([MIDDLE, 4.0 * MIDDLE])
    assert pilot.at(at, 1) == pytest.approx([0.4, 0.2])
    assert pilot.at(at, 4)[0] == pytest.approx(0.1)
    assert pilot.at(at, 16)[0] == pytest.approx(0.1)
    assert pilot.at(at, 3)[0] == pytest.approx(0.1 * 2 ** (math.log(4 / 3) / math.log(2)))
    assert pilot.exponent_at(2) == pytest.approx(0.6)
    assert math.isnan(pilot.exponent_at(8))


def test_rates_of_networks_near_the_kernel_are_told_of_networks_that_start_at_0() -> None:
    """And that of a class of targets, where an audit will find whether the law's is one."""
    name = "network's best time against samples"

    def told(planned: Planned) -> dict[str, str]:
        return {e.prediction.name: e.told for e in expected(planned)}

    few = replace(
        ALONG, levels=N[::3], samples=N[::3], seeds=(3,) * 3, limits=(0,) * 3, times=(2e3,) * 3
    )
    assert name in told(few)
    for other in (
        replace(few, infinite=True),
        replace(few, descends=False),
        replace(few, from_zero=False),
    ):
        assert name not in told(other)
    of_class = "asked unless the audit finds f* smoother than Lipschitz"
    time = "best stopping time against samples"
    assert of_class not in told(few)[time]
    assert of_class in told(replace(ALONG, audited=True))[time]
