"""Trainers of your own, named in a spec as `module:Class` and known by the contents of their file:
see trainers.own_files. Standard library only: the driver hashes, a worker loads."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from trainers.errors import TrainerError
from trainers.own_files import OwnClass, sources_of
from trainers.registry import TRAINERS


def trainer_fields(name: str) -> dict[str, str]:
    """The fields of a TrialConfig that state trainer `name`: {"trainer": ...}, and of one of your
    own its file's hash. Raises TrainerError, also for a file that holds no such class."""
    if name in TRAINERS:
        return {"trainer": name}
    if ":" not in name:
        raise TrainerError(
            f"trainer = {name!r} is unknown: use one of {', '.join(TRAINERS)}, or your own as "
            "module:Class"
        )
    return {"trainer": name, "trainer_sha256": _own(name).sha256()}


def imported_beside(name: str) -> list[str]:
    """The files beside a trainer's own that it imports, whose changes its hash does not see; none
    where its file is not here. This project's own modules, beside it in a clone, count as none."""
    return _own(name).imported_beside()


def says_kernel_limit(name: str) -> bool:
    """Whether the class of a trainer of your own sets `kernel_limit = True`: read, not run."""
    own = _own(name)
    tree = own.parsed()
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.ClassDef) and node.name == own.class_name:
            return any(map(_sets_kernel_limit, node.body))
    return False


def _sets_kernel_limit(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    named = any(isinstance(one, ast.Name) and one.id == "kernel_limit" for one in targets)
    return named and isinstance(statement.value, ast.Constant) and statement.value.value is True


def source_files(names: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
    """(module, source) of the trainers of your own among `names`, for processes elsewhere."""
    return sources_of(_own(name) for name in names if ":" in name)


def load_custom(name: str, sha256: str) -> Any:
    """An instance of `module:Class`, made without arguments. Raises TrainerError where its file is
    not there, is not the one with this hash, or has no such class."""
    return _own(name).load(sha256)()


def _own(name: str) -> OwnClass:
    return OwnClass(name, "trainer", TrainerError)
