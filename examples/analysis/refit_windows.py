"""Does the exponent depend on which sample sizes are fitted? Refits with windows and forms.

    python examples/analysis/refit_windows.py [RESULTS] [FIGURE.svg]

RESULTS: a results directory, by default results/quickstart, or an MLflow URI.
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from analysis import load_results
from analysis.data.curves.quantities import curves
from analysis.fits.growth import OFFSET, POWER, log_power
from analysis.verdicts.judging import fit_curve, usable

given = dict(enumerate(sys.argv[1:]))
frame = load_results(given.get(0, "results/quickstart"))
wanted = ("best_score_error", "samples")
curve = usable(next(c for c in curves(frame) if (c.quantity, c.axis) == wanted))[0]
levels = np.unique(curve.x)
print(f"{curve.law}: {curve.quantity} at N = {', '.join(f'{n:g}' for n in levels)}\n")

rows = []
for low, high in [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (1, 1)]:
    if len(levels) - low - high < 4:
        continue
    ends = levels[low], levels[len(levels) - 1 - high]
    keep = (curve.x >= ends[0]) & (curve.x <= ends[1])
    for growth in (POWER, OFFSET, log_power(1)):
        fit = fit_curve(curve.only(keep), growth=growth)
        name = f"{ends[0]:g} to {ends[1]:g}, {growth.form}"
        told = fit.message or f"{fit.points} levels"
        print(f"{name:36} b = {fit.exponent:.3f} [{fit.ci[0]:.3f}, {fit.ci[1]:.3f}]  {told}")
        if fit.ok and np.isfinite(fit.ci).all():
            rows.append((name, fit.exponent, *fit.ci))

# The same exponents with their intervals, one below the other.
names, b, bottom, top = zip(*rows, strict=True)
figure = Figure(figsize=(6, 0.28 * len(rows) + 0.8), layout="constrained")
axes = figure.add_subplot()
spans = [np.subtract(b, bottom), np.subtract(top, b)]
axes.errorbar(b, range(len(rows)), xerr=spans, fmt="o", capsize=2)
axes.set_yticks(range(len(rows)), names)
axes.invert_yaxis()
axes.set_xlabel("exponent b with its 95 % interval")
path = given.get(1, "windows.svg")
figure.savefig(path)
print(f"\nfigure: {path}")
