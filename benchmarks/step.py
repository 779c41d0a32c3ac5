"""Speed of the training step against a float32 matrix product and against plain autograd.

    python benchmarks/step.py --out step.json        # every size and dimension
    python benchmarks/step.py --quick                # the four cases with a target

A step of B trials is 4 N m (k + d) operations a trial (docs/theory.md, section 3), timed inside the
trainer itself: from one of its ticks to the next. The matrix product is 2048 x 2048 x 2048. Plain
autograd is the same step as one writes it, of the whole pack as batched tensors (`autograd`, which
the targets are about), and of one trial after the other (`one by one`: less memory at a time, so
faster where the pack leaves the cache). 64 trials of 128 x 256 stay in it: 15 times the pack's rate
would be 1.4 times the matrix product's there, and is reached one by one alone. They take turns in
one process, --repeats times: a turn counts by its fastest call (other processes only ever slow one
down), and what is shown is the median over the turns, of the rates and of their ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainers.methods.full_batch import Descent, choose_passes
from trainers.pack import resolve_device
from trainers.protocol import Task
from trainers.trial import Cube, TrialConfig

SIZES = [
    (64, 128, 256),
    (32, 256, 512),
    (16, 512, 512),
    (8, 1024, 1024),
    (8, 2048, 2048),
    (1, 4096, 4096),
    (1, 4096, 16384),
]
"""Trials B, samples N, width m."""

DIMENSIONS = [1, 2, 4, 8, 23]

TARGETS: dict[tuple[int, int, int, int], dict[str, float]] = {
    (8, 2048, 2048, 2): {"of_product": 0.9, "of_autograd": 40.0},
    (64, 128, 256, 2): {"of_autograd": 15.0},
    (1, 4096, 4096, 2): {"of_autograd": 40.0},
    (8, 2048, 2048, 23): {"of_autograd": 3.0},
}
"""What a case should reach: times the matrix product's rate, times autograd's."""

PRODUCT = 2048


def wait(device: torch.device) -> None:
    """Returns when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def tasks_of(trials: int, samples: int, width: int, d: int) -> list[Task]:
    """Trials of that size on data drawn at random: the speed does not depend on them."""
    rng = np.random.default_rng(0)
    tasks = []
    for seed in range(trials):
        config = TrialConfig(
            law=Cube(dimension=d),
            samples=samples,
            width=width,
            step_size=0.01,
            seed=seed,
            kernel=False,
        )
        z = np.concatenate([rng.normal(size=(samples, d + 1)), np.ones((samples, 1))], axis=1)
        tasks.append(Task(config, z, rng.uniform(-1, 1, size=(samples, d)), z[:16]))
    return tasks


def step_seconds(tasks: list[Task], device: torch.device, steps: int) -> float:
    """Fastest step of all tasks, the first and the last left out."""
    ticks = []

    def tick() -> None:
        wait(device)
        ticks.append(time.perf_counter())

    for _ in Descent().train(tasks, [0, steps + 1], device, tick):
        pass
    return float(np.diff(ticks)[1:].min())


class Autograd:
    """The step as one writes it: [B, N, k] features, [B, m, k] weights, loss.backward()."""

    def __init__(self, tasks: list[Task], device: torch.device) -> None:
        problems = [task.problem() for task in tasks]

        def tensor(values: list[Any]) -> torch.Tensor:
            return torch.tensor(np.stack(values), dtype=torch.float32, device=device)

        self.z = tensor([p.z for p in problems])
        self.x0 = tensor([p.x0 for p in problems])
        self.a = tensor([p.a.T for p in problems])
        self.w = tensor([p.w.T for p in problems]).requires_grad_()
        self.step_size = problems[0].step_size

    def step(self) -> None:
        f = torch.relu(self.z @ self.w.mT) @ self.a / self.a.shape[1] ** 0.5
        # The sum over trials: each has the gradient of its own loss.
        loss = (f - self.x0).square().sum() / (2 * self.z.shape[1])
        loss.backward()
        with torch.no_grad():
            self.w -= self.step_size * self.w.grad
        self.w.grad = None

    def seconds(self, device: torch.device, steps: int) -> float:
        """Fastest of `steps` steps."""
        taken = []
        for _ in range(steps):
            started = time.perf_counter()
            self.step()
            wait(device)
            taken.append(time.perf_counter() - started)
        return min(taken)


