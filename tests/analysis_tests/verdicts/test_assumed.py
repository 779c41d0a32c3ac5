"""Assumptions of a theory: what is said of each follows from the audit and from the trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.audit import EARLIER_FIRST, EARLIER_LAST
from analysis.data.sweeps import AUDIT_KEYS
from analysis.report.wording import assumed, broken
from analysis.theory import Assumption
from analysis.verdicts.assumed import Finding, Holds, _over_draws
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.judging import Verdict, Word
from trainers.laws import KINDS, make_distribution

BEST, TIME, ETA = (
    "best error against samples",
    "best stopping time against samples",
    "error against step size",
)


def audit_of(
    table: pd.DataFrame, values: Mapping[str, Mapping[float, Any]], replicates: int = 1
) -> pd.DataFrame:
    """An audit of the table's setting: values[quantity][x], of each replicate 1 % higher."""
    first = table.iloc[0]
    setting = {key: first[key] for key in AUDIT_KEYS}
    rows = [
        {"quantity": quantity, "x": x, "value": value * 1.01**seed, "seed": seed, **setting}
        for quantity, by_x in values.items()
        for x, value in by_x.items()
        for seed in range(replicates)
    ]
    frame = pd.DataFrame(rows).assign(audit_id="a", law=first["law"], law_label="l", dimension=2)
    return frame.assign(feature_bias=frame["feature_bias"].astype(bool))


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    made: pd.DataFrame = synthetic.synthetic_table(synthetic.Grid(seeds=3))
    return made


def found(
    table: pd.DataFrame, values: Mapping[str, Mapping[float, Any]], replicates: int = 1
) -> dict[str, dict[str, Finding]]:
    audit = audit_of(table, values, replicates) if values else None
    return {v.prediction: {a.name: a for a in v.assumptions} for v in evaluate(table, audit=audit)}


def test_nothing_is_claimed_without_an_audit(table: pd.DataFrame) -> None:
    seen = found(table, {})
    for name in (Assumption.SUPPORT, Assumption.LIPSCHITZ, Assumption.STEP):
        assert seen[BEST][name].holds is Holds.UNKNOWN
    assert seen[BEST][Assumption.DESCENT].holds is Holds.YES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("radius", "holds", "said"), [(1.4, Holds.YES, "radius 1.4"), (np.nan, Holds.NO, "infinite")]
)
def test_support(table: pd.DataFrame, radius: float, holds: Holds, said: str) -> None:
    one = found(table, {"support_radius": {np.nan: radius}})[BEST][Assumption.SUPPORT]
    assert one.holds is holds
    assert said in one.finding


@pytest.mark.parametrize("kind", KINDS)
def test_every_law_says_why_it_is_sub_gaussian(kind: str) -> None:
    law = KINDS[kind].model_validate({"dimension": 2})
    bounded = make_distribution(law).support_radius < np.inf
    assert law.sub_gaussian
    assert (law.sub_gaussian == "bounded support") == bounded


@pytest.mark.slow
def test_the_slope_is_that_at_the_settings_own_first_time(table: pd.DataFrame) -> None:
    t_min = float(table["t_min"].iloc[0])
    slopes = {t_min / 10: 50.0, t_min: 5.0, 1.0: 0.5}
    one = found(table, {"lipschitz_x": slopes})[BEST][Assumption.LIPSCHITZ]
    assert one.holds is Holds.YES
    assert one.finding.startswith("constant at least 5 ")


