"""`scorerates init`: a study to start from, with a comment on every key that most studies set."""

from __future__ import annotations

from pathlib import Path

from study.spec.messages import SpecError

_STUDY = """\
# {name}: how fast does the error of a score network fall with samples and width?
#
#   scorerates plan {file}    what it costs and what it will decide; trains nothing
#   scorerates run  {file}    trains what is missing, then judges the rates
#
# Every key, with its default: docs/keys.md.

name: {name}
description: Samples and width at d = 2, for a Gaussian mixture.

# The law of the data: gaussian_mixture, atoms, cube, sphere, gaussian, scale_mixture, subspace
# or table.
# The rows of a CSV file: {{kind: atoms, file: points.csv}}.
law: {{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}}

# Times t ~ U[t_min, t_max]. A smaller t_min makes the target rougher, and rates slower.
diffusion: {{t_min: 0.05, t_max: 1.0}}

# The whole trajectory is recorded: the best stopping time is read off it and costs no training.
steps: 1000

# Few networks, and beside each its kernel limit, on many more seeds: cheap, and intervals shrink.
seeds: {{network: 4, kernel: 64}}

# Where a sweep does not set an axis, it has this value.
base: {{samples: 512, width: 1024, step_size: 2.0}}

# Each sweep is a full factorial over its own axes; a rate wants five values over a factor of 16.
sweeps:
  - samples: [64, 128, 256, 512, 1024]
  - {{samples: 64, width: [256, 512, 1024, 2048, 4096], steps: 100}}
"""


def init(name: str) -> Path:
    """Writes NAME.yaml in the working directory, and gives its path. Raises SpecError for a name
    that no study may have, and where the file is there already."""
    from study.spec.sections import StudySpec

    file = Path(f"{name}.yaml")
    text = _STUDY.format(name=name, file=file)
    StudySpec.from_text(text)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise SpecError(f"{file} is there already: choose another name") from None
    except OSError as error:
        raise SpecError(f"cannot write {file}: {error.strerror}") from None
    return file
