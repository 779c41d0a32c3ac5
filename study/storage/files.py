"""Files at a path or URL (`/data/x`, `s3://bucket/x`): whole or not there, and errors that say what
to do. Through fsspec; on object storage a put is atomic, on a disk a rename is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from analysis.data.files import TEMPORARY, NotAFileError, Writer, check_is_file, write_whole
from analysis.text import shown
from study.storage.lock import StorageLockedError
from trainers.errors import UserError

RETRY_PAUSES = (1.0, 4.0, 16.0)
"""Seconds before an operation is tried again that failed for a reason that may pass."""

_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Result = TypeVar("Result")


class StoreError(UserError, RuntimeError):
    """The storage cannot be used; the message says why and what to do."""


class Storage:
    """The files below `url`. Picklable. Every method raises StoreError where it says nothing else.

    place: the URL without its password, for messages. local: the directory, where it is one.
    """

    def __init__(self, storage: str | Path) -> None:
        text = str(storage)
        if text.startswith(("file://", "local://")):
            text = text.partition("://")[2]
        remote = "://" in text
        self.url = text.rstrip("/") if remote else _absolute(text)
        self.place = shown(self.url)
        self.local = None if remote else Path(self.url)

    def files(self) -> tuple[Any, str]:
        """The fsspec file system, and the path in it."""
        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            package = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(self.url.split(":")[0])
            remedy = f"; pip install {package}" if package else ""
            raise StoreError(f"cannot use storage {self.place}: {error}{remedy}") from None
        except Exception as error:
            raise StoreError(f"cannot use storage {self.place}: {shown(str(error))}") from None
        return fs, root.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none. Raises NotAFileError too."""
        fs, root = self.files()

        def read() -> bytes:
            if self.local is not None:
                check_is_file(self.local / name)
            data: bytes = fs.cat_file(f"{root}/{name}")
            return data

        try:
            return self._tried(read)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes | Writer) -> None:
        """Writes a file, atomically: `data`, or what it writes to the file that it is given, which
        may be more than fits the memory."""
        fs, root = self.files()

        def write() -> None:
            if self.local is not None:
                if (self.local / name).is_dir():  # nobody put it there on purpose
                    self.move(name, f"{name}.corrupt")
                write_whole(self.local / name, data)
            elif callable(data):
                with tempfile.NamedTemporaryFile() as file:
                    data(file)
                    file.flush()
                    fs.put_file(file.name, f"{root}/{name}")
            else:
                fs.pipe_file(f"{root}/{name}", data)

        with self.reported():
            self._tried(write)

    def fetch(self, name: str, path: Path) -> None:
        """Copies a file to `path` on this machine."""
        fs, root = self.files()
        with self.reported():
            self._tried(lambda: fs.get_file(f"{root}/{name}", str(path)))

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, sorted, without those that start with a dot."""
        return list(self._listed(folder, str, detail=False))

    def sizes(self, folder: str) -> dict[str, int]:
        """The names in a folder, sorted, without those that start with a dot, and the bytes of
        each; of what is no file none."""
        listed = self._listed(folder, lambda one: str(one["name"]), detail=True)
        return {name: int(one.get("size") or 0) for name, one in listed.items()}

    def _listed(self, folder: str, path_of: Callable[[Any], str], detail: bool) -> dict[str, Any]:
        """Name -> what fsspec says of it, of a folder as `names` and `sizes` give it."""
        fs, root = self.files()

        def listed() -> list[Any]:
            fs.invalidate_cache()
            return list(fs.ls(f"{root}/{folder}".rstrip("/"), detail=detail))

        try:
            found = self._tried(listed)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        named = {path_of(one).rstrip("/").rsplit("/", 1)[-1]: one for one in found}
        return {name: named[name] for name in sorted(named) if not name.startswith(".")}

    def move(self, name: str, new: str) -> None:
        """Renames a file, or whatever has its name."""
        fs, root = self.files()
        with self.reported():
            if self.local is None:
                fs.mv(f"{root}/{name}", f"{root}/{new}")
                return
            aside = self.local / new
            number = 1
            while os.path.lexists(aside):  # an earlier one, which may be a folder
                number += 1
                aside = self.local / f"{new}.{number}"
            os.rename(self.local / name, aside)

    def tidy(self) -> None:
        """Removes what writers left that were killed, in this folder and those below it."""
        if self.local is None:
            return
        older = ("figures/.*", ".report.html.*")  # as versions before 0.2 named them
        for pattern in (TEMPORARY, f"*/{TEMPORARY}", *older):
            for leftover in self.local.glob(pattern):
                with contextlib.suppress(OSError):
                    leftover.unlink()

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """What goes wrong as a StoreError that says what to do."""
        try:
            yield
        except (StoreError, StorageLockedError):
            raise
        except Exception as error:
            if self.local is not None and not isinstance(error, OSError):
                raise
            raise StoreError(self._unusable(error)) from None

    def _tried(self, operation: Callable[[], Result]) -> Result:
        """Its result, tried again where the reason may pass. FileNotFoundError is left as it is,
        and so are a directory's errors; a library's own become StoreError."""
        for pause in (*RETRY_PAUSES, None):
            try:
                return operation()
            except (FileNotFoundError, NotADirectoryError, NotAFileError, StoreError):
                raise
            except Exception as error:
                if pause is None or not self._may_pass(error):
                    if self.local is not None:
                        raise
                    raise StoreError(self._unusable(error)) from None
                time.sleep(pause)
        raise AssertionError("the last pause is None")

    def _may_pass(self, error: Exception) -> bool:
        number = getattr(error, "errno", None)
        if self.local is not None:
            return number in _PASSING
        return not isinstance(error, PermissionError) and not _without_credentials(error)

    def _unusable(self, error: Exception) -> str:
        what = shown(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        head = f"cannot use {self.place}: {what}"
        if getattr(error, "errno", None) in _FULL:
            return (
                f"{head}; what is stored is safe: make room there, then run the same command again"
            )
        if self.local is not None:
            return f"{head}; choose another --storage, or change its permissions"
        if _without_credentials(error):
            return (
                f"{head}; give this process, and on a cluster every node, a role or credentials "
                "(for s3:// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws)"
            )
        if isinstance(error, PermissionError):
            return f"{head}; its credentials must be allowed to list, read, write and delete there"
        if isinstance(error, FileNotFoundError):
            return f"{head}; create the bucket first, or choose another --storage"
        return f"{head}; check the address and the network, then run the same command again"


def _absolute(text: str) -> str:
    """A directory's full path. Raises StoreError for what no directory can be called."""
    try:
        if not text.strip() or "\0" in text:
            raise ValueError("is no name of a directory")
        return str(Path(text).expanduser().absolute())
    except (ValueError, RuntimeError) as error:  # RuntimeError: there is no such user's home
        raise StoreError(f"storage {text!r}: {error}; name a directory or a URL") from None


def _without_credentials(error: Exception) -> bool:
    names = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
    return any(kind.__name__ in names for kind in type(error).__mro__)
