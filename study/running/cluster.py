"""A Ray session for a run: one of its own on this machine, or a cluster's."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import AuthenticationError

from analysis.environment import environment_defaults
from study.planning.plan import Slots, slots_of, usable_cpus
from study.running.ray_token import not_let_in, token_for_this_run
from study.spec.messages import SpecError
from study.spec.sections import StudySpec

CONNECT_SECONDS = 10.0
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1e9",
}
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the processes of a submitted job."""
_OF_JOBS = "working_dir_files"
"""Ray's folder for what was submitted with jobs, or fetched for them."""
_WORKERS = {"worker_process_setup_hook": "scorerates_main.pin"}
"""Ray puts the working directory first on the path of its workers, whatever lies there."""


@contextmanager
def ray_here(
    address: str | None, spec: StudySpec, share: Callable[[], float] = lambda: 1.0
) -> Iterator[Slots]:
    """A Ray session, and the slots it has for packs of `spec`. share: as of `slots_of`.

    Connects to `address` (or RAY_ADDRESS); without one, starts Ray for this run alone, or uses the
    session that the process already has. Raises SpecError where no pack fits, or Ray cannot start.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    resources = spec.resources
    if ray.is_initialized():
        with environment_defaults(_ENVIRONMENT), _quiet():
            yield slots_of(_nodes(), spec.device, spec.resources, growing=False, share=share)
        return
    with environment_defaults(_ENVIRONMENT | token_for_this_run(own_session=not address)), _quiet():
        # Sockets live in Ray's own directory, and their paths may have 107 characters at most.
        short = "/tmp" if os.path.isdir("/tmp") else None
        folder = tempfile.mkdtemp(prefix="sr-", dir=short)
        try:
            if address:
                _connect(address)
            else:
                if shutil.which("bash") is None:
                    raise SpecError(
                        "there is no bash on PATH, through which Ray starts its workers: add its "
                        "folder (often /bin) to PATH, or install it"
                    )
                workers = resources.workers or max(1, usable_cpus() // resources.cpus_per_pack)
                cpus = workers * resources.cpus_per_pack
                _start(cpus, 0 if spec.device == "cpu" else None, folder)
            yield slots_of(
                _nodes(), spec.device, spec.resources, growing=bool(address), share=share
            )
        finally:
            _leave_ray()
            shutil.rmtree(folder, ignore_errors=True)


def check_stays(folder: Path | None, study: str) -> None:
    """Raises SpecError for a folder that Ray removes with the job that it came with, and, in a
    submitted job, for the one that `study` has without --storage: it is where the job happens to
    run, on a node that goes with the cluster."""
    if folder is None:
        return
    submitted = _JOB in os.environ and folder == (Path("results") / study).absolute()
    if submitted or any(part == _OF_JOBS or part.startswith("_ray_pkg_") for part in folder.parts):
        raise SpecError(
            f"--storage: {folder} is in the folder of this job, which Ray deletes: name a directory"
            f" that stays and all nodes share, by its full path, or a URL such as s3://BUCKET/{study}"
        )


def resources_on(slots: Slots) -> Any:
    """What Tune shall ask Ray for, for packs on `slots`, whose configuration names their device."""
    request = {"cpu": slots.cpus, "gpu": slots.gpus}
    if slots.beside is None:
        return request
    # A pack without a GPU on a node with one could take the cores that its own packs wait for.
    nodes = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("GPU", 0)]
    elsewhere = [{"ray.io/node-id": f"!in({','.join(nodes)})"}] if nodes else None
    kinds = {
        slots.device: tune.PlacementGroupFactory([{"CPU": slots.cpus, "GPU": slots.gpus}]),
        slots.beside.device: tune.PlacementGroupFactory(
            [{"CPU": slots.beside.cpus}], bundle_label_selector=elsewhere
        ),
    }
    return lambda config: kinds[config["device"]]


def _leave_ray() -> None:
    """Ends the session. No collection of garbage meanwhile: one in another thread that meets a
    reference to Ray while it goes down makes Ray end the whole process."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        ray.shutdown()
    finally:
        if collecting:
            gc.enable()


def _connect(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    answers = False
    try:
        if host and port.isdigit():
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
            answers = True
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=dict(_WORKERS),
        )
    except AuthenticationError:
        raise SpecError(f"address: {not_let_in(address)}") from None
    except (OSError, RuntimeError, ValueError) as error:
        if answers and isinstance(error, ConnectionError):
            raise SpecError(f"address: {not_let_in(address)}") from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        raise SpecError(f"address: cannot reach a Ray cluster at {address!r}: {reason}") from None


def _start(cpus: int, gpus: int | None, folder: str) -> None:
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=gpus,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=dict(_WORKERS),
            _temp_dir=folder,
        )
    except Exception as error:  # Ray raises no other class where its own processes do not answer
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SpecError(
            f"Ray did not start on this machine: {reason.rstrip('.')}; where the machine is busy "
            "or short of memory, run the same command again later"
        ) from error


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Tune's log off the terminal: what it has to say, the tally and the store say."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
