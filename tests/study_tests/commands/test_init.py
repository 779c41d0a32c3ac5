"""`scorerates init` writes a study that loads, and never over a file; and `--version`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from study.cli import main
from study.commands.init import LAWS
from study.planning.own_laws import check_own_laws
from study.spec.sections import StudySpec
from study.spec.seeds import SeedsSection
from trainers.conformance import check_trainer


def code_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_study_loads_and_asks_for_rates_over_samples_and_width() -> None:
    assert code_of("init", "mine") == 0
    spec = StudySpec.load("mine.yaml")
    assert spec.name == "mine"
    assert isinstance(spec.seeds, SeedsSection)
    trials = spec.trials()
    assert len({t.samples for t in trials}) == 5
    assert len({t.width for t in trials if not t.infinite}) == 5


def test_a_file_that_is_there_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("precious", encoding="utf-8")
    assert code_of("init", "mine") == 2
    assert "mine.yaml is there already" in capsys.readouterr().err
    assert Path("mine.yaml").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("name", ["../out", "", "a b", "12", "true"])
def test_a_name_that_no_study_may_have_is_refused(name: str, tmp_path: Path) -> None:
    assert code_of("init", name) == 2
    assert not list(tmp_path.parent.glob("*.yaml"))
    assert not list(tmp_path.glob("*.yaml"))


ROWS = "x,y\n" + "".join(f"{i % 17}.5,{i * i % 23}.25\n" for i in range(300))


@pytest.mark.parametrize("options", [(), ("--data", "rows of mine.csv")])
@pytest.mark.parametrize("trainer", [(), ("--trainer",)])
@pytest.mark.parametrize("search", [(), ("--search",)])
def test_every_kind_of_study_loads_as_it_is_written(
    options: tuple[str, ...], trainer: tuple[str, ...], search: tuple[str, ...]
) -> None:
    Path("rows of mine.csv").write_text(ROWS)
    assert code_of("init", "a-study", *options, *trainer, *search) == 0
    spec = StudySpec.load("a-study.yaml")
    assert (spec.search is not None) is bool(search)
    assert Path("a_study.py").exists() is bool(trainer)
    points = spec.search_points() if search else spec.points()
    assert {p.law.kind for p in points} == {"atoms" if options else "gaussian_mixture"}
    if search:
        asked = {t.trainer for t in spec.search_corners()}
        assert asked == ({"a_study:Mine"} if trainer else {"descent", "sgd"})
        return
    levels = sorted({p.samples for p in points if not p.infinite})
    assert len(levels) == 5
    assert levels[-1] == 16 * levels[0] == (256 if options else 1024)
    if trainer:
        assert {p.trainer for p in points} == {"a_study:Mine"}


@pytest.mark.parametrize("kind", sorted(LAWS))
def test_every_law_loads_in_one_dimension_and_in_several(kind: str) -> None:
    assert code_of("init", "one", "--law", kind, "--dimension", "3") == 0
    assert code_of("init", "many", "--law", kind, "--dimension", "1,2,4") == 0
    assert {(p.law.kind, p.dimension) for p in StudySpec.load("one.yaml").points()} == {(kind, 3)}
    many = StudySpec.load("many.yaml")
    assert {(p.law.kind, p.dimension) for p in many.points()} == {(kind, d) for d in (1, 2, 4)}
    assert {t.infinite for t in many.trials()} == {True, False}


def test_what_is_said_of_a_file_follows_what_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("init", "my_law", "--trainer", "--law", "own") == 0
    trainer, law, _study = capsys.readouterr().out.splitlines()
    assert trainer.startswith("wrote my_law.py: put your network")
    assert "trainers.conformance my_law:Mine" in trainer
    assert law.startswith("wrote my_law_law.py: write `sample`")
    assert law.endswith("scorerates plan my_law.yaml checks it")


@pytest.mark.parametrize("others", [(), ("--trainer",), ("--search",), ("--dimension", "2,3")])
def test_a_law_of_ones_own_loads_with_its_file(others: tuple[str, ...]) -> None:
    assert code_of("init", "a-law", "--law", "own", *others) == 0
    assert Path("a_law_law.py").exists()
    spec = StudySpec.load("a-law.yaml")
    points = spec.search_points() if "--search" in others else spec.points()
    assert {p.law.kind for p in points} == {"a_law_law:Mine"}
    check_own_laws(points)


@pytest.mark.parametrize("option", ["--trainer", "--search"])
def test_several_dimensions_go_with_every_kind_of_study(option: str) -> None:
    assert code_of("init", "many", "--dimension", "1,2", option) == 0
    spec = StudySpec.load("many.yaml")
    points = spec.search_points() if option == "--search" else spec.points()
    assert {p.dimension for p in points} == {1, 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--law", "cub"), "--law cub: did you mean cube?"),
        (("--law", "table"), "--law table: choose among gaussian_mixture, atoms"),
        (("--dimension", "2,x"), "--dimension 2,x: must be whole numbers from 1"),
        (("--dimension", "0"), "--dimension 0: must be whole numbers"),
        (("--data", "rows.csv", "--law", "cube"), "--data: the file says the law"),
        (("--dimension", "9999999"), "law.dimension = 9999999: must be at most"),
    ],
)
def test_a_law_that_is_none_is_refused(
    options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.csv").write_text(ROWS)
    assert code_of("init", "mine", *options) == 2
    assert said in capsys.readouterr().err
    assert not Path("mine.yaml").exists()


def test_data_that_cannot_be_a_law_are_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("few.csv").write_text(ROWS[: ROWS.index("9.5")])
    Path("words.csv").write_text("x,y\n" + "1.5,no number\n" * 50)
    for file, said in (
        ("gone.csv", "--data: cannot read gone.csv: No such file"),
        ("few.csv", "rows, and a rate wants 32"),
        ("words.csv", "'no number' is not a number"),
    ):
        assert code_of("init", "mine", "--data", file, "--trainer") == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("mine*"))


def test_neither_file_is_written_where_one_is_there() -> None:
    Path("mine.py").write_text("precious")
    assert code_of("init", "mine", "--trainer") == 2
    assert Path("mine.py").read_text() == "precious"
    assert not Path("mine.yaml").exists()


@pytest.mark.slow
def test_the_trainer_passes_the_suite_before_a_line_of_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of("init", "skeleton_of_a_study", "--trainer") == 0
    monkeypatch.syspath_prepend(str(tmp_path))
    check_trainer("skeleton_of_a_study:Mine")


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--version") == 0
    assert capsys.readouterr().out == f"scorerates {version('scorerates')}\n"
