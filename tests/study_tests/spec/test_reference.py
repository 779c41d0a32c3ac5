"""The page of keys: nothing is missing from it, and it is what the models say."""

from __future__ import annotations

from pathlib import Path

from study.spec import reference
from study.spec.sections import _sections
from trainers.columns import COLUMNS
from trainers.laws import LAWS

PAGE = Path(__file__).parents[3] / "docs" / "keys.md"


def test_every_key_is_described_and_none_that_is_gone() -> None:
    assert set(reference.DESCRIPTIONS) == reference.keys()
    of_laws = {key for law in LAWS.values() for key in law.model_fields}
    assert set(reference.LAW_DESCRIPTIONS) == of_laws - {"kind", "sha256"}


def test_every_section_that_messages_know_is_on_the_page() -> None:
    assert set(reference.SECTIONS) == set(_sections()) - {"sweeps", "sweeps.seeds"}


def test_the_page_is_up_to_date() -> None:
    """python -m study.spec.reference > docs/keys.md"""
    assert PAGE.read_text(encoding="utf-8") == reference.page()


def test_the_page_of_columns_is_up_to_date() -> None:
    """python -m study.spec.reference columns > docs/columns.md"""
    assert PAGE.with_name("columns.md").read_text(encoding="utf-8") == reference.columns_page()
    assert all(f"| `{column.name}` |" in reference.columns_page() for column in COLUMNS)


def test_ranges_and_defaults_are_those_of_the_models() -> None:
    rows = [line.split(" | ") for line in reference.page().splitlines() if line.startswith("| `")]
    said = [(row[0], *row[1:3]) for row in rows]
    assert ("| `recorded`", "whole, 2 to 1,000", "40") in said
    needed = "required, here or in every sweep; refused beside `search`"
    width = "list of whole number, `inf`, or a multiple of N such as `4N`"
    assert ("| `width`", width, needed) in said
    assert ("| `name`", "text", "required") in said
    assert ("| `weight`", "list of `x0`, `score`, `eps`, `v`, `min_snr`", "x0") in said
    assert ("| `memory_per_pack`", "0.001 to 100,000", "") in said
