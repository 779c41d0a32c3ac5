"""Files on a disk and on object storage: whole or not there, and errors that name the remedy."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest

from study.storage import files as module
from study.storage.files import Storage, StoreError


@pytest.fixture(params=["directory", "object storage"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "object storage":
        return Storage(f"{request.getfixturevalue('bucket')}/a/study")
    return Storage(tmp_path / "a" / "study")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made: none is waited for."""
    made = list[float]()
    monkeypatch.setattr("study.storage.files.time.sleep", made.append)
    return made


def test_files_come_back_and_are_listed_at_once(storage: Storage) -> None:
    assert storage.read("x/a.bin") is None
    assert storage.names("x") == []
    for index in range(3):
        storage.write(f"x/{index}.bin", bytes([index]) * 10)
        assert storage.names("x") == [f"{i}.bin" for i in range(index + 1)]
    storage.write("x/1.bin", b"new")
    assert storage.read("x/1.bin") == b"new"
    storage.move("x/1.bin", "x/1.bin.corrupt")
    assert storage.names("x") == ["0.bin", "1.bin.corrupt", "2.bin"]
    assert storage.read("x/1.bin") is None
    storage.write(".hidden/x", b"")
    assert storage.names() == ["x"]


def test_a_reader_sees_the_old_file_or_the_new_one(storage: Storage) -> None:
    contents = [bytes([i]) * 300_000 for i in range(8)]
    storage.write("x/file", contents[0])
    over = threading.Event()

    def write() -> None:
        for content in contents:
            storage.write("x/file", content)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not over.is_set():
        assert storage.read("x/file") in contents
        seen += 1
    writer.join()
    assert seen > 3
    assert storage.names("x") == ["file"]


def test_a_bucket_that_is_not_there(s3_server: str) -> None:
    storage = Storage("s3://nobody-made-this/study")
    assert storage.read("study.json") is None
    with pytest.raises(StoreError, match="create the bucket first"):
        storage.write("study.json", b"")


SCRIPT = """
import sys
from study.storage.files import Storage, StoreError
try:
    Storage(sys.argv[1]).write("x", b"")
except StoreError as error:
    sys.exit(f"told: {error}")
"""


def told(url: str, **environment: str) -> str:
    """The message of a process that writes to `url`, with these AWS settings and no others."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("sys.argv[1]", repr(url))],
        env={**kept, "AWS_EC2_METADATA_DISABLED": "true", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_missing_credentials_are_named_at_once(bucket: str, tmp_path: Path) -> None:
    message = told(bucket, AWS_ENDPOINT_URL=os.environ["AWS_ENDPOINT_URL"], HOME=str(tmp_path))
    assert message.startswith(f"told: cannot use {bucket}")
    assert "AWS_ACCESS_KEY_ID" in message
    assert "every node" in message


def test_an_address_where_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options = {"endpoint_url": f"http://127.0.0.1:{port}", "key": "k", "secret": "s"}
    fs = fsspec.filesystem("s3", config_kwargs={"retries": {"max_attempts": 0}}, **options)
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (fs, "bucket/x"))
    with pytest.raises(StoreError, match="check the address and the network"):
        Storage("s3://bucket/x").write("y", b"")
    assert pauses == list(module.RETRY_PAUSES)


def test_rights_that_are_lacking_are_named_and_not_asked_for_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    fs = fsspec.filesystem("s3")
    monkeypatch.setattr(fs, "pipe_file", forbidden)
    with pytest.raises(StoreError, match="Access Denied; its credentials must be allowed to list"):
        Storage(bucket).write("y", b"")
    assert pauses == []


@pytest.mark.parametrize("failures", [1, 3])
def test_a_failure_that_passes_is_tried_again(
    storage: Storage, failures: int, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    left = failures
    owner, name = (module, "write_whole") if storage.local else (storage.files()[0], "pipe_file")
    kind = getattr(owner, name)

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError(errno.EIO, "Input/output error")
        return kind(*arguments, **options)

    monkeypatch.setattr(owner, name, failing)
    storage.write("x", b"whole")
    assert storage.read("x") == b"whole"
    assert pauses == list(module.RETRY_PAUSES[:failures])


def test_a_file_that_does_not_fit_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    """A real limit on the size of files, in a process of its own."""
    storage = Storage(tmp_path)
    storage.write("x/file", b"old")
    code = (
        "import resource, sys; from study.storage.files import Storage, StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try: Storage(sys.argv[1]).write('x/file', bytes(5000))\n"
        "except StoreError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "what is stored is safe: make room there, then run the same command" in done.stdout
    assert storage.read("x/file") == b"old"
    assert os.listdir(tmp_path / "x") == ["file"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install gcsfs to access GCS")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(StoreError, match="pip install gcsfs"):
        Storage("gs://bucket/x").read("y")


def test_a_password_in_the_address_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage("sftp://me:pass@word@host/x?token=abc&x=1")
    assert storage.place == "sftp://me:***@host/x?token=***&x=1"

    def refuse(url: str) -> None:
        raise ValueError(f"no route to {url}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(StoreError, match=r"me:\*\*\*@host") as error:
        storage.read("y")
    assert "word" not in str(error.value)
    assert "abc" not in str(error.value)


def test_a_file_url_is_a_directory(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/x")
    assert storage.local == tmp_path / "x"
