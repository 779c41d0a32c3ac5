"""Fixtures of the analysis tests."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from analysis.figures.drawing import Drawn
from analysis.figures.plot import Plot


def _load(name: str, folder: Path) -> ModuleType:
    # Under importlib mode a test cannot import its neighbour by name.
    path = folder / f"{name.removesuffix('_benchmark')}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The module that builds results tables with planted exponents."""
    return _load("synthetic", Path(__file__).parents[1] / "support")


@pytest.fixture(scope="session")
def asymptotics() -> ModuleType:
    """benchmarks/asymptotics.py."""
    return _load("asymptotics_benchmark", Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="session")
def coverage() -> ModuleType:
    """benchmarks/coverage.py."""
    return _load("coverage_benchmark", Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="session")
def designs() -> ModuleType:
    """benchmarks/designs.py."""
    return _load("designs_benchmark", Path(__file__).parents[2] / "benchmarks")


@pytest.fixture
def fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports hold the hash of every number and word of a plot in place of its picture, which is a
    function of these alone (`test_figures`) and takes nearly all of a report's time."""

    def fingerprint(plot: Plot) -> Drawn:
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
            digest = hashlib.sha256(repr(plot).encode()).hexdigest()
        return Drawn(digest, digest.encode(), tuple(digest for _ in plot.panels))

    monkeypatch.setattr("analysis.report.page.render", fingerprint)
