"""Figures: the numbers against planted values, then the drawing."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from synthetic import synthetic_table

from analysis.data.sweeps import at_best, level_means, quartiles, settings, sweep
from analysis.drawing.figure import draw, render
from analysis.drawing.panels import DOUBLE, ROWS, SINGLE
from analysis.drawing.plot import Panel, Plot, Series, plain, positive
from analysis.drawing.style import palette_css
from analysis.figures.audit import NOT_AUDITED
from analysis.figures.study import Omitted, study_plots
from analysis.figures.terms import TERMS, dominance
from analysis.report.assumptions import assumption_rows
from analysis.verdicts.evaluation import evaluate


@pytest.fixture(scope="module")
def clean(synthetic: ModuleType) -> pd.DataFrame:
    """Without noise: every number follows from the planted law."""
    table: pd.DataFrame = synthetic.synthetic_table(synthetic.Grid(noise=0.0, seeds=3))
    return table


@pytest.fixture(scope="module")
def noisy(synthetic: ModuleType) -> pd.DataFrame:
    table: pd.DataFrame = synthetic.synthetic_table(synthetic.Grid(noise=0.1))
    return table


@pytest.fixture(scope="module")
def plots(clean: pd.DataFrame) -> dict[str, Plot]:
    made, _ = study_plots(evaluate(clean))
    return {p.name.removeprefix("gaussian_mixture_d2_"): p for p in made}


def slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def drawn(panel: Panel, role: str, label: str = "") -> Series:
    found = [s for s in panel.series if s.role == role and label in plain(s.label)]
    assert found, (role, label)
    return found[0]


def test_every_figure_of_a_full_study_is_there(plots: dict[str, Plot]) -> None:
    assert set(plots) == {
        "exponents",
        "best_error",
        "best_score_error_against_samples",
        "best_score_error_unweighted_against_samples",
        "best_effective_time_against_samples",
        "final_score_error_against_samples",
        "coupling_at_fixed_time_against_width",
        "score_error_at_fixed_time_against_step_size",
        "error_against_width",
        "error_against_steps",
        "collapse",
        "time_bins",
        "terms_against_steps",
        "terms_at_stop",
        "bias_variance",
        "error_shape_in_time",
        "stopping_rules",
        "audit_movement",
    }


def test_rate_figures_show_the_planted_exponents(
    plots: dict[str, Plot], synthetic: ModuleType
) -> None:
    error = plots["best_score_error_against_samples"].panels[0]
    fit, data = drawn(error, "line", "fit"), drawn(error, "points")
    assert slope(fit.x, fit.y) == pytest.approx(-synthetic.ERROR_EXPONENT, abs=1e-3)
    expected = [synthetic.best_error(n, 4096) for n in data.x]
    np.testing.assert_allclose(data.y, expected, rtol=1e-3)
    time = drawn(plots["best_effective_time_against_samples"].panels[0], "line", "fit")
    assert slope(time.x, time.y) == pytest.approx(synthetic.TIME_EXPONENT, abs=1e-3)
    coupling = drawn(plots["coupling_at_fixed_time_against_width"].panels[0], "line", "fit")
    assert slope(coupling.x, coupling.y) == pytest.approx(-1.0, abs=1e-9)


def test_theory_has_its_own_slope_and_place(plots: dict[str, Plot]) -> None:
    panel = plots["best_score_error_against_samples"].panels[0]
    theory, fit = drawn(panel, "theory", "bound"), drawn(panel, "line", "fit")
    assert slope(theory.x, theory.y) == pytest.approx(-0.4)
    assert "-0.40" in theory.label
    # A bound lies where the curve begins; a sharp rate, whose height is free, meets its middle.
    assert theory.y[0] == pytest.approx(drawn(panel, "points").y[0])
    time = plots["best_effective_time_against_samples"].panels[0]
    theory, fit = drawn(time, "theory"), drawn(time, "line", "fit")
    crossing = np.interp(np.log(512), np.log(fit.x), np.log(fit.y))
    assert crossing == pytest.approx(np.log(theory.y).mean(), abs=1e-3)


@pytest.mark.slow
def test_residuals_are_data_over_fit(plots: dict[str, Plot], noisy: pd.DataFrame) -> None:
    below = plots["best_score_error_against_samples"].panels[0].below
    assert below is not None
    np.testing.assert_allclose(drawn(below, "trials").y, 1.0, atol=2e-3)
    made, _ = study_plots(evaluate(noisy))
    panel = next(p for p in made if "best_score_error_against" in p.name).panels[0]
    assert panel.below is not None
    data, fit, rest = drawn(panel, "trials"), drawn(panel, "line", "fit"), panel.below.series[1]
    at = np.exp(np.interp(np.log(data.x), np.log(fit.x), np.log(fit.y)))
    np.testing.assert_allclose(rest.y, data.y / at, rtol=1e-6)
    assert np.ptp(rest.y) > 0.1


@pytest.mark.slow
def test_the_band_is_the_verdicts_interval_at_work(noisy: pd.DataFrame) -> None:
    verdicts = evaluate(noisy)
    made, _ = study_plots(verdicts)
    verdict = next(v for v in verdicts if v.quantity == "best_score_error")
    panel = next(p for p in made if "best_score_error_against" in p.name).panels[0]
    fit = drawn(panel, "line", "fit")
    assert slope(fit.x, fit.y) == pytest.approx(-verdict.exponent, abs=1e-9)
    assert fit.low is not None
    assert fit.high is not None
    assert (fit.low < fit.y).all()
    assert (fit.y < fit.high).all()


@pytest.mark.slow
def test_a_figure_draws_the_fit_that_its_verdict_carries(noisy: pd.DataFrame) -> None:
    whole = evaluate(noisy)
    other = evaluate(noisy[noisy["samples"] >= 256])
    lent = [replace(v, fitted=o.fitted) for v, o in zip(whole, other, strict=True)]
    made = study_plots(replace(whole, verdicts=tuple(lent)))[0]
    for verdict in lent:
        if verdict.axis == "samples":
            name = f"{verdict.quantity}_against_samples"
            plot = next(p for p in made if p.name.endswith(f"d2_{name}"))
            fit = drawn(plot.panels[0], "line", "fit")
            assert slope(fit.x, fit.y) == pytest.approx(-verdict.fitted.exponent, abs=1e-9)
            assert verdict.fitted.exponent != verdict.exponent


@pytest.mark.slow
def test_a_fit_spans_the_levels_that_its_verdict_stands_on(noisy: pd.DataFrame) -> None:
    few = noisy[noisy["step"] <= 300]  # at large N, too short to see the unstopped error
    evaluation = evaluate(few)
    verdict = next(
        row.verdict for row in evaluation.not_asked if row.verdict.quantity == "final_score_error"
    )
    plot = next(p for p in study_plots(evaluation)[0] if "final_score_error" in p.name)
    fits = [s for s in plot.panels[0].series if s.label.startswith("fit")]
    assert len(fits) == np.isfinite(verdict.exponent)
    for fit in fits:
        assert slope(fit.x, fit.y) == pytest.approx(-verdict.exponent, abs=1e-9)
        assert (fit.x.min(), fit.x.max()) == pytest.approx(verdict.range)


@pytest.mark.slow
def test_errors_that_still_fall_are_drawn_where_the_verdict_uses_them(
    synthetic: ModuleType,
) -> None:
    grid = synthetic.Grid(samples=(64, 128, 256, 512, 1024), seeds=4, steps=130)
    evaluation = evaluate(synthetic.synthetic_table(grid, random_seed=1))
    verdict = next(v for v in evaluation if v.prediction == "best error against samples")
    assert "even with N = 1024" in verdict.reason
    plots, _ = study_plots(evaluation)
    panel = next(p for p in plots if "best_score_error_against" in p.name).panels[0]
    fit = drawn(panel, "line", "fit")
    assert slope(fit.x, fit.y) == pytest.approx(-verdict.exponent, abs=1e-9)
    assert (fit.x.min(), fit.x.max()) == pytest.approx((64, 1024))
    assert not [s for s in panel.series if s.role == "left_out"]


def test_best_steps_are_marked_where_they_were_planted(
    plots: dict[str, Plot], synthetic: ModuleType
) -> None:
    stars = [s for s in plots["error_against_steps"].panels[0].series if s.role == "mark"]
    samples = (64, 128, 256, 512, 1024, 2048, 4096)
    assert len(stars) == len(samples)
    for star, n in zip(stars, samples, strict=True):
        assert star.x[0] == pytest.approx(synthetic.best_time(n), rel=0.01)
        assert star.y[0] == pytest.approx(synthetic.best_error(n, 4096), rel=1e-3)


def test_step_sizes_collapse_in_effective_time_only(plots: dict[str, Plot]) -> None:
    by_steps, by_time = plots["collapse"].panels
    for panel, together in ((by_steps, False), (by_time, True)):
        grid = np.geomspace(5, 200, 20)
        curves = np.array([np.interp(np.log(grid), np.log(s.x), s.y) for s in panel.series])
        assert (np.ptp(curves, axis=0).max() < 2e-3) == together


def test_bins_of_time_hold_the_planted_ratios(plots: dict[str, Plot]) -> None:
    weighted, unweighted = plots["time_bins"].panels
    for panel, ratio in ((weighted, 1.36 / 0.64), (unweighted, 0.64 / 1.36)):
        np.testing.assert_allclose(panel.series[3].y / panel.series[0].y, ratio, rtol=1e-9)
    assert plain(weighted.series[0].label).startswith("t in [0.05,")


def test_unstopped_error_stands_beside_the_best_stopped(plots: dict[str, Plot]) -> None:
    panel = plots["final_score_error_against_samples"].panels[0]
    final, best = drawn(panel, "points", "last step"), drawn(panel, "points", "best-stopped")
    shared = np.isin(best.x, final.x)
    assert (final.y > best.y[shared]).all()


def test_terms_are_stacked_shares_of_their_sum(
    plots: dict[str, Plot], clean: pd.DataFrame, synthetic: ModuleType
) -> None:
    against_n, against_m = plots["terms_at_stop"].panels
    for panel in (against_n, against_m):
        np.testing.assert_allclose(sum(s.y for s in panel.series), 100.0)
    kernel = synthetic.kernel_error(synthetic.best_time(512), 512)
    coupling = kernel * synthetic.WIDTH_CONSTANT / 64
    share = coupling / (coupling + 0.95 * kernel + 0.02)
    assert against_m.series[0].y[0] == pytest.approx(100 * share, rel=0.01)
    table = dominance(settings(clean)[0])
    assert table is not None
    largest = table[table["width"] == 4096].set_index("samples")["dominates"]
    assert largest[64] == "early stopping"
    assert largest[4096] == "approximation"
    np.testing.assert_allclose(table[list(TERMS)].sum(axis=1), 1.0)


def test_kernel_bias_and_variance_cross_at_the_best_step(
    plots: dict[str, Plot], synthetic: ModuleType
) -> None:
    bias, variance, *_ = plots["bias_variance"].panels[0].series
    assert slope(bias.x[5:], bias.y[5:]) == pytest.approx(-synthetic.BIAS_POWER)
    assert slope(variance.x, variance.y) == pytest.approx(synthetic.VARIANCE_POWER)


@pytest.mark.slow
def test_null_columns_leave_figures_out_with_a_reason(synthetic: ModuleType) -> None:
    frame = synthetic.synthetic_table(synthetic.Grid(kernel=False, seeds=3, step_sizes=(1.0,)))
    frame[[c for c in frame if "_bin" in c]] = np.nan
    made, omitted = study_plots(evaluate(frame))
    names = {p.name for p in made}
    assert not any(word in name for name in names for word in ("terms", "bias", "coupling"))
    assert all(isinstance(o, Omitted) and o.reason for o in omitted)
    told = {o.title: o.reason for o in omitted}
    assert "kernel: false" in told["The four terms of the error"]
    assert "bins" in told["Score error by diffusion time"]
    assert told["One curve for all step sizes"] == "the study has a single value of η"
    for plot in made:
        assert all(len(s.x) for p in plot.panels for s in p.series), plot.name


@pytest.mark.slow
def test_only_completed_trials_are_drawn(synthetic: ModuleType) -> None:
    frame = synthetic.synthetic_table(synthetic.Grid(seeds=3))
    frame.loc[frame["step_size"] == 0.25, "status"] = "diverged"
    made, _ = study_plots(evaluate(frame))
    collapse = next(p for p in made if p.name.endswith("collapse"))
    assert [plain(s.label) for s in collapse.panels[0].series] == ["η = 0.5", "η = 1"]
    frame["status"] = "failed"
    assert study_plots(evaluate(frame)) == ([], [])


def test_settings_keep_apart_what_a_rate_may_not_mix(synthetic: ModuleType) -> None:
    frame = synthetic.synthetic_table(
        synthetic.Grid(seeds=2, laws=("atoms", "gaussian_mixture"), dimensions=(1, 2))
    )
    found = settings(frame)
    assert [s.label for s in found] == [
        "atoms, d = 1",
        "atoms, d = 2",
        "gaussian_mixture, d = 1",
        "gaussian_mixture, d = 2",
    ]
    plain_start = frame.assign(initialisation="plain", trial_id=frame["trial_id"] + "p")
    labels = [s.label for s in settings(pd.concat([frame, plain_start]))]
    assert len(labels) == 8
    assert "atoms, d = 1, initialisation = plain" in labels
    assert len({s.stem for s in settings(pd.concat([frame, plain_start]))}) == 8


@pytest.mark.slow
def test_settings_of_one_kernel_show_its_audit_once(synthetic: ModuleType) -> None:
    whole = synthetic.synthetic_table(synthetic.Grid(seeds=3, limits=4))
    few = whole[(whole["samples"] <= 256) & np.isfinite(whole["width"])]
    short = few.assign(steps=100, trial_id=few["trial_id"] + "s")
    other = few.assign(t_min=0.2, trial_id=few["trial_id"] + "t")
    frame = pd.concat([whole, short, other], ignore_index=True)
    shown_in = {s.label: s.audited_in for s in settings(frame)}
    home = "gaussian_mixture, d = 2, T₀ = 0.05, steps = 1000"
    assert shown_in == {
        home: "",
        "gaussian_mixture, d = 2, T₀ = 0.05, steps = 100": home,
        "gaussian_mixture, d = 2, infinite width, T₀ = 0.05": home,
        "gaussian_mixture, d = 2, T₀ = 0.2, steps = 1000": "",
    }
    evaluation = evaluate(frame)
    missing = [o.group for o in study_plots(evaluation)[1] if o.reason == NOT_AUDITED]
    assert set(missing) == {label for label, elsewhere in shown_in.items() if not elsewhere}
    rows = {s.label: len(assumption_rows(s)) for s in settings(frame)}
    assert {rows[label] < rows[home] for label in shown_in if shown_in[label]} == {True}


def test_a_sweep_holds_the_other_axes(clean: pd.DataFrame) -> None:
    along = sweep(clean, "samples")
    assert along is not None
    assert along.fixed == {"width": 4096, "step_size": 1.0}
    assert along.levels == (64, 128, 256, 512, 1024, 2048, 4096)
    assert sweep(clean[clean["samples"] == 64], "samples") is None


def test_summaries_over_seeds(noisy: pd.DataFrame) -> None:
    rows = noisy[(noisy["samples"] == 64) & (noisy["width"] == 4096)]
    x, median, low, high = quartiles(rows, "score_error")
    at = rows[rows["step"] == x[10]]["score_error"]
    assert (median[10], low[10], high[10]) == pytest.approx(
        tuple(np.quantile(at, [0.5, 0.25, 0.75]))
    )
    levels, mean, low, high = level_means(np.array([1.0, 1, 1, 2]), np.array([1.0, 2, 3, 5]))
    assert (levels.tolist(), mean.tolist()) == ([1, 2], [2, 5])
    pseudo = 3 * np.log(2) - 2 * np.log([2.5, 2, 1.5])  # the mean without 1, 2 and 3
    half = 4.302653 * pseudo.std(ddof=1) / np.sqrt(3)  # Student's t at 0.975, 2 degrees
    ends = np.exp(pseudo.mean() + np.array([-half, half]))
    assert (low[0], high[0]) == pytest.approx(tuple(ends), rel=1e-6)
    assert np.isnan(low[1])
    best = at_best(rows).set_index("trial_id")["score_error"]
    assert best.to_dict() == rows.groupby("trial_id")["score_error"].min().to_dict()


def test_logarithmic_axes_get_positive_numbers_only() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, -1.0, 2.0, np.nan])
    (kept,) = positive([Series("a", x, y, low=y - 3, high=y + 1), Series("b", x, 0 * y)])
    assert kept.x.tolist() == [2.0]
    assert kept.low is not None
    assert np.isnan(kept.low[0])


def test_labels_in_plain_text() -> None:
    assert plain(r"effective time $\eta\tau$") == "effective time ητ"
    assert plain(r"$N$$^{-0.40}$") == "N^-0.40"


# --- drawing ------------------------------------------------------------------------------------


def test_files_are_valid_and_reproducible(plots: dict[str, Plot]) -> None:
    plot = plots["best_score_error_against_samples"]
    once, twice = render(plot), render(plot)
    assert once == twice
    assert once.pdf.startswith(b"%PDF")
    assert ET.fromstring(once.svg).tag.endswith("svg")
    assert b"/Type3" not in once.pdf


@pytest.mark.slow
def test_inline_figures_adapt_to_the_page(plots: dict[str, Plot]) -> None:
    names = ("collapse", "terms_at_stop", "error_against_steps", "exponents")
    made = [render(plots[n], n) for n in names]
    pages = [one.inline for one in made]
    glyphs = {name: path for one in made for name, path in one.glyphs.items()}
    for path in glyphs.values():
        assert set(re.findall(r'href="#([^"]+)', path)) <= set(glyphs)
    ids: list[str] = []
    defined = set(re.findall(r"(--c-[0-9a-f]{6}):", palette_css()))
    for svg in (s for page in pages for s in page):
        assert ET.fromstring(svg).get("role") == "img"
        assert "currentColor" in svg
        assert set(re.findall(r"var\((--c-[0-9a-f]{6})", svg)) <= defined
        bare = set(re.findall(r"(?<!, )#[0-9a-f]{6}", svg)) - {"#808080"}
        assert not bare, f"colours that do not follow the page: {bare}"
        own = re.findall(r'\bid="([^"]+)"', svg)
        ids += own
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= {*own, *glyphs}
    assert len(ids) == len(set(ids))


def test_titles_are_escaped() -> None:
    one = np.array([1.0, 2.0])
    plot = Plot("a", 'x < "y" & z', "Caption.", (Panel("x", "y", (Series("s", one, one),)),))
    (svg,) = render(plot).inline
    label = ET.fromstring(svg).get("aria-label")
    assert label == plot.alt


@pytest.mark.slow
def test_nothing_is_cut_off_or_covers_the_data(plots: dict[str, Plot]) -> None:
    for plot in plots.values():
        figure = draw(plot)
        width = figure.get_figwidth()
        rows = plot.panels[0].rows
        assert width == (DOUBLE if len(plot.panels) > 1 else ROWS if rows else SINGLE)
        figure.canvas.draw()
        edge = figure.get_window_extent()
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert box is not None
            inside = (box.x0 >= -1, box.y0 >= -1, box.x1 <= edge.x1 + 1, box.y1 <= edge.y1 + 1)
            assert all(inside), (plot.name, inside, box)
            legend = axes.get_legend()
            if legend is not None:
                assert legend.get_window_extent().y0 >= axes.bbox.y1 - 1, plot.name
            labels = [t for t in axes.get_xticklabels() if t.get_text() and t.get_visible()]
            spans = sorted((b.x0, b.x1) for b in (t.get_window_extent() for t in labels))
            # ticks outside the view keep a label that is not drawn
            seen = [s for s in spans if axes.bbox.x0 - 1 <= sum(s) / 2 <= axes.bbox.x1 + 1]
            touching = [a for a, b in itertools.pairwise(seen) if a[1] > b[0]]
            assert not touching, plot.name


def test_the_table_of_a_figure_holds_what_is_drawn(plots: dict[str, Plot]) -> None:
    plot = plots["best_score_error_against_samples"]
    table = plot.table
    panel = plot.panels[0]
    assert panel.below is not None
    assert len(table) == sum(len(s.x) for s in (*panel.series, *panel.below.series))
    points = table[(table["role"] == "points") & (table["panel"] == "panel 1")]
    np.testing.assert_array_equal(points["y"], drawn(panel, "points").y)
    assert set(table["x_label"]) == {"samples N"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("y_log", [False, True])
def test_values_that_are_all_alike_are_drawn_without_a_warning(y_log: bool) -> None:
    x = np.array([16.0, 32.0, 64.0])
    panel = Panel("x", "y", (Series("s", x, np.full(3, 0.25)),), x_log=True, y_log=y_log)
    draw(Plot("a", "t", "Caption.", (panel,)))


@pytest.mark.parametrize("y_log", [True, False])
def test_intervals_that_end_where_floats_do_leave_the_rest_in_view(y_log: bool) -> None:
    """Two seeds give Student's interval a factor of 12.7: of a log mean it may overflow."""
    x = np.array([1.0, 2, 4])
    y = np.array([3.0, 2, 1])
    ends = np.array([0.0, 1, 0.5]), np.array([np.inf, 3, 1e300])
    panel = Panel("x", "y", (Series("mean", x, y, *ends, "points"), Series("", x, y)), y_log=y_log)
    axes = draw(Plot("name", "title", "caption", (panel,))).axes[0]
    low, high = axes.get_ylim()
    assert low < 1
    assert 3 < high < (1e4 if y_log else 30)


def test_a_law_whose_fstar_is_not_known_has_no_figure_that_needs_it() -> None:
    frame = synthetic_table()
    errors = [name for name in frame if "score_error" in name]
    least = frame.groupby("trial_id")["holdout_loss"].min()
    unknown = frame.assign(law="table", **dict.fromkeys(errors, np.nan))
    plots, omitted = study_plots(evaluate(unknown))
    assert not omitted
    assert {plot.title for plot in plots} == {"Held-out loss"}
    assert "score error" not in " ".join(p.y_label for plot in plots for p in plot.panels)
    along_n = next(plot for plot in plots if plot.name.endswith("held_out_samples"))
    (means,) = along_n.panels[1].series
    first = frame.drop_duplicates("trial_id").set_index("trial_id")
    width = float(along_n.note.split("m = ")[1].split(",")[0])
    own = first[(first["width"] == width) & (first["samples"] == means.x[0])]
    own = own[own["step_size"] == 1.0] if "η" in along_n.note else own
    assert means.y[0] == pytest.approx(least[own.index].mean())
