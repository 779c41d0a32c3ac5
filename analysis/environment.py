"""Environment variables for a while, for libraries that take settings from there alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment_defaults(defaults: Mapping[str, str]) -> Iterator[None]:
    """Sets each variable that the user has not set, and removes it at the end."""
    added = [name for name in defaults if name not in os.environ]
    os.environ.update({name: defaults[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
