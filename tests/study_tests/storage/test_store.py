"""The store: what was written is what is read, damage is found, and nothing foreign is touched."""

from __future__ import annotations

import os
import pickle
import random
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_trainer import trajectory

from analysis.data.results import load_results
from analysis.data.schema import SCHEMA, ResultsError, table_from
from study.planning.plan import pack_id_of
from study.storage.store import CorruptPackError, Entry, Ledger, Store, StoreError
from trainers.trial import Cube, TrialConfig, failed


def trial(seed: int, **others: Any) -> TrialConfig:
    fields = {"law": Cube(dimension=1), "samples": 16, "width": 4, "step_size": 1.0, **others}
    return TrialConfig(seed=seed, **fields)


TRIALS = [trial(seed) for seed in range(4)]
IDS = [t.trial_id for t in TRIALS]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.claim("s", "name: s\n", tmp_path)
    return store


def write(store: Store, trials: list[TrialConfig]) -> str:
    return store.write_pack(table_from([trajectory(t) for t in trials], "s"))


def write_failed(store: Store, trials: list[TrialConfig], message: str) -> str:
    return store.write_pack(table_from([failed(t, message) for t in trials], "s"))


def pack_file(store: Store, pack_id: str) -> Path:
    assert store.local is not None
    return store.local / "trials" / f"{pack_id}.parquet"


def test_what_theory_says_is_kept_once_and_before_the_first_trial(store: Store) -> None:
    assert store.registered() is None
    store.register({"sha256": "first"})
    store.register({"sha256": "second"})
    write(store, TRIALS)
    store.register({"sha256": "third"})
    assert store.registered() == {"sha256": "first"}


def test_nothing_is_kept_beside_trials_that_were_before(store: Store) -> None:
    write(store, TRIALS)
    store.register({"sha256": "late"})
    assert store.registered() is None


def test_a_pack_comes_back_as_it_was_written(store: Store) -> None:
    table = table_from([trajectory(t) for t in TRIALS], "s")
    pack_id = store.write_pack(table)
    assert pack_id == pack_id_of(IDS)
    assert store.read_pack(pack_id).equals(table)
    assert store.pack_ids() == [pack_id]
    assert not list(pack_file(store, pack_id).parent.glob("*.tmp"))


def test_the_ledger_says_what_is_finished(store: Store) -> None:
    diverged = trial(0, step_size=3.0)
    write(store, [TRIALS[0], diverged])
    write_failed(store, [TRIALS[1]], "planted")
    ledger = store.ledger()
    asked = [*IDS, diverged.trial_id]
    expected = {"completed": 1, "diverged": 1, "failed": 1, "missing": 2}
    assert ledger.counts(asked) == expected
    assert [ledger.finished(i) for i in asked] == [True, False, False, False, True]


def test_the_time_of_a_pack_is_shared_by_its_trials(store: Store) -> None:
    store.write_pack(table_from([trajectory(t) for t in TRIALS], "s"), seconds=8.0)
    entries = store.ledger().entries
    assert [(entries[i].seconds, entries[i].device) for i in IDS] == [(2.0, "cpu")] * 4


def test_a_failed_trial_stays_until_it_is_replaced_in_whichever_pack(store: Store) -> None:
    write_failed(store, TRIALS[:2], "first")
    write_failed(store, TRIALS[:1], "second")
    ledger = store.ledger()
    (rows,) = store.rows(IDS[:1], ledger)
    assert rows["message"].to_pylist() == ["second"]
    write(store, [TRIALS[0], TRIALS[2]])
    ledger = store.ledger()
    assert ledger.counts(IDS) == {"completed": 2, "diverged": 0, "failed": 1, "missing": 1}
    path = store.compile(IDS, ledger)
    statuses = pq.read_table(path).group_by(["trial_id", "status"]).aggregate([]).to_pydict()
    assert dict(zip(statuses["trial_id"], statuses["status"], strict=True)) == {
        IDS[0]: "completed",
        IDS[1]: "failed",
        IDS[2]: "completed",
    }


