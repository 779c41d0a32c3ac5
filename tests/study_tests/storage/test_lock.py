"""One driver at a time: on a directory, on object storage, and after any kind of death."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.storage import lock as module
from study.storage.lock import StorageLock, StorageLockedError
from study.storage.store import Store, StoreError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(module, "STALE_SECONDS", 1.5)


@pytest.fixture(params=["directory", "directory without locks", "object storage"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Every kind of storage that drivers may share."""
    if request.param == "object storage":
        return Store(f"{request.getfixturevalue('bucket')}/study")
    if request.param == "directory without locks":

        def unsupported(*_: Any) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", unsupported)
    return Store(tmp_path / "study")


@pytest.fixture
def leased(bucket: str) -> Store:
    """A storage where drivers hold leases."""
    return Store(f"{bucket}/study")


def lease_of(store: Store, number: int) -> dict[str, Any]:
    return dict(json.loads(store.read(f".lease/{number:06d}.json") or b"{}"))


def plant(store: Store, number: int, **changes: Any) -> None:
    """A lease of another driver."""
    holder = {"pid": 1, "host": "elsewhere", "system": "?", "start": 1, "lease": "theirs"}
    store.write_text(f".lease/{number:06d}.json", json.dumps({**holder, **changes}))


def keep_checking(lock: StorageLock) -> None:
    """Asks whether the lock is lost, for ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lock.check()
        time.sleep(0.02)


@pytest.mark.slow
def test_a_second_driver_is_told_who_holds_it(store: Store) -> None:
    told = rf"in use by process {os.getpid()} on host {platform.node()}"
    with store.lock() as held:
        with pytest.raises(StorageLockedError, match=told), store.lock():
            pass
        time.sleep(0.3)
        with pytest.raises(StorageLockedError, match=told), store.lock():
            pass
        held.check()
    for _ in range(3):
        with store.lock():
            pass


def test_of_many_drivers_one_gets_in(store: Store) -> None:
    inside, refused, gate = list[int](), list[int](), threading.Barrier(6)

    def drive(number: int) -> None:
        gate.wait()
        try:
            with store.lock():
                inside.append(number)
                done.wait(20)
        except StorageLockedError:
            refused.append(number)

    done = threading.Event()
    threads = [threading.Thread(target=drive, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(inside) + len(refused) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 5)


def test_a_lease_is_never_seen_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one is nobody's, and two drivers were inside; without hard links it is there too."""
    path, seen = tmp_path / "000001.json", list[bytes]()
    link = os.link

    def linked(source: Path, target: Path) -> None:
        seen.append(Path(source).read_bytes())
        link(source, target)

    monkeypatch.setattr("os.link", linked)
    module._create_whole(path, b"whole")
    assert seen == [b"whole"]
    with pytest.raises(FileExistsError):
        module._create_whole(path, b"again")

    def unsupported(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr("os.link", unsupported)
    module._create_whole(tmp_path / "000002.json", b"other")
    with pytest.raises(FileExistsError):
        module._create_whole(path, b"again")
    contents = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert contents == {"000001.json": b"whole", "000002.json": b"other"}


KILLED = """
import os, signal, sys
from study.storage.store import Store
with Store(sys.argv[1]).lock(): os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_killed_process_is_taken_over_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, store.url], check=False, timeout=60)
    monkeypatch.setattr(module, "STALE_SECONDS", 1e9)
    with store.lock(pytest.fail):
        pass


def test_a_driver_elsewhere_is_left_alone_while_it_lives(leased: Store) -> None:
    plant(leased, 4, beats=0)
    said, living = list[str](), threading.Event()

    def live() -> None:
        beats = 0
        while not living.wait(0.05):
            plant(leased, 4, beats=(beats := beats + 1))

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with (
            pytest.raises(StorageLockedError, match="process 1 on host elsewhere"),
            leased.lock(said.append),
        ):
            pass
    finally:
        living.set()
        thread.join()
    assert "in use by process 1 on host elsewhere: waiting up to" in said[0]
    with leased.lock():  # and now it is dead
        assert lease_of(leased, 5)["pid"] == os.getpid()
        assert lease_of(leased, 4) == {}, "what is over is cleared away"


def test_no_clock_decides(leased: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wall clocks jump by years, on this side and on the other; only silence counts."""
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (next(jumps) % 3))
    plant(leased, 1, since=4e9)
    with leased.lock() as held:
        with pytest.raises(StorageLockedError), leased.lock():
            pass
        time.sleep(0.2)
        held.check()


