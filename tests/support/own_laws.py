"""Laws of one's own, as tests write them into files beside studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers import own_files

TEXT = '''
import numpy as np


class Sampled:
    """The shipped gaussian, of which only draws are known."""

    def __init__(self, dimension: int, power: float = 1.0, std: float = 1.0) -> None:
        self.v = std**2 * np.arange(1.0, dimension + 1) ** -power

    def sample(self, n, rng):
        return np.sqrt(self.v) * rng.standard_normal((n, len(self.v)))


class Normal(Sampled):
    def posterior_mean(self, x, alpha, h):
        a, h = alpha[:, None], h[:, None]
        return a * self.v / (a**2 * self.v + h) * x


class Exact(Normal):
    support_radius = np.inf

    def __init__(self, dimension: int, **others) -> None:
        super().__init__(dimension, **others)
        self.second_moment = self.v.sum()

    def posterior_variance(self, x, alpha, h):
        a, h = alpha[:, None], h[:, None]
        return (self.v * h / (a**2 * self.v + h)).sum(axis=1)


class Centres:
    """Normals around centres that `seed` draws."""

    def __init__(self, dimension: int, seed: int = 0) -> None:
        self.centres = np.random.default_rng(seed).uniform(-1, 1, (3, dimension))

    def sample(self, n, rng):
        at = self.centres[rng.integers(3, size=n)]
        return at + 0.2 * rng.standard_normal(at.shape)
'''


@pytest.fixture
def own_laws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the laws above in mine.py, where laws are looked for first."""
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "mine.py").write_text(TEXT)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(own_files, "_folders", [folder])
    return folder
