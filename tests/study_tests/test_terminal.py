"""What users name reaches the terminal as it is, in every command."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_trainer import trajectory
from rich.console import Console

from analysis.data.schema import table_from
from study import StudySpec, cli
from study.running.progress import ProgressDisplay, Tally
from study.running.session import Session
from study.storage.store import Store
from study.terminal import literal, printable, say

HOSTILE = ["x[/b]", "[red]", ":smile:", "[link=file:a]", r"\[b]", "[/]"]

Capture = pytest.CaptureFixture[str]


@pytest.fixture(params=HOSTILE)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A hostile name; the working directory is empty and the terminal wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def study(name: str) -> Path:
    """A study of the points in a file of the hostile name."""
    rows = np.random.default_rng(0).normal(size=(6, 2))
    file = Path(name.replace("/", "!") + ".csv")
    file.write_text("\n".join(f"{x},{y}" for x, y in rows))
    path = Path("study.yaml")
    path.write_text(
        f"name: own\nlaw: {{kind: atoms, file: '{file}'}}\nseeds: 3\n"
        "base: {width: 64, step_size: 50}\nsweeps: {samples: [16, 32, 64, 128]}\n"
    )
    return path


@pytest.fixture
def stored(study: Path, name: str) -> Path:
    """Where its results are: a folder of the hostile name."""
    study.write_text(study.read_text().replace("step_size: 50", "step_size: 1"))
    spec = StudySpec.load(study)
    folder = Path(name)
    store = Store(folder)
    store.claim(spec.name, spec.text, spec.folder)
    store.write_pack(table_from([trajectory(t) for t in spec.trials()], spec.name))
    return folder


def answer(capsys: Capture, *arguments: object) -> tuple[int, str]:
    """Exit code, and all that was printed."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int) or ended.value.code is None
    told = capsys.readouterr()
    return ended.value.code or 0, told.out + told.err


def test_plan(study: Path, name: str, capsys: Capture) -> None:
    code, told = answer(capsys, "plan", study, "--no-calibrate", "--storage", name)
    assert (code, f"{Path.cwd()}/{name}" in told) == (0, True)
    assert "2N/lambda_max" in told  # a warning too


@pytest.mark.slow
@pytest.mark.usefixtures("fingerprints")
@pytest.mark.parametrize("command", ["status", "analyze"])
def test_commands_on_results(command: str, stored: Path, name: str, capsys: Capture) -> None:
    code, told = answer(capsys, command, stored)
    assert (code, f"{Path.cwd()}/{name}" in told) == (0, True)


def test_sync(stored: Path, name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.commands.sync.sync", lambda *given: (name, 3))
    code, told = answer(capsys, "sync", stored, "--tracking-uri", f"sqlite:///{name}")
    assert (code, f"experiment {name!r} at sqlite:///{name}" in told) == (0, True)


def test_fit(name: str, capsys: Capture) -> None:
    file = Path(name.replace("/", "!") + ".csv")
    noise = np.random.default_rng(1).lognormal(0, 0.05, 30)
    rows = [f"{2**i},{2 ** (-i / 2) * noise[3 * i + k]},{k}" for i in range(10) for k in range(3)]
    file.write_text("\n".join([f"{name},y{name},seed", *rows]))
    options = ("--x", name, "--y", f"y{name}", "--theory", 0.4, "--kind", "bound")
    code, told = answer(capsys, "fit", file, *options)
    assert code == 0
    assert f"with x = {name}, from {file}" in told
    assert f"values at 10 {name} from" in told
    assert answer(capsys, "fit", file, "--x", "no" + name, "--y", name)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        lambda name: ("plan", name),
        lambda name: ("run", name + ".yaml"),
        lambda name: ("search", name + ".yaml"),
        lambda name: ("analyze", name),
        lambda name: ("status", name),
        lambda name: ("sync", name),
        lambda name: ("fit", name, "--x", "x", "--y", "y"),
        lambda name: ("theory", "-d", "2", name),
        lambda name: ("ui", name),
        lambda name: (name,),
    ],
)
def test_errors(arguments: Callable[[str], tuple[str, ...]], name: str, capsys: Capture) -> None:
    code, told = answer(capsys, *arguments(name))
    assert code == 2
    assert name in told.replace("\\\\", "\\")


def test_ui_names_the_server(name: str, capsys: Capture) -> None:
    code, told = answer(capsys, "ui", "--tracking-uri", f"http://host/{name}")
    assert (code, f"at http://host/{name} already" in told) == (0, True)


def test_what_a_run_says(study: Path, name: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=20)
    session = Session(StudySpec.load(study), Store("results"), None, console)
    session.say(f"said {name} twice, on one line")
    session.warn(f"warned of {name}")
    with ProgressDisplay(console, Tally(1), 0.0):
        pass
    said, warned, *_ = out.getvalue().splitlines()
    assert (said, warned) == (f"said {name} twice, on one line", f"warned of {name}")


def test_no_string_reaches_rich() -> None:
    """Cells are `map(literal, row)`; lines are told by `say`, by click, or are JSON."""
    modules = sorted(Path(cli.__file__).parent.rglob("*.py"))
    calls = [
        (f"{module.name}:{node.lineno}", node.func.attr, ast.unparse(node.args[0]))
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
    ]
    printed = {argument for _, called, argument in calls if called == "print"}
    assert printed == {"table", "literal(line)"}
    cells = [call for call in calls if call[1] == "add_row"]
    assert len(cells) >= 5
    assert not [c for c in cells if not c[2].startswith(("*map(literal, ", "literal(", "'"))]


def test_control_characters_and_bad_paths_are_escaped() -> None:
    out = io.StringIO()
    say(Console(file=out, width=300), "a\x1b[31m \u202eb \udcff\nsecond")
    assert out.getvalue() == "a\\x1b[31m \\u202eb \\udcff\nsecond\n"
    assert printable("größer ∞ 日本") == "größer ∞ 日本"
    assert literal("\r\x07").plain == "\\r\\x07"
