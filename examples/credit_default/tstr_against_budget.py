"""How useful are the samples of what a search found after n evaluations, and of theory's choice?

    python tstr_against_budget.py STUDY.yaml [RESULTS]

STUDY: a finished `scorerates search` on a law `table` with a target; RESULTS: its folder, by
default results/NAME. The best of the first 1, 4, 16, 64, ... evaluations of each repetition by
held-out loss, the best of all that have theory's network and its descent (whole or by minibatches,
not under Adam), and theory's choice, stopped a priori and by held-out loss, are trained once more
(their numbers are the search's, to rounding) and sampled. Writes tstr.csv, tstr_summary.csv and
tstr.png beside the results: train on samples and test on real rows, medians over repetitions with
the interval between order statistics, beside training on the same N real rows. Needs scikit-learn.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from analysis.data.results import load_results
from analysis.searches.tuning import GUIDED, NOT_SEARCHED, load_evaluations, median_interval
from study import StudySpec
from trainers import train_pack
from trainers.kept.keep import Keep, Sampling
from trainers.stopping import Recorded, stop
from trainers.trial import TrialConfig

BUDGETS = (1, 4, 16, 64, 256)
PAPER = ("descent", "sgd")
"""Trainers of the two-layer network that theory speaks of, by descent: Adam's is left out."""
MEASURES = {
    "tstr_auc_logistic": "logistic regression",
    "tstr_auc_boosting": "gradient boosting",
}
OTHERS = (
    "tstr_balanced_logistic",
    "tstr_balanced_boosting",
    "table_marginals",
    "table_correlations",
    "table_detection",
    "table_closest",
    "share_memorized",
    "holdout_loss",
)


@dataclass(frozen=True)
class Chosen:
    """A network: what chose it, in which repetition, after how many evaluations (0: theory)."""

    choice: str
    repetition: int
    evaluations: int
    config: TrialConfig
    last: bool = False
    """Whether it is sampled at its last step, and not where its held-out loss is least."""


def chosen(spec: StudySpec, folder: Path) -> Iterator[Chosen]:
    """The incumbents of every repetition at each of BUDGETS, and theory's choices."""
    found, table = load_evaluations(str(folder)), load_results(str(folder))
    assert found is not None, f"{folder} holds no search"
    trials = table.drop_duplicates("trial_id").set_index("trial_id")
    (point,) = spec.search_points()

    def config(trial_id: str, **fields: object) -> TrialConfig:
        row = trials.loc[trial_id]
        own = point.changed(
            width=int(row["width"]),
            step_size=float(row["step_size"]),
            steps=int(row["steps"]),
            initialisation=row["initialisation"],
            bias=bool(row["feature_bias"]),
            trainer=row["trainer"],
            seed=int(row["seed"]),
            **fields,
        )
        # Beside a kernel reference a network is the same, and has another id.
        assert trial_id in (own.trial_id, own.changed(kernel=True).trial_id), "a trainer of its own"
        return own

    searched = found[~found["method"].isin(NOT_SEARCHED)]
    for (method, repetition), own in searched.groupby(["method", "repetition"]):
        own = own.sort_values("number").dropna(subset="value")
        for n in (b for b in BUDGETS if b <= len(own)):
            best = own.head(n).sort_values("value").iloc[0]
            yield Chosen(f"{method}, {n}", int(repetition), n, config(best["trial_id"]))
        like_theory = trials["trainer"].reindex(own["trial_id"]).isin(PAPER).to_numpy()
        if like_theory.any():
            best, n = own[like_theory].sort_values("value").iloc[0], len(own)
            name = f"{method}, {n}, theory's network"
            yield Chosen(name, int(repetition), n, config(best["trial_id"]))
    for _, one in found[found["method"] == GUIDED].iterrows():
        if one["trial_id"] not in trials.index:
            print(f"repetition {one['repetition']}: no choice of theory: {one['message']}")
            continue
        whole = config(one["trial_id"])
        yield Chosen("theory, held-out stop", int(one["repetition"]), 0, whole)
        steps = np.sort(table.loc[table["trial_id"] == one["trial_id"], "step"].to_numpy(int))
        recorded = Recorded(
            steps, whole.step_size, whole.samples, whole.dimension,
            a_priori_constant=float(one["constant"]),
        )  # fmt: skip
        stopped = stop("a_priori", recorded)
        if stopped.step:
            short = whole.changed(steps=stopped.step)
            yield Chosen("theory, a priori stop", int(one["repetition"]), 0, short, last=True)


