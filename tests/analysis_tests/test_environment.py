from __future__ import annotations

import os

import pytest

from analysis.environment import environment_defaults


def test_defaults_hold_for_the_while_and_leave_the_users_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCORERATES_OWN", "mine")
    monkeypatch.delenv("SCORERATES_NEW", raising=False)
    defaults = {"SCORERATES_OWN": "ours", "SCORERATES_NEW": "ours"}

    def fail() -> None:
        with environment_defaults(defaults):
            assert os.environ["SCORERATES_OWN"] == "mine"
            assert os.environ["SCORERATES_NEW"] == "ours"
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert os.environ["SCORERATES_OWN"] == "mine"
    assert "SCORERATES_NEW" not in os.environ
