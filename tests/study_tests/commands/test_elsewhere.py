"""Results are read without the files that the study was made of: a law is known by its contents,
and so is a trainer."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_trainer import trajectory

from analysis.data.schema import table_from
from study import StudySpec, cli
from study.storage.store import Store
from trainers import own_files

STUDY = """
name: elsewhere
law:
  - {kind: atoms, file: points.csv}
  - {kind: subspace, dimension: 4, inner: {kind: atoms, file: points.csv}}
  - {kind: cube, dimension: 2}
seeds: 2
base: {samples: 16, width: 16, step_size: 0.5, trainer: "mine:Mine"}
sweeps: [{samples: [16, 32, 64, 128, 256]}]
kernel: false
audit: false
"""
TRIALS = 3 * 5 * 2


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study with files, and its results."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_files, "_folders", [])
    folder = tmp_path / "original"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.savetxt(folder / "points.csv", rng.standard_normal((40, 3)), delimiter=",")
    (folder / "mine.py").write_text("class Mine:\n    pass\n")
    (folder / "study.yaml").write_text(STUDY)
    spec = StudySpec.load(folder / "study.yaml")
    store = Store(folder / "results")
    store.claim(spec.name, spec.text, spec.folder, spec.contents().model_dump(mode="json"))
    store.write_pack(table_from(map(trajectory, spec.trials()), spec.name))
    return folder


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.mark.slow
@pytest.mark.usefixtures("fingerprints")
def test_copied_results_need_no_file_of_the_study(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    copied = tmp_path / "laptop" / "copied"
    shutil.copytree(original / "results", copied)
    shutil.rmtree(original)
    monkeypatch.chdir(copied.parent)
    assert command("status", copied) == 0
    assert f"completed {TRIALS}" in " ".join(capsys.readouterr().out.split())
    assert command("analyze", copied) == 0
    assert "best score error" in capsys.readouterr().out
    assert command("sync", copied) == 0
    assert f"{TRIALS} trials added" in capsys.readouterr().out


def test_results_stay_those_of_the_files_that_were_trained_on(
    original: Path, capsys: pytest.CaptureFixture
) -> None:
    (original / "points.csv").write_text("1,2,3\n4,5,7\n")
    (original / "mine.py").write_text("class Mine:\n    other = 1\n")
    assert command("status", original / "results") == 0
    assert f"completed {TRIALS}" in " ".join(capsys.readouterr().out.split())
    assert command("status", original / "study.yaml", "--storage", original / "results") == 0
    assert f"missing {TRIALS}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "contents", [None, 1, {"laws": [{"kind": "cube"}]}, {"trainers": {"mine:Mine": "../x"}}]
)
def test_without_these_the_files_are_read(
    original: Path, contents: object, capsys: pytest.CaptureFixture
) -> None:
    about = json.loads((original / "results" / "study.json").read_text())
    (original / "results" / "study.json").write_text(json.dumps({**about, "contents": contents}))
    assert command("status", original / "results") == 0
    (original / "points.csv").unlink()
    capsys.readouterr()
    assert command("status", original / "results") == 2
    assert "points.csv" in capsys.readouterr().err
