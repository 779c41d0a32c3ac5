"""The command line. Every command answers wrong input with one message and exit code 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.console import Console
from rich.table import Table

from study.commands import fit as fit_command
from study.running.interruption import Interrupted, interruptible
from study.running.progress import duration_text, rate_text
from study.spec.messages import SpecError
from study.spec.sections import StudySpec
from trainers.errors import UserError

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"

app = typer.Typer(
    name="scorerates",
    help="Measures how fast gradient descent learns a score, and says whether theory agrees.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study to work on.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="DIR_OR_STUDY",
        help="A results directory or URL, a study's YAML file, or the name of a study in ./results",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(help="Results directory or URL (s3://...); by default ./results/<study>."),
]
TrackingUri = Annotated[
    str, typer.Option("--tracking-uri", help="MLflow: a database or the URL of a server.")
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or mixed; by default what the study says.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Packs trained at once; by default as many as fit.")
]


@app.command()
def plan(
    study: StudyFile,
    storage: Storage = None,
    device: Device = None,
    workers: Workers = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Measure this machine's speed anew, or not at all; by default once a machine.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what a study costs: trials, packs, arithmetic, memory, time. Trains nothing of it."""
    from study.planning.calibration import speeds_of
    from study.planning.cost import DEFAULT_SPEEDS
    from study.planning.plan import local_slots
    from study.planning.stability import stability_warnings
    from study.running.conclude import trials_of
    from study.running.session import plan_on
    from study.storage.store import Store

    spec = _overridden(StudySpec.load(study), device, workers)
    store = Store(storage or Path("results") / spec.name)
    if spec.design is None:
        spec.trials()  # says so where there are none to plan
    store.check_owner(spec.name)
    ledger = store.ledger()
    trials = trials_of(store, spec, ledger)
    missing = [trial for trial in trials if not ledger.finished(trial.trial_id)]
    resources = spec.resources
    slots = local_slots(
        spec.device, resources.cpus_per_pack, resources.gpus_per_pack, resources.workers
    )
    speeds = speeds_of(slots, calibrate, lambda message: _warn([message], "")) if missing else None
    found = plan_on(slots, spec, missing, trials, ledger, speeds or DEFAULT_SPEEDS[slots.device])
    table = Table(show_header=False, box=None, pad_edge=False)
    seeds = "seeds as the design asks, so far" if spec.design else f"{len(spec.seeds)} seeds"
    rows = [
        ("study", spec.name),
        ("trials", f"{len(trials):,} ({len(trials) - len(missing):,} done)"),
        ("points", f"{len({trial.point_id for trial in trials}):,} of {seeds}"),
        ("to train", f"{len(missing):,} trials in {len(found.packs):,} packs"),
        ("arithmetic", f"{found.operations:.3g} floating-point operations"),
        ("memory", f"{found.memory / 2**20:,.0f} MiB at most, {slots.workers} packs at once"),
        ("time", f"about {duration_text(found.seconds)} on {slots.workers} {slots.device} workers"),
        ("rate", f"{rate_text(found.rate)} a worker ({found.speeds.source})"),
        ("results", store.place),
    ]
    for row in rows:
        table.add_row(*row)
    Console().print(table, highlight=False, soft_wrap=True)
    _warn(stability_warnings(trials))


@app.command()
def run(
    study: StudyFile,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; by default RAY_ADDRESS, else this machine.")
    ] = None,
    storage: Storage = None,
    tracking_uri: TrackingUri = DEFAULT_TRACKING_URI,
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Leave MLflow out.")] = False,
    device: Device = None,
    workers: Workers = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")
    ] = False,
) -> None:
    """Train what is missing of a study, then print verdicts and write the report.

    Interrupt it at any time: the same command continues. Exit code 3: some trials failed.
    """
    from study.planning.stability import stability_warnings
    from study.running.runner import run as run_study

    spec = _overridden(StudySpec.load(study), device, workers)
    _warn(stability_warnings(spec.points() if spec.design else spec.trials()))
    result = run_study(
        spec,
        storage,
        None if no_tracking else tracking_uri,
        address,
        console=_console(quiet),
    )
    raise typer.Exit(result.exit_code)


@app.command()
def search(
    study: StudyFile,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; by default RAY_ADDRESS, else this machine.")
    ] = None,
    storage: Storage = None,
    tracking_uri: TrackingUri = DEFAULT_TRACKING_URI,
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Leave MLflow out.")] = False,
    device: Device = None,
    workers: Workers = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")
    ] = False,
) -> None:
    """Tune: search over width, step size, network and trainer, and compare with theory's choice.

    Interrupt it at any time: the same command continues. Exit code 3: some evaluations failed.
    """
    from study.commands.search import search as run_search

    spec = _overridden(StudySpec.load(study), device, workers)
    result = run_search(
        spec, storage, None if no_tracking else tracking_uri, address, console=_console(quiet)
    )
    raise typer.Exit(result.exit_code)


@app.command()
def analyze(
    source: Source,
    storage: Storage = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdicts as JSON and nothing else.")
    ] = False,
) -> None:
    """Judge the results of a study: verdicts.json, report.html and figures/. Trains nothing."""
    from study.running.conclude import analyze_store, print_verdicts

    store, spec = _located(source, storage)
    conclusion = analyze_store(store, spec)
    if as_json:
        described = [verdict.to_dict() for verdict in conclusion.verdicts]
        print(json.dumps(described, indent=2, allow_nan=False))
        return
    console = _console()
    print_verdicts(console, conclusion.verdicts)
    console.print(f"report: {store.place}/report.html", highlight=False, soft_wrap=True)


