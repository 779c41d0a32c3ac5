"""What Ray needs and this machine may lack is said before Ray is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import StudySpec
from study.running.cluster import ray_here
from study.spec.messages import SpecError

STUDY = """
name: small
law: {kind: cube, dimension: 2}
base: {samples: 64, width: 64, step_size: 1.0}
"""


def test_without_bash_ray_would_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    session = ray_here(None, StudySpec.from_text(STUDY))
    with pytest.raises(SpecError, match="there is no bash on PATH"), session:
        pass