@pytest.mark.slow
def test_a_smoother_target_is_not_asked_for_the_worst_ones_time(table: pd.DataFrame) -> None:
    """At d = 2 a Lipschitz target that is no smoother has s b = 2/3."""
    smooth, rough = (
        evaluate(
            table, audit=audit_of(table, {"capacity": {np.nan: 4 / 3}, "source": {np.nan: source}})
        )
        for source in (1.2, 0.5)
    )
    times = [v for v in rough if v.prediction == TIME]
    assert times
    for v in times:
        assert (
            Finding(
                Assumption.NO_SMOOTHER,
                Holds.YES,
                "s b = 0.67, and 0.67 is Lipschitz and no smoother",
            )
            in v.assumptions
        )
    assert TIME not in {v.prediction for v in smooth}
    rows = [row for row in smooth.not_asked if row.prediction == TIME]
    assert {row.told for row in rows} == {
        f"{TIME}: needs f* no smoother than Lipschitz, which is not so (s b = 1.60, and 0.67 is "
        "Lipschitz and no smoother)"
    }
    # its curve and fit stay, for figures, and everything else is asked as before
    assert [row.verdict.exponent for row in rows] == [v.exponent for v in times]
    assert [v.prediction for v in smooth] == [v.prediction for v in rough if v.prediction != TIME]


@pytest.mark.slow
def test_networks_near_the_kernel_are_held_to_its_spectrum(
    synthetic: ModuleType,
) -> None:
    """Of networks that start at 0 and descend the gradient; the limit has the kernel's own rows."""

    def judged(trials: pd.DataFrame, rate: float) -> dict[str, Verdict]:
        source = rate / (1 - rate) / (4 / 3)
        audit = audit_of(trials, {"capacity": {np.nan: 4 / 3}, "source": {np.nan: source}})
        return {v.prediction: v for v in evaluate(trials, audit=audit)}

    table = synthetic.synthetic_table(synthetic.Grid(noise=0.05))
    error, time = "network's best error against samples", "network's best time against samples"
    right = judged(table, synthetic.ERROR_EXPONENT)
    assert right[error].verdict is Word.AGREES
    assert right[error].theory_exponent == pytest.approx(synthetic.ERROR_EXPONENT)
    assert right[error].fixed == right[BEST].fixed
    assert Assumption.LAZY in {a.name for a in right[error].assumptions}
    assert time in right
    assert judged(table, synthetic.ERROR_EXPONENT / 2)[error].verdict is Word.DISAGREES
    kernels = {"kernel's best error against samples", "kernel's best time against samples"}
    assert kernels <= right.keys()
    # the kernel beside plain networks starts where they do, not at 0, of which the spectrum is
    for other in ({"initialisation": "plain"}, {"trainer": "adam"}):
        seen = judged(table.assign(**other), synthetic.ERROR_EXPONENT)
        assert not {error, time, *kernels} & seen.keys()
    assert error not in {v.prediction for v in evaluate(table)}
    minibatches = judged(table.assign(trainer="sgd"), synthetic.ERROR_EXPONENT)[error]
    assert Finding(Assumption.DESCENT, Holds.NO, "sgd trains") in minibatches.assumptions


@pytest.mark.slow
def test_steps_are_held_against_the_largest_one(table: pd.DataFrame) -> None:
    """The study's step sizes are 0.25 to 1; along them the largest counts."""
    stable = found(table, {"largest_step_size": {64.0: 4.0, 4096.0: 3.0}})
    assert stable[BEST][Assumption.STEP].holds is Holds.YES
    assert stable[ETA][Assumption.STEP].holds is Holds.YES
    assert "eta = 1, and 2N/lambda_max is 3 to 4" in stable[ETA][Assumption.STEP].finding
    unstable = found(table, {"largest_step_size": {64.0: 4.0, 4096.0: 0.9}})
    assert unstable[ETA][Assumption.STEP].holds is Holds.NO


@pytest.mark.slow
def test_lazy_is_judged_by_coupling_over_error(table: pd.DataFrame, synthetic: ModuleType) -> None:
    """Planted: coupling is kernel w/m, the error kernel (1 + w/m), at m = 4096."""
    one = found(table, {})[BEST][Assumption.LAZY]
    share = synthetic.WIDTH_CONSTANT / 4096 / (1 + synthetic.WIDTH_CONSTANT / 4096)
    assert one.holds is Holds.YES
    assert one.finding.startswith(f"{100 * share:.2g} %")
    far = table.assign(coupling=40 * table["coupling"])
    assert found(far, {})[BEST][Assumption.LAZY].holds is Holds.NO