@app.command()
def status(source: Source, storage: Storage = None) -> None:
    """Say how many trials of a study are done, failed, diverged and missing."""
    from study.running.conclude import known_trials, stored_spec

    store, spec = _located(source, storage)
    spec = spec or stored_spec(store)
    store.check_owner(spec.name)
    trial_ids = known_trials(store, spec)
    ledger = store.ledger()
    counts = ledger.counts(trial_ids)
    others = len(ledger.entries.keys() - set(trial_ids))
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, count in [("trials", len(trial_ids)), *counts.items()]:
        table.add_row(name, f"{count:,}")
    if others:
        table.add_row("stored, but not of this study file", f"{others:,}")
    console = Console()
    console.print(f"{spec.name} in {store.place}", highlight=False, soft_wrap=True)
    console.print(table, highlight=False)


@app.command()
def sync(
    source: Source, storage: Storage = None, tracking_uri: TrackingUri = DEFAULT_TRACKING_URI
) -> None:
    """Bring MLflow up to date with the stored results of a study."""
    from analysis.data.mlflow_view import shown
    from study.mlflow_view.tracking import Tracker, TrackingError
    from study.running.conclude import conclude, report_folder, stored_spec
    from study.storage.store import StoreError

    store, spec = _located(source, storage)
    spec = spec or stored_spec(store)
    store.check_owner(spec.name)
    ledger = store.ledger()
    tracker = Tracker(spec.name, tracking_uri, spec.text, spec.description)
    try:
        tracker.open()
        with report_folder(store) as folder:
            conclusion = conclude(store, spec, ledger, folder)
            before = len(tracker.logged)
            for rows in conclusion.table.parts():
                tracker.log_trials(rows)
            added = len(tracker.logged) - before
            tracker.log_study(folder, conclusion.verdicts, conclusion.table)
            tracker.close("FINISHED")
    except TrackingError as error:
        raise StoreError(str(error)) from None
    Console().print(
        f"{added} trials added to experiment {spec.name!r} at {shown(tracking_uri)}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def ui(
    tracking_uri: TrackingUri = DEFAULT_TRACKING_URI,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 5000,
) -> None:
    """Open MLflow on the tracked studies; prints the URL, ends with Ctrl-C."""
    from analysis.data.mlflow_view import shown
    from study.mlflow_view.tracking import ui_command, ui_environment

    if tracking_uri.startswith(("http://", "https://")):
        print(f"MLflow is served at {shown(tracking_uri)} already: open that in a browser")
        return
    print(f"MLflow: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command, environment = ui_command(host, port), ui_environment(os.environ, tracking_uri)
    # A group of its own: the server is several processes, and all of them must go with us.
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    with interruptible():
        try:
            code = server.wait()
        except Interrupted:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()
            return
    raise typer.Exit(2 if code else 0)


@app.command()
def theory(
    dimension: Annotated[int, typer.Option("--dimension", "-d", min=1, help="d, of the data.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Print the rates that theory predicts at a dimension."""
    import math
    from dataclasses import asdict

    from analysis.theory.registry import predictions

    found = predictions(dimension)
    if as_json:
        rows: list[dict[str, Any]] = [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(p).items()}
            for p in found
        ]
        print(json.dumps(rows, indent=2, allow_nan=False))
        return
    table = Table(pad_edge=False)
    for name in ("quantity", "axis", "exponent b", "kind", "from"):
        table.add_column(name, justify="right" if name == "exponent b" else "left")
    for p in found:
        exponent = "from a run" if math.isnan(p.exponent) else f"{p.exponent:.3f}"
        table.add_row(
            str(p.quantity).replace("_", " "), str(p.axis), exponent, str(p.kind), p.source
        )
    console = _console()
    console.print(f"error ~ axis^-b at d = {dimension}", highlight=False)
    console.print(table, highlight=False)


app.command()(fit_command.fit)


def _console(quiet: bool = False) -> Console:
    """Standard output; a file or pipe gets lines of 120 columns instead of a guess of 80."""
    console = Console(quiet=quiet)
    return console if console.is_terminal else Console(quiet=quiet, width=120)


def _warn(messages: Sequence[str], prefix: str = "warning: ") -> None:
    console = Console(stderr=True)
    for message in messages:
        console.print(
            f"{prefix}{message}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )


def _overridden(spec: StudySpec, device: str | None, workers: int | None) -> StudySpec:
    """`spec` with what the command line says about device and workers."""
    if device is not None and device not in ("auto", "cpu", "cuda", "mixed"):
        raise SpecError(f"--device {device}: must be auto, cpu, cuda or mixed")
    return spec.on(device, workers)


def _located(source: str, storage: str | None) -> tuple[Any, StudySpec | None]:
    """The store that `source` means, and the study where it is a file."""
    from study.storage.store import Store

    path = Path(source)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        spec = StudySpec.load(path)
        return Store(storage or Path("results") / spec.name), spec
    if "://" in source or path.is_dir():
        return Store(source), None
    if (Path("results") / source).is_dir():
        return Store(Path("results") / source), None
    raise SpecError(f"no study file, results directory or study in ./results is called {source!r}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `scorerates`: runs it and exits with its code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="scorerates")
    except BrokenPipeError:
        # Whoever read our output has had enough of it; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
