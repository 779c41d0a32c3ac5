"""The command line. Every command answers wrong input with one message and exit code 2."""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.console import Console
from rich.table import Table

from analysis.text import in_ascii, shown
from study.commands import fit as fit_command
from study.running.interruption import Interrupted, interruptible
from study.spec.axes import MAXIMUM_WORKERS
from study.spec.messages import SpecError, on_one_line
from study.spec.sections import StudySpec
from study.terminal import literal, say
from trainers.errors import UserError

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"

app = typer.Typer(
    name="scorerates",
    no_args_is_help=True,
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
    str,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow: a database or the URL of a server.",
    ),
]
Address = Annotated[
    str | None, typer.Option(help="A Ray cluster; by default RAY_ADDRESS, else this machine.")
]
NoTracking = Annotated[bool, typer.Option("--no-tracking", help="Leave MLflow out.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or mixed; by default what the study says.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, max=MAXIMUM_WORKERS, help="Packs trained at once; by default as many as fit."
    ),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"scorerates {version('scorerates')}")
        raise typer.Exit


@app.callback()
def options(
    _asked: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Measures how fast gradient descent learns a score, and says whether theory agrees."""


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study's name.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="On the rows of a file of your own."),
    ] = None,
    trainer: Annotated[
        bool,
        typer.Option(
            "--trainer", help="With a trainer of your own, in a file that you fill in: NAME.py."
        ),
    ] = False,
    search: Annotated[
        bool, typer.Option("--search", help="To find the best hyperparameters, not a rate.")
    ] = False,
    law: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Of this law (default gaussian_mixture); own: in a file that you fill in.",
        ),
    ] = None,
    dimension: Annotated[
        str, typer.Option(metavar="D", help="In dimension D, or in several: 1,2,4,8.")
    ] = "2",
) -> None:
    """Write NAME.yaml, a study to start from, with a comment on each key."""
    from study.commands.init import init as write_study

    made = write_study(name, data, trainer, search, law, dimension)
    *others, file = made
    for own in others:
        print(f"wrote {own}: {made[own].format(module=own.stem, study=file)}")
    then = f"scorerates {'search' if search else 'run'} {file}"
    print(f"wrote {file}: scorerates plan {file} says what it costs, {then} runs it")


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
    from study.commands.analyze import NO_RATE
    from study.commands.plans.of_study import plan_study
    from study.planning.asked import widths_without_a_curve
    from study.planning.stability import stability_warnings

    spec = _overridden(_loaded(study), device, workers)
    _warn([*spec.unseen_imports(), *widths_without_a_curve(spec)])
    if spec.search is not None:
        from study.commands.plans.of_search import plan_search

        searched = plan_search(spec, storage, calibrate, lambda message: _warn([message], ""))
        _print_rows(searched.rows())
        return
    found = plan_study(spec, storage, calibrate, lambda message: _warn([message], ""))
    _print_rows(found.rows())
    decides = found.decides()
    if not any(trial.law.known for trial in found.trials):
        say(Console(), f"\n{NO_RATE}")
    if decides:
        print()
        say(Console(), f"exponents and verdicts to expect, {found.basis}:")
        _print_rows(decides)
    _warn(stability_warnings(found.trials, spec.atoms()))


@app.command()
def run(
    study: StudyFile,
    address: Address = None,
    storage: Storage = None,
    tracking_uri: TrackingUri = DEFAULT_TRACKING_URI,
    no_tracking: NoTracking = False,
    device: Device = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Train what is missing of a study, then print verdicts and write the report.

    Interrupt it at any time: the same command continues. Exit code 3: some trials failed.
    """
    from study.commands.run import run as run_study
    from study.planning.stability import stability_warnings

    spec = _overridden(_loaded(study), device, workers, address)
    trials = spec.points() if spec.design else spec.trials()
    _warn(stability_warnings(trials, spec.atoms()))
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
    address: Address = None,
    storage: Storage = None,
    tracking_uri: TrackingUri = DEFAULT_TRACKING_URI,
    no_tracking: NoTracking = False,
    device: Device = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Tune: search over width, step size, network and trainer, and compare with theory's choice.

    Interrupt it at any time: the same command continues. Exit code 3: some evaluations failed.
    """
    from study.commands.search import search as run_search

    spec = _overridden(_loaded(study), device, workers, address)
    result = run_search(
        spec, storage, None if no_tracking else tracking_uri, address, console=_console(quiet)
    )
    raise typer.Exit(result.exit_code)


@app.command()
def best(
    source: Source,
    storage: Storage = None,
    samples: Annotated[
        int | None, typer.Option(help="Of this N only; by default of every point searched.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Of this sampler, or theory; by default what won the finals."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Print a whole study of this name, ready to run.")
    ] = None,
) -> None:
    """Print what a search found as sections `base:` and `steps:` of a study, in YAML."""
    from study.commands.best import best as best_of
    from study.commands.located import located

    store, spec = located(source, storage)
    print(best_of(store, spec, samples, method, study), end="")


@app.command()
def analyze(
    source: Source,
    storage: Storage = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdicts as JSON and nothing else.")
    ] = False,
) -> None:
    """Judge the results of a study: verdicts.json, report.html and figures/. Trains nothing."""
    from study.commands.analyze import analyze_store, print_verdicts
    from study.commands.located import located

    store, spec = located(source, storage)
    evaluation = analyze_store(store, spec)
    if as_json:
        described = [verdict.to_dict() for verdict in evaluation]
        print(json.dumps(described, indent=2, allow_nan=False))
        return
    console = _console()
    print_verdicts(console, evaluation)
    say(console, f"report: {store.place}/report.html")


@app.command()
def status(source: Source, storage: Storage = None) -> None:
    """Say how many trials of a study are done, failed, diverged and missing."""
    from study.commands.located import located
    from study.commands.status import status as status_of

    store, spec = located(source, storage)
    name, counts, notes = status_of(store, spec)
    say(Console(), f"{name} in {store.place}")
    _print_rows([(status, f"{count:,}") for status, count in counts.items()])
    for note in notes:
        say(Console(), note)


@app.command()
def sync(
    source: Source, storage: Storage = None, tracking_uri: TrackingUri = DEFAULT_TRACKING_URI
) -> None:
    """Bring MLflow up to date with the stored results of a study."""
    from study.commands.located import located
    from study.commands.sync import sync as sync_view

    store, spec = located(source, storage)
    name, added = sync_view(store, spec, tracking_uri)
    say(Console(), f"{added} trials added to experiment {name!r} at {shown(tracking_uri)}")


@app.command()
def ui(
    tracking_uri: TrackingUri = DEFAULT_TRACKING_URI,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 5000,
) -> None:
    """Open MLflow on the tracked studies; prints the URL, ends with Ctrl-C."""
    if tracking_uri.startswith(("http://", "https://")):
        say(Console(), f"MLflow is served at {shown(tracking_uri)} already: open that in a browser")
        return
    from study.commands.ui import check_port, serve

    check_port(host, port)
    # By itself MLflow opens on traces of agents, whatever an experiment says it is.
    page = f"http://{host}:{port}/#/experiments?workflowType=machine_learning"
    print(f"MLflow: {page} (Ctrl-C ends it)", flush=True)
    raise typer.Exit(serve(tracking_uri, host, port))


@app.command()
def theory(
    dimension: Annotated[int, typer.Option("--dimension", "-d", min=1, help="d, of the data.")],
    keys: Annotated[
        list[str] | None, typer.Option("--theory", metavar="KEY", help="This theory; may repeat.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Print theories, what each assumes, and the rates that it predicts at a dimension."""
    from study.commands.theory import chosen_theories, described, print_theories

    theories, found = chosen_theories(dimension, keys)
    if as_json:
        print(json.dumps(described(found), indent=2, allow_nan=False))
    else:
        print_theories(_console(), dimension, theories, found)


app.command()(fit_command.fit)


def _console(quiet: bool = False) -> Console:
    """Standard output; a file or pipe gets lines of 120 columns instead of a guess of 80."""
    console = Console(quiet=quiet)
    return console if console.is_terminal else Console(quiet=quiet, width=120)


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, one a line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(literal, row))
    Console().print(table, soft_wrap=True)


