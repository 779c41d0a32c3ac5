"""`scorerates init`: a study to start from, with a comment on every key that most studies set."""

from __future__ import annotations

import difflib
import keyword
import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from study.spec.messages import SpecError
from trainers.errors import LawError
from trainers.laws.csv_file import parse_csv, read_bytes

LEVELS, SPAN = 5, 16
"""Values of N of a study that is written, and the factor between the first and the last."""
MOST_SAMPLES = 1024

_HEAD = """\
# {name}: {question}
#
#   scorerates plan {file}    what it costs{decides}; trains nothing
#   scorerates {command} {file}    {does}
#
# Every key, with its default: docs/keys.md.

name: {name}
description: {description}

"""
_LAW = """\
# The law of the data: gaussian_mixture, atoms, cube, sphere, gaussian, scale_mixture, subspace
# or table.
# The rows of a CSV file: {{kind: atoms, file: points.csv}}.
law: {{{keys}}}
"""
_OWN_LAW = """\
# The law of the data is the class in its file; other keys here are handed to it.
law: {{{keys}}}
"""
_POINTS = """\
# How fast are the rows of your file learned? The law is uniform on them, each column standardised,
# and N is how many are drawn, with replacement: so f* and every error are exact. Keep it, unless
# you ask about the law that the rows were drawn from: kind: table holds some of them out, and
# gives held-out losses in place of a rate.
law: {{kind: atoms, file: {data}}}
"""
LAWS = {
    "gaussian_mixture": "components: 8, std: 0.1, seed: 5",
    "atoms": "count: 16, seed: 5",
    "cube": "",
    "sphere": "radius: 1.0",
    "gaussian": "power: 1.0",
    "scale_mixture": "components: 8",
    "subspace": "inner: {kind: cube, dimension: 1}, seed: 5",
}
"""Kinds of laws that need no file, with keys to start from."""
TRAINER = (
    "put your network, loss and optimiser in place of those at its top; python -m "
    "trainers.conformance {module}:Mine checks it (a minute or two)"
)
LAW = "write `sample` for your law; scorerates plan {study} checks it"
"""What to fill in, by what a file holds."""

OWN = "own"
"""In place of a kind: a law of the user's own, in a file to fill in."""
_TIMES = """
# Times t ~ U[t_min, t_max]. A smaller t_min makes the target rougher, and rates slower.
diffusion: {t_min: 0.05, t_max: 1.0}

# The whole trajectory is recorded: the best stopping time is read off it and costs no training.
steps: 1000
"""
_PAPER = """
# Few networks, and beside each its kernel limit, on many more seeds: cheap, and intervals shrink.
seeds: {{network: 4, kernel: 64}}

# What your own theory says of the rate, judged beside the others (a formula in d will do):
# predictions: [{{name: mine, exponent: 2/(d + 2), kind: sharp}}]

# Where a sweep does not set an axis, it has this value.
base: {{samples: {middle}, width: 1024, step_size: 2.0}}

# Each sweep is a full factorial over its own axes; a rate wants five values over a factor of 16.
sweeps:
  - samples: [{levels}]
  - {{samples: {least}, width: [256, 512, 1024, 2048, 4096], steps: 100}}
"""
_DIMENSIONS = """
# Few networks, and beside each its kernel limit, on many more seeds: cheap, and intervals shrink.
seeds: {{network: 3, kernel: 48}}

# A list here is crossed with everything: each N at each dimension.
base: {{{dimensions}width: 512, step_size: 2.0, samples: [{levels}]}}

# What your own theory says of the rate, judged beside the others (a formula in d will do):
# predictions: [{{name: mine, exponent: 2/(d + 2), kind: sharp}}]

# Whether the theory's assumptions hold is not measured: that takes longer than all else here.
audit: false
"""
_OWN = """
# Independent data and weights.
seeds: 8

# Your trainer, the class Mine of {module}.py, which never sees f*. A list makes an axis of it:
# trainer: [descent, "{module}:Mine"] holds it against the paper's. Five values of N over a factor
# of 16 make a rate.
base:
  {{{dimensions}trainer: "{module}:Mine", width: 64, step_size: 0.003,
   samples: [{levels}]}}

# What theory assumes is of gradient descent on the paper's network: it is not measured.
audit: false
"""
_NO_AUDIT = """
# Whether the theory's assumptions hold is not measured: that takes a few minutes. true: it is.
audit: false
"""
_SEARCH = """
# What the search chooses is in its space; all else is here. A list of N makes a search of each.
base: {{{dimensions}samples: {middle}}}

search:
  samplers: [tpe, random]          # Optuna's; also gp, cmaes, qmc
  evaluations: 32                  # of each search
  repetitions: 2                   # each on data of its own
  finals: 4                        # fresh seeds, on which the winners are compared; 0: none
{theory}  space:
{space}"""
_SPACE = """\
    width: {low: 64, high: 1024}   # powers of two
    step_size: {low: 0.1, high: 4}
    initialisation: [symmetric, plain]
    bias: [true, false]
    trainer: [descent, sgd]
"""
_SPACE_OWN = """\
    width: {{low: 16, high: 256}}    # powers of two
    step_size: {{low: 0.0003, high: 0.1}}
    trainer: "{module}:Mine"
"""
_CHOOSES = """\
  theory: {samples: 64, seeds: 4}  # pilots of theory's choice, to hold against; left out: none
"""


