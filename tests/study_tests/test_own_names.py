"""Files and folders of the user's that are called like our packages never stand in for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scorerates_main import PACKAGES, for_python

REPOSITORY = Path(__file__).parents[2]
STUDY = """
name: own-names
law: {kind: cube, dimension: 1}
steps: 10
base: {samples: 16, width: 16, step_size: 0.5}
sweeps: [{samples: [16, 32, 64]}]
kernel: false
audit: false
resources: {workers: 1}
test_points: 64
holdout_points: 32
"""
SCORERATES = "from scorerates_main import main; main()"


@pytest.fixture(params=["files", "folders", "packages"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working directory with the names of our packages in it."""
    (tmp_path / "study.yaml").write_text(STUDY)
    for name in PACKAGES:
        if request.param == "files":
            (tmp_path / f"{name}.py").write_text("x = 1\n")
        else:
            (tmp_path / name).mkdir()
            (tmp_path / name / "notes.txt").touch()
            if request.param == "packages":
                (tmp_path / name / "__init__.py").touch()
    return tmp_path


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in the folder, which comes first on its path."""
    variables = {**os.environ, "PYTHONPATH": f"{os.pathsep}{REPOSITORY}", **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_is_ours(folder: Path) -> None:
    done = python(folder, "-c", SCORERATES, "plan", "study.yaml", "--no-calibrate")
    assert done.returncode == 0, done.stderr
    assert "own-names" in done.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_finds_the_others(tmp_path: Path, name: str) -> None:
    for other in set(PACKAGES) - {name}:
        (tmp_path / f"{other}.py").write_text("x = 1\n")
    names = ", ".join([name, *sorted(set(PACKAGES) - {name})])
    done = python(tmp_path, "-c", f"import {names}; print([m.__file__ for m in ({names})])")
    assert done.stdout.count(str(REPOSITORY)) == len(PACKAGES), done.stderr


def test_a_module_of_the_same_name_that_came_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").write_text("x = 1\n")
    done = python(tmp_path, "-c", "import analysis, study")
    assert f"{tmp_path}/analysis.py has the name of a package of scorerates" in done.stderr


def test_processes_that_we_start_are_ours(folder: Path) -> None:
    environment = for_python({**os.environ, "PYTHONPATH": ""})
    done = python(folder, "-m", "study.cli", "theory", "--dimension", "2", **environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_workers_are_ours(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "analysis.py").write_text("x = 1\n")
    (tmp_path / "study").mkdir()
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "__init__.py").touch()
    no_report = "from analysis.report import page; page.write_report = lambda *_, **__: None"
    code = SCORERATES.replace("; main", f"; {no_report}; main")
    done = python(
        tmp_path, "-c", code, "run", "study.yaml", "--no-tracking", TORCH_COMPILE_DISABLE="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
