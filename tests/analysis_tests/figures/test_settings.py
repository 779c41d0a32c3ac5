"""A law with several settings: widths and trainers are told apart, and can be compared."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.data_sets import data_curves
from analysis.data.curves.quantities import curves
from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import law_names, rows_of, settings, told_apart
from analysis.drawing.figure import draw
from analysis.drawing.plot import Panel, Plot, Series, on_one_scale
from analysis.figures.rates.answer import answer_plots, answers, groups, setting_of
from analysis.figures.rates.dimensions import across_dimensions
from analysis.figures.study import study_plots
from analysis.report.wording import broken, lead, leads, of_files
from analysis.verdicts.assumed import Finding, Holds
from analysis.verdicts.evaluation import Evaluation, evaluate

LABEL = "atoms[file=points.csv,data=27b3298d,count=800]"
TRAINER = "mine:Mine@d3bc39aa"
MANY = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@pytest.fixture(scope="module")
def base(synthetic: ModuleType) -> pd.DataFrame:
    grid = synthetic.Grid(
        laws=("atoms",), samples=(64, 128, 256, 512, 1024), widths=(), step_sizes=(), seeds=3,
        recorded=16, own=0.05, kernel=False, untrained=0.1,
    )  # fmt: skip
    table: pd.DataFrame = synthetic.synthetic_table(grid)
    return table.assign(law_label=LABEL)


def varied(base: pd.DataFrame, column: str, values: tuple[object, ...]) -> pd.DataFrame:
    """The trials once for each value, their errors larger from one to the next."""
    parts = []
    for place, value in enumerate(values):
        part = base.assign(**{column: value})
        for name in ("trial_id", "point_id"):
            part[name] = part[name] + f"-{place}"
        for name in part.columns[part.columns.str.startswith("score_error")]:
            part[name] = part[name] * (1 + place)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def widths(base: pd.DataFrame) -> Evaluation:
    return evaluate(varied(base, "width", (128, 32)))


@pytest.fixture(scope="module")
def plots(widths: Evaluation) -> dict[str, Plot]:
    return {plot.name: plot for plot in study_plots(widths)[0]}


def said(evaluation: Evaluation) -> list[str]:
    own = groups(evaluation.verdicts, law_names(evaluation.table))
    return [str(text).replace("\N{NO-BREAK SPACE}", " ") for _badge, text in leads(own)]


def test_each_setting_has_its_sentence_by_size(widths: Evaluation) -> None:
    first, second = said(widths)
    assert first.startswith("On points.csv, d = 2, m = 32 the best-stopped score error falls as")
    assert second.startswith("On points.csv, d = 2, m = 128 the best-stopped score error falls as")


def test_one_setting_is_not_told_from_others(base: pd.DataFrame) -> None:
    alone = evaluate(base)
    assert [text.split(" falls")[0] for text in said(alone)] == [
        "On points.csv, d = 2 the best-stopped score error"
    ]
    shown = {p.name: p for p in answer_plots(alone)}
    assert legend(shown["exponents"]) == ["theory", "$d$ = 2"]
    assert "mean over seeds" in legend(shown["best_error"])


def legend(plot: Plot) -> list[str]:
    return [s.label for s in plot.panels[0].series if s.label]


def test_the_first_figures_have_a_colour_for_each_setting(plots: dict[str, Plot]) -> None:
    named = ["$m$ = 32", "$m$ = 128"]
    exponents = plots["exponents"]
    assert legend(exponents) == ["theory", *named, "all settings"]
    hues = {s.label: s.hue for s in exponents.panels[0].series}
    headline = [s for s in plots["best_error"].panels[0].series if s.role == "points"]
    assert [s.label for s in headline] == named
    assert [s.hue for s in headline] == [hues[label] for label in named] == [0, 1]


def test_what_one_setting_alone_was_asked_is_not_said_of_all(widths: Evaluation) -> None:
    every = widths.verdicts
    narrow = [v for v in every if v.quantity == "best_effective_time" and v.fixed["width"] == 32]
    assert setting_of(narrow[0], narrow, every) == "m = 32"
    free = next(v for v in every if v.quantity == "empirical_bayes_error")
    assert setting_of(free, [free], every) == ""


def test_figures_that_are_to_be_compared_have_titles_and_one_scale(plots: dict[str, Plot]) -> None:
    own = [p for p in plots.values() if p.title == "Best-stopped score error against N"]
    assert [p.group for p in own] == ["points.csv, d = 2, m = 32", "points.csv, d = 2, m = 128"]
    first, second = (draw(p).axes[0].get_ylim() for p in own)
    assert first == pytest.approx(second)


def test_two_trainers_are_told_apart_without_their_versions(base: pd.DataFrame) -> None:
    evaluation = evaluate(varied(base, "trainer", ("descent", TRAINER)))
    assert [text.split(" the best")[0] for text in said(evaluation)] == [
        "On points.csv, d = 2, trainer = descent",
        "On points.csv, d = 2, trainer = mine:Mine",
    ]
    assert {s.label for s in settings(evaluation.table)} == {
        "points.csv, d = 2, trainer = descent",
        "points.csv, d = 2, trainer = mine:Mine",
    }
    own = [p for p in study_plots(evaluation)[0] if p.title == "Best-stopped score error against N"]
    first, second = (p.panels[0].y_span for p in own)
    assert first == second is not None


def test_two_diffusions_that_differ_in_g_alone_share_no_setting_and_no_curve(
    base: pd.DataFrame,
) -> None:
    both = varied(base, "g_min", (1.0, 5.0))
    both["g_max"] = both["g_min"]
    assert {s.label for s in settings(both)} == {
        "points.csv, d = 2, g(0) = 1.0, g(T) = 1.0",
        "points.csv, d = 2, g(0) = 5.0, g(T) = 5.0",
    }
    own = [c for c in curves(both) if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")]
    assert sorted(c.fixed["g_min"] for c in own) == [1.0, 5.0]
    assert {len(c.x) for c in own} == {15}
    assert {c.fixed["g_min"] for c in data_curves(both)} == {1.0, 5.0}


def test_two_versions_of_a_trainer_keep_them() -> None:
    every = [{"trainer": TRAINER}, {"trainer": "mine:Mine@00000000"}]
    assert told_apart(every[0], every) == f"trainer = {TRAINER}"
    assert told_apart(every[0], every[:1]) == ""


def test_many_settings_have_one_sentence_and_a_line_each(base: pd.DataFrame) -> None:
    evaluation = evaluate(varied(base, "step_size", MANY))
    (sentence,) = said(evaluation)
    assert sentence.startswith("Over 7 settings of points.csv, d = 2 the best-stopped score error")
    (headline,) = (p for p in answer_plots(evaluation) if p.name == "best_error")
    lines = [s for s in headline.panels[0].series if s.role == "line"]
    assert [s.label for s in lines] == [rf"$\eta$ = {eta:g}" for eta in MANY]
    assert len({s.shade for s in lines}) == len(MANY)


def test_settings_of_each_dimension_are_told_apart(widths: Evaluation) -> None:
    more = tuple(replace(v, dimension=4) for v in widths)
    (plot,) = across_dimensions(replace(widths, verdicts=(*widths.verdicts, *more)))
    points = [s for s in plot.panels[0].series if s.role == "points"]
    assert [s.label for s in points] == ["$m$ = 32", "$m$ = 128"]
    assert all(len(s.x) == 2 for s in points)


def test_a_law_of_a_file_is_said_to_be_its_rows() -> None:
    assert rows_of(LABEL) == "the 800 rows of points.csv"
    assert rows_of(LABEL.replace("atoms", "table")) == rows_of("atoms[count=16]") == ""
    assert of_files(["cube", LABEL, LABEL]) == (
        "The law is uniform on the 800 rows of points.csv: N of them are drawn, with replacement."
    )
    assert of_files(["cube"]) == ""


def test_an_assumption_is_said_to_be_of_the_theory(widths: Evaluation) -> None:
    verdict = widths[0]
    found = (
        Finding("full-batch gradient descent", Holds.NO, "mine:Mine trains"),
        Finding("noisy labels", Holds.NO),
        Finding("bounded support", Holds.YES),
    )
    assert broken(replace(verdict, assumptions=found)) == (
        "the theory assumes full-batch gradient descent; here mine:Mine trains. "
        "It assumes noisy labels, which is not so here"
    )
    assert "m = 32, trainer = adam the" in lead(
        ("cube", 2), verdict, told="m = 32, trainer = adam"
    ).replace("\N{NO-BREAK SPACE}", " ")


def plot_of(*values: float, log: bool = True) -> Plot:
    y = np.array(values)
    return Plot("p", "p", "", (Panel("x", "y", (Series("", y, y),), y_log=log),))


def test_one_scale_holds_all_values_of_logarithmic_axes() -> None:
    made = on_one_scale([plot_of(1, 10), plot_of(2, 300)])
    assert [p.panels[0].y_span for p in made] == [(1, 300)] * 2
    ends = [draw(p).axes[0].get_ylim() for p in made]
    assert ends[0] == ends[1]
    assert ends[0][0] <= 1 <= 300 <= ends[0][1]
    plain = [plot_of(1, 10, log=False), plot_of(2, 300, log=False)]
    assert on_one_scale(plain) == plain


def test_settings_stand_in_order_of_size(widths: Evaluation) -> None:
    (own,) = groups(widths.verdicts, law_names(widths.table)).values()
    assert list(answers(own)) == ["m = 32", "m = 128"]
    assert [v.fixed["width"] for v in own if v.quantity == "best_effective_time"] == [32, 128]