def test_other_trainers_are_not_the_theorys(table: pd.DataFrame) -> None:
    law = table.assign(law_label="cube")
    assert found(law, {})[BEST][Assumption.SUPPORT].holds is Holds.YES
    one = found(table.assign(trainer="adam"), {})[BEST][Assumption.DESCENT]
    assert (one.holds, one.finding) == (Holds.NO, "adam trains")


def test_the_noise_of_training_is_held_against_each_theorys_own(table: pd.DataFrame) -> None:
    """HRX wants one copy, the clocks want fresh noise, which is 0 copies in a table."""
    usual = found(table, {})[BEST][Assumption.ONE_COPY]
    assert usual.holds is Holds.YES
    clock = "memorization time against samples"
    for copies, holds in ((0, Holds.YES), (16, Holds.NO)):
        seen = found(table.assign(copies=copies), {})
        assert seen[BEST][Assumption.ONE_COPY].holds is Holds.NO
        assert seen[clock][Assumption.FRESH].holds is holds
        assert ("fresh" in seen[clock][Assumption.FRESH].finding) == (copies == 0)


@pytest.mark.slow
@pytest.mark.parametrize(("late", "holds"), [(1.5, Holds.YES), (2.5, Holds.NO)])
def test_a_spectrum_that_bends_is_no_power(table: pd.DataFrame, late: float, holds: Holds) -> None:
    index = np.arange(EARLIER_FIRST, EARLIER_LAST + 1, dtype=float)
    middle = np.sqrt(EARLIER_FIRST * EARLIER_LAST)
    value = index**-1.5 * np.maximum(index / middle, 1) ** (1.5 - late)
    by_index = dict(zip(index.tolist(), value.tolist(), strict=True))
    values = {
        "ntk_eigenvalue": by_index, "capacity": {np.nan: 1.5}, "source": {np.nan: 0.6}
    }  # fmt: skip
    kernel, powers = "kernel's best error against samples", Assumption.POWERS
    assert found(table, values, replicates=2)[kernel][powers].holds is holds
    # one sample does not tell what another would change
    assert found(table, values)[kernel][powers].holds is Holds.UNKNOWN


def test_draws_that_were_not_looked_at_are_counted_apart() -> None:
    """Where one draw has the audit, the others are no evidence that the assumption holds."""
    name = Assumption.NO_SMOOTHER
    smooth = Finding(name, Holds.NO, "s b = 1.60")
    rough, unseen = Finding(name, Holds.YES, "s b = 0.67"), Finding(name, Holds.UNKNOWN)
    for each, finding in (
        ([unseen, smooth, unseen], "1 of 3 draws, 2 not measured, the first: s b = 1.60"),
        ([rough, smooth, smooth], "2 of 3 draws, the first: s b = 1.60"),
    ):
        assert _over_draws(name, each) == Finding(name, Holds.NO, finding)
    assert _over_draws(name, [rough, unseen]) == Finding(name, Holds.UNKNOWN, "")


@pytest.mark.slow
def test_words_and_json(table: pd.DataFrame) -> None:
    audit = audit_of(table, {"support_radius": {np.nan: np.nan}})
    verdict: Verdict = next(v for v in evaluate(table, audit=audit) if v.prediction == BEST)
    assert broken(verdict) == (
        "the theory assumes bounded support; here infinite radius (gaussian_mixture)"
    )
    assert "bounded support: no, infinite radius (gaussian_mixture)" in assumed(verdict)
    entry = verdict.to_dict()
    assert entry["theory"] == "minimax regression"
    assert entry["assumptions"][0] == {
        "name": "bounded support", "holds": "no", "finding": "infinite radius (gaussian_mixture)"
    }  # fmt: skip
    assert broken(replace(verdict, assumptions=())) == ""
