"""What a store's study was when it was last run decides what is said of it now."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import StudySpec, cli
from study.storage.earlier import changed_trainers, check_kind
from study.storage.store import Store, StoreError

RATES = """
name: one
law: {kind: cube, dimension: 2}
base: {samples: [16, 32], width: 16, step_size: 1.0}
"""
SEARCH = """
name: one
law: {kind: cube, dimension: 2}
base: {samples: 16}
search: {evaluations: 4, space: {width: [16], step_size: {low: 0.1, high: 1}}}
"""
OWN = RATES.replace("width: 16", "width: 16, trainer: 'mine:Mine'")
CLASS = "class Mine:\n    kernel_limit = False\n"


def claimed(text: str, folder: Path) -> tuple[StudySpec, Store]:
    spec = StudySpec.from_text(text, folder)
    store = Store(folder / "results" / "one")
    store.claim(spec.name, spec.text, spec.folder, spec.contents().model_dump(mode="json"))
    return spec, store


@pytest.mark.parametrize(("before", "now"), [(RATES, SEARCH), (SEARCH, RATES)])
def test_a_search_and_a_study_of_rates_never_share_results(
    before: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    spec, store = claimed(before, tmp_path)
    check_kind(spec, store)
    with pytest.raises(StoreError, match="'one' is now the name of a"):
        check_kind(StudySpec.from_text(now), store)
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    (tmp_path / "now.yaml").write_text(now)
    commands = ("plan", "search") if now == SEARCH else ("plan", "run")
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "now.yaml"])
        assert ended.value.code == 2
        assert "give this one another name, or another --storage" in capsys.readouterr().err
    assert all(p.read_bytes() == content for p, content in files.items())


def test_a_trainer_that_changed_is_named_with_a_way_to_have_both(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CLASS)
    spec, store = claimed(OWN, tmp_path)
    assert changed_trainers(spec, store) == []
    (tmp_path / "mine.py").write_text(f"{CLASS}    rate = 2\n")
    (line,) = changed_trainers(StudySpec.from_text(OWN, tmp_path), store)
    assert line.startswith("mine.py has changed since this study was last run")
    assert line.endswith('trainer: ["mine:Mine", "mine2:Mine"]')
    assert changed_trainers(StudySpec.from_text(RATES), store) == []
    assert changed_trainers(spec, Store(tmp_path / "elsewhere")) == []
