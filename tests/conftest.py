"""One thread and one compiler cache for every process of a test run, those of Ray included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

# No test fails for the time that it takes on a busy machine.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "inductor"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiled passes are found again by every process, and by the next run.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(CACHE))
# Speeds that were measured while the machine did something else would decide about packs.
os.environ["XDG_CACHE_HOME"] = str(CACHE.with_name("cache"))
LONG = ("ray", "ray_session", "services", "slow")
"""Marks and fixtures of tests that take long, in the order in which they run: those that start Ray
themselves before those that share a session, which a process then starts once."""


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The module that builds results tables with planted exponents."""
    import synthetic

    return synthetic


@pytest.fixture
def fingerprints() -> Iterator[None]:
    """Reports hold fingerprints of plots in place of pictures."""
    from fingerprints import fingerprints

    with fingerprints():
        yield


@pytest.fixture
def eager() -> Iterator[None]:
    """torch.compile leaves functions as they are, for what rests on the formulas of the passes
    alone: compiling one takes up to ten seconds of a core. test_compiled.py has the compiled ones.
    """
    import torch

    with pytest.MonkeyPatch.context() as patch, torch.compiler.set_stance("force_eager"):
        patch.setattr("trainers.methods.full_batch.warm_up", lambda *_sizes, **_: None)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks services. With several processes, each of which takes whole files, those that take long
    go first, so that none is left alone at the end."""
    for item in items:
        if "s3_server" in getattr(item, "fixturenames", ()):
            item.add_marker("services")
    if config.pluginmanager.hasplugin("xdist"):
        names: dict[Path, set[str]] = {}
        for item in items:
            own = names.setdefault(item.path, set())
            own.update(mark.name for mark in item.iter_markers())
            own.update(getattr(item, "fixturenames", ()))
        items.sort(key=lambda item: _rank(names[item.path]))


def _rank(names: set[str]) -> int:
    """Where a file of tests with these marks and fixtures stands in the order."""
    if "ray_session" in names:
        return LONG.index("ray_session")
    return min((LONG.index(name) for name in names & set(LONG)), default=len(LONG))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leaves out what needs a GPU where there is none."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")
