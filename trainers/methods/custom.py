"""Trainers of your own, named in a spec as `module:Class` and known by the contents of their file.

The file's SHA-256 is part of a trial's identity: results of one version of the file are never
taken for those of another. What a trainer imports from elsewhere is not hashed: keep what decides
its numbers in the one file. Standard library only: the driver hashes, a worker loads.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers.errors import TrainerError
from trainers.registry import TRAINERS


def trainer_fields(name: str) -> dict[str, str]:
    """The fields of a TrialConfig that state trainer `name`: {"trainer": ...}, and of one of your
    own its file's hash. Raises TrainerError."""
    if name in TRAINERS:
        return {"trainer": name}
    if ":" not in name:
        raise TrainerError(
            f"trainer = {name!r} is unknown: use one of {', '.join(TRAINERS)}, or your own as "
            "module:Class"
        )
    return {"trainer": name, "trainer_sha256": _sha256(_file_of(name).read_bytes())}


def make_importable(folder: Path) -> None:
    """Puts `folder` at the end of the import path, where workers of this process find it too."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def source_files(names: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
    """(module, source) of the trainers of your own among `names`, for processes elsewhere."""
    own = sorted({name for name in names if ":" in name})
    return tuple((name.partition(":")[0], _file_of(name).read_bytes()) for name in own)


@cache
def place(files: tuple[tuple[str, bytes], ...]) -> None:
    """Makes these modules importable in this process, where its own path does not have them."""
    folder = Path(tempfile.mkdtemp(prefix="scorerates-trainers-"))
    for module, source in files:
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_importable(folder)
    importlib.invalidate_caches()


def load_custom(name: str, sha256: str) -> Any:
    """An instance of `module:Class`, made without arguments. Raises TrainerError where its file is
    not there, is not the one with this hash, or has no such class."""
    path = _file_of(name)
    source = path.read_bytes()
    if _sha256(source) != sha256:
        raise TrainerError(
            f"trainer {name}: {path} is not the file that the study was planned with "
            f"(SHA-256 {sha256[:8]}…): run the command again, and on a cluster give every node "
            "the same file"
        )
    module_name, _, class_name = name.partition(":")
    module = _module(module_name, str(path), source)
    try:
        return getattr(module, class_name)()
    except AttributeError:
        raise TrainerError(f"trainer {name}: {path} has no class {class_name}") from None


def _file_of(name: str) -> Path:
    module_name = name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.has_location or spec.origin is None:
        raise TrainerError(
            f"trainer {name}: there is no file of a module {module_name} beside the study or on "
            "PYTHONPATH: put it there, or correct the name"
        )
    return Path(spec.origin)


@cache
def _module(name: str, path: str, source: bytes) -> ModuleType:
    """The module of exactly this source: a file edited since Python first imported it counts."""
    unique = f"{name}@{_sha256(source)[:16]}"
    module = ModuleType(unique)
    module.__file__, module.__package__ = path, name.rpartition(".")[0]
    sys.modules[unique] = module  # dataclasses look their module up
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[unique]
        raise TrainerError(f"trainer {name}: {path}: {type(error).__name__}: {error}") from error
    return module


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
