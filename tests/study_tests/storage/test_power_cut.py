"""A power cut at any moment: what was reported as stored is there, and no file is empty."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_trainer import trajectory

from analysis.data.files import write_whole
from analysis.data.schema import table_from
from study.storage.store import Store
from trainers.trial import Cube, TrialConfig


@dataclass
class Disk:
    """What survives a power cut below `root`, as ext4 and others may leave it.

    A file's content is safe once the file was synced, a folder's names once the folder was. What
    was not synced may be lost (`names` as of the last sync) or may be there by chance (the names of
    now): either way content that was not synced is empty.
    """

    root: Path
    content: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    kinds: dict[int, bool] = field(default_factory=dict)

    def synced(self, descriptor: int) -> None:
        """The file or folder is on the disk."""
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not path.is_relative_to(self.root):
            return
        number = os.fstat(descriptor).st_ino
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self.names[number] = {p.name: self._known(p) for p in path.iterdir()}
        else:
            self.content[number] = path.read_bytes()

    def _known(self, path: Path) -> int:
        number = path.stat().st_ino
        self.kinds[number] = path.is_dir()
        return number

    def after_a_cut(self, lucky: bool) -> dict[str, bytes]:
        """Path below the root -> content. lucky: names that were not synced are there too."""
        found: dict[str, bytes] = {}
        self._collect(self.root, os.stat(self.root).st_ino, "", lucky, found)
        return found

    def _collect(
        self, path: Path, number: int, prefix: str, lucky: bool, found: dict[str, bytes]
    ) -> None:
        if lucky:
            names = {p.name: self._known(p) for p in path.iterdir()}
        else:
            names = self.names.get(number, {})
        for name, inode in names.items():
            if self.kinds[inode]:
                self._collect(path / name, inode, f"{prefix}{name}/", lucky, found)
            else:
                found[f"{prefix}{name}"] = self.content.get(inode, b"")


Check = Callable[[Disk], None]


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Check], Disk]:
    """`cut(check)`: from now on `check` looks at the disk after every sync and every rename, which
    are all the moments between which what survives can change."""
    sync, replace = os.fsync, os.replace

    def start(check: Check) -> Disk:
        disk = Disk(tmp_path)

        def logged_sync(descriptor: int) -> None:
            sync(descriptor)
            disk.synced(descriptor)
            check(disk)

        def logged_replace(source: Path, target: Path) -> None:
            replace(source, target)
            check(disk)

        monkeypatch.setattr(os, "fsync", logged_sync)
        monkeypatch.setattr(os, "replace", logged_replace)
        return disk

    return start


def test_packs_that_were_reported_survive(tmp_path: Path, cut: Callable[[Check], Disk]) -> None:
    store = Store(tmp_path / "results" / "study")
    reported: list[str] = []
    moments = 0

    def check(disk: Disk) -> None:
        nonlocal moments
        moments += 1
        for lucky in (False, True):
            files = disk.after_a_cut(lucky)
            packs = {f"results/study/trials/{pack_id}.parquet" for pack_id in reported}
            assert packs <= files.keys()
            visible = {name: data for name, data in files.items() if "/." not in name}
            assert all(visible.values()), "an empty file under its own name"

    disk = cut(check)
    store.claim("study", "name: study\n", tmp_path)
    for seed in range(4):
        config = TrialConfig(
            law=Cube(dimension=1), samples=16, width=4, step_size=1.0, seed=seed, steps=20
        )
        reported.append(store.write_pack(table_from([trajectory(config)], "study")))
        check(disk)
    assert moments > 20
    after = tmp_path.with_name("after")
    for name, data in disk.after_a_cut(lucky=False).items():
        write_whole(after / name, data)
    ledger = Store(after / "results" / "study").ledger()
    assert not ledger.corrupt
    assert sorted(ledger.packs) == sorted(reported)


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path, cut: Callable[[Check], Disk]) -> None:
    path = tmp_path / "figures" / "a.svg"
    write_whole(path, b"old")
    allowed = {b"old", b"new"}

    def check(disk: Disk) -> None:
        for lucky in (False, True):
            found = disk.after_a_cut(lucky).get("figures/a.svg", b"old")
            assert found in allowed

    disk = cut(check)
    with path.open("rb") as file:  # what was there before the log began is on the disk
        os.fsync(file.fileno())
    write_whole(path, b"new")
    assert disk.after_a_cut(lucky=False) == {}  # the folder that holds figures/ was never synced
    for folder in (path.parent, tmp_path):
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    assert disk.after_a_cut(lucky=False) == {"figures/a.svg": b"new"}


def test_the_log_catches_a_writer_that_does_not_sync(
    tmp_path: Path, cut: Callable[[Check], Disk]
) -> None:
    disk = cut(lambda _: None)
    path = tmp_path / "x"
    temporary = tmp_path / "y"
    temporary.write_bytes(b"content")
    os.replace(temporary, path)
    assert disk.after_a_cut(lucky=True) == {"x": b""}
    assert disk.after_a_cut(lucky=False) == {}
