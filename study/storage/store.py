"""Results on disk or object storage: the truth of which everything else is a view.

    <storage>/spec.yaml               the study as last run
    <storage>/study.json              its name, the folder its files are relative to, and what they
                                      hold (study.spec.contents)
    <storage>/trials/<pack>.parquet   the rows of a pack; the name is the content id of its trials
    <storage>/audit/<id>.parquet      the assumptions of a setting, measured (study.running.audits)
    <storage>/references/<id>.npz     kernel references of large data sets, for other packs: a cache
    <storage>/networks/<SHA-256 of the content>.safetensors
                                      networks that the spec's `keep` asks for (trainers.kept)
    <storage>/results.parquet         compiled from the packs, for the trials of the spec

A pack is written under another name and then renamed (on object storage a put is atomic), so a
file with its own name is whole. It is checked all the same when it is read: page checksums, the
schema, and its name against the trials inside. One that fails is moved aside to `<name>.corrupt`
and its trials are trained again. So it is with the files of networks, whose names say what they
hold: where one is missing or damaged, its trial is not done as long as `keep` asks for it, and its
new rows stand for the old ones, which are of other networks to rounding. A trial that failed is
tried again by the next run; its row stays until a better one exists, in whichever pack.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.data.files import NotAFileError
from analysis.data.results import packs_id
from analysis.data.schema import COMPILED_OF, SCHEMA
from study.planning.plan import pack_id_of
from study.storage.files import Storage, StoreError
from study.storage.lock import StorageLock
from trainers.kept.keep import SUFFIX, Keep
from trainers.trial import TrialStatus

__all__ = ["CorruptPackError", "Entry", "Ledger", "Store", "StoreError"]

READERS = 8
"""Packs read at once: what their tables hold stays in memory meanwhile."""

MOST_ROWS = 2**22
"""Rows of a file that can be a pack: more are not read. A pack has a row a trial and recorded step,
some ten thousand of them."""

GROUP = 2**16
"""Rows of a row group of results.parquet, which is written one after the other."""

NETWORKS = "networks"

_WRITTEN, _SECONDS = b"written", b"seconds"


class CorruptPackError(ValueError):
    """The file of a pack is not what was written."""


@dataclass(frozen=True)
class Entry:
    """Where the row of a trial is, and how the trial ended.

    written: seconds since the epoch. seconds: an equal share of its pack's wall-clock time, kernel
    reference and compilation included; 0 where unknown. seed: of its network; None at infinite
    width. networks: the ids of their files. kept: the steps at which they were to be kept; none
    where a file is missing or damaged. sampled: at which steps, and how; empty for not at all.
    law: its kind.
    """

    status: str
    pack_id: str
    written: float
    seconds: float = 0.0
    device: str = ""
    seed: int | None = None
    networks: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    sampled: str = ""
    law: str = ""

    def done(self, keep: Keep | None) -> bool:
        """Whether the trial needs no more training, for its networks and samples neither."""
        if keep is None or self.seed is None or not self.finished:
            return self.finished
        lacks = self.seed in keep.seeds and not self.kept >= set(keep.steps)
        one = keep.sampling
        if lacks or one is None or self.seed not in one.seeds:
            return not lacks
        return self.sampled == one.text_of(self.law)

    @property
    def extras(self) -> int:
        """What it has beside its rows: networks, samples."""
        return bool(self.kept) + bool(self.sampled)

    @property
    def finished(self) -> bool:
        """Whether the trial needs no more training: completed or diverged."""
        return self.status in (TrialStatus.COMPLETED, TrialStatus.DIVERGED)

    def better_than(self, other: Entry) -> bool:
        """A result beats the beginning of one, and that a failure; the first result stays, and the
        last (longest) beginning or failure. A result that has networks or samples beats one that
        has less, and the last of those stays: it has what was asked for last."""
        if self.finished != other.finished:
            return self.finished
        if self.extras != other.extras:
            return self.extras > other.extras
        pruned = TrialStatus.PRUNED
        if (self.status == pruned) != (other.status == pruned):
            return self.status == pruned
        earlier = (self.written, self.pack_id) < (other.written, other.pack_id)
        return earlier if self.finished and not self.extras else not earlier


@dataclass
class Ledger:
    """What the store holds: trial_id -> entry. packs: the ids of its files, networks: those of
    networks with their bytes, corrupt: the names of those moved aside."""

    entries: dict[str, Entry] = field(default_factory=dict)
    packs: list[str] = field(default_factory=list)
    networks: dict[str, int] = field(default_factory=dict)
    corrupt: list[str] = field(default_factory=list)

    def finished(self, trial_id: str) -> bool:
        """Whether the trial completed or diverged."""
        entry = self.entries.get(trial_id)
        return entry is not None and entry.finished

    def done(self, trial_id: str, keep: Keep | None) -> bool:
        """Whether the trial completed or diverged, and its networks are there."""
        entry = self.entries.get(trial_id)
        return entry is not None and entry.done(keep)

    def counts(self, trial_ids: Collection[str]) -> dict[str, int]:
        """Trials by status, `missing` included, and `pruned` where there are such."""
        shown = [str(s) for s in TrialStatus if s != TrialStatus.PRUNED]
        counts = {**dict.fromkeys(shown, 0), "missing": 0}
        for trial_id in trial_ids:
            entry = self.entries.get(trial_id)
            status = entry.status if entry else "missing"
            counts[status] = counts.get(status, 0) + 1
        return counts


class Store:
    """The results of one study at a path or URL (`/data/x`, `s3://bucket/x`). Picklable.

    Everything raises StoreError where the storage cannot be used.
    """

    def __init__(self, storage: str | Path) -> None:
        self._storage = Storage(storage)
        self.url = self._storage.url
        self.place = self._storage.place
        self.local = self._storage.local

    # --- the study -------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether a study was run here."""
        return self._own("study.json") is not None

    def claim(
        self, name: str, text: str, folder: Path, contents: Mapping[str, Any] | None = None
    ) -> None:
        """Makes this the storage of study `name`, or raises StoreError where it is not. contents:
        of the study's files, as JSON data."""
        self.check_owner(name)
        self._storage.tidy()
        about = {"name": name, "folder": str(folder), "contents": contents}
        self.write_text("study.json", json.dumps(about) + "\n")
        self.write_text("spec.yaml", text)

    def register(self, record: Mapping[str, Any]) -> None:
        """Keeps what theory says (`analysis.theory.record`) before the first trial, once: where it
        is kept already, or trials are there that it would not precede, nothing is written."""
        if self._own("theory.json") is None and not self._storage.names("trials"):
            self.write_text("theory.json", json.dumps(record, indent=1) + "\n")

    def registered(self) -> Any:
        """What `register` kept; None where it kept nothing, and text where that is damaged."""
        data = self._own("theory.json")
        if data is None:
            return None
        try:
            return json.loads(data)
        except ValueError:
            return data.decode(errors="replace")

    def check_owner(self, name: str) -> None:
        """Raises StoreError where the storage holds something else than study `name`."""
        with self._storage.reported():
            owner = self.owner()
            foreign = self._storage.names() if owner is None else []
        if foreign:
            raise StoreError(
                f"{self.place} is not empty and holds no study ({foreign[0]}): "
                "choose a new or empty directory with --storage"
            )
        if owner not in (None, name):
            raise StoreError(
                f"{self.place} holds the results of study {owner!r}, not of {name!r}: "
                "choose another --storage, or rename the study"
            )

    def owner(self) -> str | None:
        """The name of the study whose results these are."""
        about = self._about()
        return None if about is None else str(about.get("name"))

    def spec_source(self) -> tuple[str, Path, Any]:
        """Text of the spec as last run, the folder it was in, and what its files held. Raises
        StoreError."""
        text, about = self._own("spec.yaml"), self._about()
        if text is None or about is None:
            raise StoreError(f"{self.place} holds no study: run one there first")
        return text.decode(), Path(str(about.get("folder", "."))), about.get("contents")

    @contextlib.contextmanager
    def lock(self, say: Callable[[str], None] = lambda _: None) -> Iterator[StorageLock]:
        """Keeps a second driver out while it is held (see study.storage.lock), or raises
        StorageLockedError. say: told that it may take a while."""
        fs, root = self._storage.files()
        with contextlib.ExitStack() as stack:
            with self._storage.reported():
                if self.local is not None:
                    self.local.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(StorageLock(self.place, fs, root, say))
            yield lock

    def _about(self) -> dict[str, Any] | None:
        data = self._own("study.json")
        if data is None:
            return None
        try:
            about = json.loads(data)
        except ValueError:
            about = None
        if not isinstance(about, dict):
            raise StoreError(f"{self.place}/study.json is damaged: remove it, and run again")
        return about

    def _own(self, name: str) -> bytes | None:
        """A file without which nothing goes on."""
        try:
            return self.read(name)
        except NotAFileError as error:
            raise StoreError(
                f"{self.place}/{name} is {error.strerror}, not a file: remove it, and run again"
            ) from None

    # --- packs -----------------------------------------------------------------------------------

    def write_pack(self, table: pa.Table, seconds: float = 0.0) -> str:
        """Stores the rows of a pack that took `seconds`, atomically; returns its id."""
        pack_id = pack_id_of(pc.unique(table["trial_id"]).to_pylist())
        times = {_WRITTEN: repr(time.time()).encode(), _SECONDS: repr(seconds).encode()}
        metadata = {**(table.schema.metadata or {}), **times}
        sink = pa.BufferOutputStream()
        pq.write_table(
            table.replace_schema_metadata(metadata),
            sink,
            compression="zstd",
            write_page_checksum=True,
        )
        self.write_bytes(f"trials/{pack_id}.parquet", sink.getvalue().to_pybytes())
        return pack_id

    def read_pack(self, pack_id: str) -> pa.Table:
        """The rows of a pack, verified. Raises CorruptPackError, or FileNotFoundError."""
        try:
            data = self.read(f"trials/{pack_id}.parquet")
        except NotAFileError as error:
            raise CorruptPackError(f"{error.strerror}, not a file") from None
        if data is None:
            raise FileNotFoundError(f"{self.place}/trials/{pack_id}.parquet")
        try:
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            rows = file.metadata.num_rows
            table = file.read() if rows <= MOST_ROWS else None
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptPackError(str(error)) from None
        if table is None:
            raise CorruptPackError(f"a pack does not have {rows:,} rows")
        table = _in_schema(table)
        if pack_id_of(pc.unique(table["trial_id"]).to_pylist()) != pack_id:
            raise CorruptPackError("its trials are not those of its name")
        return table

    def pack_ids(self) -> list[str]:
        """The ids of all stored packs, sorted."""
        suffix = ".parquet"
        names = self._storage.names("trials")
        return [name.removesuffix(suffix) for name in names if name.endswith(suffix)]

    def ledger(self, repair: bool = False) -> Ledger:
        """What is there. repair: move damaged files aside (needs the lock), and read networks for
        it, which else are only looked for."""
        ledger = Ledger(packs=self.pack_ids(), networks=self.networks())
        if repair:
            self._check_networks(ledger)
        for pack_id, entries in zip(ledger.packs, _ahead(self.entries, ledger.packs), strict=True):
            if entries is None and repair:
                name = f"trials/{pack_id}.parquet"
                self._storage.move(name, f"{name}.corrupt")
                ledger.corrupt.append(f"{pack_id}.parquet")
            for trial_id, entry in (entries or {}).items():
                if not entry.networks <= ledger.networks.keys():
                    entry = replace(entry, kept=frozenset())
                known = ledger.entries.get(trial_id)
                if known is None or entry.better_than(known):
                    ledger.entries[trial_id] = entry
        return ledger

    def entries(self, pack_id: str) -> dict[str, Entry] | None:
        """trial_id -> entry of a pack, none where there is no such pack; None where its file is
        damaged."""
        try:
            table = self.read_pack(pack_id)
            metadata = table.schema.metadata or {}
            written, seconds = (float(metadata.get(key, b"0")) for key in (_WRITTEN, _SECONDS))
        except FileNotFoundError:
            return {}
        except ValueError:  # CorruptPackError is one
            return None
        endings = _endings(table)
        networks = _networks_of(table)
        return {
            trial_id: Entry(
                status,
                pack_id,
                written,
                seconds / len(endings),
                device or "",
                None if width == math.inf else seed,
                networks.get(trial_id, frozenset()),
                frozenset((kept or "").split()),
                sampled or "",
                law or "",
            )
            for trial_id, status, device, seed, width, kept, sampled, law in endings
        }

    def rows(self, trial_ids: Collection[str], ledger: Ledger) -> Iterator[pa.Table]:
        """The rows of these trials, each from the pack that the ledger names, pack by pack."""
        wanted: dict[str, list[str]] = {}
        for trial_id in trial_ids:
            if trial_id in ledger.entries:
                wanted.setdefault(ledger.entries[trial_id].pack_id, []).append(trial_id)

        def read(pack_id: str) -> pa.Table:
            try:
                table = self.read_pack(pack_id)
            except (CorruptPackError, FileNotFoundError) as error:
                raise StoreError(
                    f"{self.place}/trials/{pack_id}.parquet was damaged or removed just now "
                    f"({error}): run the same command again, which trains its trials anew"
                ) from None
            keep = pc.is_in(table["trial_id"], value_set=pa.array(wanted[pack_id]))
            return table.filter(keep).replace_schema_metadata(SCHEMA.metadata)

        yield from _ahead(read, sorted(wanted))

    def compile(
        self,
        trial_ids: Collection[str],
        ledger: Ledger,
        known: Mapping[str, float] | None = None,
    ) -> str:
        """Writes results.parquet for these trials, atomically; returns its path or URL. The file
        says which packs there were, so that a reader sees when it is no longer up to date. known:
        values, by column, of trials whose packs are older than the column."""
        schema = SCHEMA.with_metadata({**SCHEMA.metadata, COMPILED_OF: packs_id(ledger.packs)})

        def write(file: IO[bytes]) -> None:
            options = {"compression": "zstd", "write_page_checksum": True}
            with pq.ParquetWriter(file, schema, **options) as writer:
                for table in _in_groups(self.rows(trial_ids, ledger)):
                    writer.write_table(filled(table, known or {}))

        self._storage.write("results.parquet", write)
        return f"{self.url}/results.parquet"

    # --- networks --------------------------------------------------------------------------------

    def write_networks(self, files: Mapping[str, bytes]) -> None:
        """Stores the files of networks, by name, each atomically."""
        for name, content in files.items():
            self.write_bytes(f"{NETWORKS}/{name}", content)

    def networks(self) -> dict[str, int]:
        """id -> bytes of the networks that are there."""
        sizes = self._storage.sizes(NETWORKS)
        return {n.removesuffix(SUFFIX): size for n, size in sizes.items() if n.endswith(SUFFIX)}

    def _check_networks(self, ledger: Ledger) -> None:
        """Moves damaged ones aside."""
        ids = list(ledger.networks)
        for network, whole in zip(ids, _ahead(self._whole, ids), strict=True):
            if not whole:
                name = f"{NETWORKS}/{network}{SUFFIX}"
                self._storage.move(name, f"{name}.corrupt")
                ledger.corrupt.append(f"{network}{SUFFIX}")
                del ledger.networks[network]

    def _whole(self, network: str) -> bool:
        """Whether a network's file is what was written."""
        try:
            content = self.read(f"{NETWORKS}/{network}{SUFFIX}")
        except NotAFileError:
            return False
        return content is not None and hashlib.sha256(content).hexdigest() == network

    # --- files -----------------------------------------------------------------------------------

    def write_text(self, name: str, text: str) -> None:
        """Writes a small text file, atomically."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes a file, atomically."""
        self._storage.write(name, data)

    def fetch(self, name: str, folder: Path) -> Path:
        """Copies a file to a folder of this machine."""
        self._storage.fetch(name, folder / name)
        return folder / name

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none. Raises NotAFileError too."""
        return self._storage.read(name)


Item = TypeVar("Item")
Result = TypeVar("Result")


def _ahead(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`function` of each item, in order, some of them ahead of time: storage answers slowly, and
    Parquet is decoded outside the interpreter's lock."""
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(items), READERS):
            yield from pool.map(function, items[start : start + READERS])


