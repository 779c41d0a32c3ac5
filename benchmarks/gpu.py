"""All that is measured on a GPU, in one command: a table, and the figures as JSON.

    python benchmarks/gpu.py --out gpu.json               # every stage, each under a minute or so
    python benchmarks/gpu.py --stage step tiles           # some of them
    python benchmarks/gpu.py --rehearse                   # tiny sizes on the CPU: does it run?

| stage       | what                                                                              |
|-------------|-----------------------------------------------------------------------------------|
| tests       | the tests marked `cuda`                                                           |
| accuracy    | float32 packs against float64 after 10 and 1,000 steps, and against the CPU's     |
| step        | rates of the step, of a float32 matrix product, and of plain autograd: eager,     |
|             | compiled, as a CUDA graph; shares of the card's counted float32 peak              |
| tiles       | the step with other tiles than `tile_for` chooses                                 |
| kernel      | one float64 product with K, not stored                                            |
| recording   | the share of records and evaluation in 1,000 steps at N = m = 512                 |
| memory      | torch's peak against the planner's model                                          |
| quickstart  | the training of examples/quickstart.yaml in this process, pack by pack            |
| platform    | `scorerates run examples/quickstart.yaml`, whole                                  |

Each stage is a process of its own and writes what it measured as it goes: one that fails or takes
too long loses no other. All but the last two need torch, triton, numpy, scipy, pytest and pydantic
alone; pydantic is pure Python but for pydantic_core, and both fit into a few MiB of wheels
(pydantic, pydantic_core, annotated_types, typing_inspection), which `pip install --no-index
--target FOLDER *.whl` and PYTHONPATH put in place on a machine without a network. `quickstart`
also needs pyyaml; `platform` the whole stack, and says what is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.step import Autograd, tasks_of, wait
from trainers.methods.full_batch import Descent, choose_passes
from trainers.pack import resolve_device, train_pack
from trainers.protocol import Task
from trainers.trial import GaussianMixture, TrialConfig

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]

SIZES = [
    (512, 128, 256),
    (64, 128, 256),
    (32, 256, 512),
    (16, 512, 512),
    (8, 1024, 1024),
    (8, 2048, 2048),
    (16, 4096, 4096),
    (1, 4096, 4096),
    (1, 16384, 16384),
]
"""Trials B, samples N, width m."""

DIMENSIONS = [2, 1, 8, 16, 23]
STAGE_SECONDS = 50.0
"""No case is begun after this; what is left is listed as not measured."""

STAGE_LIMIT = 180
"""Seconds after which a stage is ended: compiling takes part of a minute on a fresh machine."""

HOPPER_CLOCK = 1.98e9
LAW = GaussianMixture(dimension=2, components=8, std=0.1, seed=5)


def peak_of(device: torch.device) -> float:
    """Counted float32 operations a second: 128 lanes a multiprocessor, two operations each, at the
    boost clock of an SXM Hopper card; NaN for a CPU."""
    if device.type != "cuda":
        return float("nan")
    return torch.cuda.get_device_properties(device).multi_processor_count * 256 * HOPPER_CLOCK


def fastest(run: Callable[[], object], device: torch.device, least: float) -> float:
    """Seconds of one call: the fastest of three turns that take `least` seconds together."""
    run()
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    count = max(1, int(least / 3 / max(time.perf_counter() - started, 1e-6)))
    turns = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(count):
            run()
        wait(device)
        turns.append((time.perf_counter() - started) / count)
    return min(turns)


# --- stages: each yields rows, as soon as it has them ---------------------------------------------


def tests(device: torch.device, small: bool) -> Iterator[Row]:
    """The cuda tests; in a rehearsal, that they are found."""
    command = [sys.executable, "-m", "pytest", "tests/trainers_tests", "-m", "cuda", "-n", "0"]
    command += ["--collect-only"] if small else ["-x", "--tb=short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or [done.stderr[-300:]]
    if done.returncode:
        print(done.stdout[-6000:], file=sys.stderr)
    yield {"passed": done.returncode == 0, "summary": lines[-1]}


def accuracy(device: torch.device, small: bool) -> Iterator[Row]:
    """Relative differences of predictions, in the norm over points and outputs; the worst trial."""
    last = 20 if small else 1000
    cases = (
        [(2, 40, 64)] if small else [(1, 512, 512), (2, 512, 2048), (8, 512, 512), (16, 256, 512)]
    )
    for d, n, m in cases:
        fields = {"samples": n, "width": m, "step_size": 0.2, "kernel": False}
        tasks = [smooth_task(TrialConfig(law=cube(d), seed=s, **fields)) for s in range(3)]
        doubles = [Task(with_precision(t.config), t.z, t.x0, t.z_eval) for t in tasks]
        steps = [0, 10, last]
        ours = predictions(tasks, steps, device)
        exact = predictions(doubles, steps, device)
        on_cpu = predictions(tasks, steps, torch.device("cpu"))
        yield {
            "dimension": d,
            "samples": n,
            "width": m,
            "path": choose_passes(tasks[0].config, device)[1],
            "of_float64_after_10": gap(ours[1], exact[1]),
            "of_float64_at_end": gap(ours[2], exact[2]),
            "of_cpu_at_end": gap(ours[2], on_cpu[2]),
            "ok": gap(ours[1], exact[1]) < 1e-5 and gap(ours[2], exact[2]) < 1e-4,
        }


def cube(d: int) -> Any:
    """The uniform law on the cube."""
    from trainers.trial import Cube

    return Cube(dimension=d)


def with_precision(config: TrialConfig) -> TrialConfig:
    """The same trial in float64."""
    return config.model_copy(update={"precision": "float64"})


def smooth_task(config: TrialConfig) -> Task:
    """Noisy values of a smooth function at normal points."""
    rng = np.random.default_rng(config.seed)
    z = rng.normal(size=(config.samples + 100, config.features))
    z[:, -1] = 1
    x0 = np.tanh(z[: config.samples, : config.dimension]) + rng.normal(
        size=(config.samples, config.dimension)
    )
    return Task(config, z[: config.samples], x0, z[config.samples :])


def predictions(tasks: list[Task], steps: list[int], device: torch.device) -> list[Any]:
    """[B, d, n] at each of the steps, on the CPU."""
    records = Descent().train(tasks, steps, device, lambda: None)
    return [record.predictions.double().cpu() for record in records]


def gap(ours: Any, others: Any) -> float:
    """The largest relative difference of a trial. At tau = 0, where both are 0: 0."""
    size = others.flatten(1).norm(dim=1).clamp_min(1e-30)
    return float(((ours - others).flatten(1).norm(dim=1) / size).max())


def step(device: torch.device, small: bool) -> Iterator[Row]:
    """Rates in GFLOP/s of 4 N m (k + d) operations a trial."""
    sizes = [(3, 40, 64), (1, 64, 96)] if small else SIZES
    dimensions = [2, 16] if small else DIMENSIONS
    least, edge = (0.01, 128) if small else (0.15, 8192)
    a = torch.randn((edge, edge), device=device)
    product = 2 * edge**3 / fastest(lambda: a @ a, device, least) / 1e9
    for d in dimensions:
        for trials, samples, width in sizes:
            tasks = tasks_of(trials, samples, width, d)
            operations = trials * 4.0 * samples * width * (2 * d + 2)
            ours = operations / step_seconds(tasks, device, small) / 1e9
            row: Row = {
                "trials": trials,
                "samples": samples,
                "width": width,
                "dimension": d,
                "path": choose_passes(tasks[0].config, device)[1],
                "gflops": ours,
                "product_gflops": product,
                "of_peak": ours * 1e9 / peak_of(device),
                "of_product": ours / product,
            }
            # Autograd holds several N x m tensors a trial.
            if d == dimensions[0] and trials * samples * width * 24 < 2e10:
                for name, seconds in autograd_seconds(tasks, device, least):
                    row[f"of_{name}"] = ours / (operations / seconds / 1e9)
            yield row


def step_seconds(tasks: list[Task], device: torch.device, small: bool) -> float:
    """Seconds of a step: graphs are made and everything is compiled before the clock starts."""
    operations = sum(4.0 * len(t.z) * t.config.width * t.config.features for t in tasks)
    steps = 10 if small else int(min(2000, max(64, 3e12 / operations)))
    records = Descent().train(tasks, [0, 40, 40 + steps], device, lambda: None)
    next(records)
    next(records)
    wait(device)
    started = time.perf_counter()
    next(records)
    wait(device)
    return (time.perf_counter() - started) / steps


def autograd_seconds(
    tasks: list[Task], device: torch.device, least: float
) -> Iterator[tuple[str, float]]:
    """Seconds of the same step by plain autograd, in three ways; the last on a GPU alone."""
    plain = Autograd(tasks, device)
    yield "autograd", fastest(plain.step, device, least)
    loss = torch.compile(
        lambda w, z, a, x0: (
            (torch.relu(z @ w.mT) @ a / a.shape[1] ** 0.5 - x0).square().sum() / (2 * z.shape[1])
        )
    )

    def compiled() -> None:
        loss(plain.w, plain.z, plain.a, plain.x0).backward()
        with torch.no_grad():
            plain.w -= plain.step_size * plain.w.grad
        plain.w.grad = None

    yield "compiled_autograd", fastest(compiled, device, least)
    if device.type == "cuda":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                plain.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            plain.step()
        yield "graphed_autograd", fastest(graph.replay, device, least)


def tiles(device: torch.device, small: bool) -> Iterator[Row]:
    """The step's two passes with each tile, alone and launched one by one."""
    from trainers.network.gradient_descent import Batch
    from trainers.network.sign_groups import worthwhile
    from trainers.network.tiled import MULTIPLE, Tile, tile_for, tiled_passes

    cases = [(1, 40, 64, 2)] if small else [(16, 4096, 4096, 2), (512, 128, 256, 2)]
    cases += [] if small else [(16, 4096, 4096, 8), (16, 2048, 2048, 16)]
    for trials, n, m, d in cases:
        problems = [task.problem() for task in tasks_of(trials, n, m, d)]
        grouped = worthwhile([p.a for p in problems])
        b = Batch.pack(problems, torch.float32, device, grouped, MULTIPLE)
        operations = trials * 4.0 * n * m * (2 * d + 2)
        own = tile_for(d + 2, 1 if grouped else d)
        others = [Tile(r, p, w) for r in (4, 8, 16) for p in (2, 4, 8) for w in (2, 4, 8)]
        for tile in [
            own,
            *(tile for tile in others if tile != own and (d == 2 or tile.points < 8)),
        ]:
            if device.type == "cuda":
                passes = tiled_passes(True, d, grouped, tile)

                def both(passes: Any = passes, b: Any = b) -> object:
                    return passes.step(b.W, b.A, b.Z, b.Y, b.scale)

                seconds = fastest(both, device, 0.02)
                rate = operations / seconds / 1e9
            else:
                rate = float("nan")  # the kernels run on a GPU; their interpreter has no speed
            yield {
                "trials": trials,
                "samples": n,
                "width": m,
                "dimension": d,
                "tile": f"{tile.rows}x{tile.points}x{tile.warps}",
                "chosen": tile == own,
                "gflops": rate,
                "of_peak": rate * 1e9 / peak_of(device),
            }


