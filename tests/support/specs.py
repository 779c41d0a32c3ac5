"""A study in YAML, and what is said about changes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import StudySpec
from study.spec.messages import SpecError

GOOD = """
name: quick
law: {kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}
diffusion: {t_min: 0.05, t_max: 1.0}
steps: 1000
seeds: 8
base: {samples: 512, width: 4096, step_size: 1.0}
sweeps:
  - samples: [64, 128, 256, 512]
  - width: [64, 4096]
  - step_size: [0.25, 0.5, 1.0]
"""


def edited(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def problems(text: str, folder: Path = Path()) -> tuple[str, ...]:
    with pytest.raises(SpecError) as raised:
        StudySpec.from_text(text, folder)
    return raised.value.problems
