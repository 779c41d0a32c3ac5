"""A cheap stand-in for `train_pack` in searches, that workers can import.

Numbers follow from the configuration alone: the held-out loss is least at width 256, step size 1
and effective time 20; the score error is a tenth of it, and POISON in the environment replaces it.
A file `sleep` in the folder SEARCH_TRAINER says how many seconds a pack takes; each trial leaves a
file in `calls/` there. A step size above 3 diverges; `fail_width` names a width that raises.
"""

from __future__ import annotations

import math
import os
import random
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.trial import Trajectory, TrialConfig, TrialStatus, recorded_steps


def train(
    configs: Sequence[TrialConfig], device: str = "auto", *, until: int | None = None, **_: Any
) -> list[Trajectory]:
    folder = Path(os.environ["SEARCH_TRAINER"])
    fail = folder / "fail_width"
    if fail.exists() and any(c.width == int(fail.read_text()) for c in configs):
        raise ArithmeticError("planted")
    if (folder / "sleep").exists():
        time.sleep(float((folder / "sleep").read_text()))
    for config in configs:
        (folder / "calls" / f"{config.trial_id}.{until or 0}.{uuid.uuid4().hex}").touch()
    return [trajectory(config, until) for config in configs]


def trajectory(config: TrialConfig, until: int | None = None) -> Trajectory:
    """What `train` gives for a trial."""
    last = config.steps if until is None else until
    steps = [s for s in recorded_steps(config.steps, config.recorded) if s <= last]
    far = math.log2(config.width / 256) ** 2 + 2 * math.log2(config.step_size) ** 2
    holdout: list[float | None] = [
        1 + 0.01 * far + 0.05 * math.log((config.step_size * s + 0.1) / 20) ** 2 for s in steps
    ]
    error: list[float | None] = [0.1 * (v or 0.0) for v in holdout]
    poison = os.environ.get("POISON")
    if poison == "random":
        error = [random.random() for _ in steps]
    elif poison == "null":
        error = [None for _ in steps]
    elif poison == "inverted":
        error = [1 / (v or 1.0) for v in holdout]
    values = {
        "operations": config.training_operations * steps[-1] / config.steps,
        "seconds": 0.01, "device": "cpu", "node": "here", "largest_step_size": 4.0,
        "noise_variance": 0.2, "noise_source": "exact",
    }  # fmt: skip
    series = {"score_error": error, "holdout_loss": holdout, "train_loss": holdout}
    if config.step_size > 3:
        values["diverged_step"] = 1
        return Trajectory(config, steps, TrialStatus.DIVERGED, "diverged", values, series)
    status = TrialStatus.COMPLETED if steps[-1] == config.steps else TrialStatus.PRUNED
    return Trajectory(config, steps, status, values=values, series=series)
