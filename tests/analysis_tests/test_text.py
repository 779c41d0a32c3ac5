"""Text where there is nothing but ASCII."""

from __future__ import annotations

import pytest

from analysis.text import in_ascii, minus


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("≥ 0.40 – 95 %", ">= 0.40 - 95 %"),
        (minus("-5.7e-08"), "-5.7 x 10-8"),
        ("η τ σ²", "eta tau sigma2"),
        ("Zürich, 東\udcff", "Zurich, ??"),
    ],
)
def test_what_is_not_ascii_is_written_out(text: str, plain: str) -> None:
    assert in_ascii(text) == plain
    assert in_ascii(text).isascii()
