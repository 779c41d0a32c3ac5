"""Trainers of your own, named in a spec as `module:Class` and known by the contents of their file.

The file's SHA-256 is part of a trial's identity: results of one version of the file are never
taken for those of another. What a trainer imports from elsewhere is not hashed: keep what decides
its numbers in the one file. Standard library only: the driver hashes, a worker loads.
"""

from __future__ import annotations

import ast
import atexit
import difflib
import hashlib
import importlib.util
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers.errors import TrainerError, unreadable
from trainers.registry import TRAINERS

_PYTHON = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
_OURS = ("trainers", "scorerates")
_folders: list[Path] = []  # of studies, the latest first


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
    path = _file_of(name)
    source = _read(name, path)
    _check_source(name, path, source)
    return {"trainer": name, "trainer_sha256": _sha256(source)}


def imported_beside(name: str) -> list[str]:
    """The files beside a trainer's own that it imports, whose changes its hash does not see; none
    where its file is not here. This project's own modules, beside it in a clone, count as none."""
    path = next(_files_of(name), None)
    if path is None:
        return []
    modules = set()
    for node in ast.walk(ast.parse(_read(name, path))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
            modules |= {alias.name for alias in node.names} if node.level else set()
    found = set()
    for module in modules - {""}:
        if module.partition(".")[0] in _OURS:
            continue
        beside = path.parent / module.partition(".")[0]
        found |= {f for f in (beside.with_suffix(".py"), beside / "__init__.py") if f.is_file()}
    return sorted(str(file.relative_to(path.parent)) for file in found - {path})


def says_kernel_limit(name: str) -> bool:
    """Whether the class of a trainer of your own sets `kernel_limit = True`: read, not run."""
    path = next(_files_of(name), None)
    if path is None:
        return False
    wanted = name.partition(":")[2]
    for node in ast.parse(_read(name, path)).body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return any(map(_sets_kernel_limit, node.body))
    return False


def _sets_kernel_limit(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    named = any(isinstance(one, ast.Name) and one.id == "kernel_limit" for one in targets)
    return named and isinstance(statement.value, ast.Constant) and statement.value.value is True


def place_of(error: BaseException) -> str:
    """`small.py, line 57`: where in a trainer of your own an error arose; empty where in none."""
    frame, place = error.__traceback__, ""
    while frame is not None:
        if "@" in frame.tb_frame.f_globals.get("__name__", ""):  # as `_module` names it
            place = f"{Path(frame.tb_frame.f_code.co_filename).name}, line {frame.tb_lineno}"
        frame = frame.tb_next
    return place


def make_importable(folder: Path) -> None:
    """Trainers of your own are looked for in `folder` first. What they import is found there too,
    at the end of the import path."""
    if folder in _folders:
        _folders.remove(folder)
    _folders.insert(0, folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def source_files(names: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
    """(module, source) of the trainers of your own among `names`, for processes elsewhere."""
    own = sorted({name for name in names if ":" in name})
    return tuple((name.partition(":")[0], _read(name, _file_of(name))) for name in own)


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
    first = _file_of(name)
    found = {path: _read(name, path) for path in _files_of(name)}
    path = next((p for p, source in found.items() if _sha256(source) == sha256), None)
    if path is None:
        raise TrainerError(
            f"trainer {name}: {first} is not the file that the study was planned with "
            f"(SHA-256 {sha256[:8]}…): run the command again, and on a cluster give every node "
            "the same file"
        )
    module_name, _, class_name = name.partition(":")
    module = _module(module_name, str(path), found[path])
    try:
        return getattr(module, class_name)()
    except AttributeError:
        raise TrainerError(f"trainer {name}: {path} has no class {class_name}") from None


def _file_of(name: str) -> Path:
    path = next(_files_of(name), None)
    if path is None:
        raise TrainerError(
            f"trainer {name}: there is no file of a module {name.partition(':')[0]} beside the "
            "study or on PYTHONPATH: put it there, or correct the name"
        )
    return path


def _files_of(name: str) -> Iterator[Path]:
    """Where the module of a trainer is: beside the study, or as Python finds it. Python's own
    modules (`test` is one) are not meant."""
    module_name = name.partition(":")[0]
    parts = module_name.split(".")
    if not all(part.isidentifier() for part in parts):
        return
    for folder in [*_folders, *map(Path, sys.path)]:
        if folder.resolve() not in _PYTHON:
            for path in (folder.joinpath(*parts).with_suffix(".py"),
                         folder.joinpath(*parts, "__init__.py")):  # fmt: skip
                if path.is_file():
                    yield path
    try:  # a finder of its own may know of it, as that of an editable installation
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        return
    if spec is not None and spec.has_location and spec.origin is not None:
        path = Path(spec.origin)
        if "site-packages" in path.parts or _PYTHON.isdisjoint(path.resolve().parents):
            yield path


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainerError(f"trainer {name}: {unreadable(path, error)}") from None


@cache
def _check_source(name: str, path: Path, source: bytes) -> None:
    """Raises TrainerError where a file is not Python, or has no such class. It is not run."""
    wanted = name.partition(":")[2]
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        said = error.msg if isinstance(error, SyntaxError) else error
        raise TrainerError(f"trainer {name}: {path}{line} is not Python: {said}") from None
    classes = set(_names_of(tree.body))
    if wanted in classes or "*" in classes:
        return
    near = difflib.get_close_matches(wanted, classes, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"correct the name, or write it in {path.name}"
    raise TrainerError(f"trainer {name}: {path} has no class {wanted}: {remedy}")


def _names_of(body: Iterable[ast.AST]) -> Iterator[str]:
    """The names that statements bind in their module; `*` for those of another."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            yield from _names_of(ast.iter_child_nodes(node))


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
