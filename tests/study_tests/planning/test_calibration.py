"""Speeds are measured in other processes, kept, and never a reason to fail."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from study.planning import calibration
from study.planning.calibration import speeds_of
from study.planning.cost import DEFAULT_SPEEDS, Speeds
from study.planning.plan import Slots

SLOTS = Slots(1, "cpu")
busy_now = calibration._busy


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "_busy", lambda: False)
    return tmp_path / "scorerates"


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Puts `code` in the place of the process that measures."""

    def popen(command: list[str], **options: Any) -> Any:
        return subprocess.Popen([command[0], "-c", code], **options)

    monkeypatch.setattr(calibration, "Popen", popen)


def figures(**others: float) -> dict[str, float]:
    names = ("fused", "matmul", "step", "record", "entries", "products", "startup")
    return {**dict.fromkeys(names, 2.0), **others}


@pytest.mark.slow
def test_a_real_measurement_is_plausible_and_kept(cache: Path) -> None:
    told: list[str] = []
    speeds = speeds_of(SLOTS, None, told.append)
    assert speeds.source == "measured on this machine"
    assert len(told) == 1
    assert 1e8 < speeds.fused < 1e13
    assert 1e8 < speeds.matmul < 1e13
    assert 1e6 < speeds.entries < 1e11
    assert 1e8 < speeds.products < 1e13
    assert 1e-6 < speeds.step < 0.1
    assert 1e-7 < speeds.record < 0.1
    assert 0.1 < speeds.startup < 600
    assert len(list(cache.iterdir())) == 1
    assert speeds_of(SLOTS, None, pytest.fail) == speeds
    assert speeds_of(SLOTS, False, pytest.fail) == speeds


def test_workers_are_measured_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, json; print(json.dumps({k: float(os.getpid()) for k in %r}))"
    stand_in(monkeypatch, code % (tuple(figures()),))
    speeds = speeds_of(Slots(3, "cpu"), True)
    assert speeds.fused == speeds.step > 1


def test_no_calibration_is_the_default(cache: Path) -> None:
    assert speeds_of(SLOTS, False) == DEFAULT_SPEEDS["cpu"]
    assert speeds_of(Slots(1, "cpu", cpus=4), False).fused == 4 * DEFAULT_SPEEDS["cpu"].fused
    assert not cache.exists()


def test_calibrating_again_replaces_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, f"print({json.dumps(json.dumps(figures()))})")
    assert speeds_of(SLOTS, None).fused == 2.0
    stand_in(monkeypatch, f"print({json.dumps(json.dumps(figures(fused=3.0)))})")
    assert speeds_of(SLOTS, None).fused == 2.0
    assert speeds_of(SLOTS, True).fused == 3.0
    assert speeds_of(SLOTS, None).fused == 3.0
    other = Slots(1, "cpu", cpus=2)
    assert speeds_of(other, False).source == "recorded default"


def test_what_a_busy_machine_measured_serves_until_it_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load, cores = [4.0], 4
    monkeypatch.setattr(calibration, "_busy", busy_now)
    monkeypatch.setattr("os.getloadavg", lambda: (load[0], 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: cores)

    def measured(fused: float, calibrate: bool | None) -> tuple[float, str]:
        stand_in(monkeypatch, f"print({json.dumps(json.dumps(figures(fused=fused)))})")
        found = speeds_of(SLOTS, calibrate)
        return found.fused, found.source

    busy, quiet = calibration.MEASURED_BUSY, calibration.MEASURED
    assert measured(2.0, None) == (2.0, busy)
    assert measured(3.0, None) == (2.0, busy)  # still busy
    load[0] = 1.0
    assert measured(3.0, False) == (2.0, busy)  # a run never measures
    assert measured(3.0, None) == (3.0, quiet)
    load[0] = 4.0
    assert measured(4.0, None) == (3.0, quiet)


@pytest.mark.parametrize("code", ["raise SystemExit('no torch')", "print('{}')", "print('x')", ""])
def test_a_failure_costs_the_estimate_alone(
    monkeypatch: pytest.MonkeyPatch, cache: Path, code: str
) -> None:
    stand_in(monkeypatch, code)
    told: list[str] = []
    assert speeds_of(SLOTS, None, told.append) == DEFAULT_SPEEDS["cpu"]
    assert "could not be measured" in told[-1]
    assert not cache.exists()


def test_a_damaged_or_foreign_file_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    stand_in(monkeypatch, f"print({json.dumps(json.dumps(figures()))})")
    speeds_of(SLOTS, None)
    (file,) = cache.iterdir()
    for damage in ("", "{", "[1]", '{"fused": 1}'):
        file.write_text(damage)
        assert speeds_of(SLOTS, False) == DEFAULT_SPEEDS["cpu"]
        assert speeds_of(SLOTS, None).fused == 2.0


def test_no_cache_folder_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    stand_in(monkeypatch, f"print({json.dumps(json.dumps(figures()))})")
    assert isinstance(speeds_of(SLOTS, None), Speeds)
