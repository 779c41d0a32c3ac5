"""Results on disk or object storage: the truth of which everything else is a view.

    <storage>/spec.yaml               the study as last run
    <storage>/study.json              its name, and the folder its CSV files are relative to
    <storage>/trials/<pack>.parquet   the rows of a pack; the name is the content id of its trials
    <storage>/audit/<id>.parquet      the assumptions of a setting, measured (see study.audits)
    <storage>/references/<id>.npz     kernel references of large data sets, for other packs: a cache
    <storage>/results.parquet         compiled from the packs, for the trials of the spec

A pack is written under another name and then renamed (on object storage a put is atomic), so a
file with its own name is whole. It is checked all the same when it is read: page checksums, the
schema, and its name against the trials inside. One that fails is moved aside to `<name>.corrupt`
and its trials are trained again. A trial that failed is tried again by the next run; its row stays
until a better one exists, in whichever pack.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.results import SCHEMA
from study.lock import StorageLock
from study.plan import pack_id_of
from trainers.trial import TrialStatus

_WRITTEN, _SECONDS = b"written", b"seconds"


class StoreError(RuntimeError):
    """The storage cannot be used; the message says why and what to do."""


class CorruptPackError(ValueError):
    """The file of a pack is not what was written."""


@dataclass(frozen=True)
class Entry:
    """Where the row of a trial is, and how the trial ended.

    written: seconds since the epoch. seconds: an equal share of its pack's wall-clock time, kernel
    reference and compilation included; 0 where unknown.
    """

    status: str
    pack_id: str
    written: float
    seconds: float = 0.0
    device: str = ""

    @property
    def finished(self) -> bool:
        """Whether the trial needs no more training: completed or diverged."""
        return self.status in (TrialStatus.COMPLETED, TrialStatus.DIVERGED)

    def better_than(self, other: Entry) -> bool:
        """A result beats the beginning of one, and that a failure; the first result stays, and the
        last (longest) beginning or failure."""
        if self.finished != other.finished:
            return self.finished
        pruned = TrialStatus.PRUNED
        if (self.status == pruned) != (other.status == pruned):
            return self.status == pruned
        earlier = (self.written, self.pack_id) < (other.written, other.pack_id)
        return earlier if self.finished else not earlier


@dataclass
class Ledger:
    """What the store holds: trial_id -> entry. corrupt: names of files moved aside."""

    entries: dict[str, Entry] = field(default_factory=dict)
    corrupt: list[str] = field(default_factory=list)

    def finished(self, trial_id: str) -> bool:
        """Whether the trial completed or diverged."""
        entry = self.entries.get(trial_id)
        return entry is not None and entry.finished

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
    """The results of one study at a path or URL (`/data/x`, `s3://bucket/x`). Picklable."""

    def __init__(self, storage: str | Path) -> None:
        text = str(storage)
        self.url = text if "://" in text else str(Path(text).expanduser().absolute())

    @property
    def _at(self) -> tuple[Any, str]:
        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"cannot use storage {self.url}: {error}") from None
        return fs, root.rstrip("/")

    @property
    def local(self) -> Path | None:
        """The directory, where the storage is one."""
        return None if "://" in self.url else Path(self.url)

    # --- the study -------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether a study was run here."""
        return self.read("study.json") is not None

    def claim(self, name: str, text: str, folder: Path) -> None:
        """Makes this the storage of study `name`, or raises StoreError where it is not."""
        self.check_owner(name)
        try:
            if self.local is not None:
                (self.local / "trials").mkdir(parents=True, exist_ok=True)
                for leftover in (self.local / "trials").glob(".*.tmp"):
                    leftover.unlink(missing_ok=True)
            self.write_text("study.json", json.dumps({"name": name, "folder": str(folder)}) + "\n")
            self.write_text("spec.yaml", text)
        except OSError as error:
            raise StoreError(self._unusable(error)) from None

    def check_owner(self, name: str) -> None:
        """Raises StoreError where the storage holds something else than study `name`."""
        try:
            owner = self.owner()
            if owner is None and self.local is not None and self.local.exists():
                foreign = [p.name for p in self.local.iterdir() if not p.name.startswith(".")]
                if foreign:
                    raise StoreError(
                        f"{self.url} is not empty and holds no study ({sorted(foreign)[0]}): "
                        "choose a new or empty directory with --storage"
                    )
        except OSError as error:
            raise StoreError(self._unusable(error)) from None
        if owner not in (None, name):
            raise StoreError(
                f"{self.url} holds the results of study {owner!r}, not of {name!r}: "
                "choose another --storage, or rename the study"
            )

    def owner(self) -> str | None:
        """The name of the study whose results these are."""
        about = self._about()
        return None if about is None else str(about.get("name"))

    def spec_source(self) -> tuple[str, Path]:
        """Text of the spec as last run, and the folder it was in. Raises StoreError."""
        text, about = self.read("spec.yaml"), self._about()
        if text is None or about is None:
            raise StoreError(f"{self.url} holds no study: run one there first")
        return text.decode(), Path(str(about.get("folder", ".")))

    def lock(self) -> contextlib.AbstractContextManager[Any]:
        """Keeps a second driver out of a local directory (see study.lock); on object storage
        nothing can, and two drivers there cost time but no results."""
        if self.local is None:
            return contextlib.nullcontext()
        try:
            self.local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(self._unusable(error)) from None
        return StorageLock(self.local)

    def _about(self) -> dict[str, Any] | None:
        data = self.read("study.json")
        if data is None:
            return None
        try:
            about = json.loads(data)
        except ValueError:
            about = None
        if not isinstance(about, dict):
            raise StoreError(f"{self.url}/study.json is damaged: remove it, and run again")
        return about

    def _unusable(self, error: OSError) -> str:
        return (
            f"cannot write to {self.url}: {error.strerror or error}; choose another --storage, "
            "or change its permissions"
        )

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
        data = self.read(f"trials/{pack_id}.parquet")
        if data is None:
            raise FileNotFoundError(f"{self.url}/trials/{pack_id}.parquet")
        try:
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            table = file.read()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptPackError(str(error)) from None
        table = _in_schema(table)
        if pack_id_of(pc.unique(table["trial_id"]).to_pylist()) != pack_id:
            raise CorruptPackError("its trials are not those of its name")
        return table

    def pack_ids(self) -> list[str]:
        """The ids of all stored packs, sorted."""
        fs, root = self._at
        fs.invalidate_cache()
        try:
            names = [str(path).rsplit("/", 1)[-1] for path in fs.ls(f"{root}/trials", detail=False)]
        except FileNotFoundError:
            return []
        suffix = ".parquet"
        return sorted(
            name.removesuffix(suffix)
            for name in names
            if name.endswith(suffix) and not name.startswith(".")
        )

    def packs(self, ledger: Ledger | None = None) -> Iterator[tuple[str, pa.Table]]:
        """(id, rows) of every pack that is intact. Others are moved aside where `ledger` is
        given, which is told about them, and skipped where it is not."""
        for pack_id in self.pack_ids():
            try:
                yield pack_id, self.read_pack(pack_id)
            except FileNotFoundError:
                continue
            except CorruptPackError:
                if ledger is not None:
                    self._move_aside(pack_id)
                    ledger.corrupt.append(f"{pack_id}.parquet")

    def ledger(self, repair: bool = False) -> Ledger:
        """What is there. repair: move damaged files aside (needs the lock)."""
        ledger = Ledger()
        for pack_id, table in self.packs(ledger if repair else None):
            metadata = table.schema.metadata or {}
            written, seconds = (float(metadata.get(key, b"0")) for key in (_WRITTEN, _SECONDS))
            endings = _endings(table)
            for trial_id, status, device in endings:
                entry = Entry(status, pack_id, written, seconds / len(endings), device or "")
                known = ledger.entries.get(trial_id)
                if known is None or entry.better_than(known):
                    ledger.entries[trial_id] = entry
        return ledger

    def rows(self, trial_ids: Collection[str], ledger: Ledger) -> Iterator[pa.Table]:
        """The rows of these trials, each from the pack that the ledger names, pack by pack."""
        wanted: dict[str, list[str]] = {}
        for trial_id in trial_ids:
            if trial_id in ledger.entries:
                wanted.setdefault(ledger.entries[trial_id].pack_id, []).append(trial_id)
        for pack_id in sorted(wanted):
            table = self.read_pack(pack_id)
            keep = pc.is_in(table["trial_id"], value_set=pa.array(wanted[pack_id]))
            yield table.filter(keep).replace_schema_metadata(SCHEMA.metadata)

    def compile(self, trial_ids: Collection[str], ledger: Ledger) -> str:
        """Writes results.parquet for these trials, atomically; returns its path or URL."""
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            for table in self.rows(trial_ids, ledger):
                writer.write_table(table)
        self.write_bytes("results.parquet", sink.getvalue().to_pybytes())
        return f"{self.url}/results.parquet"

    def _move_aside(self, pack_id: str) -> None:
        fs, root = self._at
        name = f"{root}/trials/{pack_id}.parquet"
        fs.mv(name, f"{name}.corrupt")

    # --- files -----------------------------------------------------------------------------------

    def write_text(self, name: str, text: str) -> None:
        """Writes a small text file, atomically."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes a file, atomically. Raises StoreError."""
        try:
            if self.local is not None:
                (self.local / name).parent.mkdir(parents=True, exist_ok=True)
                _replace(self.local / name, data)
            else:
                fs, root = self._at
                fs.pipe_file(f"{root}/{name}", data)
        except OSError as error:
            raise StoreError(self._unusable(error)) from None

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none."""
        fs, root = self._at
        try:
            data: bytes = fs.cat_file(f"{root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return data


def _replace(path: Path, data: bytes) -> None:
    """Writes `path` so that it holds the old or the new content at any moment, whatever happens."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _in_schema(table: pa.Table) -> pa.Table:
    """`table` with the columns of SCHEMA. Columns added since it was written become null; anything
    else that differs raises CorruptPackError."""
    version = b"format_version"
    if (table.schema.metadata or {}).get(version) != SCHEMA.metadata[version]:
        raise CorruptPackError("it was written in another format version")
    if not set(table.column_names) <= set(SCHEMA.names):
        raise CorruptPackError("its columns are not those of this version")
    columns = [
        table[name] if name in table.column_names else pa.nulls(len(table), SCHEMA.field(name).type)
        for name in SCHEMA.names
    ]
    try:
        return pa.Table.from_arrays(columns, schema=SCHEMA).replace_schema_metadata(
            table.schema.metadata
        )
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise CorruptPackError(str(error)) from None


def _endings(table: pa.Table) -> list[tuple[str, str, str | None]]:
    """(trial_id, status, device) of every trial of a pack."""
    keys = ["trial_id", "status", "device"]
    found = table.group_by(keys).aggregate([]).to_pydict()
    return list(zip(*(found[key] for key in keys), strict=True))
