"""Fixtures of the analysis tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _benchmark(name: str) -> ModuleType:
    # They are scripts, beside no package.
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def asymptotics() -> ModuleType:
    """benchmarks/asymptotics.py."""
    return _benchmark("asymptotics")


@pytest.fixture(scope="session")
def coverage() -> ModuleType:
    """benchmarks/coverage.py."""
    return _benchmark("coverage")


@pytest.fixture(scope="session")
def learning_curves() -> ModuleType:
    """benchmarks/learning_curves.py."""
    return _benchmark("learning_curves")


@pytest.fixture(scope="session")
def designs() -> ModuleType:
    """benchmarks/designs.py."""
    return _benchmark("designs")
