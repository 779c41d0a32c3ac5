"""From MLflow to verdicts and a figure: where an analysis of your own begins.

    python examples/analysis/load_from_mlflow.py [TRACKING_URI] [STUDY] [FIGURE.svg]

By default the study `quickstart` of ./mlflow.db. A results directory does as well as a URI.
"""

import sys

from analysis import evaluate, load_results
from analysis.drawing.figure import draw
from analysis.figures.study import study_plots

given = dict(enumerate(sys.argv[1:]))
source, study = given.get(0, "sqlite:///mlflow.db"), given.get(1, "quickstart")
figure = given.get(2, "best_error.svg")

# One row per trial and recorded step; columns and units are in trainers/columns.py.
frame = load_results(source, study)
print(f"{frame['trial_id'].nunique()} trials, {len(frame)} rows from {source}\n")

# A table of your own is a groupby away: the smallest error of each trial, averaged over seeds.
best = frame.groupby(["law", "samples", "width", "seed"])["score_error"].min()
print(best.groupby(["law", "samples", "width"]).agg(["mean", "std", "size"]).round(5), "\n")

evaluation = evaluate(frame)
for v in evaluation:
    print(f"{v.law}: {v.prediction}: b = {v.exponent:.3f} [{v.ci_low:.3f}, {v.ci_high:.3f}]")
    print(f"    theory {v.kind} {v.theory_exponent:.3f}: {v.verdict}; {v.reason}")

# Any figure of the report, to change before it is saved: `draw` gives a matplotlib figure.
plots, _ = study_plots(evaluation)
plot = next(p for p in plots if "best_score_error_against_samples" in p.name)
drawn = draw(plot)
drawn.axes[0].set_title(study, fontsize=8)
drawn.savefig(figure)
print(f"\n{plot.title}: {figure}")
