"""Every command of README and docs is run as it is written, with small studies in place of theirs
and a stand-in for training. `ui`, which serves until it is stopped, has `test_ui.py`."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import fake_trainer
import pytest
from sessions import Workers

from study import cli
from study.commands import run as run_command
from study.commands import search as search_command

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ORDER = ("init", "plan", "run", "search", "best", "status", "analyze", "sync", "theory", "fit")
COMMON = """
law: {kind: cube, dimension: 2}
steps: 64
test_points: 64
holdout_points: 16
kernel: false
resources: {workers: 1}
"""
GRID = (
    "name: grid\nseeds: 2\nbase: {samples: 64, width: 32, step_size: 1.0}\n"
    "sweeps:\n  - samples: [16, 32, 64, 128, 256]\naudit: false\n"
)
SEARCH = (
    "name: search\nbase: {samples: 64}\nsearch:\n  samplers: random\n  evaluations: 3\n"
    "  space: {width: [16, 32], step_size: {low: 0.1, high: 1}}\n"
)


SMALLER = {**dict.fromkeys(("first", "mine", "cube", "cubes", "noisy"), GRID), "my_search": SEARCH}
"""In place of the studies that `init` writes."""


def commands() -> list[str]:
    """Those with arguments: a name alone is talked about."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for quoted, line in re.findall(
            r"`scorerates ([^`]*)`|^ +(?:ray job .* -- )?scorerates (.*)$", text, re.M
        ):
            written = quoted or re.split(r" +#|(?<=\S) {3,}(?=[a-z])", line)[0]
            found.add(" ".join(written.split()))
    asked = [one for one in found if " " in one and not one.startswith("ui ")]
    return sorted(asked, key=lambda one: (ORDER.index(one.split()[0]), one))


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers, no_report: None
) -> Path:
    monkeypatch.chdir(tmp_path)
    for module, name in ((run_command, "run"), (search_command, "search")):
        monkeypatch.setattr(
            module, name, partial(getattr(module, name), trainer=fake_trainer.train)
        )
    for path, kind in {
        "grid.yaml": GRID,
        "search.yaml": SEARCH,
        "examples/quickstart.yaml": GRID.replace("name: grid", "name: quickstart"),
        "examples/credit_default/credit_default.yaml": SEARCH.replace("search\nb", "credit\nb"),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(kind + COMMON)
    rows = "".join(f"{2**i},{2.0**-i}\n" for i in range(4, 10))
    (tmp_path / "table.csv").write_text("N,error\n" + rows)
    (tmp_path / "points.csv").write_text("x,y\n" + "".join(f"{i},{i * i % 7}\n" for i in range(64)))
    return tmp_path


def arguments(written: str, here: Path) -> list[str]:
    """The arguments of a command, with what its capital letters stand for."""
    name = written.split()[0]
    searching = name in ("search", "best")
    place = str(here / "results" / ("search" if searching else "grid"))
    stands = {
        r"\bSTUDY\.yaml": "search.yaml" if searching else "grid.yaml",
        r"\bDIR_OR_STUDY\b": place,
        r"(s3://BUCKET|/shared)/STUDY\b": place,
        r"s3://BUCKET/quickstart\b": str(here / "results" / "quickstart"),
        r"s3://bucket/study\b": str(here / "elsewhere"),
        r"\bNAME\b": "fresh",
        r"\bCSV\b": "table.csv",
        r"\bURI\b": f"sqlite:///{here / 'other.db'}",
        r"\bD\b": "2",
        r"--address auto": "",
        r"--device cuda": "--device cpu",
        r"--workers 8": "--workers 1",
        r"http://127.0.0.1:5000": f"sqlite:///{here / 'other.db'}",
    }
    for pattern, value in stands.items():
        written = re.sub(pattern, value, written)
    made = shlex.split(written)
    # MLflow takes most of the time; one study is enough of it
    untracked = name in ("run", "search") and "first.yaml" not in made
    return [*made, "--no-tracking"] if untracked and "--tracking-uri" not in made else made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_they_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = commands()
    assert {one.split()[0] for one in every} == set(ORDER)
    for written in every:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments(written, here))
        said = capsys.readouterr()
        assert not ended.value.code, (written, said.err)
        name = written.split()[1]
        if written.startswith("init ") and name in SMALLER:  # what follows runs what it wrote
            kind = SMALLER[name]
            (here / f"{name}.yaml").write_text(re.sub("name: .*", f"name: {name}", kind) + COMMON)
