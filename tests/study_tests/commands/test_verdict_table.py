"""The printed verdict table: it holds the interval that decides; below it, what is not asked."""

from __future__ import annotations

import io
import re
from types import ModuleType

import pandas as pd
import pytest
from rich.console import Console

from analysis.theory import Kind, Prediction
from analysis.verdicts.evaluation import Evaluation, evaluate
from study.commands.analyze import ANSWERS, print_verdicts


def printed(evaluation: Evaluation, width: int = 200) -> str:
    text = io.StringIO()
    print_verdicts(Console(file=text, width=width), evaluation)
    return text.getvalue()


def cells(said: str) -> list[list[str]]:
    """The rows of the table, without its heads."""
    rows = [line for line in said.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


@pytest.mark.slow
def test_limits_at_large_values_and_what_is_not_asked(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=4)).assign(train_loss=0.3)
    evaluation = evaluate(table)
    said = printed(evaluation)
    assert "at large values" in said
    for v in evaluation:
        seen = v.fitted.asymptotic
        if seen is not None and v.axis != "step_size":
            assert f"[{seen.low:.2f}, {seen.high:.2f}]" in said
    assert said.count("not asked: unstopped error against samples: needs every trial") == 1
    rows = [line for line in said.splitlines() if "final score error" in line]
    assert not rows


def test_a_study_without_verdicts_prints_no_empty_table(synthetic: ModuleType) -> None:
    grid = synthetic.Grid(samples=(64, 128, 256), widths=(64, 256, 1024), step_sizes=(1.0,))
    said = printed(evaluate(synthetic.synthetic_table(grid)))
    assert "verdict" not in said
    assert "not asked: coupling against width: needs 5 values of m" in " ".join(said.split())


def test_settings_of_a_quantity_stand_together_on_one_line_each(synthetic: ModuleType) -> None:
    grid = synthetic.Grid(
        samples=(64, 128, 256, 512, 1024), widths=(), step_sizes=(), seeds=3, recorded=16,
        own=0.05, kernel=False,
    )  # fmt: skip
    base = synthetic.synthetic_table(grid)
    parts = []
    for m in (128, 32):
        renamed = {name: base[name] + f"-{m}" for name in ("trial_id", "point_id")}
        parts.append(base.assign(width=m, **renamed))
    table = pd.concat(parts).assign(law_label="atoms[file=points.csv,data=27b3298d,count=800]")
    said = printed(evaluate(table.reset_index(drop=True)), width=120)
    assert "\\n" not in said
    assert said.startswith("law: points.csv, d = 2\n")
    assert "uniform on the 800 rows of points.csv" in said
    assert "atoms[" not in said
    rows = [row[:3] for row in cells(said)]
    assert rows[:2] == [["best score error", "N", m] for m in ("m = 32", "m = 128")]
    names = [name for name, _axis, _setting in rows]
    assert names == sorted(names, key=names.index), "rows of one quantity are scattered"


def test_laws_and_dimensions_have_columns_where_they_differ(synthetic: ModuleType) -> None:
    grid = synthetic.Grid(
        laws=("atoms", "gaussian_mixture"), samples=(64, 128, 256, 512, 1024), widths=(),
        step_sizes=(), seeds=3, recorded=16, kernel=False,
    )  # fmt: skip
    said = printed(evaluate(synthetic.synthetic_table(grid)))
    assert said.startswith("d = 2\n")
    assert {row[0] for row in cells(said)} == {"atoms", "gaussian_mixture"}
    assert "setting" not in said.splitlines()[2]


def test_of_many_predictions_of_ones_own_the_decided_are_told_and_the_rest_counted(
    synthetic: ModuleType,
) -> None:
    """Three are undetermined: the edge of what counts as theirs is the measured exponent."""
    grid = synthetic.Grid(
        samples=(64, 128, 256, 512, 1024), widths=(), step_sizes=(), seeds=3, recorded=16,
        kernel=False,
    )  # fmt: skip
    table = synthetic.synthetic_table(grid)
    edge = evaluate(table)[0].exponent / 1.15
    own = [
        Prediction(
            f"p{i}", "best_score_error", "samples", edge if i < 3 else 0.05, Kind.SHARP, 0.15
        )
        for i in range(ANSWERS + 2)
    ]
    evaluation = evaluate(table, extra=own)
    words = {v.prediction: str(v.verdict) for v in evaluation if v.own}
    assert [name for name, word in words.items() if word == "undetermined"] == ["p0", "p1", "p2"]
    said = printed(evaluation)
    told = re.findall(r"^(p\d): ", said, re.M)
    assert told == ["p0", *(row.name for row in own[3:])]
    assert "and 2 more, which are in the table and on the page" in said