def filled(table: pa.Table, known: Mapping[str, float]) -> pa.Table:
    """`table` with the nulls of some columns filled: of what packs are too old to say."""
    for name, value in known.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.field(at), pc.fill_null(table[name], value))
    return table


def _in_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of GROUP rows or somewhat more: a column of many small ones is slow
    to read."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _in_schema(table: pa.Table) -> pa.Table:
    """`table` with the columns of SCHEMA. Columns added since it was written become null; anything
    else that differs raises CorruptPackError."""
    version = b"format_version"
    if (table.schema.metadata or {}).get(version) != SCHEMA.metadata[version]:
        raise CorruptPackError("it was written in another format version")
    names = set(table.column_names)
    if not names <= set(SCHEMA.names) or len(names) < len(table.column_names):
        raise CorruptPackError("its columns are not those of this version")
    try:
        columns = [
            _whole_or_cast(table[field.name], field.type)
            if field.name in names
            else pa.nulls(len(table), field.type)
            for field in SCHEMA
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA).replace_schema_metadata(
            table.schema.metadata
        )
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise CorruptPackError(str(error)) from None


def _whole_or_cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """`column`; as floats where it is of whole numbers, as widths were once. Another difference of
    type is left for the caller to find."""
    if pa.types.is_integer(column.type) and pa.types.is_floating(wanted):
        return column.cast(wanted)
    return column


def _networks_of(table: pa.Table) -> dict[str, frozenset[str]]:
    """The ids of the networks of every trial of a pack that has some."""
    rows = table.select(["trial_id", "network"]).filter(pc.is_valid(table["network"]))
    found: dict[str, set[str]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["trial_id"], set()).add(row["network"])
    return {trial_id: frozenset(names) for trial_id, names in found.items()}


def _endings(table: pa.Table) -> list[tuple[Any, ...]]:
    """(trial_id, status, device, seed, width, kept, sampled, law) of every trial of a pack."""
    keys = ["trial_id", "status", "device", "seed", "width", "kept", "sampled", "law"]
    found = table.group_by(keys).aggregate([]).to_pydict()
    return list(zip(*(found[key] for key in keys), strict=True))
