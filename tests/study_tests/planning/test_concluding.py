"""What comes after the last trial, as `plan` counts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import StudySpec
from study.commands.plans.of_study import plan_study
from study.planning.concluding import Wanted, audit_seconds, audits_seconds, page_seconds
from study.planning.cost import DEFAULT_SPEEDS

SPEEDS = DEFAULT_SPEEDS["cpu"]
STUDY = """
name: s
law: {kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5, draws: 4}
base: {samples: [16, 64, 256], width: .inf, step_size: 1.0}
"""


def test_an_audit_costs_what_its_spectrum_and_its_law_do() -> None:
    config = StudySpec.from_text(STUDY).trials()[0]
    small, large = (audit_seconds(Wanted(config, n), SPEEDS) for n in (2048, 8192))
    assert large - small > 3 * small / 2
    assert audit_seconds(Wanted(config, 8192), SPEEDS.slower(2, "slow")) > 1.5 * large
    assert 0 < audit_seconds(Wanted(config, 8192, brief=True), SPEEDS) < large / 4
    wide = STUDY.replace("dimension: 2", "dimension: 16")
    assert audit_seconds(Wanted(StudySpec.from_text(wide).trials()[0], 2048), SPEEDS) > small
    three = [Wanted(config, 2048)] * 3
    assert audits_seconds(three, 2, SPEEDS) == pytest.approx(2 * small)
    assert audits_seconds([], 2, SPEEDS) == 0


def test_draws_of_a_law_share_a_page() -> None:
    four = StudySpec.from_text(STUDY).trials()
    one = StudySpec.from_text(STUDY.replace(", draws: 4", "")).trials()
    assert page_seconds(four) - page_seconds(one) < 1
    other = StudySpec.from_text(STUDY.replace(".inf", "[8, .inf]")).trials()
    assert page_seconds(other) - page_seconds(four) > 4


def test_a_plan_tells_what_follows_the_training(tmp_path: Path) -> None:
    def time_of(text: str) -> str:
        found = plan_study(StudySpec.from_text(text), tmp_path, False, lambda _line: None)
        return dict(found.rows())["time"]

    assert "of it the audit, " in time_of(STUDY)
    assert "the audit" not in time_of(STUDY + "audit: false\n")
    assert time_of(STUDY + "audit: false\n").endswith("of it verdicts and page)")
