"""One driver at a time on a local storage directory.

The kernel's advisory lock on `.lock` goes away with the process that holds it, however that ends,
so a lock of a dead process never blocks anybody. The file says who holds it, for the message, and
its heartbeat keeps out drivers on other hosts where a network file system does not carry locks.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from pathlib import Path
from types import TracebackType

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


class StorageLockedError(RuntimeError):
    """Another driver works on the storage directory; the message says which."""


class StorageLock:
    """`with StorageLock(folder): ...`. Raises StorageLockedError on entering."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._descriptor = -1
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="storage-lock", daemon=True)

    def __enter__(self) -> StorageLock:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise StorageLockedError(self._message(holder)) from None
        holder = _holder(descriptor)
        elsewhere = holder.get("host") not in (None, platform.node())
        if elsewhere and time.time() - os.fstat(descriptor).st_mtime < STALE_SECONDS:
            os.close(descriptor)
            raise StorageLockedError(self._message(holder))
        self._descriptor = descriptor
        self._write({"pid": os.getpid(), "host": platform.node(), "since": time.time()})
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
        # Emptied, not removed: a driver that waits on the old file would lock a name that is gone.
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _write(self, holder: dict[str, object]) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            os.utime(self._descriptor)

    def _message(self, holder: dict[str, object]) -> str:
        who = f"process {holder.get('pid', '?')} on host {holder.get('host', '?')}"
        return (
            f"{self._path.parent} is in use by {who}: wait for that run, stop it, "
            "or choose another --storage"
        )


def _holder(descriptor: int) -> dict[str, object]:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}
