"""README and docs: their commands and options exist, their links lead somewhere, and the example of
a trainer of one's own passes the conformance suite, and has a study."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from study import StudySpec, cli
from study.planning.own_laws import check_own_laws
from study.spec.messages import SpecError
from trainers.conformance import check_trainer
from trainers.laws.own.check import DRAWS
from trainers.laws.own.law import DRAWN

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    "init",
    "plan",
    "run",
    "search",
    "best",
    "analyze",
    "status",
    "sync",
    "ui",
    "theory",
    "fit",
}


def options_of(command: str) -> set[str]:
    told = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0, command
    return set(re.findall(r"--[a-z-]+", told.output))


def test_every_command_and_option_exists() -> None:
    known = {command: options_of(command) for command in COMMANDS}
    seen = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for command, rest in re.findall(r"scorerates +([a-z]+)\b([^`\n#]*)", text):
            if command not in COMMANDS:
                assert not rest.lstrip().startswith("--"), (page.name, command)
                continue
            seen.add(command)
            own = rest.split("  ")[0] if command not in ("theory", "fit") else rest
            assert set(re.findall(r"--[a-z-]+", own)) <= known[command], (page.name, command, rest)
    assert seen == COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_an_anchor(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            there = file.read_text(encoding="utf-8")
            headings = {
                re.sub(r"[^\w -]", "", line.lstrip("# ")).strip().lower().replace(" ", "-")
                for line in there.splitlines()
                if line.startswith("#")
            }
            assert f'id="{anchor}"' in there or anchor in headings, target


def test_every_page_is_in_the_sites_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {p.name for p in (ROOT / "docs").glob("*.md")} == set(
        re.findall(r"^\s+- (\w+\.md)$", contents, re.M)
    )


@pytest.mark.slow
def test_the_example_of_a_trainer_passes_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "small_of_the_docs.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    check_trainer("small_of_the_docs:Small")


def test_the_study_of_a_search_is_one() -> None:
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^    name: my_search\n(?:    .*\n)+", page, re.M)
    spec = StudySpec.from_text(dedent(text))
    assert [point.samples for point in spec.search_points()] == [128, 512]
    section = spec.searched()
    # The page's example of `best` gives the seeds after these.
    assert f"seeds: {list(range(section.repetitions, section.repetitions + 8))}" in page
    for key in ("seeds: 4", "sweeps: [{t_min: [0.1, 0.2]}]"):
        with pytest.raises(SpecError):
            StudySpec.from_text(f"{dedent(text)}{key}\n")


def test_the_study_of_an_own_trainer_on_own_data_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "small.py").write_text(code, encoding="utf-8")
    (tmp_path / "my_points.csv").write_text("a,b\n0,1\n1,0\n2,5\n", encoding="utf-8")
    (text,) = re.findall(r"^    name: mine\n(?:    .*\n)+", page, re.M)
    (tmp_path / "mine.yaml").write_text(dedent(text), encoding="utf-8")
    spec = StudySpec.load(tmp_path / "mine.yaml")
    trials = spec.trials()
    assert {t.samples for t in trials} == {64, 128, 256, 512, 1024}
    assert {t.trainer for t in trials} == {"small:Small"}
    assert all(t.law.known for t in trials)


def test_the_example_of_a_law_of_ones_own_is_a_law(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    (tmp_path / "mylaw.py").write_text(code)
    (law,) = re.findall(r'`law: (\{kind: "mylaw:NoisySphere".*?\})`', text)
    study = f"name: mine\nlaw: {law}\nbase: {{samples: 16, width: 8, step_size: 1.0}}\n"
    spec = StudySpec.from_text(study, tmp_path)
    assert [one.label for one in spec.law] == [
        "mylaw:NoisySphere[radius=1]", "mylaw:NoisySphere[radius=2]",
    ]  # fmt: skip
    check_own_laws(spec.trials())
    assert f"{DRAWN:,} draws" in text
    assert f"{DRAWS:,} draws" in text
