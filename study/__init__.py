"""Studies: from a YAML file to packs, Ray Tune, the store, MLflow and the command line.

Importing the package loads neither ray nor mlflow: `run` arrives on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scorerates_main  # noqa: F401  # what follows is ours

if TYPE_CHECKING:
    from study.commands.run import run
    from study.spec.sections import StudySpec

__all__ = ["StudySpec", "run"]


def __getattr__(name: str) -> Any:
    if name == "StudySpec":
        from study.spec.sections import StudySpec

        return StudySpec
    if name == "run":
        from study.commands.run import run

        return run
    raise AttributeError(f"module 'study' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
