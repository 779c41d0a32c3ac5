"""Train packs of score networks: laws, diffusion, network, gradient descent, kernel reference.

Importing the package loads neither torch nor anything slow: `train_pack` arrives on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scorerates_main  # noqa: F401  # what follows is ours
from trainers.trial import Trajectory, TrialConfig, TrialStatus

if TYPE_CHECKING:
    from trainers.pack import train_pack

__all__ = ["Trajectory", "TrialConfig", "TrialStatus", "train_pack"]


def __getattr__(name: str) -> Any:
    if name == "train_pack":
        from trainers.pack import train_pack

        return train_pack
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
