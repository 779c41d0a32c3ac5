"""A trainer of one's own: which file is meant, and what is said of one that holds none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainers import own_files
from trainers.errors import TrainerError
from trainers.methods.custom import (
    imported_beside,
    load_custom,
    says_kernel_limit,
    source_files,
    trainer_fields,
)
from trainers.own_files import make_importable, place_of

EMPTY = "class Mine:\n    pass\n"


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_files, "_folders", [])
    folder = tmp_path / "study"
    folder.mkdir()
    make_importable(folder)
    return folder


@pytest.mark.parametrize("module", ["test", "json", "test.support", "sys"])
def test_a_module_of_python_itself_is_not_meant(module: str, beside: Path) -> None:
    with pytest.raises(TrainerError, match=f"there is no file of a module {module} beside"):
        trainer_fields(f"{module}:Mine")


@pytest.mark.parametrize("module", ["test", "numpy", "unused", "pack.age"])
def test_the_file_beside_the_study_is_meant(module: str, beside: Path) -> None:
    path = beside.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(EMPTY)
    name = f"{module}:Mine"
    assert source_files([name]) == ((module, EMPTY.encode()),)
    made = load_custom(name, trainer_fields(name)["trainer_sha256"])
    assert type(made).__name__ == "Mine"


def test_a_worker_finds_the_file_by_its_contents(beside: Path, tmp_path: Path) -> None:
    (beside / "mine.py").write_text(EMPTY)
    planned = trainer_fields("mine:Mine")["trainer_sha256"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text("class Mine:\n    pass\n\nanother = 1\n")
    make_importable(other)
    assert trainer_fields("mine:Mine")["trainer_sha256"] != planned
    assert type(load_custom("mine:Mine", planned)).__module__.startswith("mine@")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Mnie:\n    pass\n", "mine.py has no class Mine: did you mean Mnie?"),
        ("def f():\n    Mine = 1\n", "mine.py has no class Mine: correct the name, or write it in"),
        ("class Mine:\n  def f(self:\n", r"mine.py, line 2 is not Python: '\(' was never closed"),
        ("x = 1\0\n", "mine.py.* is not Python"),
    ],
)
def test_a_file_that_cannot_hold_it_is_told_without_running_it(
    text: str, said: str, beside: Path
) -> None:
    (beside / "mine.py").write_text(f"{text}\nraise SystemExit\n")
    with pytest.raises(TrainerError, match=said):
        trainer_fields("mine:Mine")


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import Mine",
        "from elsewhere import Other as Mine",
        "from elsewhere import *",
        "if True:\n    class Mine: ...",
        "Mine = make()",
        "Mine: type = make()",
    ],
)
def test_whatever_binds_the_name_counts(text: str, beside: Path) -> None:
    (beside / "mine.py").write_text(text)
    assert trainer_fields("mine:Mine")["trainer"] == "mine:Mine"


@pytest.mark.parametrize("name", ["../mine:Mine", "a b:Mine", ":Mine", "/mine:Mine"])
def test_what_no_module_is_called_is_told(name: str, beside: Path) -> None:
    (beside.parent / "mine.py").write_text(EMPTY)
    with pytest.raises(TrainerError, match="there is no file of a module"):
        trainer_fields(name)


def test_files_beside_it_that_it_imports_are_named(beside: Path) -> None:
    (beside / "nets.py").write_text("")
    (beside / "tools").mkdir()
    (beside / "tools" / "__init__.py").write_text("")
    (beside / "mine.py").write_text(
        f"import math\nimport tools.deep\nfrom nets import Net\n{EMPTY}"
    )
    assert imported_beside("mine:Mine") == ["nets.py", "tools/__init__.py"]
    (beside / "mine.py").write_text(f"import math, numpy\nfrom trainers import protocol\n{EMPTY}")
    assert imported_beside("mine:Mine") == []
    assert imported_beside("gone:Mine") == []
    (beside / "trainers").mkdir()  # a clone of this project
    (beside / "trainers" / "__init__.py").write_text("")
    assert imported_beside("mine:Mine") == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("kernel_limit = True", True),
        ("kernel_limit: bool = True", True),
        ("kernel_limit = False", False),
        ("handles = ()", False),
    ],
)
def test_whether_it_has_a_kernel_limit_is_read_off_its_class(
    line: str, says: bool, beside: Path
) -> None:
    (beside / "mine.py").write_text(f"class Mine:\n    {line}\n")
    assert says_kernel_limit("mine:Mine") is says


def test_where_an_error_arose_is_told(beside: Path) -> None:
    (beside / "mine.py").write_text("class Mine:\n    def run(self):\n        return len(3)\n")
    made = load_custom("mine:Mine", trainer_fields("mine:Mine")["trainer_sha256"])
    with pytest.raises(TypeError) as raised:
        made.run()
    assert place_of(raised.value) == "mine.py, line 3"
    assert place_of(ValueError()) == ""
