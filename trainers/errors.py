"""Errors of the user's own making: wrong input, or a place that cannot be used.

Each message names what is wrong and the remedy. The command line prints it and ends with exit
code 2; every other exception is a fault of the program.
"""

from __future__ import annotations


class UserError(Exception):
    """Base class of the errors that the user can mend. exit_code: of the command line."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing: for the message of
    another one."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class LawError(UserError, ValueError):
    """A law cannot be built from what was given; the message names the key or file and a remedy."""


class TrainerError(UserError, ValueError):
    """A trainer of your own cannot be found or loaded; the message says why."""
