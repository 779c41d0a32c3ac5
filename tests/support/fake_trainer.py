"""A cheap stand-in for `train_pack` that workers can import, and that leaves a trace of each call.

The folder in FAKE_TRAINER holds `control.json` (sleep: seconds a trial; raise_width: a trial of
that width raises; kill_width: its process dies; room, killed_above: more trials in a pack raise
MemoryError, or kill the process as the system does; full: the worker's disk is), `calls/`, one file
for every trial trained, holding the device asked for and FAKE_NODE, the node; `workers/`, one for
every process that trained, named by its id and holding FAKE_NODE; and `packs/`, one for every pack
that came to its end, holding its trials and how many packs were at work when it began.
A step size above 2 diverges. Numbers follow from the configuration alone: the score error is lowest
at effective time N^1/2, and there it is N^-1/2 and a little for each seed.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.trial import Trajectory, TrialConfig, TrialStatus, recorded_steps


def train(
    configs: Sequence[TrialConfig],
    device: str = "auto",
    *,
    atoms: Mapping[str, Any] | None = None,
    threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[Trajectory]:
    folder = Path(os.environ["FAKE_TRAINER"])
    control = json.loads((folder / "control.json").read_text())
    workers = folder / "workers"
    workers.mkdir(exist_ok=True)
    (workers / str(os.getpid())).write_text(os.environ.get("FAKE_NODE", ""))
    busy = folder / "busy"
    busy.mkdir(exist_ok=True)
    sign = busy / uuid.uuid4().hex
    sign.touch()
    together = len(list(busy.iterdir()))
    if len(configs) > control.get("killed_above", math.inf):
        os.kill(os.getpid(), signal.SIGKILL)
    if len(configs) > control.get("room", math.inf):
        raise MemoryError(f"no room for {len(configs)} trials")
    if control.get("full"):
        os.fsync = _disk_full
    for config in configs:
        if config.width == control.get("kill_width"):
            os._exit(1)
        if config.width == control.get("raise_width"):
            raise ArithmeticError(f"planted at width {config.width}")
    for config in configs:
        call = folder / "calls" / f"{config.trial_id}.{uuid.uuid4().hex}"
        call.write_text(f"{device} {os.environ.get('FAKE_NODE', '')}")
        time.sleep(control.get("sleep", 0))
        if on_progress is not None:
            on_progress(config.training_operations)
    packs = folder / "packs"
    packs.mkdir(exist_ok=True)
    pack = {"together": together, "trials": [c.model_dump(mode="json") for c in configs]}
    (packs / sign.name).write_text(json.dumps(pack))
    sign.unlink()
    return [trajectory(config) for config in configs]


def _disk_full(fd: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def trajectory(config: TrialConfig) -> Trajectory:
    """What `train` gives for a trial."""
    steps = recorded_steps(config.steps, config.recorded)
    best, least = config.samples**0.5, config.samples**-0.5 * (1 + 0.01 * (config.seed % 7))
    times = [config.step_size * step + 0.1 for step in steps]
    error: list[float | None] = [least * (1 + 0.1 * math.log(t / best) ** 2) for t in times]
    values = {
        "seconds": 0.01,
        "operations": config.training_operations,
        "device": "cpu",
        "node": "here",
        "kernel_path": "fused",
    }
    series = dict.fromkeys(("score_error", "train_loss", "holdout_loss"), error)
    if config.step_size > 2:
        values["diverged_step"] = 1
        return Trajectory(config, steps, TrialStatus.DIVERGED, "diverged", values, series)
    return Trajectory(config, steps, values=values, series=series)