def _warn(messages: Sequence[str], prefix: str = "warning: ") -> None:
    console = Console(stderr=True)
    for message in messages:
        say(console, f"{prefix}{message}", "yellow")


def _loaded(study: Path) -> StudySpec:
    """The study, with a line on how each of its data files was read. Raises SpecError where a law
    of the user's own is not what it says."""
    from study.planning.own_laws import check_own_laws, own_law_notes

    spec = StudySpec.load(study)
    check_own_laws(spec.points())
    read = [f"{file.path}: {', '.join(file.notes)}" for file in spec.atoms().values() if file.notes]
    _warn([on_one_line(line) for line in (*read, *own_law_notes(spec.points()))], "")
    return spec


def _overridden(
    spec: StudySpec, device: str | None, workers: int | None, address: str | None = None
) -> StudySpec:
    """`spec` with what the command line says about device and workers. Raises SpecError where this
    machine cannot hold it, unless it runs on a cluster."""
    from study.planning.memory import machine_bytes, refuse_what_does_not_fit

    if device is not None and device not in ("auto", "cpu", "cuda", "mixed"):
        raise SpecError(f"--device {device}: must be auto, cpu, cuda or mixed")
    if address is None and "RAY_ADDRESS" not in os.environ:
        sizes = spec.points() if spec.search is None else spec.search_corners()
        refuse_what_does_not_fit(sizes, machine_bytes())
    return spec.on(device, workers)


def _say_it_in_ascii_where_need_be() -> None:
    """What the terminal's encoding lacks never ends a command."""

    def replaced(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return in_ascii(error.object[error.start : error.end]), error.end

    codecs.register_error("in-ascii", replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="in-ascii")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `scorerates`: runs it and exits with its code."""
    _say_it_in_ascii_where_need_be()
    try:
        with interruptible():
            app(args=None if arguments is None else list(arguments), prog_name="scorerates")
    except BrokenPipeError:
        # Whoever read our output has had enough of it; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UserError as error:
        say(Console(stderr=True), f"error: {error}")
        sys.exit(error.exit_code)
    except (Interrupted, KeyboardInterrupt) as error:
        click.echo("stopped: what is stored is safe, and the same command goes on", err=True)
        number = error.number if isinstance(error, Interrupted) else signal.SIGINT
        sys.exit(128 + number)


if __name__ == "__main__":
    main()
