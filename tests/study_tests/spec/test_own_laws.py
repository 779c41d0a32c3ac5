"""A study whose law is the user's own: what its YAML may say, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from own_laws import TEXT
from own_laws import own_laws as own_laws

from study import StudySpec
from study.cli import main
from study.planning.own_laws import check_own_laws
from study.spec.contents import Contents
from study.spec.messages import SpecError
from trainers.laws import OwnLaw
from trainers.own_files import place_of

STUDY = """
name: own
law: {kind: "mine:Normal", dimension: 3}
base: {samples: [16, 32], width: 8, step_size: 1.0}
audit: false
"""


def read(folder: Path, law: str) -> StudySpec:
    return StudySpec.from_text(STUDY.replace('{kind: "mine:Normal", dimension: 3}', law), folder)


def problem(folder: Path, law: str) -> str:
    with pytest.raises(SpecError) as caught:
        read(folder, law)
    return str(caught.value)


def test_all_other_keys_are_its_own(own_laws: Path) -> None:
    law = '{kind: "mine:Normal", dimension: 3, std: 0.5, other: "1", far: true}'
    (one,) = read(own_laws, law).law
    assert isinstance(one, OwnLaw)
    assert one.parameters == {"std": 0.5, "other": "1", "far": True}
    several = read(own_laws, '{kind: "mine:Normal", dimension: 3, std: [0.5, 1], power: [0, 1]}')
    assert [law.label for law in several.law][:2] == [
        "mine:Normal[power=0,std=0.5]",
        "mine:Normal[power=1,std=0.5]",
    ]
    drawn: Any = read(own_laws, '{kind: "mine:Centres", dimension: 3, seed: 5, draws: 3}')
    assert [law.parameters["seed"] for law in drawn.law] == [5, 6, 7]
    text = STUDY.replace("dimension: 3", "seed: 5").replace(
        "step_size", "dimension: [2, 3], step_size"
    )
    assert {trial.dimension for trial in StudySpec.from_text(text, own_laws).trials()} == {2, 3}
    text = (
        STUDY.replace("dimension: 3", "dimension: 3, seed: 5") + "sweeps: [{width: [8], draws: 2}]"
    )
    assert len({trial.law for trial in StudySpec.from_text(text, own_laws).trials()}) == 2


@pytest.mark.parametrize(
    ("law", "said"),
    [
        ('{kind: "nowhere:Law", dimension: 2}', "law.kind nowhere:Law: there is no file of a "
         "module nowhere beside the study or on PYTHONPATH: put it there, or correct the name"),
        ('{kind: "mine:Nrmal", dimension: 2}', "has no class Nrmal: did you mean Normal?"),
        ('[{kind: cube, dimension: 1}, {kind: "mine:Law", dimension: 2}]', "law[1].kind mine:Law"),
        ('{kind: "mine:", dimension: 2}', "law.kind = 'mine:': a law of your own is module:Class"),
        ("{kind: mine, dimension: 2}", "table, module:Class"),
        ("{dimension: 2}", "law lacks its kind: atoms, "),
        ('{kind: "mine:Normal"}', "law.dimension is missing: give law.dimension, or base.dim"),
        ('{kind: "mine:Normal", dimension: 0}', "law.dimension = 0: must be at least 1"),
        ('{kind: "mine:Normal", dimension: 2, std: {a: 1}}', "law.std must be a number, text, "),
        ('{kind: "mine:Normal", dimension: 2, std: .inf}', "law.std must be a finite number"),
        ('{kind: "mine:Normal", dimension: 2, source_sha256: "0"}', "is read off the file: remove"),
        ('{kind: subspace, dimension: 3, inner: {kind: "mine:Normal", dimension: 2}}',
         "law.inner has kind = 'mine:Normal': must be one of"),
    ],
)  # fmt: skip
def test_what_it_may_not_be(own_laws: Path, law: str, said: str) -> None:
    assert said in problem(own_laws, law)


def test_a_file_that_is_no_python_is_told_without_running_it(own_laws: Path) -> None:
    (own_laws / "mine.py").write_text("class Normal:\n  def f(self:\n")
    assert "mine.py, line 2 is not Python" in problem(
        own_laws, '{kind: "mine:Normal", dimension: 2}'
    )
    (own_laws / "mine.py").write_text("class Normal:\n    pass\nraise SystemExit\n")
    assert read(own_laws, '{kind: "mine:Normal", dimension: 2}').trials()


def test_its_file_goes_to_workers_and_its_results_need_none(own_laws: Path) -> None:
    (own_laws / "helper.py").write_text("")
    (own_laws / "mine.py").write_text(f"import helper\n{TEXT}")
    spec = StudySpec.from_text(STUDY, own_laws)
    assert spec.own_files() == (("mine", (own_laws / "mine.py").read_bytes()),)
    (warning,) = spec.unseen_imports()
    assert warning.startswith("law.kind mine:Normal imports helper.py: results are known by")
    contents = Contents.read(spec.contents().model_dump(mode="json"))
    (own_laws / "mine.py").unlink()
    again = StudySpec.from_text(STUDY, "/elsewhere", contents)
    assert [t.trial_id for t in again.trials()] == [t.trial_id for t in spec.trials()]
    assert again.contents() == spec.contents()


def test_an_edited_file_makes_other_trials(own_laws: Path) -> None:
    before = StudySpec.from_text(STUDY, own_laws).trials()
    (own_laws / "mine.py").write_text(f"{TEXT}\n")
    after = StudySpec.from_text(STUDY, own_laws).trials()
    assert not {t.trial_id for t in before} & {t.trial_id for t in after}


@pytest.mark.parametrize("between", ["(0.06, 0.2)", "(0.25, 0.95)"])
def test_a_formula_that_is_wrong_between_some_times_is_told(own_laws: Path, between: str) -> None:
    first, last = between.strip("()").split(", ")
    here = f"(1 + ((h > 1 - np.exp(-{first})) & (h < 1 - np.exp(-{last}))))"
    (own_laws / "mine.py").write_text(TEXT.replace("+ h) * x", f"+ h) * x * {here}"))
    with pytest.raises(SpecError, match="posterior_mean is not E"):
        check_own_laws(read(own_laws, '{kind: "mine:Normal", dimension: 3}').trials())


def test_wrong_ones_are_told_at_once_and_by_every_command(
    own_laws: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_laws / "mine.py").write_text(
        TEXT.replace("(a**2 * self.v + h) * x", "(a * self.v + h) * x")
    )
    law = '[{kind: "mine:Normal", dimension: 3}, {kind: "mine:Sampled", dimension: 2, sdt: 1}]'
    with pytest.raises(SpecError) as caught:
        check_own_laws(read(own_laws, law).trials())
    wrong, unmade = caught.value.problems
    assert "posterior_mean is not E[X_0 | X_t = x] of its own draws: at t = " in wrong
    assert "could not be made with dimension = 2, sdt = 1: TypeError" in unmade
    path = own_laws / "study.yaml"
    path.write_text(STUDY)
    monkeypatch.chdir(own_laws)
    for command in ("plan", "run", "search"):
        monkeypatch.setattr("sys.argv", ["scorerates", command, str(path)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "error: law.kind mine:Normal: posterior_mean is not" in capsys.readouterr().err
    assert place_of(caught.value) == ""
