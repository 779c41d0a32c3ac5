"""Errors of the user's own making: wrong input, or a place that cannot be used.

Each message names what is wrong and the remedy. The command line prints it and ends with exit
code 2; every other exception is a fault of the program.
"""

from __future__ import annotations

import difflib
from pathlib import Path


class UserError(Exception):
    """Base class of the errors that the user can mend. exit_code: of the command line."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing: for the message of
    another one."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_NEAR = 0.75
"""Names that share an ending alone are not alike."""


def unreadable(path: str | Path, error: OSError | ValueError) -> str:
    """What to say of a file that cannot be read, with the remedy."""
    path = Path(path)
    told = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
    if isinstance(error, FileNotFoundError):
        return f"{told}; {_where(path)}"
    if isinstance(error, IsADirectoryError):
        return f"{told}; name a file in it"
    if isinstance(error, PermissionError):
        return f"{told}; make the file readable"
    return told


def _where(path: Path) -> str:
    """Where a file may be that is not at `path`."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either: give the whole path"
    try:
        there = [file.name for file in folder.iterdir()]
    except OSError:  # a folder that may be entered and not listed
        there = []
    near = difflib.get_close_matches(path.name, there, n=1, cutoff=_NEAR)
    return f"did you mean {near[0]}?" if near else "correct its name, or give the whole path"


class LawError(UserError, ValueError):
    """A law cannot be built from what was given; the message names the key or file and a remedy."""


class TrainerError(UserError, ValueError):
    """A trainer of your own cannot be found or loaded; the message says why."""
