"""Every key of a study with what it may be, its default and its unit: docs/keys.md.

    python -m study.spec.reference > docs/keys.md
    python -m study.spec.reference columns > docs/columns.md

The second makes the page of the columns of results.parquet.
Types and defaults are read off the models; a test says when a key has no description, or the page
is not what this makes.
"""

from __future__ import annotations

import math
import re
import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from analysis.theory import KEYS
from study.spec import sections
from study.spec.axes import Axes, AxisWidth
from study.spec.sections import StudySpec
from trainers.columns import IDENTITY_COLUMNS, STEP_COLUMNS, TRIAL_COLUMNS
from trainers.laws import LAWS, OWN_KIND, LawBase, OwnLaw
from trainers.ranges import Copies
from trainers.trial import TrialConfig

SECTIONS = {path: model for path, model in sections.SECTIONS.items() if "sweeps" not in path}
"""Path -> the model of a section of the page: a sweep has the keys of `base`, and two more."""

DESCRIPTIONS: dict[str, str] = {
    "name": "Names the results folder `results/NAME` and the MLflow experiment",
    "description": "A line for the report and for MLflow",
    "law": "The law of X_0: a mapping, or a list of them. See [Laws](#laws)",
    "diffusion": "The forward process. See [diffusion](#diffusion)",
    "steps": "Gradient steps; the whole trajectory is recorded, so stopping time costs nothing",
    "seeds": "Independent data and weights: `8` is seeds 0 to 7, or a list; refused beside "
    "`search` and `design`. See [seeds](#seeds)",
    "study_seed": "Shifts all random streams: another one is the whole study on other data",
    "base": "Values of axes wherever a sweep does not set them. See [base](#base)",
    "sweeps": "A list of factorials over axes; without it, the factorial of `base`",
    "test_points": "Points that errors are measured at",
    "holdout_points": "Held-out points of the holdout stopping rule, and of a search's objective",
    "recorded": "Recorded steps of a trajectory, log-spaced",
    "precision": "Floating-point type of the training",
    "kernel": "Whether kernel descent is measured beside each network",
    "decomposition": "The four error terms. See [decomposition](#decomposition)",
    "stopping": "Stopping rules to compare (docs/theory.md, section 6)",
    "keep": "Networks that stay when their trials are over. See [keep](#keep)",
    "quality": "Networks that are sampled, and how well. See [quality](#quality)",
    "theories": "Theories to judge (`scorerates theory`)",
    "predictions": "Of a theory of your own, judged beside the others. See "
    "[predictions](#predictions)",
    "audit": "Whether the theory's assumptions are measured",
    "audit_points": "N of the audit's spectrum",
    "resources": "What a pack of trials may use. See [resources](#resources)",
    "search": "A search in place of `sweeps`: `scorerates search`. See [search](#search)",
    "design": "Seeds chosen by the study, in place of `seeds`. See [design](#design)",
    "device": "Where to train; `mixed` uses cores beside GPUs",
    "diffusion.t_min": "T_0, the earliest time; it may be an axis",
    "diffusion.t_max": "T, the latest time",
    "diffusion.schedule": "g(t): constant g_min, or linear from g_min to g_max",
    "diffusion.g_min": "g at time 0, per unit of time",
    "diffusion.g_max": "g at T, of the linear schedule",
    "base.samples": "N, clean training points",
    "base.width": "m, neurons; `inf` is the kernel limit, without a network; `4N` grows with the "
    "samples, m = 4 N ([more](studies.md#a-width-that-grows-with-n))",
    "base.step_size": "eta, of gradient descent",
    "base.initialisation": "Symmetric pairs of neurons start at f = 0; plain ones do not",
    "base.bias": "Whether the features hold a constant 1",
    "base.dimension": "d, of X_0; it overrides the law's",
    "base.t_min": "T_0 as an axis, in place of diffusion.t_min",
    "base.copies": "M, noisy copies of each clean point; `fresh`: new noise at every step",
    "base.time_law": "The law of the training's times",
    "base.weight": "The weight w(t) of the training loss",
    "base.steps": "Steps as an axis, in place of the study's `steps`",
    "base.trainer": "descent, sgd, adam, mlp_adamw, or your own as module:Class",
    "base.seeds": "In a sweep: seeds of its own",
    "base.draws": "In a sweep: so many draws of every law, of its own seed and the next ones",
    "seeds.network": "Seeds of every trial: a number or a list",
    "seeds.kernel": "Seeds of the kernel limit beside every network; they hold the network's",
    "decomposition.norms": "Squared norms R_H at which approximation is measured, in x^2",
    "resources.cpus_per_pack": "Cores, and torch threads, of a pack",
    "resources.gpus_per_pack": "Share of a GPU that a pack takes",
    "resources.workers": "Packs trained at once",
    "resources.memory_per_pack": "Memory that a pack's tensors may take, GiB",
    "keep.steps": "The oracle's best step, the last one, those of the stopping rules",
    "keep.seeds": "Of every point, the networks of the first so many seeds",
    "quality.steps": "The oracle's best step, the last one, those of the stopping rules",
    "quality.seeds": "Of every point, the networks of the first so many seeds; left out: all",
    "quality.points": "Samples of each network",
    "quality.sampler": "The reverse SDE, two ways, or the probability flow (docs/theory.md, 14.2)",
    "quality.grid_steps": "Steps from T to T_0",
    "quality.grid": "Times uniform in log t, or in t",
    "quality.start": "Draws of X_T, which cost nothing, or N(0, I), as a model must begin",
    "design.kind": "How seeds are chosen",
    "design.half_width": "Quantity: wanted half-width of the 95 % interval of its exponent in N",
    "design.budget": "What it may spend. See [design.budget](#designbudget)",
    "design.pilot": "Trials of each point before anything is decided",
    "design.budget.trials": "Trials at most",
    "design.budget.minutes": "Minutes of one worker at most",
    "predictions.name": "What it is called in tables",
    "predictions.exponent": "b in error ~ axis^-b: a number, or a formula in d such as `2/(d + 3)`",
    "predictions.kind": "b is at least `exponent`, or equal to it within `margin`; b stays below "
    "`threshold`, or the quantity itself does",
    "predictions.quantity": "What is predicted ([list](python.md#a-prediction-of-your-own))",
    "predictions.axis": "Against what: samples, width, step_size, inverse_t_min, norm, index",
    "predictions.margin": "What counts as equal, a share of the exponent, 0.15 where it is not "
    "given; of exponent 0, by how much a level mean may differ from the geometric mean of all. Of "
    "`qualitative`, how far below `threshold` b is to stay, a share, 0 where it is not given",
    "predictions.threshold": "Of the kinds qualitative and ceiling: a number or a formula in d",
    "predictions.source": "Where it is published",
    "predictions.statement": "What it says, in a sentence",
    "search.space": "What one search may choose; a list: several spaces",
    "search.samplers": "Optuna's samplers, a search each",
    "search.evaluations": "Optuna trials of each search",
    "search.repetitions": "Searches of each sampler, on independent data",
    "search.batch": "Optuna trials asked for at once, and trained as a pack",
    "search.finals": "Fresh seeds on which winners and theory's choices are compared, 0: none",
    "search.pruner": "Ends trajectories early. See [search.pruner](#searchpruner)",
    "search.theory": "The theory-guided choice beside it. See [search.theory](#searchtheory)",
    "search.space.width": "{low, high}: powers of two in between; or a list",
    "search.space.step_size": "{low, high}: log-uniform in between; or a list",
    "search.space.initialisation": "A choice, or one held",
    "search.space.bias": "A choice, or one held",
    "search.space.trainer": "A choice, or one held",
    "search.space.width.low": "Least width",
    "search.space.width.high": "Largest width",
    "search.space.step_size.low": "Least step size",
    "search.space.step_size.high": "Largest step size",
    "search.pruner.kind": "Successive halving; hyperband's later trials begin at later rungs",
    "search.pruner.factor": "Of all that reach a rung, the best 1/factor go on",
    "search.pruner.rungs": "Rungs, at steps / factor, steps / factor^2, ...",
    "search.theory.samples": "N of the pilots",
    "search.theory.width": "m of the pilots",
    "search.theory.step_size": "eta of the pilots",
    "search.theory.seeds": "Number of pilots",
}
"""Path -> what the key says. `sweeps` has the keys of `base`, and seeds and draws."""

