"""Classes of your own, named in a study as `module:Class` and known by the contents of their file.

The file's SHA-256 is part of a trial's identity: results of one version of the file are never
taken for those of another. What a class imports from elsewhere is not hashed: keep what decides its
numbers in the one file. Standard library only: the driver hashes, a worker loads.
"""

from __future__ import annotations

import ast
import atexit
import difflib
import hashlib
import importlib.util
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers.errors import UserError, first_line, unreadable

OWN = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
"""What names a class of your own."""

_PYTHON = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
_OURS = ("trainers", "scorerates")
_folders: list[Path] = []  # of studies, the latest first


@dataclass(frozen=True)
class OwnClass:
    """A class of your own. name: `module:Class`; what: it is (`trainer`), for messages; error: what
    is raised where it cannot be had."""

    name: str
    what: str
    error: type[UserError]

    @property
    def module(self) -> str:
        return self.name.partition(":")[0]

    @property
    def class_name(self) -> str:
        return self.name.partition(":")[2]

    def sha256(self) -> str:
        """Of its file, which is not run. Raises where there is none, or it holds no such class."""
        path = self.file()
        source = self._read(path)
        problem = _problem_of(self.class_name, path, source)
        if problem:
            raise self.error(f"{self.what} {self.name}: {problem}")
        return _sha256(source)

    def source(self) -> tuple[str, bytes]:
        """(module, source), for `place` in a process elsewhere."""
        return self.module, self._read(self.file())

    def load(self, sha256: str) -> Any:
        """The class, of the file with this hash. Raises where that is not there, or has no such
        class."""
        first = self.file()
        found = {path: self._read(path) for path in self.files()}
        path = next((p for p, source in found.items() if _sha256(source) == sha256), None)
        if path is None:
            raise self.error(
                f"{self.what} {self.name}: {first} is not the file that the study was planned with "
                f"(SHA-256 {sha256[:8]}…): run the command again, and on a cluster give every node "
                "the same file"
            )
        try:
            module = _module(self.module, str(path), found[path])
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise self.error(f"{self.what} {self.name}: {path}: {said}") from error
        try:
            return getattr(module, self.class_name)
        except AttributeError:
            raise self.error(
                f"{self.what} {self.name}: {path} has no class {self.class_name}"
            ) from None

    def parsed(self) -> ast.Module | None:
        """Its file, read and not run; None where it is not here."""
        path = next(self.files(), None)
        return None if path is None else ast.parse(self._read(path))

    def imported_beside(self) -> list[str]:
        """The files beside its own that it imports, whose changes its hash does not see; none where
        its file is not here. This project's own modules, beside it in a clone, count as none."""
        path, tree = next(self.files(), None), self.parsed()
        if path is None or tree is None:
            return []
        modules = set()
        for node in ast.walk(tree):
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

    def file(self) -> Path:
        """Raises where there is none."""
        path = next(self.files(), None)
        if path is None:
            raise self.error(
                f"{self.what} {self.name}: there is no file of a module {self.module} beside the "
                "study or on PYTHONPATH: put it there, or correct the name"
            )
        return path

    def files(self) -> Iterator[Path]:
        """Where its module is: beside the study, or as Python finds it. Python's own modules
        (`test` is one) are not meant."""
        parts = self.module.split(".")
        if not all(part.isidentifier() for part in parts):
            return
        for folder in [*_folders, *map(Path, sys.path)]:
            if folder.resolve() not in _PYTHON:
                for path in (folder.joinpath(*parts).with_suffix(".py"),
                             folder.joinpath(*parts, "__init__.py")):  # fmt: skip
                    if path.is_file():
                        yield path
        try:  # a finder of its own may know of it, as that of an editable installation
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            return
        if spec is not None and spec.has_location and spec.origin is not None:
            path = Path(spec.origin)
            if "site-packages" in path.parts or _PYTHON.isdisjoint(path.resolve().parents):
                yield path

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise self.error(f"{self.what} {self.name}: {unreadable(path, error)}") from None


def place_of(error: BaseException) -> str:
    """`small.py, line 57`: where in a class of your own an error arose; empty where in none."""
    frame, place = error.__traceback__, ""
    while frame is not None:
        if "@" in frame.tb_frame.f_globals.get("__name__", ""):  # as `_module` names it
            place = f"{Path(frame.tb_frame.f_code.co_filename).name}, line {frame.tb_lineno}"
        frame = frame.tb_next
    return place


def told(error: BaseException) -> str:
    """`ValueError: too large (mine.py, line 12)`: an error of a class of your own, in a message."""
    where = f" ({at})" if (at := place_of(error)) else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def make_importable(folder: Path) -> None:
    """Classes of your own are looked for in `folder` first. What they import is found there too, at
    the end of the import path."""
    if folder in _folders:
        _folders.remove(folder)
    _folders.insert(0, folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def sources_of(classes: Iterable[OwnClass]) -> tuple[tuple[str, bytes], ...]:
    """(module, source) of each, for processes elsewhere."""
    return tuple(sorted({own.source() for own in classes}))


@cache
def place(files: tuple[tuple[str, bytes], ...]) -> None:
    """Makes these modules importable in this process, where its own path does not have them."""
    folder = Path(tempfile.mkdtemp(prefix="scorerates-own-"))
    for module, source in files:
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_importable(folder)
    importlib.invalidate_caches()


@cache
def _problem_of(wanted: str, path: Path, source: bytes) -> str:
    """Why a file is not Python, or has no such class; empty where all is well. It is not run."""
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        said = error.msg if isinstance(error, SyntaxError) else error
        return f"{path}{line} is not Python: {said}"
    classes = set(_names_of(tree.body))
    if wanted in classes or "*" in classes:
        return ""
    near = difflib.get_close_matches(wanted, classes, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"correct the name, or write it in {path.name}"
    return f"{path} has no class {wanted}: {remedy}"


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
    except Exception:
        del sys.modules[unique]
        raise
    return module


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
