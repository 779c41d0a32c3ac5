"""The command `scorerates`, and what keeps `study`, `analysis` and `trainers` ours.

These are everyday names: a folder or a file of the user's may have one of them too, and stand first
on the import path (the working directory does, in `python -m` and in every worker of Ray). Each of
the three imports this module before all else, which then finds the others beside itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("study", "analysis", "trainers")
_HERE = Path(__file__).resolve().parent


class _Finder:
    """Finds the three packages beside this file, before anything looks elsewhere."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_HERE)]) if name in PACKAGES else None


def pin() -> None:
    """Makes the three packages ours in this process. Raises ImportError where another module has
    come in under one of their names already."""
    for name in PACKAGES:
        module = sys.modules.get(name)
        found = getattr(module, "__file__", None)
        if module is not None and (found is None or Path(found).resolve().parents[1] != _HERE):
            raise ImportError(
                f"{found or name} has the name of a package of scorerates, and was imported before "
                f"it: rename it"
            )
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def for_python(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a Python that we start with `-m`: it shall look here first, and not in the
    working directory."""
    path = os.pathsep.join(filter(None, [str(_HERE), environment.get("PYTHONPATH")]))
    return {**environment, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def main() -> None:
    """Runs the command line."""
    from study.cli import main

    main()


pin()
if __name__ == "__main__":
    main()