def kernel(device: torch.device, small: bool) -> Iterator[Row]:
    """Ten label vectors times K, by tiles, in float64."""
    from trainers.kernel.product import KernelProduct

    for n in [256] if small else [8192, 32768, 131_072]:
        points = np.random.default_rng(0).standard_normal((n, 4))
        rows = torch.ones((10, n), dtype=torch.float64, device=device)
        made = KernelProduct(points, device, store=False)
        seconds = fastest(lambda made=made, rows=rows: made(rows), device, 0.01)
        yield {"samples": n, "labels": 10, "seconds": seconds, "entries_a_second": n * n / seconds}


def recording(device: torch.device, small: bool) -> Iterator[Row]:
    """Training time with 40 records and with 2: the share of the others."""
    for count in [2] if small else [1, 16, 64]:

        def seconds(recorded: int, count: int = count) -> float:
            n, steps = (32, 50) if small else (512, 1000)
            fields = {"samples": n, "width": n, "steps": steps, "recorded": recorded}
            trials = [
                TrialConfig(law=LAW, seed=s, step_size=1.0, kernel=False, **fields)
                for s in range(count)
            ]
            turns = [train_pack(trials, str(device)) for _ in range(3)]
            return min(sum(t.values["seconds"] for t in turn) for turn in turns)

        few, many = seconds(2), seconds(40)
        yield {"trials": count, "seconds": many, "share": (many - few) / many}


