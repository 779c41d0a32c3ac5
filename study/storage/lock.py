"""One driver at a time on a study's storage.

On a local directory the kernel's advisory lock on `.lock` goes away with the process that holds it,
however that ends. Where there is no such lock (object storage, some network file systems) a driver
holds a **lease**: an object `.lease/<number>.json` that the storage creates only if there is none,
and that the holder rewrites every HEARTBEAT_SECONDS. The highest number rules. A driver that finds
a lease watches it: one that changes is alive, one that stays the same for STALE_SECONDS is dead and
is followed by the next number. Nobody compares clocks: the watcher counts its own seconds, and a
change is any change. A holder that was away too long (a suspended laptop) finds a higher number,
and stops.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from analysis.data.files import write_whole
from trainers.errors import UserError

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
POLL_SECONDS = 2.0
RELEASED = b"{}"


class StorageLockedError(UserError, RuntimeError):
    """Another driver works on the storage; the message says which."""


class StorageLock:
    """`with StorageLock(place, fs, root, say) as lock: ... lock.check()`. Entering raises
    StorageLockedError, and what the file system raises.

    place: for messages. fs, root: an fsspec file system and the storage's path in it. say: told
    that it may take a while, where a lease of an unknown driver has to be watched.
    """

    def __init__(self, place: str, fs: Any, root: str, say: Callable[[str], None]) -> None:
        self._holder: _FileLock | _Lease
        message = _Message(place, say)
        if "file" in _protocols(fs):
            self._holder = _FileLock(Path(root) / ".lock", message, _Lease(fs, root, message))
        else:
            self._holder = _Lease(fs, root, message)
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="storage-lock", daemon=True)
        self._lost = ""

    def __enter__(self) -> StorageLock:
        self._holder = self._holder.acquire()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        self._thread.join()
        # What cannot be released runs out.
        with contextlib.suppress(Exception):
            self._holder.release()

    def check(self) -> None:
        """Raises StorageLockedError where another driver has taken over meanwhile."""
        if self._lost:
            raise StorageLockedError(self._lost)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            try:
                self._holder.beat()
            except StorageLockedError as error:
                self._lost = str(error)
                return
            except Exception:
                # A storage that cannot be reached now may be reached later: the next beat tells
                # whether anybody took over.
                continue


class _Message:
    """What is said about a holder."""

    def __init__(self, place: str, say: Callable[[str], None]) -> None:
        self.place, self._say = place, say

    def refusal(self, holder: bytes) -> StorageLockedError:
        return StorageLockedError(
            f"{self.place} is in use by {_described(holder)}: wait for that run, stop it, "
            "or choose another --storage"
        )

    def lost(self, holder: bytes) -> StorageLockedError:
        return StorageLockedError(
            f"{self.place} was taken over by {_described(holder)} while this driver did not "
            "answer; its results are kept, and that run goes on"
        )

    def watching(self, holder: bytes) -> None:
        self._say(
            f"{self.place} was in use by {_described(holder)}: waiting up to {STALE_SECONDS:.0f} s "
            "for a sign of life"
        )


class _FileLock:
    """The kernel's lock on a file of a local directory, and a heartbeat in that file for drivers on
    other hosts, where a network file system does not carry locks."""

    def __init__(self, path: Path, message: _Message, lease: _Lease) -> None:
        self._path, self._message, self._lease = path, message, lease
        self._descriptor = -1
        self._text = b""
        self._beats = 0

    def acquire(self) -> _FileLock | _Lease:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 4096, 0)
            os.close(descriptor)
            if error.errno == errno.EWOULDBLOCK:
                raise self._message.refusal(holder) from None
            return self._lease.acquire()  # a file system without locks
        try:
            holder = os.pread(descriptor, 4096, 0)
            if _read(holder).get("host") not in (None, platform.node()):
                # Opened anew at every look: a network file system asks its server then.
                _watch(self._path.read_bytes, self._message)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._write()
        return self

    def beat(self) -> None:
        holder = self._path.read_bytes()
        if holder != self._text:
            raise self._message.lost(holder)
        self._write()

    def _write(self) -> None:
        self._beats += 1
        self._text = json.dumps({**_myself(), "beats": self._beats}).encode()
        os.pwrite(self._descriptor, self._text, 0)
        os.ftruncate(self._descriptor, len(self._text))

    def release(self) -> None:
        # Emptied, not removed: a driver that waits on the old file would lock a name that is gone.
        if self._path.read_bytes() == self._text:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


class _Lease:
    """A lease on a storage that creates an object only if it is not there (see the module)."""

    def __init__(self, fs: Any, root: str, message: _Message) -> None:
        self._fs, self._folder, self._message = fs, f"{root}/.lease", message
        self._local = "file" in _protocols(fs)
        self._myself = {**_myself(), "lease": uuid.uuid4().hex}
        self._number = 0
        self._beats = 0

    def acquire(self) -> _Lease:
        newest = max(self._numbers(), default=0)
        holder = self._read(newest) if newest else b""
        if not _over(holder):
            _watch(lambda: self._read(newest), self._message)
        self._number = newest + 1
        try:
            self._create(self._path(self._number), self._text())
        except OSError:
            # Somebody was faster; or it was us, and the answer got lost on the way.
            if max(self._numbers(), default=0) < self._number:
                raise
        self._verify(self._message.refusal)
        for number in self._numbers():
            if number < self._number:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(self._path(number))
        return self

    def beat(self) -> None:
        self._verify(self._message.lost)
        self._beats += 1
        self._replace(self._path(self._number), self._text())

    def release(self) -> None:
        # Not removed: the number must not come again while somebody still looks at it.
        self._verify(self._message.lost)
        self._replace(self._path(self._number), RELEASED)

    def _verify(self, error: Callable[[bytes], StorageLockedError]) -> None:
        """Raises what `error` gives of the holder where this lease is not the one that rules. That
        includes a storage that has no exclusive creation and lets the last writer win."""
        newest = max(self._numbers(), default=0)
        holder = self._read(newest)
        if newest > self._number or _read(holder).get("lease") != self._myself["lease"]:
            raise error(holder)

    def _create(self, path: str, data: bytes) -> None:
        if self._local:
            # fsspec would look first and then write.
            os.makedirs(self._folder, exist_ok=True)
            _create_whole(Path(path), data)
        else:
            self._fs.pipe_file(path, data, mode="create")

    def _replace(self, path: str, data: bytes) -> None:
        if self._local:
            write_whole(Path(path), data)
        else:
            self._fs.pipe_file(path, data)

    def _text(self) -> bytes:
        return json.dumps({**self._myself, "beats": self._beats}).encode()

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"

    def _numbers(self) -> list[int]:
        self._fs.invalidate_cache()
        try:
            names = [str(path).rsplit("/", 1)[-1] for path in self._fs.ls(self._folder, False)]
        except FileNotFoundError:
            return []
        stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return [int(stem) for stem in stems if stem.isdecimal()]

    def _read(self, number: int) -> bytes:
        try:
            data: bytes = self._fs.cat_file(self._path(number))
        except FileNotFoundError:
            return b""
        return data


def _create_whole(path: Path, data: bytes) -> None:
    """Creates a file that nobody sees without its contents: one that is empty is nobody's. Raises
    FileExistsError."""
    new = path.with_name(f".{uuid.uuid4().hex}")
    try:
        new.write_bytes(data)
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with open(path, "xb") as file:
            file.write(data)
    finally:
        new.unlink(missing_ok=True)


def _watch(read: Callable[[], bytes], message: _Message) -> None:
    """Returns once the holder that `read` gives is certainly dead or gone; raises
    StorageLockedError where it shows a sign of life."""
    first = read()
    if _over(first) or _dead(_read(first)):
        return
    message.watching(first)
    start = time.monotonic()
    while time.monotonic() - start < STALE_SECONDS:
        time.sleep(POLL_SECONDS)
        now = read()
        if _over(now):
            return
        if now != first:
            raise message.refusal(now)


def _myself() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": platform.node(), "system": _system(), "start": _start_of(pid)}


def _system() -> str:
    """This boot of this machine, and this container in it; empty where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> int:
    """When a process started, in clock ticks since boot: pids come again. 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def _dead(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this very machine, and is no more."""
    pid, system = holder.get("pid"), holder.get("system")
    known = isinstance(pid, int) and bool(system) and system == _system()
    return known and _start_of(int(str(pid))) != holder.get("start")


def _over(holder: bytes) -> bool:
    """Whether nobody holds it: released, or never held. What cannot be read is somebody's."""
    return holder in (b"", RELEASED)


def _described(holder: bytes) -> str:
    about = _read(holder)
    return f"process {about.get('pid', '?')} on host {about.get('host', '?')}"


def _read(holder: bytes) -> dict[str, Any]:
    try:
        about = json.loads(holder or b"{}")
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
