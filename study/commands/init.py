"""`scorerates init`: a study to start from, with a comment on every key that most studies set."""

from __future__ import annotations

import keyword
import math
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
_MIXTURE = """\
# The law of the data: gaussian_mixture, atoms, cube, sphere, gaussian, scale_mixture, subspace
# or table.
# The rows of a CSV file: {kind: atoms, file: points.csv}.
law: {kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}
"""
_POINTS = """\
# The law of the data is uniform on the rows of your file, standardised: so f* and every error are
# exact, and N is how many of them are drawn, with replacement. Where the rows are samples of a law
# that nobody knows, kind: table holds some out, and gives held-out losses in place of a rate.
law: {{kind: atoms, file: {data}}}
"""
_TIMES = """
# Times t ~ U[t_min, t_max]. A smaller t_min makes the target rougher, and rates slower.
diffusion: {t_min: 0.05, t_max: 1.0}

# The whole trajectory is recorded: the best stopping time is read off it and costs no training.
steps: 1000
"""
_PAPER = """
# Few networks, and beside each its kernel limit, on many more seeds: cheap, and intervals shrink.
seeds: {{network: 4, kernel: 64}}

# Where a sweep does not set an axis, it has this value.
base: {{samples: {middle}, width: 1024, step_size: 2.0}}

# Each sweep is a full factorial over its own axes; a rate wants five values over a factor of 16.
sweeps:
  - samples: [{levels}]
  - {{samples: {least}, width: [256, 512, 1024, 2048, 4096], steps: 100}}
"""
_OWN = """
# Independent data and weights.
seeds: 8

# Your trainer, the class Mine of {module}.py, which never sees f*. A list makes an axis of it:
# trainer: [descent, "{module}:Mine"] holds it against the paper's. Five values of N over a factor
# of 16 make a rate.
base: {{trainer: "{module}:Mine", width: 64, step_size: 0.003, samples: [{levels}]}}

# What theory assumes is of gradient descent on the paper's network: it is not measured.
audit: false
"""
_SEARCH = """
# What the search chooses is in its space; all else is here. A list of N makes a search of each.
base: {{samples: {middle}}}

search:
  samplers: [tpe, random]          # Optuna's; also gp, cmaes, qmc
  evaluations: 32                  # of each search
  repetitions: 2                   # each on data of its own
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
_THEORY = """\
  theory: {samples: 64, seeds: 4}  # pilots of theory's choice, to hold against; left out: none
"""


def init(
    name: str, data: Path | None = None, trainer: bool = False, search: bool = False
) -> list[Path]:
    """Writes NAME.yaml in the working directory and, for a trainer of the user's own, its file; and
    gives their paths.

    data: a CSV file whose rows are the law. search: tunes in place of sweeping. Raises SpecError
    for a name that no study may have, a data file that is none, and where a file is there already.
    """
    from study.spec.sections import StudySpec

    module = _module(name)
    text = _text(name, module if trainer else "", data, search)
    made = {Path(f"{name}.yaml"): text}
    if trainer:
        skeleton = files("trainers.methods") / "skeleton.py"
        source = skeleton.read_text(encoding="utf-8").replace("MODULE", module)
        made = {Path(f"{module}.py"): source, **made}
    for file in made:
        if file.exists():
            raise SpecError(f"{file} is there already: choose another name")
    # the trainer's own file is not there yet
    StudySpec.from_text(text.replace(f'"{module}:Mine"', "adam"))
    for file, content in made.items():
        _write(file, content)
    return list(made)


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


def _text(name: str, module: str, data: Path | None, search: bool) -> str:
    """The study. module: of the trainer, empty for the paper's."""
    levels = _levels(data)
    where = "Gaussian mixture, d = 2" if data is None else f"the rows of {data.name}"
    whose = "a trainer of one's own" if module else "the paper's network"
    head = _HEAD.format(
        name=name,
        file=f"{name}.yaml",
        question=(
            "which hyperparameters are best?"
            if search
            else "how fast does the error of a score network fall with samples?"
        ),
        decides="" if search else " and what it will decide",
        command="search" if search else "run",
        does="tunes, then compares" if search else "trains what is missing, then judges the rates",
        description=f"{'A search' if search else 'Samples'}, {where}, {whose}.",
    )
    law = _MIXTURE if data is None else _POINTS.format(data=_quoted(str(data)))
    numbers = {
        "levels": ", ".join(map(str, levels)),
        "least": levels[0],
        "middle": levels[-2],
        "module": module,
    }
    if search:
        space = _SPACE_OWN.format(**numbers) if module else _SPACE
        body = _SEARCH.format(theory="" if module else _THEORY, space=space, **numbers)
    else:
        body = (_OWN if module else _PAPER).format(**numbers)
    return head + law + _TIMES + body


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
