"""From the results table to rates, verdicts, figures and the report; loads neither torch nor ray.

Importing the package loads nothing slow: each name arrives on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import scorerates_main  # noqa: F401  # what follows is ours

if TYPE_CHECKING:
    from analysis.data.curves.quantities import Curve, curves
    from analysis.data.results import load_results
    from analysis.fits.growth import Growth, log_power
    from analysis.fits.joint import fit_joint
    from analysis.fits.power_law import fit_power_law
    from analysis.report.figures import figures_of
    from analysis.report.redraw import redraw
    from analysis.theory import Prediction, predictions
    from analysis.verdicts.evaluation import Evaluation, evaluate
    from analysis.verdicts.judging import judge

_HOMES = {
    "Curve": "analysis.data.curves.quantities",
    "Evaluation": "analysis.verdicts.evaluation",
    "Growth": "analysis.fits.growth",
    "Prediction": "analysis.theory",
    "curves": "analysis.data.curves.quantities",
    "evaluate": "analysis.verdicts.evaluation",
    "figures_of": "analysis.report.figures",
    "fit_joint": "analysis.fits.joint",
    "fit_power_law": "analysis.fits.power_law",
    "judge": "analysis.verdicts.judging",
    "load_results": "analysis.data.results",
    "log_power": "analysis.fits.growth",
    "predictions": "analysis.theory",
    "redraw": "analysis.report.redraw",
}

__all__ = [
    "Curve",
    "Evaluation",
    "Growth",
    "Prediction",
    "curves",
    "evaluate",
    "figures_of",
    "fit_joint",
    "fit_power_law",
    "judge",
    "load_results",
    "log_power",
    "predictions",
    "redraw",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
