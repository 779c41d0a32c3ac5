"""Networks beside the packs: written before their rows, missed where they are not there, trained
again where they are damaged; on a disk and in a bucket."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from study.commands.plans.of_study import plan_study
from study.commands.status import status
from study.running.worker import Job, train_into_store
from study.spec.sections import SpecError, StudySpec
from study.storage.store import Ledger, Store
from trainers import TrialConfig, load_network
from trainers.kept.keep import Keep

KEEP = Keep(("best", "last"), frozenset([0]))
SPEC = """
name: kept
law: {kind: cube, dimension: 1}
steps: 20
seeds: 2
recorded: 5
test_points: 32
holdout_points: 16
kernel: false
audit: false
base: {samples: 16, width: [4, 6], step_size: 1.0}
keep: {steps: [best, last]}
"""

pytestmark = pytest.mark.usefixtures("eager")


def trials() -> list[TrialConfig]:
    return StudySpec.from_text(SPEC).trials()


def job(store: Store, keep: Keep | None = KEEP) -> Job:
    return Job("kept", store, "cpu", 1, keep=keep)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "kept")
    store.claim("kept", SPEC, tmp_path)
    return store


def done(ledger: Ledger, keep: Keep | None = KEEP) -> list[bool]:
    return [ledger.done(trial.trial_id, keep) for trial in trials()]


def check_a_damaged_one_is_trained_again(store: Store) -> None:
    train_into_store(job(store), trials(), {})
    ledger = store.ledger(repair=True)
    assert done(ledger) == [True] * 4
    assert ledger.corrupt == []
    of = {t.trial_id: ledger.entries[t.trial_id].networks for t in trials()}
    assert [len(of[t.trial_id]) > 0 for t in trials()] == [t.seed == 0 for t in trials()]
    victim = trials()[0]
    name = f"networks/{sorted(of[victim.trial_id])[0]}.safetensors"
    whole = store.read(name)
    assert load_network(whole).config.trial_id == victim.trial_id
    store.write_bytes(name, whole[:-7])
    ledger = store.ledger(repair=True)
    assert ledger.corrupt == [name.removeprefix("networks/")]
    assert store.read(name) is None
    assert store.read(f"{name}.corrupt") == whole[:-7]
    assert done(ledger) == [False, True, True, True]
    assert done(ledger, None) == [True] * 4
    # The same pack is trained, though its rows are there; then another one.
    train_into_store(job(store), trials(), {})
    assert done(store.ledger()) == [True] * 4
    assert store.read(name) == whole
    store._storage.move(name, f"{name}.away")
    assert done(store.ledger()) == [False, True, True, True]
    counts = train_into_store(job(store), [victim], {})
    ledger = store.ledger(repair=True)
    assert done(ledger) == [True] * 4
    assert ledger.entries[victim.trial_id].pack_id == counts["pack_id"]


def test_a_damaged_one_is_trained_again(store: Store) -> None:
    check_a_damaged_one_is_trained_again(store)


@pytest.mark.services
def test_a_damaged_one_is_trained_again_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/kept")
    store.claim("kept", SPEC, tmp_path)
    check_a_damaged_one_is_trained_again(store)
    (network, *_) = store.networks()
    assert load_network(f"{store.url}/networks/{network}.safetensors").step <= 20


def test_networks_that_are_asked_for_later_are_trained(store: Store) -> None:
    train_into_store(job(store, None), trials(), {})
    assert store.networks() == {}
    assert done(store.ledger(), None) == [True] * 4
    assert done(store.ledger()) == [trial.seed != 0 for trial in trials()]
    kept = [trial for trial in trials() if trial.seed == 0]
    train_into_store(job(store), kept, {})
    assert done(store.ledger()) == [True] * 4
    more = Keep(("stops",), KEEP.seeds)
    assert done(store.ledger(), more) == [trial.seed != 0 for trial in trials()]
    train_into_store(job(store, more), kept, {})
    assert done(store.ledger(), more) == [True] * 4


def test_rows_say_where_their_network_is(store: Store) -> None:
    counts = train_into_store(job(store), trials(), {})
    rows = store.read_pack(counts["pack_id"]).to_pylist()
    for row in rows:
        if row["seed"]:
            assert (row["kept"], row["network"]) == (None, None)
            continue
        assert row["kept"] == "best last"
        if row["network"] is not None:
            network = load_network(f"{store.url}/networks/{row['network']}.safetensors")
            assert (network.config.trial_id, network.step) == (row["trial_id"], row["step"])
        assert row["step"] != 20 or row["network"] is not None


def test_plan_counts_their_bytes_and_status_lists_them(store: Store, tmp_path: Path) -> None:
    spec = StudySpec.from_text(SPEC)
    plan = plan_study(spec, store.url, calibrate=False, tell=print)
    told = dict(plan.rows())["networks"]
    assert told.startswith("2 trials keep up to 2,")
    bound = sum(KEEP.bytes_of(trial) for trial in trials())
    plain = plan_study(
        StudySpec.from_text(SPEC.replace("keep: {steps: [best, last]}", "")),
        store.url,
        calibrate=False,
        tell=print,
    )
    assert "networks" not in dict(plain.rows())
    assert plan.plan.memory == plain.plan.memory + 2 * bound
    train_into_store(job(store), trials(), {})
    assert sum(store.networks().values()) <= bound
    _name, _counts, notes = status(store, spec)
    count = len(store.networks())
    assert notes[0].startswith(f"{count} networks of 2 trials are kept")
    (network, *_) = store.networks()
    store._storage.move(f"networks/{network}.safetensors", "networks/away")
    _name, counts, notes = status(store, spec)
    assert counts["completed"] == 4
    assert notes[1].startswith("1 trials lack networks or samples that the study asks")
    again = plan_study(spec, store.url, calibrate=False, tell=print)
    assert again.plan.trials == 1


def test_keep_changes_no_id() -> None:
    without = StudySpec.from_text(SPEC.replace("keep: {steps: [best, last]}", ""))
    assert [t.trial_id for t in without.trials()] == [t.trial_id for t in trials()]
    assert without.kept() is None
    assert StudySpec.from_text(SPEC).kept() == KEEP


def test_the_first_seeds_of_every_sweep_are_kept() -> None:
    text = SPEC.replace("[best, last]", "stops").replace("steps: stops", "steps: stops, seeds: 2")
    spec = StudySpec.from_text(
        text.replace("seeds: 2\nrecorded", "seeds: [7, 5, 3]\nrecorded")
        + "sweeps:\n  - samples: [8, 16]\n  - {width: [4, 8], seeds: [11, 12, 13]}\n"
    )
    assert spec.kept() == Keep(("stops",), frozenset([7, 5, 11, 12]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep: {steps: [best, middle]}", "keep.steps"),
        ("keep: {steps: [best, best]}", "names a step twice"),
        ("keep: {steps: best, seeds: 0}", "keep.seeds"),
        ("keep: {seeds: 1}", "keep.steps"),
        ("keep: {steps: best, seed: 1}", "keep.seed"),
    ],
)
def test_what_it_cannot_be_is_told(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        StudySpec.from_text(SPEC.replace("keep: {steps: [best, last]}", text))


def test_it_is_of_no_use_beside_search() -> None:
    text = SPEC.replace("base: {samples: 16, width: [4, 6], step_size: 1.0}", "base: {samples: 16}")
    text = text.replace("seeds: 2\n", "") + "search: {space: {width: [4], step_size: [1.0]}}\n"
    with pytest.raises(SpecError, match="keep is of no use beside search"):
        StudySpec.from_text(text)


PLAIN = SPEC.replace("keep: {steps: [best, last]}", "")
SAMPLED = PLAIN + "quality: {steps: last, points: 16, grid_steps: 4}\n"


def test_samples_that_are_asked_for_are_drawn_once(store: Store) -> None:
    spec = StudySpec.from_text(SAMPLED)
    assert [t.trial_id for t in spec.trials()] == [t.trial_id for t in trials()]
    keep = spec.kept()
    train_into_store(job(store, None), trials(), {})
    assert done(store.ledger(), keep) == [False] * 4
    lacking = plan_study(spec, store.url, calibrate=False, tell=print)
    assert lacking.plan.trials == 4
    assert dict(lacking.rows())["samples"].startswith("4 trials at up to 1 steps")
    counts = train_into_store(job(store, keep), trials(), {})
    assert done(store.ledger(), keep) == [True] * 4
    assert store.networks() == {}
    for row in store.read_pack(counts["pack_id"]).to_pylist():
        assert (row["sample_energy"] is not None) == (row["step"] == 20)
        assert row["sampled"].startswith("last: 16 points by exponential in 4 steps")
    other = StudySpec.from_text(SAMPLED.replace("grid_steps: 4", "grid_steps: 8")).kept()
    assert done(store.ledger(), other) == [False] * 4
    one = StudySpec.from_text(SAMPLED.replace("last, points", "last, seeds: 1, points")).kept()
    assert one.sampling.seeds == frozenset([0])


def test_samples_whose_numbers_changed_are_drawn_anew(store: Store) -> None:
    """Of laws whose clean points repeat; the samples of the others are as they were."""
    keep = StudySpec.from_text(SAMPLED).kept()
    of_atoms = StudySpec.from_text(SAMPLED.replace("kind: cube", "kind: atoms")).trials()
    train_into_store(job(store, keep), [trials()[0], of_atoms[0]], {})
    ledger = store.ledger()
    cube, atoms = (ledger.entries[t.trial_id] for t in (trials()[0], of_atoms[0]))
    assert cube.sampled == keep.sampling.text
    assert atoms.sampled == f"{cube.sampled}, numbers 2"
    assert cube.done(keep)
    assert atoms.done(keep)
    assert not replace(atoms, sampled=keep.sampling.text).done(keep)
    assert replace(atoms, sampled=keep.sampling.text).done(None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quality: {points: 32}", "quality.steps"),
        ("quality: {steps: best, sampler: euler}", "quality.sampler"),
        ("quality: {steps: best, grid_steps: 0}", "quality.grid_steps"),
        ("quality: {steps: best, points: 4}", "quality.points"),
    ],
)
def test_how_it_cannot_be_sampled_is_told(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        StudySpec.from_text(SPEC + text)
