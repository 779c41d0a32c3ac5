"""Time and memory of everything but training, as a study grows: spec, plan, store, ledger, table,
verdicts, report; and, for fewer trials, Ray Tune and the MLflow view.

    python benchmarks/orchestration.py --trials 12500 25000 50000 100000 --through-ray 5000

Each size runs in a process of its own, on synthetic trajectories (d = 2, a grid of N, m and eta,
the rest seeds) whose making is not timed. Seconds are those of the processor, so that what else
runs on the machine does not count; through Ray they are those of the clock. Exponents are fits of
trials^b; above 1.2 is quadratic in the making. Memory is the process's peak so far, so that it
never falls from stage to stage.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainers.trial import Trajectory, TrialConfig, recorded_steps

STUDY = """
name: synthetic
law: {kind: cube, dimension: 2}
seeds: SEEDS
base: {samples: 512, width: 2048, step_size: 1.0}
sweeps:
  - samples: [32, 64, 128, 256, 512, 1024, 2048, 4096]
    width: [64, 128, 256, 512, 1024, 2048, 4096, 8192]
    step_size: [0.5, 1.0]
audit: false
resources: {workers: WORKERS, memory_per_pack: 8}
"""
POINTS = 8 * 8 * 2
WORKERS = 100


def synthetic(
    configs: Sequence[TrialConfig],
    device: str = "auto",
    *,
    atoms: Mapping[str, Any] | None = None,
    threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[Trajectory]:
    """A trainer that makes up trajectories."""
    return [trajectory(config) for config in configs]


def trajectory(config: TrialConfig) -> Trajectory:
    """Lowest at effective time N^1/2, and there N^-1/2 + m^-1/2, give or take some per cent."""
    steps = recorded_steps(config.steps, config.recorded)
    noise = 1 + 0.1 * math.sin(12.9898 * config.seed + config.samples + 78.233 * config.width)
    least = noise * (config.samples**-0.5 + config.width**-0.5)
    best = config.samples**0.5
    error: list[float | None] = [
        least * (1 + 0.1 * math.log((config.step_size * step + 0.1) / best) ** 2) for step in steps
    ]
    values = {
        "seconds": 0.01,
        "operations": config.training_operations,
        "device": "cpu",
        "node": "here",
        "kernel_path": "fused",
    }
    names = ("score_error", "train_loss", "holdout_loss", "kernel_score_error", "coupling", "bias")
    return Trajectory(config, steps, values=values, series=dict.fromkeys(names, error))


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Stages:
    """Seconds of `clock` and peak memory by name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.found: dict[str, tuple[float, float]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Times what is inside."""
        started = self.clock()
        yield
        self.add(name, self.clock() - started)

    def add(self, name: str, seconds: float) -> None:
        """A stage that took so long."""
        self.found[name] = (seconds, peak_mib())


def measure(trials: int, analysed: bool) -> dict[str, tuple[float, float]]:
    """The stages of a study of about `trials` trials."""
    from analysis.data.schema import table_from
    from analysis.data.table import load_table
    from analysis.report.page import write_report
    from analysis.verdicts.evaluation import evaluate
    from study import StudySpec
    from study.planning.calibration import speeds_of
    from study.planning.plan import Slots, make_plan
    from study.storage.store import Store

    stages = Stages(time.process_time)
    text = STUDY.replace("SEEDS", str(round(trials / POINTS))).replace("WORKERS", str(WORKERS))
    with tempfile.TemporaryDirectory() as folder:
        with stages.of("spec"):
            spec = StudySpec.from_text(text)
            configs = spec.trials()
            trial_ids = [config.trial_id for config in configs]
        slots = Slots(WORKERS, "cpu")
        with stages.of("plan"):
            plan = make_plan(configs, slots, speeds_of(slots, calibrate=False), 8 * 2**30)
        store = Store(Path(folder) / "results")
        store.claim(spec.name, text, Path(folder))
        seconds = 0.0
        for pack in plan.packs:
            table = table_from(map(trajectory, pack.trials), spec.name)
            started = stages.clock()
            store.write_pack(table)
            seconds += stages.clock() - started
        stages.add("store", seconds)
        with stages.of("ledger"):
            ledger = store.ledger(repair=True)
        assert all(map(ledger.finished, trial_ids))
        with stages.of("compile"):
            place = store.compile(trial_ids, ledger)
        if analysed:
            with stages.of("load"):
                table = load_table(place)
            with stages.of("verdicts"):
                evaluation = evaluate(table)
            with stages.of("report"):
                write_report(Path(folder), evaluation, text)
    return {**stages.found, "packs": (float(len(plan.packs)), 0.0)}


def through_ray(trials: int) -> dict[str, tuple[float, float]]:
    """A run of about `trials` trials, without and with MLflow, and nothing to train but packs."""
    from rich.console import Console

    import analysis.report.page
    from study import StudySpec, run

    stages = Stages(time.perf_counter)
    analysis.report.page.write_report = lambda *_arguments, **_options: None  # type: ignore[assignment]
    text = STUDY.replace("SEEDS", str(max(2, round(trials / POINTS)))).replace("WORKERS", "2")
    console = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        spec = StudySpec.from_text(text)
        storage = Path(folder) / "results"
        with stages.of("Ray Tune"):
            run(spec, storage, None, trainer=synthetic, console=console)
        with stages.of("MLflow view"):
            run(spec, storage, f"sqlite:///{folder}/mlflow.db", trainer=synthetic, console=console)
    return stages.found


def fresh_process(*arguments: str) -> dict[str, tuple[float, float]]:
    """The stages, measured in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, tuple[float, float]] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    """Reads the arguments, runs each size, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[12500, 25000, 50000, 100000])
    parser.add_argument("--through-ray", type=int, default=5000, help="trials; 0: leave it out")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure-ray", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--no-analysis", action="store_true", help="stop after results.parquet")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, not options.no_analysis)))
        return
    if options.measure_ray:
        print(json.dumps(through_ray(options.measure_ray)))
        return
    from analysis.fits.power_law import fit_power_law

    further = ["--no-analysis"] if options.no_analysis else []
    runs = {n: fresh_process("--measure", str(n), *further) for n in options.trials}
    print(f"{'':12}" + "".join(f"{n:>20,}" for n in runs) + "  exponent of time")
    for name in next(iter(runs.values())):
        cells = [run[name] for run in runs.values()]
        if name == "packs":
            print(f"{name:12}" + "".join(f"{count:20,.0f}" for count, _ in cells))
            continue
        text = "".join(f"{seconds:9.2f} s {mib:5.0f} MiB" for seconds, mib in cells)
        growth = ""
        if len(runs) > 2:
            fit = fit_power_law([float(n) for n in runs], [seconds for seconds, _ in cells])
            growth = f"  {-fit.exponent:.2f} [{-fit.ci[1]:.2f}, {-fit.ci[0]:.2f}]"
        print(f"{name:12}{text}{growth}")
    if options.through_ray:
        for name, (seconds, mib) in fresh_process(
            "--measure-ray", str(options.through_ray)
        ).items():
            print(f"{name:12} {options.through_ray:,} trials: {seconds:.0f} s, {mib:.0f} MiB")


if __name__ == "__main__":
    main()