LAW_DESCRIPTIONS: dict[str, str] = {
    "dimension": "d, of X_0",
    "seed": "For what is drawn once; `draws: n` in its place counts seeds up, a law each",
    "components": "Normals, of equal weight",
    "std": "Standard deviation, in x",
    "count": "Atoms, uniform in the cube; of a file its rows",
    "file": "A CSV file, relative to the study",
    "standardise": "Of a file: columns of mean 0 and variance 1; false: the rows as they are",
    "radius": "Radius, in x",
    "power": "a of the variances std^2 i^-a",
    "std_min": "Least standard deviation, in x",
    "std_max": "Largest standard deviation, in x",
    "inner": "The law that is embedded",
    "target": "The column that a table's classifiers predict; categorical",
    "drop": "Columns to leave out, such as an index",
    "categorical": "Numeric columns that are categories",
    "numeric": "How numbers become coordinates: mean 0 and variance 1, or their ranks as normals",
    "missing": "Missing cells: refused, or the training part's median or most frequent category",
    "holdout": "Share of the rows that are held out",
    "test": "Share of the rows that are kept for tests",
}
"""Key of a law -> what it says."""

_REQUIRED = {
    "samples": "required, here or in every sweep",
    **dict.fromkeys(
        ("width", "step_size"), "required, here or in every sweep; refused beside `search`"
    ),
}
"""When a study needs an axis that has no default."""

