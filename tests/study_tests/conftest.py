"""What tests share: an S3 server, MLflow's tables, a Ray session."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from sessions import Workers


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of an S3 server on the loopback; AWS settings of the environment lead to it alone."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> str:
    """s3:// URL of a new bucket."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating the tables takes seconds: once is enough."""
    from mlflow import MlflowClient

    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{database}")
    return database


@pytest.fixture
def uri(tmp_path: Path, _empty_database: Path) -> str:
    """Of an MLflow database that holds nothing, mlflow.db in the test's folder."""
    shutil.copy(_empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="session")
def _ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    import ray
    from sessions import Workers

    yield Workers(tmp_path_factory.mktemp("workers") / "folder")
    ray.shutdown()


@pytest.fixture(scope="module")
def ray_session(_ray_session: Workers) -> Workers:
    """The Ray session of this process, which is started by the first file that asks for it."""
    _ray_session.start()
    return _ray_session


@pytest.fixture
def workers(ray_session: Workers) -> Workers:
    """The same, and nothing was asked of its workers before."""
    ray_session.reset()
    return ray_session


@pytest.fixture(scope="module")
def no_ray() -> None:
    """This process has no Ray session: what is run starts its own."""
    import ray

    ray.shutdown()


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the report, which takes longer than all the rest."""
    monkeypatch.setattr("analysis.report.page.write_report", lambda *_args, **_options: None)