def test_what_packs_are_too_old_to_say_is_said_in_the_compiled_table(store: Store) -> None:
    old = table_from([trajectory(t) for t in TRIALS[:2]], "s").drop_columns(["g_min", "g_max"])
    store.write_pack(old)
    write(store, TRIALS[2:])
    path = store.compile(IDS, store.ledger(), {"g_min": 5.0, "g_max": 7.0})
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    rows = table.select(["trial_id", "g_min", "g_max"]).to_pylist()
    said = {tuple(row.values()) for row in rows}
    assert said == {*((i, 5.0, 7.0) for i in IDS[:2]), *((i, 1.0, 1.0) for i in IDS[2:])}


def test_the_better_of_two_entries() -> None:
    early, late = Entry("completed", "a", 1.0), Entry("completed", "b", 2.0)
    assert early.better_than(late)
    assert not late.better_than(early)
    broken, again = Entry("failed", "a", 3.0), Entry("failed", "b", 4.0)
    assert again.better_than(broken)
    assert late.better_than(again)
    assert not again.better_than(early)
    short, long = Entry("pruned", "a", 5.0), Entry("pruned", "a", 6.0)
    assert not short.finished
    assert long.better_than(short)
    assert not short.better_than(long)
    assert short.better_than(again)
    assert not again.better_than(short)
    assert late.better_than(long)
    assert not long.better_than(late)


def test_the_compiled_table_holds_each_trial_of_the_study_once_and_no_other(store: Store) -> None:
    write(store, TRIALS[:3])
    write(store, TRIALS[1:])
    table = pq.read_table(store.compile(IDS[:2], store.ledger()))
    assert table.schema.equals(SCHEMA)
    expected = table_from([trajectory(t) for t in TRIALS[:2]], "s")
    keys = [("trial_id", "ascending"), ("step", "ascending")]
    assert table.sort_by(keys).equals(expected.sort_by(keys))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_moved_aside_and_its_trials_are_missing(
    store: Store, share: float
) -> None:
    keep, damaged = write(store, TRIALS[:2]), write(store, TRIALS[2:])
    path = pack_file(store, damaged)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert store.ledger().counts(IDS)["missing"] == 2
    assert path.exists(), "looking moves nothing"
    ledger = store.ledger(repair=True)
    assert ledger.corrupt == [f"{damaged}.parquet"]
    assert ledger.counts(IDS) == {"completed": 2, "diverged": 0, "failed": 0, "missing": 2}
    assert store.pack_ids() == [keep]
    assert path.with_name(path.name + ".corrupt").exists()


@pytest.mark.slow
def test_no_flipped_bit_goes_unseen(store: Store) -> None:
    pack_id = write(store, TRIALS)
    path = pack_file(store, pack_id)
    whole, table = path.read_bytes(), store.read_pack(pack_id)
    rng = random.Random(0)
    found = 0
    for _ in range(600):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            assert store.read_pack(pack_id).equals(table), "a damaged file gave other numbers"
        except CorruptPackError:
            found += 1
    assert found > 300


def test_a_file_under_another_packs_name_is_corrupt(store: Store) -> None:
    first, second = write(store, TRIALS[:2]), write(store, TRIALS[2:])
    pack_file(store, first).replace(pack_file(store, second))
    with pytest.raises(CorruptPackError, match="not those of its name"):
        store.read_pack(second)


def test_columns_added_since_are_null_and_other_formats_are_refused(store: Store) -> None:
    table = table_from([trajectory(t) for t in TRIALS], "s")
    pack_id = store.write_pack(table.drop_columns(["coupling"]))
    assert store.read_pack(pack_id).equals(table)
    store.write_pack(table.append_column("other", table["step"]))
    with pytest.raises(CorruptPackError, match="columns"):
        store.read_pack(pack_id)
    twice = table.rename_columns({"coupling": "bias"})
    store.write_pack(twice.replace_schema_metadata(table.schema.metadata))
    with pytest.raises(CorruptPackError, match="columns"):
        store.read_pack(pack_id)
    store.write_pack(table.replace_schema_metadata({"format_version": "0"}))
    with pytest.raises(CorruptPackError, match="format version"):
        store.read_pack(pack_id)


def test_another_study_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="holds the results of study 's', not of 'other'"):
        store.claim("other", "name: other\n", Path())
    text, folder, _ = store.spec_source()
    assert (text, store.owner()) == ("name: s\n", "s")
    assert folder.is_absolute()