def init(
    name: str,
    data: Path | None = None,
    trainer: bool = False,
    search: bool = False,
    law: str | None = None,
    dimension: str = "2",
) -> dict[Path, str]:
    """Writes NAME.yaml in the working directory and, for a trainer of the user's own, its file; and
    gives their paths, the study's last, each with what to fill in.

    data: a CSV file whose rows are the law. search: tunes in place of sweeping. law: one of LAWS,
    or OWN, whose file is written too. dimension: d, or several with commas between. Raises
    SpecError for a name that no study may have, a data file, law or dimension that is none, and
    where a file is there already.
    """
    from study.spec.sections import StudySpec

    module = _module(name)
    if data is not None and (law is not None or dimension != "2"):
        raise SpecError("--data: the file says the law and its dimension: leave out the others")
    own = f'"{module}_law:Mine"' if law == OWN else ""
    kind = own or _law(law)
    chosen = _Chosen(module if trainer else "", data, search, kind, _whole(dimension))
    text = _text(name, chosen)
    made, fill_in = {}, {}
    if trainer:
        file = Path(f"{module}.py")
        made[file], fill_in[file] = _skeleton("trainers.methods", module), TRAINER
    if law == OWN:
        file = Path(f"{module}_law.py")
        made[file], fill_in[file] = _skeleton("trainers.laws.own", file.stem), LAW
    made[Path(f"{name}.yaml")] = text
    for file in made:
        if file.exists():
            raise SpecError(f"{file} is there already: choose another name")
    # files of the user's own are not there yet
    bare = text.replace(f'"{module}:Mine"', "adam").replace(f'"{module}_law:Mine"', "cube")
    StudySpec.from_text(bare)
    for file, content in made.items():
        _write(file, content)
    return {file: fill_in.get(file, "") for file in made}


def _skeleton(package: str, module: str) -> str:
    source = (files(package) / "skeleton.py").read_text(encoding="utf-8")
    return source.replace("MODULE", module)


def _write(file: Path, content: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(content)
    except FileExistsError:
        raise SpecError(f"{file} is there already: choose another name") from None
    except OSError as error:
        raise SpecError(f"cannot write {file}: {error.strerror}") from None


def _module(name: str) -> str:
    """A name of a module, like the study's."""
    plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    return plain if plain.isidentifier() and not keyword.iskeyword(plain) else f"own_{plain}"


@dataclass(frozen=True)
class _Chosen:
    """What a study is written for. module: of the trainer, empty for the paper's."""

    module: str
    data: Path | None
    search: bool
    law: str
    dimensions: tuple[int, ...]


def _law(kind: str | None) -> str:
    kind = kind or "gaussian_mixture"
    if kind not in LAWS:
        near = difflib.get_close_matches(kind, LAWS, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"choose among {', '.join(LAWS)}, {OWN}"
        raise SpecError(f"--law {kind}: {remedy}")
    return kind


def _whole(text: str) -> tuple[int, ...]:
    """The dimensions of `1,2,4,8`."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise SpecError(f"--dimension {text}: must be whole numbers from 1, such as 2 or 1,2,4,8")
    return found


def _law_lines(chosen: _Chosen) -> str:
    if chosen.data is not None:
        return _POINTS.format(data=_quoted(str(chosen.data)))
    several = len(chosen.dimensions) > 1  # then an axis
    keys = [f"kind: {chosen.law}", "" if several else f"dimension: {chosen.dimensions[0]}"]
    more = LAWS.get(chosen.law, "")
    lines = _LAW if chosen.law in LAWS else _OWN_LAW
    return lines.format(keys=", ".join(filter(None, [*keys, more])))


def _text(name: str, chosen: _Chosen) -> str:
    module, data, search = chosen.module, chosen.data, chosen.search
    levels = _levels(data)
    dimensions = ", ".join(map(str, chosen.dimensions))
    several = len(chosen.dimensions) > 1
    law = chosen.law.replace("_", " ") if chosen.law in LAWS else "a law of one's own"
    where = f"{law}, d = {dimensions}" if data is None else f"the rows of {data.name}"
    whose = "a trainer of one's own" if module else "the paper's network"
    head = _HEAD.format(
        name=name,
        file=f"{name}.yaml",
        question=(
            "which hyperparameters are best?"
            if search
            else "how does the rate in samples depend on the dimension?"
            if several
            else "how fast does the error of a score network fall with samples?"
        ),
        decides="" if search else " and what it will decide",
        command="search" if search else "run",
        does="tunes, then compares" if search else "trains what is missing, then judges the rates",
        description=f"{'A search' if search else 'Samples'}, {where}, {whose}.",
    )
    numbers = {
        "levels": ", ".join(map(str, levels)),
        "least": levels[0],
        "middle": levels[-2],
        "module": module,
        "dimensions": f"dimension: [{dimensions}], " if several else "",
    }
    if search:
        space = _SPACE_OWN.format(**numbers) if module else _SPACE
        body = _SEARCH.format(theory="" if module else _CHOOSES, space=space, **numbers)
    else:
        body = (_OWN if module else _DIMENSIONS if several else _PAPER).format(**numbers)
    more = _NO_AUDIT if chosen.law not in LAWS and "audit:" not in body else ""
    return head + _law_lines(chosen) + _TIMES + body + more


def _quoted(text: str) -> str:
    """As a YAML scalar."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _levels(data: Path | None) -> list[int]:
    """Values of N, powers of two: no more than a file has rows. Raises SpecError for a file that
    cannot be read, or of too few rows for them."""
    most = MOST_SAMPLES
    if data is not None:
        try:
            rows = sum(1 for _ in parse_csv(data, read_bytes(data)).rows()) - 1
        except LawError as error:
            raise SpecError(f"--data: {error}") from None
        if rows < 2 * SPAN:
            raise SpecError(f"--data {data}: has {max(rows, 0)} rows, and a rate wants {2 * SPAN}")
        most = min(most, 2 ** int(math.log2(rows)))
    return [most // SPAN * 2**i for i in range(LEVELS)]
