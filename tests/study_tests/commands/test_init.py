"""`scorerates init` writes a study that loads, and never over a file; and `--version`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from study.cli import main
from study.spec.sections import StudySpec
from study.spec.seeds import SeedsSection


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


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--version") == 0
    assert capsys.readouterr().out == f"scorerates {version('scorerates')}\n"
