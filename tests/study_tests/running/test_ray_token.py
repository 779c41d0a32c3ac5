"""Ray's token: what would end the process from within Ray is wrong input here."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.running.ray_token import token_for_this_run
from study.spec.messages import SpecError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(home: Path, token: bytes) -> Path:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_bytes(token)
    return path


@pytest.mark.parametrize("token", [b"a1b2" * 16, b"a1b2\n", b""])
def test_a_token_that_ray_takes_is_left_to_ray(home: Path, token: bytes) -> None:
    write(home, token)
    assert token_for_this_run(own_session=True) == {}


@pytest.mark.parametrize("token", [b"\x00\xff\xfe", b"a\nb", "ä".encode()])
@pytest.mark.parametrize("own_session", [True, False])
def test_garbage_is_named(home: Path, token: bytes, own_session: bool) -> None:
    path = write(home, token)
    with pytest.raises(SpecError, match=f"{path} is no token.*remove it"):
        token_for_this_run(own_session)


def test_garbage_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a b")
    with pytest.raises(SpecError, match="RAY_AUTH_TOKEN"):
        token_for_this_run(own_session=True)


def test_a_token_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "nowhere"))
    with pytest.raises(SpecError, match="RAY_AUTH_TOKEN_PATH: there is no file"):
        token_for_this_run(own_session=True)


def test_a_home_that_cannot_be_written_gets_a_token_for_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/proc")  # not even root can write there
    first, second = (token_for_this_run(own_session=True) for _ in range(2))
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first != second


def test_a_home_that_can_be_written_is_left_to_ray() -> None:
    assert token_for_this_run(own_session=True) == {}


def test_without_authentication_nothing_is_read(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    write(home, b"\x00")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token_for_this_run(own_session=True) == {}
