"""Train packs of score networks: laws, diffusion, network, gradient descent, kernel reference.

Importing the package loads nothing slow: names arrive on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import scorerates_main  # noqa: F401  # what follows is ours

if TYPE_CHECKING:
    from trainers.kept.networks import load_network
    from trainers.pack import train_pack
    from trainers.trial import Trajectory, TrialConfig, TrialStatus

__all__ = ["Trajectory", "TrialConfig", "TrialStatus", "load_network", "train_pack"]

_HOMES = {"train_pack": "trainers.pack", "load_network": "trainers.kept.networks"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(_HOMES.get(name, "trainers.trial")), name)
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
