"""Speed, memory and accuracy of the kernel reference as N grows (d = 2, 1,000 steps).

    python benchmarks/kernel.py --samples 2048 4096 8192 --threads 1 --out kernel.json

Each N runs in a fresh process: the kernel reference of a Gaussian mixture in the plane, with f_H
at three norms (ten label vectors), read at 3,072 points and 40 recorded steps. Up to --check the
same numbers are computed again from the eigendecomposition, in another process. Compiling a tile,
once a machine, is timed apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STEPS, RECORDED, STEP_SIZE = 1000, 40, 1.0
NORMS = (1.0, 10.0, 100.0)


def peak_mib() -> float:
    """Largest resident memory of this process so far, libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(samples: int, threads: int, file: str, route: str) -> dict[str, Any]:
    """One N by one route: the figures; predictions go to `file`, or are compared with it."""
    import numpy as np
    import torch

    from trainers.kernel.product import KernelProduct
    from trainers.kernel.terms import KernelReference, RidgeFamily
    from trainers.laws import make_distribution
    from trainers.limits import CLEAN_POINTS
    from trainers.problem.regression import draw, stream
    from trainers.trial import Diffusion, GaussianMixture, recorded_steps

    torch.set_num_threads(threads)
    law = GaussianMixture(dimension=2, components=8, std=0.1, seed=5)
    distribution = make_distribution(law, {})

    def points(purpose: str, n: int) -> Any:
        return draw(distribution, Diffusion(), n, True, stream("benchmark", purpose, n))

    data, read, clean = points("data", samples), points("read", 3072), points("f_H", CLEAN_POINTS)
    started = time.perf_counter()
    KernelProduct(data.z[:2], store=False)(torch.ones((1, 2), dtype=torch.float64))
    compiled = time.perf_counter() - started
    before = peak_mib()

    started = time.perf_counter()
    family = RidgeFamily(clean.z, clean.fstar)
    elements = [family.element(norm) for norm in NORMS]
    fitted = time.perf_counter()
    reference = KernelReference.build(
        data.z,
        data.x0,
        data.fstar,
        read.z,
        elements,
        route=route,  # type: ignore[arg-type]
        horizon=STEPS * STEP_SIZE,
    )
    built = time.perf_counter()
    got = reference.at(recorded_steps(STEPS, RECORDED), STEP_SIZE)
    ended = time.perf_counter()

    named = {"kernel": got.kernel, "clean": got.clean, "surrogate": got.surrogate}
    difference = None
    if route == "eigen":
        with np.load(file) as other:
            difference = max(relative(other[name], value) for name, value in named.items())
    else:
        np.savez(file, **named)  # type: ignore[arg-type]
    descent = reference.descent
    return {
        "samples": samples,
        "route": descent.route,
        "threads": threads,
        "path": descent.path,
        "seconds": ended - started,
        "seconds_f_H": fitted - started,
        "seconds_descent": built - fitted,
        "seconds_read": ended - built,
        "seconds_compile": compiled,
        "peak_mib": peak_mib(),
        "peak_mib_before": before,
        "products": descent.products,
        "basis": len(descent.values),
        "error_estimate": descent.error,
        "shared_mib": sum(a.nbytes for a in reference.to_arrays().values()) / 2**20,
        "difference": difference,
    }


def relative(ours: Any, exact: Any) -> float:
    """The largest relative difference at a recorded step, in the norm over points and outputs."""
    import numpy as np

    size = np.linalg.norm(exact, axis=(-2, -1))
    gap = np.linalg.norm(ours - exact, axis=(-2, -1))
    return float(np.max(gap[size > 0] / size[size > 0]))


def fresh_process(samples: int, threads: int, file: str, route: str) -> dict[str, Any]:
    """`measure` in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--measure", str(samples), str(threads), file, route]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    """Reads the arguments, runs each N, prints the table and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[2048, 4096, 8192, 16384, 32768])
    parser.add_argument("--threads", type=int, default=1, help="more pay on idle cores only")
    parser.add_argument("--check", type=int, default=8192, help="largest N compared with eigh")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kernel.json"))
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.measure:
        samples, threads, file, route = args.measure
        print(json.dumps(measure(int(samples), int(threads), file, route)))
        return

    scratch = args.out.with_suffix(".npz")
    rows = []
    print("       N  route    seconds  peak MiB  products  basis  shared MiB  difference")
    for samples in args.samples:
        routes = ["lanczos", "eigen"] if samples <= args.check else ["lanczos"]
        for route in routes:
            row = fresh_process(samples, args.threads, str(scratch), route)
            rows.append(row)
            gap = "" if row["difference"] is None else f"{row['difference']:.1e}"
            print(
                f"{samples:8d}  {route:8s}{row['seconds']:8.2f}{row['peak_mib']:10.0f}"
                f"{row['products']:10d}{row['basis']:7d}{row['shared_mib']:12.1f}  {gap:>10s}",
                flush=True,
            )
    scratch.unlink(missing_ok=True)
    args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
