"""The same 64-trial study twice: a plain Ray Tune script, and `scorerates run`.

    python benchmarks/study.py --out study.json

`plain_study` is what the documentation of Ray Tune leads to: one trial a configuration and seed,
autograd, SGD, metrics through `tune.report` and the stock MLflow callback, one thread a trial. Both
train the same networks from the same weights on the same data with as many workers, log to a sqlite
store, and must find the same errors. `scorerates` also stores its table and writes its report.

Start-up is what a study of one trial of one step takes: Ray, torch, compiled code, MLflow. It is
measured for both, and reported apart. The plain script ends with its results stored and logged;
`scorerates run` then judges the rates and draws its report, so its time is given to the same point
(results.parquet is there, and MLflow has everything) and to the end. Each runs in a fresh process
and an empty folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LAW = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"


def study_text(samples: list[int], widths: list[int], seeds: int, steps: int) -> str:
    """The study in YAML; no kernel, terms or audit, which the plain script does not have."""
    return (
        f"name: comparison\nlaw: {LAW}\nsteps: {steps}\nseeds: {seeds}\n"
        "base: {step_size: 1.0}\n"
        f"sweeps:\n  - {{samples: {samples}, width: {widths}}}\n"
        "kernel: false\naudit: false\nstopping: [oracle, holdout]\n"
    )


def plain_study(folder: Path, workers: int) -> None:
    """folder/study.yaml, one Ray Tune trial a network; its errors to folder/errors.json."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    from study.spec.sections import StudySpec

    trials = StudySpec.load(folder / "study.yaml").trials()

    def train(config: dict[str, Any]) -> None:
        import torch

        from trainers.laws import make_distribution
        from trainers.network.passes import initial_weights
        from trainers.problem.regression import draw_holdout_set, draw_training_set
        from trainers.problem.test_points import draw_test_set
        from trainers.trial import recorded_steps

        torch.set_num_threads(1)
        trial = next(
            t
            for t in trials
            if (t.samples, t.width, t.seed) == (config["samples"], config["width"], config["seed"])
        )
        law = make_distribution(trial.law, {})

        def tensor(values: Any) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.float32)

        data = draw_training_set(trial, law)
        test, holdout = draw_test_set(trial, law), draw_holdout_set(trial, law)
        z, x0, fstar = tensor(data.z), tensor(data.x0), tensor(test.fstar)
        z_test, z_holdout, x0_holdout = tensor(test.z), tensor(holdout.z), tensor(holdout.x0)
        first, second = initial_weights(trial)
        w, a = torch.nn.Parameter(tensor(first)), tensor(second)

        def network(points: torch.Tensor) -> torch.Tensor:
            return torch.relu(points @ w) @ a.T / trial.width**0.5

        optimiser = torch.optim.SGD([w], lr=trial.step_size)
        wanted = set(recorded_steps(trial.steps, trial.recorded))
        for step in range(trial.steps + 1):
            optimiser.zero_grad()
            loss = (network(z) - x0).square().sum(1).mean() / 2
            if step in wanted:
                with torch.no_grad():
                    error = (network(z_test) - fstar).square().sum(1).mean()
                    held_out = (network(z_holdout) - x0_holdout).square().sum(1).mean() / 2
                tune.report(
                    {
                        "step": step,
                        "score_error": float(error),
                        "train_loss": float(loss),
                        "holdout_loss": float(held_out),
                    }
                )
            loss.backward()
            optimiser.step()

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={
            "samples": tune.grid_search(sorted({t.samples for t in trials})),
            "width": tune.grid_search(sorted({t.width for t in trials})),
            "seed": tune.grid_search(sorted({t.seed for t in trials})),
        },
        run_config=tune.RunConfig(
            name="plain",
            storage_path=str(folder / "ray"),
            verbose=0,
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="plain"
                )
            ],
        ),
    ).fit()
    errors = {}
    for result in results:
        c = result.config
        errors[f"{c['samples']} {c['width']} {c['seed']}"] = result.metrics["score_error"]
    (folder / "errors.json").write_text(json.dumps(errors))
    ray.shutdown()


def our_errors(folder: Path) -> dict[str, float]:
    """Score error at the last step of each trial, from the table that `scorerates run` wrote."""
    from analysis.data.results import load_results

    table = load_results(folder / "results")
    last = table[table["step"] == table["step"].max()]
    return {
        f"{row.samples} {row.width} {row.seed}": float(row.score_error) for row in last.itertuples()
    }


def timed(how: str, text: str, workers: int) -> tuple[float, float, dict[str, float]]:
    """Wall time of a study in a fresh process and folder, until its results are stored and logged
    and until the command ends, and the errors that it found."""
    with tempfile.TemporaryDirectory(prefix="scorerates-benchmark-") as name:
        folder = Path(name)
        spec = folder / "study.yaml"
        spec.write_text(text)
        command = [sys.executable, __file__, "--plain", name, str(workers)]
        if how == "scorerates":
            command = [sys.executable, "-m", "study.cli", "run", str(spec), "--quiet"]
            command += ["--workers", str(workers), "--storage", str(folder / "results")]
            command += ["--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        started, clock = time.perf_counter(), time.time()
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        if how == "scorerates":
            # Compiled once MLflow has all trials.
            stored = (folder / "results" / "results.parquet").stat().st_mtime - clock
            return stored, seconds, our_errors(folder)
        return seconds, seconds, json.loads((folder / "errors.json").read_text())


def main() -> None:
    """Reads the arguments, runs both, prints the table and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/study.json"))
    parser.add_argument("--plain", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.plain:
        plain_study(Path(args.plain[0]), int(args.plain[1]))
        return

    trials = len(args.samples) * len(args.widths) * args.seeds
    text = study_text(args.samples, args.widths, args.seeds, args.steps)
    smallest = study_text(args.samples[:1], args.widths[:1], 1, 1)
    rows: dict[str, dict[str, float]] = {}
    errors = {}
    print(
        f"{trials} trials, {args.steps} steps, {args.workers} workers; seconds, and trials a minute"
    )
    print("            start-up   results   command   results/min  after start-up/min")
    for how in ("scorerates", "plain"):
        startup, _, _ = timed(how, smallest, args.workers)
        stored, command, errors[how] = timed(how, text, args.workers)
        row = rows[how] = {
            "startup": startup,
            "results": stored,
            "command": command,
            "per_minute": 60 * trials / stored,
            "per_minute_after_startup": 60 * trials / max(stored - startup, 1e-3),
            "commands_per_minute": 60 * trials / command,
        }
        print(
            f"{how:10s}{startup:10.1f}{stored:10.1f}{command:10.1f}{row['per_minute']:14.1f}"
            f"{row['per_minute_after_startup']:20.1f}",
            flush=True,
        )
    ours, plain = rows["scorerates"], rows["plain"]
    ratios = {
        name: ours[name] / plain[name]
        for name in ("per_minute_after_startup", "per_minute", "commands_per_minute")
    }
    difference = max(abs(mine / errors["plain"][k] - 1) for k, mine in errors["scorerates"].items())
    after, whole, with_report = ratios.values()
    print(
        f"ratio: {after:.1f} after start-up, {whole:.1f} with it, {with_report:.1f} with report\n"
        f"largest relative difference of the last errors: {difference:.1e}"
    )
    args.out.write_text(
        json.dumps({"rows": rows, "ratios": ratios, "difference": difference}, indent=1)
    )


if __name__ == "__main__":
    main()
