"""The printed verdict table: it holds the interval that decides; below it, what is not asked."""

from __future__ import annotations

import io
from types import ModuleType

import pytest
from rich.console import Console

from analysis.verdicts.evaluation import Evaluation, evaluate
from study.commands.analyze import print_verdicts


def printed(evaluation: Evaluation) -> str:
    text = io.StringIO()
    print_verdicts(Console(file=text, width=200), evaluation)
    return text.getvalue()


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
