"""Which settings a study audits, and what is stored of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis.data.audit import load_audit
from study import StudySpec
from study.planning.concluding import Wanted
from study.planning.plan import Slots
from study.running.audits import (
    audit_into_store,
    audits_at_once,
    load,
    load_latest,
    missing_audits,
    settings_of,
)
from study.spec.messages import SpecError
from study.storage.store import Store
from trainers.audit.columns import (
    BRIEF_DRAWS,
    BRIEF_SAMPLES,
    SPECTRUM_SAMPLES,
    audit_bytes,
    audit_id,
    audit_identity,
)
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


def cheap(
    config: TrialConfig,
    atoms: Any = None,
    seeds: int = 4,
    samples: int = SPECTRUM_SAMPLES,
    brief: bool = False,
) -> list[dict[str, Any]]:
    """An audit with one made-up row."""
    row = {"quantity": "capacity", "axis": None, "x": None, "seed": 0, "value": 1.5, "unit": "1"}
    return [{**audit_identity(config, samples, brief), **row}]


def stored(store: Store, trials: Sequence[TrialConfig]) -> dict[str, Wanted]:
    """Every audit that the trials want, made and under its own id."""
    wanted = missing_audits(store, trials)
    for key, one in wanted.items():
        assert audit_into_store(store, one, {}, 1) == key
    assert missing_audits(store, trials) == {}
    return wanted


def drawn(seed: int, width: float, kind: str = "atoms") -> TrialConfig:
    law = {"kind": kind, "dimension": 2, "seed": seed}
    return TrialConfig.model_validate({"law": law, "samples": 8, "width": width, "step_size": 1.0})


def test_settings_are_what_differs_beyond_the_axes_of_a_trial() -> None:
    trials = StudySpec.from_text(STUDY).trials()
    settings = settings_of(trials)
    assert len(trials) == 2 * 2 * 2 * 3
    assert len(settings) == 2 * 3  # laws x {t_min 0.05, t_min 0.1, no bias}
    assert set(settings) == {audit_id(trial) for trial in trials}


def test_infinite_width_shares_the_audit_of_its_networks() -> None:
    study = STUDY.replace("seeds: 2", "seeds: {network: 2, kernel: 4}")
    study += "decomposition: {norms: [0.5, 1.0]}\n"
    trials = StudySpec.from_text(study).trials()
    networks = [t for t in trials if not t.infinite]
    assert len({t.norms for t in trials}) == 2
    assert set(settings_of(trials)) == {audit_id(t) for t in networks}
    alone = [t for t in trials if t.infinite]
    assert set(settings_of(alone)) == {audit_id(t) for t in alone}


def test_more_draws_at_infinite_width_have_a_brief_audit() -> None:
    network, draws = drawn(5, 4), [drawn(seed, math.inf) for seed in (5, 6, 7)]
    other = drawn(6, math.inf, "gaussian_mixture")
    brief = {audit_id(t, BRIEF_SAMPLES, brief=True): t for t in draws[1:]}
    assert brief.keys().isdisjoint(audit_id(t, BRIEF_SAMPLES) for t in draws)
    found = settings_of([*draws, network, other])
    assert list(found) == [audit_id(network), audit_id(other), *brief]  # brief ones last
    assert [one.brief for one in found.values()] == [False, False, True, True]
    assert {one.samples for one in found.values() if one.brief} == {BRIEF_SAMPLES}
    assert {one.samples for one in settings_of([*draws, network], 1024).values()} == {1024}
    alone = settings_of(draws)
    assert set(alone) == {audit_id(t) for t in draws}
    assert not any(one.brief for one in alone.values())


def test_so_many_draws_have_a_brief_audit_and_no_more() -> None:
    trials = [drawn(5, 4), *(drawn(seed, math.inf) for seed in range(6, 50))]
    found = settings_of(trials)
    assert sum(one.brief for one in found.values()) == BRIEF_DRAWS
    kept = [one.config for one in found.values() if one.brief]
    assert kept == trials[1 : BRIEF_DRAWS + 1]


def test_a_brief_audit_is_stored_and_found_under_its_own_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.audit.measure.audit", cheap)
    store = Store(tmp_path / "results")
    trials = [drawn(5, 4), *(drawn(seed, math.inf) for seed in (5, 6, 7))]
    wanted = stored(store, trials)
    found = load_latest(store, trials)
    assert found is not None
    assert set(found["audit_id"]) == set(wanted)


def test_an_audit_is_stored_once_and_a_damaged_one_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.audit.measure.audit", cheap)
    store = Store(tmp_path / "results")
    trials = StudySpec.from_text(STUDY).trials()
    assert load(store, missing_audits(store, trials)) is None
    wanted = stored(store, trials)
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
    assert load_latest(store, trials, earlier=True) is None
    settings = settings_of(trials)
    old_ids = {audit_id(w.config, numerics=NUMERICS_VERSION - 1) for w in settings.values()}
    assert len(old_ids) == len(settings)
    assert old_ids.isdisjoint(settings)
    for one in settings.values():
        key = audit_into_store(store, one, {}, 1)
        folder = tmp_path / "results" / "audit"
        old = audit_id(one.config, numerics=NUMERICS_VERSION - 1)
        (folder / f"{key}.parquet").rename(folder / f"{old}.parquet")
    found = load_latest(store, trials, earlier=True)
    assert found is not None
    assert len(found) == len(settings)
    assert load_latest(store, trials) is None  # they never pass for today's
    assert set(missing_audits(store, trials)) == set(settings)


def test_an_audit_of_an_earlier_version_is_read_until_there_is_one_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.audit.measure.audit", cheap)
    store = Store(tmp_path / "results")
    trial = StudySpec.from_text(STUDY).trials()[0]
    folder = tmp_path / "results" / "audit"
    key = audit_into_store(store, Wanted(trial, SPECTRUM_SAMPLES), {}, 1)
    old = audit_id(trial, version=1)
    made = pq.read_table(folder / f"{key}.parquet").drop_columns(["g_min", "g_max"])
    pq.write_table(made, folder / f"{old}.parquet", write_page_checksum=True)
    (folder / f"{key}.parquet").unlink()
    found = load_latest(store, [trial])
    assert found is not None
    assert found[["g_min", "g_max"]].to_numpy().tolist() == [[1.0, 1.0]]  # of the trial's diffusion
    assert set(missing_audits(store, [trial])) == {key}  # a run measures it anew, beside it
    audit_into_store(store, Wanted(trial, SPECTRUM_SAMPLES), {}, 1)
    both = load_latest(store, [trial])
    assert both is not None
    assert len(both) == 1  # today's alone
    assert len(list(folder.iterdir())) == 2


def test_audits_of_other_samples_are_other_audits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.audit.measure.audit", cheap)
    store = Store(tmp_path / "results")
    trial = StudySpec.from_text(STUDY).trials()[0]
    key = audit_into_store(store, Wanted(trial, 1024), {}, 1)
    assert missing_audits(store, [trial], 1024) == {}
    assert set(missing_audits(store, [trial])) == {audit_id(trial)} != {key}


def test_audits_run_side_by_side_as_far_as_memory_goes() -> None:
    held = audit_bytes(8192)
    assert 8 * 8192**2 < held < 1.2e9
    for memory, workers in ((held * 1.01, 8), (held * 0.6, 4), (held * 0.3, 2), (held / 100, 1)):
        slots = Slots(8, "cpu", memory=memory)
        assert audits_at_once(slots, 8192) == workers
    assert audits_at_once(Slots(3, "cpu"), 8192) == 3
    assert audits_at_once(Slots(2, "cuda", gpus=0.5, memory=1.0), 8192) == 2


@pytest.mark.parametrize("samples", [1023, 40_000, "many"])
def test_samples_of_the_spectrum_out_of_range_are_refused(samples: object) -> None:
    with pytest.raises(SpecError, match="audit_points"):
        StudySpec.from_text(f"{STUDY}audit_points: {samples}\n")
    assert StudySpec.from_text(f"{STUDY}audit_points: 1024\n").audit_points == 1024
