"""The section `search` of a study."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from study import StudySpec
from study.spec.messages import SpecError

EXAMPLES = Path(__file__).parents[3] / "examples"

SEARCH = """
name: s
law: {kind: gaussian_mixture, dimension: 2}
base: {samples: [64, 128]}
search:
  evaluations: 64
  space:
    width: {low: 64, high: 4096}
    step_size: {low: 0.1, high: 4}
    bias: [true, false]
"""


def test_a_search_names_its_points_and_has_no_trials_of_its_own() -> None:
    spec = StudySpec.from_text(SEARCH)
    assert [p.samples for p in spec.search_points()] == [64, 128]
    assert not any(p.kernel for p in spec.search_points())
    assert spec.search is not None
    (space,) = spec.search.space
    assert list(space.width.exponents()) == [6, 7, 8, 9, 10, 11, 12]
    assert (space.initialisation, space.trainer) == (("symmetric",), ("descent",))
    with pytest.raises(SpecError, match="`scorerates search`"):
        spec.trials()
    corners = [(c.samples, c.width, c.bias) for c in spec.search_corners()]
    assert corners == [(n, m, b) for n in (64, 128) for m in (64, 4096) for b in (True, False)]
    example = StudySpec.load(EXAMPLES / "tuned_vs_theory.yaml")
    assert [p.samples for p in example.search_points()] == [128, 512]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("low: 64, high: 4096", "low: 65, high: 127", "width holds no power of two between 65"),
        ("{low: 64, high: 4096}", "wide", "width = 'wide': must be whole numbers"),
        ("{low: 64, high: 4096}", "[3]", "width = 3 is odd"),
        ("{low: 64, high: 4096}", "[]", "must be whole numbers from 1 to 1,073,741,824"),
        ("low: 0.1", "low: 5", "step_size low = 5 must be below high = 4"),
        ("low: 0.1", "lo: 0.1", "unknown key search.space.step_size.lo: did you mean low?"),
        ("{low: 0.1, high: 4}", "[1, -1]", "must be numbers from 1e-12 to 1e+30"),
        ("evaluations: 64", "evaluations: 0", "search.evaluations = 0: must be at least 1"),
        ("evaluations: 64", "evaluation: 6", "did you mean evaluations?"),
        ("evaluations: 64", "samplers: tpee", "(did you mean tpe?)"),
        ("evaluations: 64", "pruner: {kind: ashaa}", "(did you mean asha?)"),
        ("evaluations: 64", "pruner: {kind: asha, factor: 1}", "pruner.factor = 1: must be at"),
        ("bias: [true, false]", "trainer: adma", "use one of descent, sgd, adam, mlp_adamw"),
        ("evaluations: 64", "theory: {width: 3}", "search.theory.width = 3: must be even"),
        ("evaluations: 64", "evaluations: 90000", "asks for 180,000 trials, more than 100,000"),
        ("evaluations: 64", "repetitions: 500\n  theory: {seeds: 99}",
         "asks for 172,000 trials, more than 100,000: give fewer search.evaluations"),
        ("base: {samples: [64, 128]}", "base: {steps: 5}", "base.samples is missing"),
        ("[64, 128]}", "[64, 128], width: 8}", "the search chooses it, remove base.width"),
        ("[64, 128]}", "64, weight: [x0, score]}", "base.weight has 2 values: a search takes one"),
        ("[64, 128]}", "64, copies: [fresh, 4]}", "base.copies has 2 values: a search takes one"),
        ("search:", "seeds: 4\nsearch:", "give search.repetitions"),
        ("search:", "sweeps: [{steps: [1, 2]}]\nsearch:", "make them two studies"),
        ("search:", "decomposition: {norms: 1}\nsearch:", "decomposition is of no use"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_run_is_answered_with_key_and_remedy(
    old: str, new: str, said: str
) -> None:
    assert old in SEARCH
    with pytest.raises(SpecError, match=re.escape(said)):
        StudySpec.from_text(SEARCH.replace(old, new))


def test_pilots_need_no_more_rows_than_a_table_has(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i * i}\n" for i in range(40))
    (tmp_path / "rows.csv").write_text(f"a,b\n{rows}")
    law = "{kind: table, file: rows.csv}"
    text = SEARCH.replace("{kind: gaussian_mixture, dimension: 2}", law)
    text = text.replace("samples: [64, 128]", "samples: 8")
    StudySpec.from_text(text, tmp_path)
    with pytest.raises(SpecError, match=r"search\.theory\.samples = 64, but .* rows to train on"):
        StudySpec.from_text(f"{text}  theory: {{}}\n", tmp_path)
