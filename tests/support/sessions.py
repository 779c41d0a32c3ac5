"""One local Ray session a test process, for the tests of what workers do; those of how Ray starts
begin their own, without it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import ray

from trainers.trial import TrialConfig

SUPPORT = Path(__file__).parent
REPOSITORY = SUPPORT.parents[1]


class Workers:
    """The session's two workers, and the folder into which the stand-in trainers look: what a test
    sets of them, and what it sees of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: Mapping[str, str] = {
            "FAKE_TRAINER": str(folder),
            "SEARCH_TRAINER": str(folder),
            "ROWS_EDITED": str(folder / "order"),
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{SUPPORT}",
            "TORCH_COMPILE_DISABLE": "1",  # compiling takes longer than all the rest
        }
        self.reset()

    def start(self) -> None:
        """Starts Ray, if it does not run, with two cores and no GPU."""
        if ray.is_initialized():
            return
        with pytest.MonkeyPatch.context() as patch:
            # Ray's processes have these variables from now on; this one only meanwhile.
            for name, value in self.environment.items():
                patch.setenv(name, value)
            ray.init(
                address="local",
                num_cpus=2,
                num_gpus=0,
                include_dashboard=False,
                logging_level="ERROR",
                log_to_driver=False,
            )

    def driver_environment(self) -> dict[str, str]:
        """Of a process that is to train in this session."""
        address = ray.get_runtime_context().gcs_address
        return {**os.environ, **self.environment, "RAY_ADDRESS": address}

    def wait_until_gone(self) -> None:
        """Waits for the end of all processes that trained with the fake trainer."""
        deadline = time.monotonic() + 60
        for file in (self.folder / "workers").iterdir():
            while Path("/proc", file.name).exists():
                assert time.monotonic() < deadline, "a worker outlives its driver"
                time.sleep(0.1)

    def reset(self) -> None:
        """The folder is as if nothing had been trained, nor anything asked for."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("calls", "packs", "busy", "workers"):
            (self.folder / name).mkdir(parents=True)
        self.control()

    def control(self, **settings: Any) -> None:
        """Sets what the fake trainer does (see there)."""
        (self.folder / "control.json").write_text(json.dumps(settings))

    def calls(self) -> Counter[str]:
        """How often each trial was trained since the last look."""
        files = list((self.folder / "calls").iterdir())
        for file in files:
            file.unlink()
        return Counter(file.name.split(".")[0] for file in files)

    def packs(self) -> list[tuple[int, list[TrialConfig]]]:
        """Of every pack trained: how many were at work when it began, with itself, and its
        trials."""
        plain = [json.loads(file.read_text()) for file in (self.folder / "packs").iterdir()]
        return [
            (pack["together"], [TrialConfig.model_validate(trial) for trial in pack["trials"]])
            for pack in plain
        ]
