"""Files on a disk: written whole or not at all, and read only where they are files.

A reader sees the old content or the new one. After a power cut the same holds once `write_whole`
has returned: the content is on the disk before the file gets its name (an empty file under the name
would pass for a result), and the name is on the disk too, with the folders that lead to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

Writer = Callable[[IO[bytes]], object]

TEMPORARY = ".*.tmp"
"""Glob of what a writer that was killed leaves behind."""

_CANNOT_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES)
"""What network and user-space file systems say of syncing a folder: their server does it."""


class NotAFileError(OSError):
    """Something that is no file (a folder, a pipe, a socket, a link in a circle) has a file's name.

    Reading it could hang for ever, so nobody does.
    """


def write_whole(path: Path, data: bytes | Writer) -> None:
    """Writes `path`, and the folders that lead to it. `data`: the content, or what writes it to the
    open file that it is given. Raises OSError, and leaves the old content then."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            data(file) if callable(data) else file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are missing, so that a power cut keeps them."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):  # another writer was faster
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def check_is_file(path: str | Path) -> None:
    """Raises NotAFileError where something that is no file has this name, FileNotFoundError where
    nothing has. A link to a file is one."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.lexists(path):
            raise NotAFileError(errno.EINVAL, "a link to nothing", str(path)) from None
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAFileError(errno.EINVAL, "a link in a circle", str(path)) from None
        raise
    if not stat.S_ISREG(mode):
        raise NotAFileError(errno.EINVAL, f"a {_KINDS.get(stat.S_IFMT(mode), 'device')}", str(path))


def open_file(filesystem: fsspec.AbstractFileSystem, path: str) -> IO[bytes]:
    """A file of an fsspec file system, open for reading. Raises NotAFileError and OSError."""
    if isinstance(filesystem, LocalFileSystem):
        check_is_file(path)
    file: IO[bytes] = filesystem.open(path, "rb")
    return file


_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
