"""A worker's speeds on this machine, measured once and kept in the user's cache folder.

The measurement really trains small packs, with one worker's threads, in processes of their own
(the driver never loads torch), as many at once as there are workers: cores that share a cache or a
clock are slower together than alone. What was measured while the machine was busy with something
else serves until it is not, and is then measured anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from subprocess import PIPE, Popen, SubprocessError
from typing import Any

from analysis.data.files import write_whole
from scorerates_main import for_python
from study.planning.cost import DEFAULT_SPEEDS, Speeds
from study.planning.plan import Slots
from trainers.trial import NUMERICS_VERSION, GaussianMixture, TrialConfig, content_id

FORMAT = 5
"""Raise it when what is measured, or the training step's speed, changes."""

MEASURED = "measured on this machine"
MEASURED_BUSY = "measured on this machine while it was busy"
BUSY_LOAD = 0.5
"""Processes that want a core, as a share of the cores: beyond it the figures may be far too low."""

MEASURED_AT_ONCE = 8
TIMEOUT = 180.0


def speeds_of(
    slots: Slots, calibrate: bool | None, tell: Callable[[str], None] = lambda message: None
) -> Speeds:
    """The speeds of a worker of `slots` on this machine.

    calibrate: True measures, False never does, None measures where nothing is kept. Where it
    cannot be measured, the recorded defaults, and `tell` is told why.
    """
    share = slots.gpus if slots.device == "cuda" else slots.cpus
    default = DEFAULT_SPEEDS[slots.device].threaded(share)
    kept = None if calibrate else read(slots)
    if calibrate is False:
        return kept or default
    busy = _busy()
    if kept is not None and (busy or kept.source != MEASURED_BUSY):
        return kept
    tell("measuring how fast this machine trains, once: some seconds")
    try:
        measured = _measured(slots)
    except (OSError, SubprocessError, ValueError, IndexError, TypeError) as error:
        tell(f"the speed of this machine could not be measured, defaults are used: {error}")
        return default
    if busy:
        measured = replace(measured, source=MEASURED_BUSY)
    _write(slots, measured)
    return measured


def _busy() -> bool:
    """Whether something else runs on this machine now; False where the system does not say."""
    try:
        return os.getloadavg()[0] > BUSY_LOAD * (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows has no load average
        return False


def read(slots: Slots) -> Speeds | None:
    """The kept speeds of such a worker, None where there are none."""
    try:
        found = json.loads(_file(slots).read_text())
        return Speeds(**found)
    except (OSError, ValueError, TypeError):
        return None


def _write(slots: Slots, speeds: Speeds) -> None:
    with contextlib.suppress(OSError):  # no cache folder here: measured again next time
        write_whole(_file(slots), (json.dumps(speeds.to_dict()) + "\n").encode())


def _file(slots: Slots) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    what = [
        *(FORMAT, NUMERICS_VERSION, version("torch"), platform.node(), platform.machine()),
        *(
            os.cpu_count(),
            slots.device,
            slots.cpus,
            slots.gpus,
            min(slots.workers, MEASURED_AT_ONCE),
        ),
    ]
    return Path(cache) / "scorerates" / f"speeds-{content_id(what)}.json"


def _measured(slots: Slots) -> Speeds:
    count = min(slots.workers, MEASURED_AT_ONCE)
    command = [sys.executable, "-m", "study.planning.calibration", slots.device, str(slots.cpus)]
    environment = {**for_python(os.environ), "OMP_NUM_THREADS": str(slots.cpus)}
    running = [
        Popen(command, stdout=PIPE, stderr=PIPE, text=True, env=environment) for _ in range(count)
    ]
    figures: list[dict[str, float]] = []
    try:
        for process in running:
            out, err = process.communicate(timeout=TIMEOUT)
            if process.returncode:
                lines = err.strip().splitlines() or [f"exit code {process.returncode}"]
                raise ValueError(lines[-1])
            figures.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()
    middle = {name: statistics.median(f[name] for f in figures) for name in figures[0]}
    return Speeds(**middle, source=MEASURED)


# --- in a process of its own ----------------------------------------------------------------------


def measure(device: str, threads: int) -> dict[str, float]:
    """The speeds of this process, as `Speeds` names them."""
    started = time.perf_counter()
    from trainers import train_pack

    def seconds(count: int, **sizes: Any) -> float:
        dimension = sizes.pop("dimension", 2)
        law = GaussianMixture(dimension=dimension)
        fields = {"step_size": 0.5, "kernel": False, "recorded": 2, **sizes}
        trials = [TrialConfig(law=law, seed=seed, **fields) for seed in range(count)]
        return float(sum(t.values["seconds"] for t in train_pack(trials, device, threads=threads)))

    seconds(2, samples=64, width=64, steps=2)
    startup = time.perf_counter() - started

    few, many = ({"samples": 64, "width": 64, "steps": s} for s in (40, 240))
    step = max((seconds(8, **many) - seconds(8, **few)) / 200, 1e-6)
    record = max((seconds(8, **few, recorded=41) - seconds(8, **few)) / (39 * 8), 1e-7)
    return {
        "startup": startup,
        "step": step,
        "record": record,
        "fused": _rate(seconds, step, 6, dimension=2, samples=1024, width=1024),
        "matmul": _rate(seconds, step, 24, dimension=11, samples=512, width=1024),
        **_kernel_rates(device),
    }


def _rate(seconds: Callable[..., float], step: float, terms: int, **sizes: Any) -> float:
    """Operations a second of 8 trials of `sizes`; terms: k + d."""
    steps = 10
    while True:
        took = seconds(8, steps=steps, **sizes)
        if took > 0.4 or steps >= 10_000:
            break
        steps *= 4
    operations = 8.0 * 4 * float(sizes["samples"] * sizes["width"]) * terms * steps
    return operations / max(took - steps * step, took / 2)


def _kernel_rates(device: str) -> dict[str, float]:
    """Kernel entries, and float64 operations of a matrix product, a second."""
    import numpy as np
    import torch

    from trainers.kernel.product import KernelProduct

    n = 1024
    rows = torch.ones((1, n), dtype=torch.float64, device=device)
    kernel = KernelProduct(np.random.default_rng(0).standard_normal((n, 4)), device, store=False)
    matrix = torch.ones((n, n), dtype=torch.float64, device=device)

    def fastest(run: Callable[[], Any]) -> float:
        def once() -> float:
            started = time.perf_counter()
            float(run().sum())  # waits for the device
            return time.perf_counter() - started

        once()
        return min(once() for _ in range(3))

    return {
        "entries": n * (n + 512) / 2 / fastest(lambda: kernel(rows)),
        "products": 2.0 * n**3 / fastest(lambda: matrix @ matrix),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
