"""Files that a study names, and its own: data, trainers, the YAML file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from specs import GOOD, edited, problems

from study import StudySpec
from study.spec.messages import SpecError
from study.spec.strict_yaml import read_yaml
from trainers.laws.atoms_file import load_atoms
from trainers.laws.csv_file import read_bytes
from trainers.laws.table import Table
from trainers.trial import Atoms


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        StudySpec.load(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        StudySpec.load(tmp_path / "binary.yaml")
    with pytest.raises(SpecError, match="cannot read"):
        StudySpec.load(tmp_path)


def test_a_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(edited("seeds: 8", "seeds: 0"))
    with pytest.raises(SpecError, match=r"s\.yaml: seeds = 0"):
        StudySpec.load(path)


def test_csv_atoms_are_known_by_their_content_not_their_path(tmp_path: Path) -> None:
    law = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,5\n4,4\n")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.csv").write_text("x,y\n1,2\n3,5\n4,4\n")
    first = StudySpec.from_text(edited(law, "{kind: atoms, file: a.csv}"), tmp_path)
    second = StudySpec.from_text(edited(law, "{kind: atoms, file: b.csv}"), tmp_path / "deeper")
    assert [t.trial_id for t in first.trials()] == [t.trial_id for t in second.trials()]
    named = first.law[0]
    assert isinstance(named, Atoms)
    assert (first.trials()[0].dimension, named.count) == (2, 3)
    assert list(first.atoms()) == [named.sha256]
    assert Path(named.file) == (tmp_path / "a.csv").resolve()


@pytest.mark.parametrize(
    "law",
    ["{}", "{{kind: subspace, dimension: 3, inner: {}}}", "[{0}, {{kind: cube, dimension: 2}}]"],
)
def test_the_file_handed_on_is_the_one_that_was_hashed(tmp_path: Path, law: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n3,5\n4,4\n")
    before = load_atoms(path)
    old = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"
    spec = StudySpec.from_text(edited(old, law.format("{kind: atoms, file: a.csv}")), tmp_path)
    path.write_text("x,y\n9,2\n3,5\n4,4\n")  # while Ray starts
    ((sha256, file),) = spec.on("cpu", 2).atoms().items()
    np.testing.assert_array_equal(file.points, before)
    assert file.data == b"x,y\n1,2\n3,5\n4,4\n"
    assert sha256 == hashlib.sha256(file.data).hexdigest() == file.sha256


def test_two_laws_of_one_file_are_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n3,5\n4,4\n")

    def edited_after(path: Path, regular: bool = False) -> bytes:
        data = read_bytes(path, regular)
        path.write_text("x,y\n9,2\n3,5\n4,4\n")
        return data

    monkeypatch.setattr("trainers.laws.atoms_file.read_bytes", edited_after)
    old = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"
    inner = "{kind: atoms, file: a.csv}"
    text = edited(old, f"[{inner}, {{kind: subspace, dimension: 3, inner: {inner}}}]")
    assert len(StudySpec.from_text(text, tmp_path).atoms()) == 1


def test_a_trainer_beside_the_study_is_found_and_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "beside_the_study.py").write_text("class Mine: ...\n")
    data = {**read_yaml(GOOD), "sweeps": {"trainer": ["descent", "beside_the_study:Mine"]}}
    ids = []
    for text in ("class Mine: ...\n", "class Mine: pass\n"):
        (tmp_path / "beside_the_study.py").write_text(text)
        trials = StudySpec.from_mapping(data, tmp_path).trials()
        ids.append([trial.trial_id for trial in trials])
    half = len(ids[0]) // 2
    assert ids[0][:half] == ids[1][:half]
    assert not set(ids[0][half:]) & set(ids[1][half:])
    assert {t.trainer for t in trials[half:]} == {"beside_the_study:Mine"}


def test_csv_problems_name_column_and_row(tmp_path: Path) -> None:
    law = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,none\n")
    (found,) = problems(edited(law, "{kind: atoms, file: a.csv}"), tmp_path)
    assert "line 3" in found
    assert "column 2 (y)" in found
    (tmp_path / "b.csv").write_text("x,y\n1,2\n3,4\n")
    text = edited(law, "{kind: atoms, file: b.csv}").replace("base: {", "base: {dimension: 3, ")
    assert "fixes the dimension at 2" in problems(text, tmp_path)[0]
    assert "cannot read" in problems(edited(law, "{kind: atoms, file: no.csv}"), tmp_path)[0]


def test_a_table_s_lists_are_one_law_and_what_was_found_is_told(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 7},{'ab'[i % 2]},{i % 3}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("id,n,text,degree\n" + rows)
    law = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"
    named = "drop: [id], categorical: [text, degree]"
    table = f"{{kind: table, file: t.csv, {named}, numeric: [standardise, quantile]}}"
    small = edited(law, table).replace("samples: 64", "samples: 32")
    found = [problem for problem in problems(small, tmp_path) if "rows to train on" not in problem]
    assert not found
    text = f"name: t\nlaw: {table}\nbase: {{samples: 32, width: 8, step_size: 1.0}}\n"
    spec = StudySpec.from_text(text, tmp_path)
    laws = [one for one in spec.law if isinstance(one, Table)]
    assert [(one.numeric, one.drop, one.dimension) for one in laws] == [
        ("standardise", ("id",), 6),
        ("quantile", ("id",), 6),
    ]
    (file,) = spec.atoms().values()
    assert "numeric, quantile-normalised: n" in file.notes
    assert "categorical (declared): degree (0 1 2)" in file.notes
    assert (
        "samples = 64, but table[file=t.csv"
        in problems(text.replace("samples: 32", "samples: 64"), tmp_path)[0]
    )
    assert problems(text.replace("drop: [id]", "drop: [x]"), tmp_path)[0].startswith("law.file: ")
