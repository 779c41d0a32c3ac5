"""A data file edited under way: every trial is trained on the rows that its id was made from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import rows_trainer
import yaml
from rich.console import Console
from sessions import Workers

from analysis.data.audit import load_audit
from analysis.data.results import load_results
from study import run
from study.commands.search import search
from study.running import engine, session
from study.spec.sections import StudySpec
from trainers.errors import LawError
from trainers.laws import make_distribution
from trainers.laws.atoms_file import load_atoms

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("no_report")]

BEFORE = "x,y\n1,2\n3,5\n4,4\n-2,7.5\n"
AFTER = "x,y\n9,2\n3,5\n4,4\n-2,7.5\n"

COMMON: dict[str, Any] = {
    "name": "edited",
    "law": {"kind": "atoms", "file": "points.csv"},
    "steps": 64,
    "kernel": False,
    "audit": False,
    "resources": {"workers": 1},
}
GRID = COMMON | {
    "seeds": 2,
    "base": {"width": 64, "step_size": 1.0},
    "sweeps": {"samples": [16, 64, 256, 1024]},
}
DESIGN = COMMON | {
    "base": {"samples": [64, 128, 256, 512], "width": 64, "step_size": 1.0},
    "design": {
        "kind": "adaptive",
        "half_width": {"best_score_error": 0.003},
        "budget": {"trials": 60},
    },
}
SEARCH = COMMON | {
    "base": {"samples": 64},
    "search": {
        "evaluations": 8,
        "samplers": ["random"],
        "batch": 4,
        "space": {"width": {"low": 64, "high": 512}, "step_size": {"low": 0.1, "high": 2}},
    },
}


@pytest.fixture
def order(workers: Workers) -> Path:
    """The file by which workers are told to edit the data."""
    return workers.folder / "order"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    path.write_text(BEFORE)
    return path


def load(study: dict[str, Any], data: Path) -> StudySpec:
    return StudySpec.from_text(yaml.safe_dump(study), data.parent)


def train(spec: StudySpec, storage: Path) -> dict[str, float]:
    """law_id -> the moment of the rows that its trials say they were trained on."""
    quiet = Console(quiet=True)
    if spec.search is None:
        assert run(spec, storage, None, trainer=rows_trainer.train, console=quiet).exit_code == 0
    else:
        ended = search(spec, storage, None, trainer=rows_trainer.search, console=quiet)
        assert ended.exit_code == 0
    table = load_results(storage / "results.parquet")
    moments = table.groupby("law_id")["noise_variance"].unique()
    assert all(len(found) == 1 for found in moments)
    return {law: float(found[0]) for law, found in moments.items()}


def expected(data: Path, text: str) -> dict[str, float]:
    """What `train` finds where the file holds `text` and nobody edits it."""
    data.write_text(text)
    trial = load(GRID, data).trials()[0]
    return {trial.law_id: rows_trainer.moment(make_distribution(trial.law))}


def edit_before(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, data: Path, text: str = AFTER
) -> None:
    """Edits the data file when `module.name` is called for the first time."""
    original = getattr(module, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        data.write_text(text)
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize("study", [GRID, DESIGN, SEARCH], ids=["grid", "design", "search"])
def test_trials_have_the_rows_of_their_id(
    order: Path, data: Path, monkeypatch: pytest.MonkeyPatch, study: dict[str, Any]
) -> None:
    """The file holds other rows once the study is read, others again when Ray starts, when the
    session hands on to the engine, and from the first pack on."""
    after, before = expected(data, AFTER), expected(data, BEFORE)
    assert after.keys() != before.keys()
    assert abs(min(after.values()) - min(before.values())) > 0.1
    spec, storage = load(study, data), data.parent / "results"
    with monkeypatch.context() as patch:
        data.write_text(AFTER.replace("9", "20"))
        edit_before(patch, session, "ray_here", data, AFTER.replace("9", "30"))
        edit_before(patch, engine, "train", data, AFTER.replace("9", "40"))
        order.write_text(f"{data}\n{AFTER}")
        found = train(spec, storage)
    order.unlink()
    assert data.read_text() == AFTER
    assert found == pytest.approx(before)
    assert train(load(study, data), storage) == pytest.approx(after)


def test_the_audit_is_of_the_rows_of_its_id(
    order: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = data.parent / "results"
    train(load(GRID, data), storage)
    assert load_audit(storage) is None
    # A study that is done asks for its audit later.
    spec = load(GRID | {"audit": True, "audit_points": 1024}, data)
    radius = make_distribution(spec.law[0]).support_radius
    edit_before(monkeypatch, session, "ray_here", data)
    lines = io.StringIO()
    result = run(spec, storage, None, trainer=rows_trainer.train, console=Console(file=lines))
    assert (result.exit_code, result.trained) == (0, 0)
    assert "measuring the theory's assumptions in 1 setting" in lines.getvalue()
    audited = load_audit(storage)
    assert audited is not None
    found = audited[audited["quantity"] == "support_radius"]["value"]
    assert list(found) == [pytest.approx(radius)]
    assert abs(np.linalg.norm(load_atoms(data), axis=1).max() - radius) > 0.01


def test_a_worker_that_is_handed_other_bytes_refuses(order: Path) -> None:
    with pytest.raises(LawError, match="does not hold the data with SHA-256 00000000"):
        engine._checked({"0" * 64: ray.put(BEFORE.encode())})
