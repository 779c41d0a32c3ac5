"""From the results table to rates, verdicts, figures and the report; loads neither torch nor ray.

Importing the package loads nothing slow: each name arrives on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.growth import Growth, log_power
    from analysis.joint_fit import fit_joint
    from analysis.power_law import fit_power_law
    from analysis.results import load_results
    from analysis.theory import Prediction, predictions
    from analysis.verdicts import evaluate, judge

__all__ = [
    "Growth",
    "Prediction",
    "evaluate",
    "fit_joint",
    "fit_power_law",
    "judge",
    "load_results",
    "log_power",
    "predictions",
]

_HOMES = {
    "Growth": "analysis.growth",
    "Prediction": "analysis.theory",
    "fit_joint": "analysis.joint_fit",
    "log_power": "analysis.growth",
    "evaluate": "analysis.verdicts",
    "fit_power_law": "analysis.power_law",
    "judge": "analysis.verdicts",
    "load_results": "analysis.results",
    "predictions": "analysis.theory",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")