SEEDS = "a number, a list or a mapping"
"""What `seeds` may be: `sections` reads all three into one model."""

_FILLED_IN = ("kind", "sha256", "source_sha256")
_HEAD = """# Every key of a study

A study is a YAML file. Where a list is allowed a single value stands for a list of one. Unknown
keys, wrong types and numbers out of range are refused with a message that names the key. This page
is made from the models that check a study: `python -m study.spec.reference > docs/keys.md`.
"""


def page() -> str:
    """docs/keys.md."""
    parts = [_HEAD]
    for path, model in SECTIONS.items():
        title = {"": "A study", "base": "base"}.get(path, path)
        parts.append(f"## {title}\n")
        if path == "base":
            parts.append(
                "Each axis of a sweep is varied, all else is held. A sweep has two more keys.\n"
            )
        parts.append(_table(_rows(model, f"{path}." if path else "", DESCRIPTIONS)))
        if path == "base":
            more = {
                "seeds": (SEEDS, "the study's"),
                "draws": ("1 to 10,000", "1"),
            }
            rows = [(key, *said, DESCRIPTIONS[f"base.{key}"]) for key, said in more.items()]
            parts.append(_table(rows))
    parts.append("## Laws\n\nEvery number may be a list: the law is then as many laws.\n")
    for kind, law in LAWS.items():
        first = (law.__doc__ or "").strip().split("\n\n")[0]
        parts.append(f"### {kind}\n\n{' '.join(first.split())}\n")
        parts.append(_table(_rows(law, "", LAW_DESCRIPTIONS)))
    own = " ".join((OwnLaw.__doc__ or "").strip().split("\n\n")[0].split())
    parts.append(
        f"### {OWN_KIND}\n\n{own} See [a law of your own](studies.md#a-law-of-your-own).\n"
    )
    named = [row for row in _rows(OwnLaw, "", LAW_DESCRIPTIONS) if row[0] == "dimension"]
    rest = ("any other", "number, text, true, false", "", "Handed to the class as it is")
    parts.append(_table([*named, ("seed", "whole, from 0", "", LAW_DESCRIPTIONS["seed"]), rest]))
    return "\n".join(parts)


_COLUMNS_HEAD = """# Every column of results.parquet

A row is a trial and a recorded step; what a trial has once is on each of its rows. x is the unit of
the data (of a file's columns, which are standardised, none). Null means not asked for, or after
divergence; never 0. This page is made from `trainers/columns.py`:
`python -m study.spec.reference columns > docs/columns.md`.
"""


