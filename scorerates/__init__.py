"""The public names of `trainers`, `analysis` and `study` in one place: `import scorerates`.

Those three are everyday names, of which a folder of the user's may have one; this one is not. Each
name arrives on first use, so importing the package loads nothing slow.

Example:
    >>> from scorerates import fit_power_law
    >>> fit_power_law([64, 128, 256, 512], [0.8, 0.4, 0.2, 0.1]).exponent
    1.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import scorerates_main  # noqa: F401  # what follows is ours

if TYPE_CHECKING:
    from analysis import (
        Curve,
        Evaluation,
        Growth,
        Prediction,
        curves,
        evaluate,
        figures_of,
        fit_joint,
        fit_power_law,
        judge,
        load_results,
        log_power,
        predictions,
        redraw,
    )
    from study import StudySpec, run
    from trainers import Trajectory, TrialConfig, TrialStatus, load_network, train_pack

_PACKAGES = ("trainers", "analysis", "study")

__all__ = [
    "Curve",
    "Evaluation",
    "Growth",
    "Prediction",
    "StudySpec",
    "Trajectory",
    "TrialConfig",
    "TrialStatus",
    "curves",
    "evaluate",
    "figures_of",
    "fit_joint",
    "fit_power_law",
    "judge",
    "load_network",
    "load_results",
    "log_power",
    "predictions",
    "redraw",
    "run",
    "train_pack",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for package in map(import_module, _PACKAGES):
            if name in package.__all__:
                return getattr(package, name)
    raise AttributeError(f"module 'scorerates' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
