"""Speed of trials of infinite width, a data set at a time, against the route beside networks.

    python benchmarks/limit.py --samples 64 512 4096 --out limit.json

One thread, one process: kernel descent at 40 recorded steps, 2,048 test points and 1,024 held-out
pairs of a Gaussian mixture in the plane. `beside` is what a network's trial pays for its kernel's
columns (up to eta tau = 1,000), `limit` what a trial of infinite width takes (up to 10,000). The
never-stopped limit, N^3/3 operations in both, is in the figures and given apart. CPU seconds, the
least of several runs: other processes on the machine still slow a core down, so compare ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RECORDED, BESIDE, LIMIT = 40, 1000, 10_000


def least(run: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of the fastest of `repeats` runs."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


def measure(samples: int, beside: bool) -> dict[str, Any]:
    """The figures of one N. beside: whether the other route is timed too, and compared with."""
    import numpy as np

    from trainers import TrialConfig
    from trainers.kernel.limit import DataSet, Reading, limit_columns
    from trainers.kernel.reference import interpolation_error, kernel_columns
    from trainers.kernel.terms import KernelReference
    from trainers.laws import make_distribution
    from trainers.problem.evaluation import EvaluationSet
    from trainers.problem.regression import draw_training_set
    from trainers.trial import GaussianMixture, recorded_steps

    law = GaussianMixture(dimension=2, components=8, std=0.1, seed=5)
    config = TrialConfig(law=law, samples=samples, width=2, step_size=1.0)
    distribution = make_distribution(law, {})
    evaluation = EvaluationSet.draw(config, distribution)
    count = max(1, min(64, 4096 // samples))
    repeats = 5 if samples <= 2048 else 2 if samples <= 8192 else 1
    data = [draw_training_set(config.changed(seed=s), distribution) for s in range(count)]

    def limit(steps: int) -> list[Any]:
        reading = Reading(1.0, recorded_steps(steps, RECORDED))
        return [own for (own,) in limit_columns([DataSet(d, [reading]) for d in data], evaluation)]

    def other() -> Any:
        first, steps = data[0], recorded_steps(BESIDE, RECORDED)
        reference = KernelReference.build(
            first.z, first.x0, first.fstar, evaluation.z, horizon=float(BESIDE)
        )
        never_stopped = interpolation_error(first, evaluation)
        return kernel_columns(config, reference, evaluation, steps, never_stopped)

    if samples <= 8192:
        limit(10)  # compiles
    row: dict[str, Any] = {"samples": samples, "data_sets": count}
    row["limit"] = least(lambda: limit(LIMIT), repeats) / count
    if beside:
        other()
        row["beside"] = least(other, repeats)
        row["ratio"] = row["beside"] / row["limit"]
        row["never_stopped"] = least(lambda: interpolation_error(data[0], evaluation), repeats)
        ours, theirs = limit(BESIDE)[0].series, other().series
        row["difference"] = max(
            float(np.max(np.abs(ours[name][1:] / column[1:] - 1)))
            for name, column in theirs.items()
            if name != "kernel_complexity"
        )
    return row


def main() -> None:
    """Reads the arguments, runs each N, prints the table and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 4096])
    parser.add_argument("--beside", type=int, default=8192, help="largest N of the other route")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/limit.json"))
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows = []
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; milliseconds a data set")
    print("       N     limit    beside  ratio  never-stopped  difference")
    for samples in args.samples:
        row = measure(samples, samples <= args.beside)
        rows.append(row)
        text = f"{samples:8d}{1e3 * row['limit']:10.1f}"
        if "beside" in row:
            text += f"{1e3 * row['beside']:10.1f}{row['ratio']:7.1f}"
            text += f"{1e3 * row['never_stopped']:15.1f}{row['difference']:12.1e}"
        print(text, flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