def columns_page() -> str:
    """docs/columns.md."""
    parts = [_COLUMNS_HEAD]
    for title, columns in (
        ("Which trial", IDENTITY_COLUMNS),
        ("Of a trial", TRIAL_COLUMNS),
        ("At a step", STEP_COLUMNS),
    ):
        rows = (f"| `{c.name}` | {c.type} | {c.unit} | {_cell(c.meaning)} |" for c in columns)
        head = "| column | type | unit | meaning |\n|---|---|---|---|"
        parts.append(f"## {title}\n\n" + "\n".join([head, *rows]) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    """Text that a cell of Markdown shows as it is."""
    return re.sub(r"([|*_<\[\]])", r"\\\1", text)


def keys() -> set[str]:
    """The paths of all keys of a study but those of laws."""
    own = {
        f"{path}.{key}" if path else key
        for path, model in SECTIONS.items()
        for key in model.model_fields
    }
    return own | {"base.seeds", "base.draws"}


_Row = tuple[str, str, str, str]


def _rows(model: type[BaseModel], prefix: str, said: dict[str, str]) -> Iterator[_Row]:
    for key, field in model.model_fields.items():
        if key in _FILLED_IN and prefix == "" and model is not StudySpec:
            continue
        default = _default(model, key)
        if issubclass(model, LawBase) and key == "dimension" and default == "required":
            file = "file" in model.model_fields
            default = "required, here or as an axis" + (", unless a file gives it" if file else "")
        kind = SEEDS if model is StudySpec and key == "seeds" else _kind(field)
        yield key, kind, default, said[f"{prefix}{key}"]


def _table(rows: Iterator[_Row] | list[_Row]) -> str:
    lines = ["| key | value | default | what it says |", "|---|---|---|---|"]
    lines += [f"| `{key}` | {kind} | {default} | {what} |" for key, kind, default, what in rows]
    return "\n".join(lines) + "\n"


def _default(model: type[BaseModel], key: str) -> str:
    """Of an axis what a trial has without it."""
    field = model.model_fields[key]
    if model is Axes and key in TrialConfig.model_fields:
        field = TrialConfig.model_fields[key]
    if field.is_required():
        return _REQUIRED.get(key, "required") if model is Axes else "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == () or isinstance(value, BaseModel):
        return ""
    if value == KEYS:
        return "all"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return _text(value) if value != "" else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(field: FieldInfo) -> str:
    """What a value may be, in words: `list of 1 to 1,073,741,824`."""
    return _of(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)


def _of(annotation: Any) -> str:
    if annotation == AxisWidth:
        return f"{_of(get_args(annotation)[0])}, `inf`, or a multiple of N such as `4N`"
    if annotation == Copies:
        return f"{_of(get_args(annotation)[0])}, or `fresh`"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, limits = arguments[0], arguments[1:]
        if inner in (int, float):
            return _range(inner, limits)
        return _of(inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_of(a) for a in arguments if a is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin is tuple:
        return f"list of {_of(arguments[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return {int: "whole number", float: "number", bool: "true, false", str: "text"}.get(
        annotation, "mapping"
    )


def _range(number: type, limits: tuple[Any, ...]) -> str:
    low, high = -math.inf, math.inf
    for limit in _flat(limits):
        if isinstance(limit, (Ge, Gt)):
            low = float(limit.ge if isinstance(limit, Ge) else limit.gt)  # type: ignore[arg-type]
        if isinstance(limit, (Le, Lt)):
            high = float(limit.le if isinstance(limit, Le) else limit.lt)  # type: ignore[arg-type]
    shown = [
        f"{v:,.0f}" if v == int(v) and abs(v) < 1e7 else f"{v:.3g}"
        for v in (low, high)
        if math.isfinite(v)
    ]
    whole = "" if number is float else "whole, "
    return whole + (
        " to ".join(shown) if len(shown) == 2 else f"from {shown[0]}" if shown else "any"
    )


def _flat(limits: tuple[Any, ...]) -> Iterator[Any]:
    for limit in limits:
        if isinstance(limit, FieldInfo):
            yield from limit.metadata
        else:
            yield limit


if __name__ == "__main__":
    print(columns_page() if sys.argv[1:] == ["columns"] else page(), end="")
