"""Which settings a study audits, and what is stored of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.data.audit import load_audit
from study import StudySpec
from study.running.audits import (
    audit_into_store,
    load,
    load_earlier,
    missing_audits,
    settings_of,
)
from study.storage.store import Store
from trainers.audit.columns import audit_id, audit_identity
from trainers.trial import NUMERICS_VERSION, TrialConfig

STUDY = """
name: s
law: [{kind: cube, dimension: 2}, {kind: sphere, dimension: 2}]
seeds: 2
base: {samples: [16, 64], width: 32, step_size: 1.0}
sweeps:
  - t_min: [0.05, 0.1]
  - bias: [true, false]
"""


def cheap(config: TrialConfig, atoms: Any = None, seeds: int = 4) -> list[dict[str, Any]]:
    """An audit with one made-up row."""
    row = {"quantity": "capacity", "axis": None, "x": None, "seed": 0, "value": 1.5, "unit": "1"}
    return [{**audit_identity(config), **row}]


def test_settings_are_what_differs_beyond_the_axes_of_a_trial() -> None:
    trials = StudySpec.from_text(STUDY).trials()
    settings = settings_of(trials)
    assert len(trials) == 2 * 2 * 2 * 3
    assert len(settings) == 2 * 3  # laws x {t_min 0.05, t_min 0.1, no bias}
    assert set(settings) == {audit_id(trial) for trial in trials}


def test_an_audit_is_stored_once_and_a_damaged_one_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.audit.measure.audit", cheap)
    store = Store(tmp_path / "results")
    trials = StudySpec.from_text(STUDY).trials()
    wanted = missing_audits(store, trials)
    assert load(store, wanted) is None
    for key, trial in wanted.items():
        assert audit_into_store(store, trial, {}, 1) == key
    assert missing_audits(store, trials) == {}
    frame = load(store, wanted)
    assert frame is not None
    assert set(frame["audit_id"]) == set(wanted)
    assert sorted(p.stem for p in (tmp_path / "results" / "audit").iterdir()) == sorted(wanted)

    damaged = next(iter(wanted))
    file = tmp_path / "results" / "audit" / f"{damaged}.parquet"
    data = bytearray(file.read_bytes())
    file.write_bytes(data[: len(data) // 2])
    assert list(missing_audits(store, trials)) == [damaged]
    rest = load(store, wanted)
    assert rest is not None
    assert set(rest["audit_id"]) == set(wanted) - {damaged}
    some = load_audit(tmp_path / "results", set(wanted) - {damaged})
    assert some is not None
    assert set(some["audit_id"]) == set(wanted) - {damaged}


def test_the_audits_of_earlier_numerics_are_found_under_their_own_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.audit.measure.audit", cheap)
    store = Store(tmp_path / "results")
    trials = StudySpec.from_text(STUDY).trials()
    assert load_earlier(store, trials) is None
    settings = settings_of(trials)
    old_ids = {audit_id(trial, NUMERICS_VERSION - 1) for trial in settings.values()}
    assert len(old_ids) == len(settings)
    assert old_ids.isdisjoint(settings)
    for trial in settings.values():
        key = audit_into_store(store, trial, {}, 1)
        folder = tmp_path / "results" / "audit"
        old = audit_id(trial, NUMERICS_VERSION - 1)
        (folder / f"{key}.parquet").rename(folder / f"{old}.parquet")
    found = load_earlier(store, trials)
    assert found is not None
    assert len(found) == len(settings)
    assert load(store, settings) is None  # they never pass for today's
    assert set(missing_audits(store, trials)) == set(settings)
