"""Passes and tiles run as they are written, but in tests of what the compiler makes of them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _eager_unless_compiled(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("compiled") is None:
        request.getfixturevalue("eager")
