"""The papers that a page cites, against docs/theory.md, and the program, against CITATION.cff."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from analysis.report.overview import SOFTWARE
from analysis.theory import THEORIES
from analysis.theory.papers import PAPERS

ROOT = Path(__file__).parents[3]


def test_every_theory_has_its_paper() -> None:
    assert {theory.paper for theory in THEORIES} == set(PAPERS)


@pytest.mark.parametrize("key", PAPERS)
def test_papers_are_those_of_the_docs(key: str) -> None:
    text = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    row = " ".join(text[text.index(f'<a id="{key}"></a>') :].split("\n- ")[0].split())
    paper = PAPERS[key]
    assert paper.title in row
    assert str(paper.year) in row
    assert all(name.split(",")[0] in row for name in paper.authors)
    if "arxiv" in paper.url:
        assert paper.url.removeprefix("https://arxiv.org/abs/") in row


def test_an_entry_is_one_that_bibtex_reads() -> None:
    entry = PAPERS["caponnetto"].bibtex("caponnetto")
    assert entry.startswith("@article{caponnetto2007,\n")
    assert "author = {Caponnetto, Andrea and De Vito, Ernesto}" in entry
    assert entry.count("{") == entry.count("}")
    assert PAPERS["hrx"].told == "Han et al. (2024)"
    assert PAPERS["caponnetto"].told == "Caponnetto and De Vito (2007)"


def test_the_program_is_cited_as_its_own_file_says() -> None:
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert said["title"] in SOFTWARE
    assert said["authors"][0]["name"] in SOFTWARE
    assert said["license"] in SOFTWARE
    assert re.search(r"version = \{\d", SOFTWARE)