def product_seconds(device: torch.device) -> float:
    """Fastest of three matrix products."""
    a = torch.full((PRODUCT, PRODUCT), 0.5, device=device)
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        a @ a
        wait(device)
        taken.append(time.perf_counter() - started)
    return min(taken)


def measure(
    size: tuple[int, int, int], d: int, device: torch.device, repeats: int
) -> dict[str, Any]:
    """One case: rates in GFLOP/s, each the median of the repeats, and the medians of the ratios."""
    trials, samples, width = size
    tasks = tasks_of(trials, samples, width, d)
    config = tasks[0].config
    operations = config.training_operations / config.steps
    packed, alone = Autograd(tasks, device), Autograd(tasks[:1], device)
    # About a quarter of a second of each at a laptop core's rate.
    steps = round(min(200, max(3, 1.5e10 / (operations * trials))))
    autograd_steps = round(min(50, max(2, 8e8 / operations)))
    packed_steps = max(2, autograd_steps // trials)
    product_seconds(device), step_seconds(tasks, device, 2)
    packed.seconds(device, 2), alone.seconds(device, 2)
    rates: dict[str, list[float]] = {"step": [], "product": [], "autograd": [], "one_by_one": []}
    for _ in range(repeats):
        rates["product"].append(2 * PRODUCT**3 / product_seconds(device) / 1e9)
        seconds = step_seconds(tasks, device, steps)
        rates["step"].append(trials * operations / seconds / 1e9)
        seconds = packed.seconds(device, packed_steps)
        rates["autograd"].append(trials * operations / seconds / 1e9)
        rates["one_by_one"].append(operations / alone.seconds(device, autograd_steps) / 1e9)

    def ratio(other: str) -> float:
        return median(a / b for a, b in zip(rates["step"], rates[other], strict=True))

    return {
        "trials": trials,
        "samples": samples,
        "width": width,
        "dimension": d,
        "path": choose_passes(config, device)[1],
        **{f"gflops_{name}": median(values) for name, values in rates.items()},
        "of_product": ratio("product"),
        "of_autograd": ratio("autograd"),
        "of_one_by_one": ratio("one_by_one"),
        "target": TARGETS.get((*size, d), {}),
    }


def verdict(row: dict[str, Any]) -> str:
    """Whether a case reaches its targets; nothing where it has none."""
    return ", ".join(
        f"{'reaches' if row[name] >= bar else 'MISSES'} {bar:g} {name.replace('_', ' ')}"
        for name, bar in row["target"].items()
    )


def main() -> None:
    """Reads the arguments, measures each case, prints the table and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the cases with a target")
    parser.add_argument("--dimensions", type=int, nargs="+", default=DIMENSIONS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="more pay on idle cores only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/step.json"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    cases = [(size, d) for size in SIZES for d in args.dimensions]
    if args.quick:
        cases = [(target[:3], target[3]) for target in TARGETS]

    rows = []
    print("                                    GFLOP/s                          times as fast as")
    print(
        "   B     N      m   d  path     step  product  autograd  one by one"
        "   product  autograd  one by one"
    )
    for size, d in cases:
        row = measure(size, d, device, args.repeats)
        rows.append(row)
        print(
            f"{size[0]:4d}{size[1]:6d}{size[2]:7d}{d:4d}  {row['path']:7s}"
            f"{row['gflops_step']:6.1f}{row['gflops_product']:9.1f}{row['gflops_autograd']:10.2f}"
            f"{row['gflops_one_by_one']:12.2f}{row['of_product']:10.2f}{row['of_autograd']:10.1f}"
            f"{row['of_one_by_one']:12.1f}  {verdict(row)}",
            flush=True,
        )
    args.out.write_text(
        json.dumps({"threads": args.threads, "device": str(device), "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
