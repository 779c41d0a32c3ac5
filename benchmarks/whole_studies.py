"""Do intervals hold over whole studies, with their own training data and their own test set?

Kernel descent in place of networks (the limit m = infinity), so that a study costs a fraction of
a second: N = 16..256, four seeds a level, recorded steps and fits as in a real study. Printed for
each quantity: the standard deviation of exponents over test sets alone beside the intervals' own
part for it; how many of them lie within the 95 % limits of that part alone about their mean; and
how often the 95 % intervals of whole studies hold the grand mean, with the part and without;
studies: those with an interval, for a curve that jumps is refused.
docs/coverage.txt has the table. Arguments: number of studies, T_0, dimension.

    python benchmarks/whole_studies.py 300 0.05 2
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.data.curves.quantities import Curve, curves
from analysis.data.curves.quantity import Quantity
from analysis.levels.intervals import student
from analysis.verdicts.judging import fit_curve
from trainers.columns import ERROR_COLUMNS, TEST_GROUPS
from trainers.kernel.ntk import relu_ntk
from trainers.laws import make_distribution
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import draw_training_set
from trainers.trial import TrialConfig

LEVELS = (16, 32, 64, 128, 256)
SEEDS = 4
TIMES = np.geomspace(0.5, 5000, 28)
HEADER = (
    f"{'exponent in N of':27}   T_0  d test sets      sd    part within studies    mean      sd"
    "    held without"
)
QUANTITIES = (Quantity.BEST_ERROR, Quantity.BEST_ERROR_UNWEIGHTED, Quantity.BEST_TIME)


def study(number: int, test: int, t_min: float = 0.05, dimension: int = 2) -> dict[Quantity, Curve]:
    """The curves of study `number` on test set `test`."""
    law = {"kind": "gaussian_mixture", "dimension": dimension, "components": 4}

    def config(samples: int, seed: int, study_seed: int) -> TrialConfig:
        values = {"law": law, "samples": samples, "width": 2, "step_size": 1.0, "seed": seed}
        diffusion = {"t_min": t_min}
        return TrialConfig.model_validate(
            {**values, "study_seed": study_seed, "diffusion": diffusion}
        )

    first = config(1, 0, test)
    distribution = make_distribution(first.law)
    evaluation = EvaluationSet.draw(first, distribution)
    points, target = evaluation.test.z, evaluation.test.fstar
    rows = []
    for samples in LEVELS:
        for seed in range(SEEDS):
            c = config(samples, seed, number)
            data = draw_training_set(c, distribution)
            values, vectors = np.linalg.eigh(relu_ntk(data.z, data.z))
            values = np.maximum(values, 1e-15 * values[-1])
            grown = -np.expm1(-TIMES[:, None] * values / samples) / values
            projected = relu_ntk(points, data.z) @ vectors
            labels = vectors.T @ data.x0
            errors = np.zeros((len(TIMES), len(points)))
            for i in range(dimension):
                f = (grown * labels[:, i]) @ projected.T
                errors += (f - target[:, i]) ** 2
            table = pd.DataFrame(errors @ evaluation.weights, columns=list(ERROR_COLUMNS))
            rows.append(table.assign(**_identity(c, t_min), effective_time=TIMES))
    frame = pd.concat(rows, ignore_index=True)
    frame["step"] = np.tile(np.arange(1, len(TIMES) + 1), len(rows))
    for name in ("train_loss", "coupling", "kernel_score_error"):
        frame[name] = np.nan
    return {Quantity(c.quantity): c for c in curves(frame) if c.axis == "samples"}


def _identity(c: TrialConfig, t_min: float) -> dict[str, object]:
    return {
        "trial_id": c.trial_id, "law": "gaussian_mixture", "law_id": c.law_id,
        "law_label": "mixture", "dimension": c.law.dimension, "samples": c.samples, "width": 2,
        "step_size": 1.0, "t_min": t_min, "seed": c.seed, "status": "completed",
    }  # fmt: skip


def _exponents(found: list[dict[Quantity, Curve]], name: Quantity) -> np.ndarray:
    """Exponent, interval, interval without the test set's part, and that part: [n, 6]."""
    rows = []
    for each in found:
        fit, bare = fit_curve(each[name]), fit_curve(replace(each[name], without=None))
        part = np.nan if fit.test_set is None else fit.test_set.error
        rows.append([fit.exponent, *fit.ci, *bare.ci, part])
    return np.array(rows)


def main() -> None:
    count, t_min, dimension = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    same = [study(0, test, t_min, dimension) for test in range(1000, 1000 + max(10, count // 10))]
    print(HEADER)
    whole = [study(number, number, t_min, dimension) for number in range(1, count + 1)]
    for name in QUANTITIES:
        over, rows = _exponents(same, name), _exponents(whole, name)
        fitted = rows[np.isfinite(rows[:, 0])]  # the others are refused: the curve jumps
        mean = fitted[:, 0].mean()
        held, bare = (np.mean((fitted[:, i] <= mean) & (mean <= fitted[:, i + 1])) for i in (1, 3))
        near = np.abs(over[:, 0] - over[:, 0].mean()) <= student(0.95, TEST_GROUPS - 1) * over[:, 5]
        print(
            f"{name:27} {t_min:5g} {dimension:2} {len(over):9} {over[:, 0].std(ddof=1):7.4f} "
            f"{np.sqrt(np.mean(over[:, 5] ** 2)):7.4f} {near.sum():6} {len(fitted):7} {mean:7.3f} "
            f"{fitted[:, 0].std(ddof=1):7.4f} {held:7.1%} {bare:7.1%}"
        )


if __name__ == "__main__":
    main()