def test_a_directory_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"holds no study \(thesis.tex\)"):
        Store(tmp_path).claim("s", "", Path())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "results")
    with pytest.raises(StoreError, match="choose another --storage"), store.lock():
        pass
    with pytest.raises(StoreError, match="choose another --storage"):
        store.claim("s", "", Path())
    with pytest.raises(StoreError, match="cannot use storage nowhere://x"):
        Store("nowhere://x").exists()


def test_a_storage_without_study(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.exists()
    assert store.ledger() == Ledger()
    with pytest.raises(StoreError, match="holds no study"):
        store.spec_source()


def test_damaged_bookkeeping_is_told(store: Store) -> None:
    assert store.local is not None
    (store.local / "study.json").write_text("{")
    with pytest.raises(StoreError, match=r"study\.json is damaged"):
        store.owner()


def test_claiming_removes_what_a_killed_writer_left(store: Store) -> None:
    assert store.local is not None
    leftover = store.local / "trials" / ".x.parquet.1.tmp"
    leftover.parent.mkdir()
    leftover.write_text("half")
    store.claim("s", "name: s\n", Path())
    assert not leftover.exists()


def test_object_storage_works_the_same(bucket: str) -> None:
    store = Store(f"{bucket}/deep/results/")
    assert store.ledger() == Ledger()
    store.claim("s", "name: s\n", Path("/somewhere"))
    pack_id = write(store, TRIALS)
    damaged = write(store, [trial(9)])
    assert store.pack_ids() == sorted([pack_id, damaged]), "a listing is never of before"
    fs = fsspec.filesystem("s3")
    fs.pipe_file(f"{store.url}/trials/{damaged}.parquet", b"PAR1")
    with store.lock():
        ledger = store.ledger(repair=True)
    assert ledger.corrupt == [f"{damaged}.parquet"]
    assert store.pack_ids() == [pack_id]
    assert fs.exists(f"{store.url}/trials/{damaged}.parquet.corrupt")
    assert ledger.counts(IDS)["completed"] == 4
    assert store.compile(IDS, store.ledger()) == f"{bucket}/deep/results/results.parquet"
    assert store.owner() == "s"
    assert set(load_results(store.url)["trial_id"]) == set(IDS)
    with pytest.raises(StoreError, match="holds the results of study 's', not of 'other'"):
        store.claim("other", "", Path())


def test_a_prefix_with_something_else_is_refused(bucket: str) -> None:
    fsspec.filesystem("s3").pipe_file(f"{bucket}/thesis/chapter1.tex", b"years of work")
    with pytest.raises(StoreError, match=r"is not empty and holds no study \(chapter1.tex\)"):
        Store(f"{bucket}/thesis").claim("s", "", Path())


def test_results_are_those_of_the_study_until_packs_come_that_are_not_compiled(
    store: Store,
) -> None:
    write(store, TRIALS[:2])
    write(store, TRIALS[2:])
    store.compile(IDS[:3], store.ledger())
    assert set(load_results(store.url)["trial_id"]) == set(IDS[:3])
    late = trial(9)
    write(store, [late])
    assert set(load_results(store.url)["trial_id"]) == {*IDS, late.trial_id}


def test_a_file_that_breaks_while_it_is_read_is_named(store: Store) -> None:
    pack_id = write(store, TRIALS)
    ledger = store.ledger()
    pack_file(store, pack_id).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=f"{pack_id}.parquet was damaged .* run the same command"):
        store.compile(IDS, ledger)


def test_a_store_travels_to_workers(store: Store) -> None:
    write(pickle.loads(pickle.dumps(store)), TRIALS)
    assert store.ledger().counts(IDS)["completed"] == 4


def _folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        made.bind(path.name)
        os.chdir(here)


