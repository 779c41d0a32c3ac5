"""What Ray needs and this machine may lack is said before Ray is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.exceptions import AuthenticationError

from study import StudySpec
from study.running.cluster import check_stays, ray_here
from study.spec.messages import SpecError

# A session that runs in this process would be taken.
pytestmark = pytest.mark.usefixtures("no_ray")

STUDY = """
name: small
law: {kind: cube, dimension: 2}
base: {samples: 64, width: 64, step_size: 1.0}
"""


@pytest.mark.slow
def test_without_bash_ray_would_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    session = ray_here(None, StudySpec.from_text(STUDY))
    with pytest.raises(SpecError, match="there is no bash on PATH"), session:
        pass


def test_a_session_that_does_not_start_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is too busy: Ray raises a bare Exception then."""
    folders: list[Path] = []

    def started(**given: object) -> None:
        folders.append(Path(str(given["_temp_dir"])))
        raise Exception("The current node timed out during startup.\nMore of it.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("ray.init", started)
    session = ray_here(None, StudySpec.from_text(STUDY))
    told = "Ray did not start on this machine: The current node timed out during startup; where"
    with pytest.raises(SpecError, match=told), session:
        pass
    assert len(folders) == 1
    assert not folders[0].exists()


@pytest.fixture
def head() -> Iterator[str]:
    """The address of what answers as a head of a cluster does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("mode", "error", "lacks"),
    [
        (None, ConnectionError("Failed to connect to Ray cluster"), "is not shown to it"),
        ("token", ConnectionError("Failed to connect"), "is not the one that this driver shows"),
        ("token", AuthenticationError("no token was found"), "its token is not"),
    ],
)
def test_a_driver_without_the_clusters_token_is_told_what_to_do(
    mode: str | None,
    error: Exception,
    lacks: str,
    head: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Ray 2.60 raises them, from 2.61 on for every cluster."""

    def refused(**_: object) -> None:
        raise error

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.setattr("ray.init", refused)
    session = ray_here(head, StudySpec.from_text(STUDY))
    with pytest.raises(SpecError, match="`ray get-auth-token` on its head") as told, session:
        pass
    assert lacks in str(told.value)
    assert "into ~/.ray/auth_token, and set RAY_AUTH_MODE=token" in str(told.value)


def test_a_job_without_a_storage_that_stays_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray says in a job's environment that it is one."""
    monkeypatch.chdir(tmp_path)
    here, elsewhere = tmp_path / "results" / "small", tmp_path / "shared"
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    check_stays(here, "small")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    check_stays(elsewhere, "small")
    check_stays(None, "small")
    packages = Path("/tmp/ray/session/runtime_resources/working_dir_files")
    for folder in (here, packages / "_ray_pkg_0123" / "out", packages / "s3_bucket_zip" / "out"):
        with pytest.raises(SpecError, match="which Ray deletes: name a directory that stays") as e:
            check_stays(folder, "small")
        assert e.value.exit_code == 2
        assert str(folder) in str(e.value)
