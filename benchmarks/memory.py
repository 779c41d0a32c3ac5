"""Peak memory of training one very wide network: m = 1,000,000 neurons on N = 4,096 samples.

    python benchmarks/memory.py --out memory.json

Training holds numbers for N and for m, never for N x m (which is 15 GiB here in float32). Each size
is trained for a few steps through `train_pack` in a fresh process, whose peak is what the kernel
calls VmHWM: all of it, Python, torch and the compiler included. `predicted` is what the planner
believes of the same trial (study/planning/memory.py), without Python and torch. The last size has a
target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SAMPLES = 4096
WIDTHS = [1_000, 10_000, 100_000, 1_000_000]
TARGET_GIB = 2.0
STEPS = 3


def peak_mib() -> float:
    """Largest resident memory of this process so far. Not ru_maxrss: that of a new process starts
    at the size of the one that forked it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(samples: int, width: int, dimension: int) -> dict[str, Any]:
    """Trains one trial of that size in this process."""
    import torch

    from study.planning.memory import memory_of
    from trainers import train_pack
    from trainers.trial import GaussianMixture, TrialConfig

    torch.zeros(1)
    before = peak_mib()
    trial = TrialConfig(
        law=GaussianMixture(dimension=dimension, components=8, std=0.1, seed=5),
        samples=samples,
        width=width,
        step_size=1.0,
        steps=STEPS,
        recorded=2,
        kernel=False,
    )
    (trained,) = train_pack([trial], threads=1)
    return {
        "samples": samples,
        "width": width,
        "dimension": dimension,
        "path": trained.values["kernel_path"],
        "status": trained.status.value,
        "peak_mib": peak_mib(),
        "imported_mib": before,
        "predicted_mib": memory_of([trial]) / 2**20,
        "seconds": trained.values["seconds"],
    }


def fresh_process(samples: int, width: int, dimension: int) -> dict[str, Any]:
    """`measure` in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--measure", *map(str, (samples, width, dimension))]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    """Reads the arguments, trains each width, prints the table and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2])
    parser.add_argument("--quick", action="store_true", help="only the largest width")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory.json"))
    parser.add_argument("--measure", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return

    rows = []
    print("     N         m   d  path    peak MiB  added  predicted  float32 N x m would be")
    for dimension in args.dimensions:
        for width in args.widths[-1:] if args.quick else args.widths:
            row = fresh_process(args.samples, width, dimension)
            target = (args.samples, width) == (SAMPLES, WIDTHS[-1])
            reached = row["peak_mib"] < TARGET_GIB * 1024
            verdict = f"{'under' if reached else 'OVER'} {TARGET_GIB:g} GiB" if target else ""
            rows.append({**row, "target_gib": TARGET_GIB if target else None})
            print(
                f"{args.samples:6d}{width:10d}{dimension:4d}  {row['path']:8s}"
                f"{row['peak_mib']:8.0f}{row['peak_mib'] - row['imported_mib']:7.0f}"
                f"{row['predicted_mib']:11.0f}{args.samples * width * 4 / 2**20:24.0f}  {verdict}",
                flush=True,
            )
    args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