NOT_FILES: dict[str, Callable[[Path], None]] = {
    "folder": _folder,
    "pipe": os.mkfifo,
    "socket": _socket,
    "link in a circle": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.parametrize("kind", NOT_FILES)
def test_what_is_no_file_is_damaged_and_never_opened(store: Store, kind: str) -> None:
    pack_id, other = write(store, TRIALS[:2]), write(store, TRIALS[2:])
    path = pack_file(store, pack_id)
    for _ in range(2):  # the second time something lies at the side already
        path.unlink()
        NOT_FILES[kind](path)
        with pytest.raises(CorruptPackError, match="not a file"):
            store.read_pack(pack_id)
        with pytest.raises(ResultsError, match=re.escape(path.name)):
            load_results(store.url)
        assert [store.ledger().finished(i) for i in IDS] == [False, False, True, True]
        ledger = store.ledger(repair=True)
        assert ledger.corrupt == [path.name]
        assert write(store, TRIALS[:2]) == pack_id
        assert store.ledger().packs == sorted([pack_id, other])


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize("name", ["study.json", "spec.yaml"])
def test_a_study_whose_own_file_is_no_file(store: Store, kind: str, name: str) -> None:
    path = Path(store.url) / name
    path.unlink()
    NOT_FILES[kind](path)
    with pytest.raises(StoreError, match=f"{name} is a .*: remove it"):
        store.spec_source()


@pytest.mark.parametrize("kind", NOT_FILES)
def test_a_table_is_written_over_what_is_no_file(store: Store, kind: str) -> None:
    write(store, TRIALS)
    NOT_FILES[kind](Path(store.url) / "results.parquet")
    store.compile(IDS, store.ledger())
    assert sorted(load_results(store.url)["trial_id"].unique()) == sorted(IDS)


def test_thirty_million_rows_in_place_of_a_pack_are_not_read(store: Store) -> None:
    pack_id = write(store, TRIALS)
    table = pa.table({"trial_id": pa.array(["x"]).take(pa.array(np.zeros(30_000_000, np.int32)))})
    pq.write_table(table, pack_file(store, pack_id), compression="zstd")
    del table
    before = pa.total_allocated_bytes()
    with pytest.raises(CorruptPackError, match="30,000,000 rows"):
        store.read_pack(pack_id)
    assert pa.total_allocated_bytes() - before < 2**24


def test_what_a_killed_driver_left_goes_with_the_next_run(store: Store, tmp_path: Path) -> None:
    root = Path(store.url)
    write(store, TRIALS)
    left = [
        ".results.parquet.0a.tmp",
        "trials/.x.parquet.1.tmp",
        "figures/.a.svg.k2",
        "audit/.y.tmp",
    ]
    for name in left:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"half")
    with store.lock():
        store.claim("s", "name: s\n", tmp_path)
        assert not [name for name in left if (root / name).exists()]
        assert (root / ".lock").exists()
    assert store.ledger().finished(IDS[0])


@pytest.mark.parametrize("name", ["e [v2]", "e*", "e?x", "e {a,b}", "e #1"])
def test_a_folder_of_any_name_gives_its_own_results(tmp_path: Path, name: str) -> None:
    """A pattern such as `e [v2]` names other folders: here they hold other results."""
    for other in ("e v", "e 2", "ex", "e?"):
        write(Store(tmp_path / other / "r"), TRIALS[3:])
    store = Store(tmp_path / name / "r")
    store.claim("s", "name: s\n", tmp_path)
    write(store, TRIALS[:1])
    store.compile(IDS[:1], store.ledger())
    write(store, TRIALS[1:2])
    assert set(load_results(store.url)["trial_id"]) == set(IDS[:2])  # the compiled table is old
    store.compile(IDS[:2], store.ledger())
    assert set(load_results(store.url)["trial_id"]) == set(IDS[:2])


def test_widths_of_whole_numbers_are_read_as_floats(store: Store) -> None:
    table = table_from([trajectory(t) for t in TRIALS], "s")
    place = table.column_names.index("width")
    before = table.set_column(place, "width", table["width"].cast(pa.int64()))
    pack_id = store.write_pack(before)
    assert store.read_pack(pack_id)["width"].equals(table["width"])
    assert set(store.ledger().entries) == set(IDS)


def test_an_infinite_width_is_kept(store: Store) -> None:
    limit = trial(0, width=np.inf)
    pack_id = write(store, [limit, *TRIALS])
    found = store.read_pack(pack_id).to_pandas().drop_duplicates("trial_id").set_index("trial_id")
    assert found["width"][limit.trial_id] == np.inf
    assert found["steps"].isna().sum() == 1
    store.compile([limit.trial_id, *IDS], store.ledger())
    frame = load_results(store.place)
    assert sorted(frame["width"].unique()) == [4, np.inf]