def memory(device: torch.device, small: bool) -> Iterator[Row]:
    """MiB of the largest allocation of a pack, and of the planner's model of it."""
    from study.planning.memory import COMPILER_BYTES, memory_of

    cases = [(2, 40, 64)] if small else [(512, 128, 256), (16, 2048, 2048), (1, 4096, 1_000_000)]
    for trials, n, m in cases:
        fields = {"samples": n, "width": m, "steps": 70, "kernel": False}
        asked = [TrialConfig(law=LAW, seed=s, step_size=1.0, **fields) for s in range(trials)]
        peak = float("nan")
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        train_pack(asked, str(device))
        if device.type == "cuda":
            peak = torch.cuda.max_memory_reserved() / 2**20
        model = (memory_of(asked) - COMPILER_BYTES) / 2**20
        yield {"trials": trials, "samples": n, "width": m, "peak_mib": peak, "model_mib": model}


def quickstart(device: torch.device, small: bool) -> Iterator[Row]:
    """All trials of the quickstart, kernel and all, in the planner's packs, one after another."""
    from study.planning.cost import DEFAULT_SPEEDS
    from study.planning.plan import Slots, make_plan
    from study.spec.sections import StudySpec

    text = (ROOT / "examples" / "quickstart.yaml").read_text()
    asked = StudySpec.from_text(text).trials()
    if small:
        sizes = {"samples": 32, "width": 32, "steps": 5, "recorded": 3, "test_points": 64}
        asked = [trial.model_copy(update=sizes) for trial in asked[:2]]
    packs = make_plan(asked, Slots(1, device.type), DEFAULT_SPEEDS[device.type]).packs
    started = time.perf_counter()
    for pack in packs:
        begun = time.perf_counter()
        made = train_pack(pack.trials, str(device))
        yield {
            "trials": len(made),
            "completed": sum(t.status == "completed" for t in made),
            "steps_seconds": sum(t.values["seconds"] for t in made),
            "seconds": time.perf_counter() - begun,
            "since_start": time.perf_counter() - started,
        }


