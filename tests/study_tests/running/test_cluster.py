"""What Ray needs and this machine may lack is said before Ray is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import StudySpec
from study.running.cluster import ray_here
from study.spec.messages import SpecError

# A session that runs in this process would be taken.
pytestmark = pytest.mark.usefixtures("no_ray")

STUDY = """
name: small
law: {kind: cube, dimension: 2}
base: {samples: 64, width: 64, step_size: 1.0}
"""


@pytest.mark.slow
def test_without_bash_ray_would_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    session = ray_here(None, StudySpec.from_text(STUDY))
    with pytest.raises(SpecError, match="there is no bash on PATH"), session:
        pass


def test_a_session_that_does_not_start_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is too busy: Ray raises a bare Exception then."""
    folders: list[Path] = []

    def started(**given: object) -> None:
        folders.append(Path(str(given["_temp_dir"])))
        raise Exception("The current node timed out during startup.\nMore of it.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("ray.init", started)
    session = ray_here(None, StudySpec.from_text(STUDY))
    told = "Ray did not start on this machine: The current node timed out during startup; where"
    with pytest.raises(SpecError, match=told), session:
        pass
    assert len(folders) == 1
    assert not folders[0].exists()
