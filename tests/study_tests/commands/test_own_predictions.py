"""A study's own predictions: judged by `analyze`, told by `plan`, drawn again by the script beside
the figures; what is wrong with one is said with its key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_trainer import trajectory

from analysis.data.schema import table_from
from study import StudySpec, cli
from study.commands.plans.of_study import plan_study
from study.spec.messages import SpecError
from study.storage.store import Store

STUDY = """
name: own
law:
  - {kind: cube, dimension: [2, 4]}
seeds: 3
base: {samples: [16, 32, 64, 128, 256], width: 64, step_size: 1.0}
predictions:
  - {name: mine, exponent: 1/(1 + d/4), kind: sharp, statement: As I say.}
"""
MINE = "{name: mine, exponent: 1/(1 + d/4), kind: sharp, statement: As I say.}"


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


@pytest.mark.slow
@pytest.mark.usefixtures("fingerprints")
def test_they_are_judged_and_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(STUDY)
    spec = StudySpec.load(tmp_path / "own.yaml")
    place = tmp_path / "results" / "own"
    store = Store(place)
    store.claim(spec.name, spec.text, spec.folder)
    store.write_pack(table_from([trajectory(trial) for trial in spec.trials()], "own"))
    assert code_of("analyze", "own.yaml") == 0
    found = {
        v["dimension"]: v
        for v in json.loads((place / "verdicts.json").read_text())
        if v["prediction"] == "mine"
    }
    assert {d: v["theory_exponent"] for d, v in found.items()} == {
        2: pytest.approx(2 / 3),
        4: pytest.approx(0.5),
    }
    assert all(v["statement"] == "As I say." for v in found.values())
    page = (place / "report.html").read_text()
    assert page.count("<em>mine</em>: On cube") == 2
    assert "mine: best-stopped score error against N" in page
    assert "mine: best score error" in capsys.readouterr().out
    script = (place / "figures" / "redraw.py").read_text()
    assert "own=[{'name': 'mine', 'kind': 'sharp', 'exponent': '1/(1 + d/4)'" in script


@pytest.mark.slow
def test_plan_says_whether_they_will_be_decided(tmp_path: Path) -> None:
    text = STUDY.replace("seeds: 3", "seeds: 8")
    told = dict(plan_study(StudySpec.from_text(text), tmp_path, False, print).decides())
    assert "theory 0.67" in told["mine, d = 2"]
    assert "theory 0.50" in told["mine, d = 4"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{name: a, exponent: e, kind: sharp}", "predictions[0].exponent = 'e': must be a number"),
        ("{name: a, exponent: 1, kind: about}", "predictions[0].kind = 'about': must be one of"),
        ("{name: a, exponent: d^2, kind: sharp}", "such as 2/(d + 3): a power is **, not ^"),
        ("{name: a, kind: sharp}", "prediction 'a': kind sharp needs exponent, a number or a"),
        ("{name: a, exponent: 1, kind: ceiling}", "kind ceiling needs threshold"),
        ("{name: a, exponent: 1, kind: sharp, axis: N}", "axis = 'N': choose among samples"),
        ("{name: a, exponent: 1, kind: sharp, quantity: loss}", "quantity = 'loss': choose among"),
        ("{exponent: 1, kind: sharp}", "predictions[0].name is missing"),
        (f"{MINE}\n  - {MINE}", "prediction 'mine': another one has this name"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(row: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        StudySpec.from_text(STUDY.replace(MINE, row))
    assert message in str(raised.value)


def test_one_may_stand_alone_and_have_no_value_in_some_dimension() -> None:
    spec = StudySpec.from_text(
        STUDY.replace(f"\n  - {MINE}", " {name: a, exponent: 1/(d - 1), kind: bound}")
    )
    (own,) = spec.own_predictions()
    assert own(3).exponent == 0.5
    assert own(1).unsaid == ["exponent"]
