"""How time and memory of training grow with N, with m, and with the number of trials.

    python benchmarks/scale.py --out scale.json

Each size is trained in a process of its own (d = 2, float32, the last level of each axis the
largest): first a few steps, so that compiling is not timed, then enough steps for a steady figure,
--repeats times. The exponents are fits of size^b to the levels from --from on: below it fixed
costs rule. A step is 4 N m (k + d) operations, so time should grow with b = 1 on every axis;
memory is N + m numbers a trial, so it should grow with b <= 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

AXES: dict[str, dict[str, list[int]]] = {
    "samples": {
        "samples": [1024, 2048, 4096, 8192, 16384, 32768, 65536],
        "width": [2048],
        "trials": [1],
    },
    "width": {
        "samples": [2048],
        "width": [1024, 2048, 4096, 8192, 16384, 32768, 65536],
        "trials": [1],
    },
    "trials": {"samples": [1024], "width": [1024], "trials": [1, 2, 4, 8, 16, 32, 64]},
}
TIMED_OPERATIONS = 1e11
"""Of one repeat: about two seconds of a core."""


def peak_mib() -> float:
    """Largest resident memory of this process so far. Not ru_maxrss: that of a new process starts
    at the size of the one that forked it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(samples: int, width: int, trials: int, repeats: int, threads: int) -> dict[str, Any]:
    """Seconds of one step of all trials, for each repeat, and MiB of peak memory that they add."""
    import time

    from trainers import train_pack
    from trainers.trial import GaussianMixture, TrialConfig

    law = GaussianMixture(dimension=2, components=8, std=0.1, seed=5)

    def pack(n: int, m: int, steps: int) -> list[TrialConfig]:
        return [
            TrialConfig(
                law=law,
                samples=n,
                width=m,
                step_size=1.0,
                seed=seed,
                steps=steps,
                recorded=2,
                test_points=1024,
                holdout_points=1024,
                kernel=False,
            )
            for seed in range(trials)
        ]

    train_pack(pack(64, 64, 2), threads=threads)
    before = peak_mib()
    operations = pack(samples, width, 1)[0].training_operations * trials
    steps = max(4, round(TIMED_OPERATIONS / operations))
    seconds = []
    for _ in range(repeats):
        # Drawing data and weights and the two evaluations are in both runs: their difference is
        # the steps alone.
        times = []
        for count in (steps // 4, steps + steps // 4):
            started = time.perf_counter()
            train_pack(pack(samples, width, count), threads=threads)
            times.append(time.perf_counter() - started)
        seconds.append((times[1] - times[0]) / steps)
    return {
        "samples": samples,
        "width": width,
        "trials": trials,
        "seconds": seconds,
        "mib": peak_mib() - before,
        "gflops": operations / sorted(seconds)[len(seconds) // 2] / 1e9,
    }


def fresh_process(*arguments: int) -> dict[str, Any]:
    """`measure` in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def growth(sizes: list[int], values: list[list[float]]) -> dict[str, float]:
    """Exponent b of size^b and its 95 % interval, from the repeats of each size."""
    from analysis.fits.power_law import fit_power_law

    x = [float(size) for size, repeats in zip(sizes, values, strict=True) for _ in repeats]
    fit = fit_power_law(x, [value for repeats in values for value in repeats])
    return {"exponent": -fit.exponent, "low": -fit.ci[1], "high": -fit.ci[0]}


def main() -> None:
    """Reads the arguments, runs each size, prints tables and exponents, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--levels", type=int, default=7, help="how many of the levels, from 1")
    parser.add_argument("--from", dest="first", type=int, default=3, help="first level fitted")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="more pay on idle cores only")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.json"))
    parser.add_argument("--measure", nargs=5, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return

    found: dict[str, Any] = {}
    print("       N        m  trials  ms a step  GFLOP/s  MiB added")
    for axis in args.axes:
        sizes = AXES[axis][axis][: args.levels]
        rows = []
        for size in sizes:
            at = {name: values[0] for name, values in AXES[axis].items()} | {axis: size}
            row = fresh_process(
                at["samples"], at["width"], at["trials"], args.repeats, args.threads
            )
            rows.append(row)
            middle = sorted(row["seconds"])[len(row["seconds"]) // 2]
            print(
                f"{row['samples']:8d} {row['width']:8d}{row['trials']:8d}{1e3 * middle:11.2f}"
                f"{row['gflops']:9.1f}{row['mib']:11.1f}",
                flush=True,
            )
        fitted = slice(args.first - 1, None)
        time_growth = growth(sizes[fitted], [row["seconds"] for row in rows[fitted]])
        memory_growth = growth(sizes[fitted], [[row["mib"]] for row in rows[fitted]])
        print(
            f"  time grows as {axis}^{time_growth['exponent']:.2f} "
            f"[{time_growth['low']:.2f}, {time_growth['high']:.2f}], memory as "
            f"{axis}^{memory_growth['exponent']:.2f}",
            flush=True,
        )
        found[axis] = {"rows": rows, "time": time_growth, "memory": memory_growth}
    args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