TINY = """
name: tiny
law: {kind: cube, dimension: 2}
seeds: 2
steps: 5
base: {samples: 16, width: 16, step_size: 1.0}
audit: false
kernel: false
"""


def platform_run(device: torch.device, small: bool) -> Iterator[Row]:
    """The whole command, from start-up to the report."""
    wanted = ("ray", "optuna", "mlflow", "pyarrow", "pydantic", "typer", "rich", "matplotlib")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        yield {"seconds": float("nan"), "result": f"not run: {', '.join(missing)} missing"}
        return
    with tempfile.TemporaryDirectory() as folder:
        study = ROOT / "examples" / "quickstart.yaml"
        if small:
            study = Path(folder) / "tiny.yaml"
            study.write_text(TINY)
        command = [sys.executable, "-c", "from study.cli import main; main()", "run", str(study)]
        command += ["--device", device.type, "--storage", f"{folder}/results"]
        command += ["--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).strip().splitlines() or [""]
        if done.returncode:
            print("\n".join(lines[-30:]), file=sys.stderr)
        yield {
            "seconds": time.perf_counter() - started,
            "result": f"exit {done.returncode}: {lines[-1]}",
        }


STAGES: dict[str, Callable[[torch.device, bool], Iterator[Row]]] = {
    "tests": tests,
    "accuracy": accuracy,
    "step": step,
    "tiles": tiles,
    "kernel": kernel,
    "recording": recording,
    "memory": memory,
    "quickstart": quickstart,
    "platform": platform_run,
}


def measured(stage: str, device: torch.device, small: bool) -> Row:
    """The rows of a stage, printed as they come; stops beginning cases after STAGE_SECONDS."""
    started = time.perf_counter()
    rows: list[Row] = []
    complete = True
    for row in STAGES[stage](device, small):
        print("  " + "  ".join(f"{name} {shown(value)}" for name, value in row.items()), flush=True)
        rows.append(row)
        if time.perf_counter() - started > STAGE_SECONDS and not small:
            complete = False
            print("  out of time: what follows in this stage, if anything, was not measured")
            break
    return {"rows": rows, "complete": complete, "seconds": time.perf_counter() - started}


def shown(value: Any) -> str:
    """A value in a row."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on, and when."""
    about: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": "cpu",
    }
    if device.type == "cuda":
        import triton

        properties = torch.cuda.get_device_properties(device)
        about |= {
            "device": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "memory_mib": properties.total_memory / 2**20,
            "cuda": torch.version.cuda,
            "triton": triton.__version__,
        }
    return about


def in_a_process(stage: str, args: argparse.Namespace, file: Path) -> Row:
    """`measured` in a process of its own; why it failed, where it did."""
    command = [sys.executable, __file__, "--stage", stage, "--alone", str(file)]
    command += ["--device", args.device] + (["--rehearse"] if args.rehearse else [])
    try:
        limit = None if args.rehearse else STAGE_LIMIT
        done = subprocess.run(command, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {STAGE_LIMIT} s"}
    if done.returncode or not file.exists():
        return {"failed": f"exit code {done.returncode}"}
    figures: Row = json.loads(file.read_text())
    return figures


def main() -> None:
    """Reads the arguments, runs the stages one after the other and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--device", default="")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device = args.device or ("cpu" if args.rehearse else "cuda")
    device = resolve_device(args.device)
    if args.alone:
        figures = measured(args.stage[0], device, args.rehearse)
        args.alone.write_text(json.dumps(figures))
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = {"machine": machine(device), "rehearsal": args.rehearse, "stages": {}}
    print(json.dumps(whole["machine"]))
    with tempfile.TemporaryDirectory() as folder:
        for stage in args.stage:
            print(stage, flush=True)
            whole["stages"][stage] = in_a_process(stage, args, Path(folder) / f"{stage}.json")
            args.out.write_text(json.dumps(whole, indent=1))
    failed = [name for name, found in whole["stages"].items() if "failed" in found]
    for name in failed:
        print(f"{name}: {whole['stages'][name]['failed']}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
