"""Two studies, one question: do their rates differ? Each exponent, the difference, its interval.

    python examples/analysis/compare_studies.py RESULTS_A RESULTS_B [FIGURE.svg]

RESULTS: results directories, or MLflow URIs. The studies' trials must be independent (other laws,
other seeds): the errors of the two exponents are then added.
"""

import math
import sys

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from analysis import load_results
from analysis.data.curves.quantities import Curve, curves
from analysis.verdicts.judging import fit_curve

if len(sys.argv) < 3:
    sys.exit(__doc__)
found = []
for source in sys.argv[1:3]:
    chosen: dict[tuple[str, str], Curve] = {}
    for curve in curves(load_results(source)):
        chosen.setdefault((str(curve.quantity), curve.axis), curve)  # the longest of each kind
    found.append(chosen)

print(f"{'quantity against axis':44} {'A':>8} {'B':>8} {'A - B':>8}  95 % interval")
for key in [k for k in found[0] if k in found[1]]:
    one, two = (fit_curve(chosen[key]) for chosen in found)
    if not (one.ok and two.ok):
        print(f"{' against '.join(key):44} no exponent: {one.message or two.message}")
        continue
    # Welch: standard errors from the intervals, degrees of freedom by Satterthwaite.
    slopes = [fit.means.contrast(-fit.means.polynomial(1)[1]) for fit in (one, two)]
    error = math.hypot(slopes[0].error, slopes[1].error)
    spread = sum(s.error**4 / s.freedom for s in slopes)
    freedom = error**4 / spread if spread > 0 else math.inf
    gap, half = one.exponent - two.exponent, error * stats.t.ppf(0.975, freedom)
    told = "differ" if abs(gap) > half else "no difference seen"
    print(
        f"{' against '.join(key):44} {one.exponent:8.3f} {two.exponent:8.3f} {gap:8.3f}  "
        f"[{gap - half:.3f}, {gap + half:.3f}] {told}"
    )

figure = Figure(figsize=(4.5, 3.2), layout="constrained")
axes = figure.add_subplot(xscale="log", yscale="log", xlabel="samples N", ylabel="best error")
for source, chosen in zip(sys.argv[1:3], found, strict=True):
    curve = chosen["best_score_error", "samples"]
    fit, grid = fit_curve(curve), np.geomspace(curve.x.min(), curve.x.max())
    (line,) = axes.plot(grid, fit.predict(grid)[0], label=f"{source}, b = {fit.exponent:.2f}")
    axes.plot(curve.x, curve.y, ".", color=line.get_color(), alpha=0.5)
axes.legend(fontsize=7)
figure.savefig(sys.argv[3] if len(sys.argv) > 3 else "compared.svg")