def test_a_driver_that_slept_through_its_lease_is_told(leased: Store) -> None:
    with leased.lock() as held:
        plant(leased, 2)
        with pytest.raises(StorageLockedError, match="taken over by process 1 on host elsewhere"):
            keep_checking(held)
    assert lease_of(leased, 2)["host"] == "elsewhere", "the other one's lease stays"


def test_a_lease_is_kept_through_failures_of_the_storage(
    leased: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with leased.lock() as held:
        monkeypatch.setattr(module._Lease, "_numbers", lambda _: 1 / 0)
        time.sleep(0.2)
        monkeypatch.undo()
        held.check()


def test_an_answer_that_got_lost_is_no_refusal(
    leased: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = module._Lease._create

    def lost(self: Any, path: str, data: bytes) -> None:
        create(self, path, data)
        raise FileExistsError("the first attempt succeeded after all")

    monkeypatch.setattr(module._Lease, "_create", lost)
    with leased.lock():
        pass


def test_a_storage_without_exclusive_creation_lets_one_in(
    leased: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Lease, "_create", module._Lease._replace)
    monkeypatch.setattr(module._Lease, "_numbers", lambda self: [1] if self._number else [])
    with leased.lock() as first:
        with leased.lock():
            pass
        with pytest.raises(StorageLockedError, match="taken over"):
            keep_checking(first)


def test_a_storage_that_refuses_conditional_writes_is_named(
    leased: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, path: str, data: bytes) -> None:
        raise OSError(errno.ENOSYS, "A header you provided implies functionality not implemented")

    monkeypatch.setattr(module._Lease, "_create", refuse)
    with pytest.raises(StoreError, match=r"s3://.*not implemented"), leased.lock():
        pass


# --- a directory that other hosts share ----------------------------------------------------------


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    over, count = threading.Event(), 0

    def beat() -> None:
        nonlocal count
        while not over.wait(0.05):
            count += 1
            # As a driver does: emptied first, it would be nobody's for a moment.
            with path.open("r+b") as file:
                file.write(json.dumps({"pid": 1, "host": "elsewhere", "beats": count}).encode())

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_heartbeat_from_another_host_keeps_out_and_silence_does_not(tmp_path: Path) -> None:
    path, store = tmp_path / ".lock", Store(tmp_path)
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "beats": 0}))
    os.utime(path, (0, 4e9))
    with (
        beating(path),
        pytest.raises(StorageLockedError, match="process 1 on host elsewhere"),
        store.lock(),
    ):
        pass
    with store.lock():
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.read_bytes() == b""


def test_a_file_that_another_host_writes_is_a_lock_that_is_lost(tmp_path: Path) -> None:
    with Store(tmp_path).lock() as held:
        (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
        with pytest.raises(StorageLockedError, match="taken over by process 1 on host elsewhere"):
            keep_checking(held)


def test_a_lock_file_of_rubbish_does_not_block(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("[1, 2")
    with Store(tmp_path).lock():
        pass


def test_a_lease_of_rubbish_is_somebodys_until_it_is_silent(leased: Store) -> None:
    leased.write_text(".lease/000001.json", "{half")
    said = list[str]()
    with leased.lock(said.append):
        pass
    assert "process ? on host ?" in said[0]


def test_pids_that_come_again_are_not_mistaken(
    leased: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A living process with the pid of a dead driver: it started at another time."""
    monkeypatch.setattr(module, "STALE_SECONDS", 1e9)
    plant(leased, 1, **{**module._myself(), "start": 12345, "lease": uuid.uuid4().hex})
    with leased.lock(pytest.fail):
        pass