def sampled(one: Chosen, spec: StudySpec, points: int) -> dict[str, float | str | int | None]:
    """The columns of samples of a network, and what real rows reach."""
    at = "last" if one.last else "best"
    how = Sampling((at,), frozenset({one.config.seed}), points=points, start="normal")
    held = {key: file.points for key, file in spec.atoms().items()}
    (trained,) = train_pack(
        [one.config], "cpu", atoms=held, keep=Keep((), frozenset(), how), threads=1
    )
    energy = trained.series.get("sample_energy", [])
    index = next((i for i, value in enumerate(energy) if value is not None), None)
    names = (*MEASURES, *OTHERS)
    row: dict[str, float | str | int | None] = {
        "choice": one.choice,
        "repetition": one.repetition,
        "evaluations": one.evaluations,
        "width": int(one.config.width),
        "step_size": one.config.step_size,
        "trainer": one.config.trainer,
        "step": None if index is None else trained.steps[index],
        "operations": trained.values.get("operations"),
    }
    for name in names:
        row[name] = None if index is None else trained.series[name][index]
    real = {k: v for k, v in trained.values.items() if k.endswith("_real")}
    return {**row, **real}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a choice and measure: median over repetitions, interval, its level, their number."""
    made = []
    names = [*MEASURES, *OTHERS]
    for choice, own in rows.groupby("choice", sort=False):
        for name in names:
            m = median_interval(own[name].to_numpy(dtype=float))
            made.append((choice, name, m.value, m.low, m.high, m.level, m.count))
    for name in names:
        if f"{name}_real" in rows:
            each = rows.drop_duplicates("repetition")[f"{name}_real"]
            m = median_interval(each.to_numpy(dtype=float))
            made.append(("real rows", name, m.value, m.low, m.high, m.level, m.count))
    columns = ["choice", "measure", "median", "low", "high", "level", "repetitions"]
    return pd.DataFrame(made, columns=columns)


def draw(table: pd.DataFrame, path: Path) -> None:
    """The two AUCs of every choice, with their intervals."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    choices = list(dict.fromkeys(table["choice"]))
    for panel, (name, label) in zip(axes, MEASURES.items(), strict=True):
        own = table[table["measure"] == name].set_index("choice").loc[choices]
        for place, (choice, row) in enumerate(own.iterrows()):
            colour = "C1" if str(choice).startswith("theory") else "C0"
            colour = "0.4" if choice == "real rows" else colour
            panel.plot([row["low"], row["high"]], [place, place], color=colour, lw=2)
            panel.plot(row["median"], place, "o", color=colour)
        panel.axvline(0.5, color="0.7", lw=0.8, ls=":")
        panel.set_title(label)
        panel.set_yticks(range(len(choices)), choices)
    axes[0].invert_yaxis()
    figure.supxlabel("AUC on real rows, trained on samples", fontsize="medium")
    figure.savefig(path, dpi=130)


def main(study: str, results: str | None = None, points: int = 1024) -> pd.DataFrame:
    """All of it; returns the summary."""
    spec = StudySpec.load(study)
    folder = Path(results or f"results/{spec.name}")
    made = []
    for one in chosen(spec, folder):
        made.append(sampled(one, spec, points))
        print(one.choice, f"repetition {one.repetition}", made[-1]["tstr_auc_logistic"], flush=True)
    rows = pd.DataFrame(made)
    rows.to_csv(folder / "tstr.csv", index=False)
    table = summary(rows)
    table.to_csv(folder / "tstr_summary.csv", index=False)
    draw(table, folder / "tstr.png")
    return table


if __name__ == "__main__":
    print(main(*sys.argv[1:3]).to_string(index=False))
