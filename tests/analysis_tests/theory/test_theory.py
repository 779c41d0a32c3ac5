"""The registry against docs/theory.md, section 7, and the sums that its exponents come from."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from analysis.data.curves.quantities import INVERSE_T_MIN
from analysis.data.curves.quantity import Quantity
from analysis.theory import KEYS, THEORIES, Kind, Prediction, check_theories, predictions
from analysis.theory.prediction import NETWORK, Assumption

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


def row(dimension: int, quantity: Quantity, **kernel: float) -> Prediction:
    rows = predictions(dimension, **kernel)
    found = [p for p in rows if p.quantity == quantity and p.axis != INVERSE_T_MIN]
    found = [p for p in found if NETWORK not in p.needs]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("d", [1, 2, 4, 8, 100])
def test_exponents_of_the_table(d: int) -> None:
    assert row(d, Quantity.BEST_ERROR).exponent == pytest.approx(2 / (d + 3))
    assert row(d, Quantity.BEST_ERROR_UNWEIGHTED).exponent == pytest.approx(2 / (d + 3))
    assert row(d, Quantity.BEST_TIME).exponent == pytest.approx(-(d + 2) / (d + 3))
    assert row(d, Quantity.FINAL_ERROR).exponent == 0
    assert row(d, Quantity.FINAL_ERROR).threshold == pytest.approx(2 / (d + 3))
    assert row(d, Quantity.COUPLING_AT_TIME).exponent == 1
    assert row(d, Quantity.ERROR_AT_TIME).exponent == 0
    assert row(d, Quantity.APPROXIMATION).exponent == pytest.approx(2 / d)
    assert row(d, Quantity.NTK_EIGENVALUE).exponent == pytest.approx((d + 2) / (d + 1))
    assert row(d, Quantity.INTERPOLATION_ERROR).exponent == 0
    assert row(d, Quantity.INTERPOLATION_ERROR).threshold == pytest.approx(2 / (d + 3))
    assert row(d, Quantity.EMPIRICAL_BAYES).exponent == 1
    assert row(d, Quantity.GENERALIZATION_TIME).exponent == 0
    assert row(d, Quantity.MEMORIZATION_TIME).exponent == -1
    assert row(d, Quantity.MEMORIZATION_RATIO).exponent == -1
    assert row(d, Quantity.SAMPLE_DIVERGENCE).exponent == pytest.approx(2 / (d + 3))
    assert row(d, Quantity.GIRSANOV_RATIO).threshold == 1
    assert len(predictions(d)) == 21


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8])
def test_as_t_min_falls_errors_are_the_integrals_of_what_each_time_costs(d: int) -> None:
    """An independent route: N^-1 v^(1 - d/2), integrated over t with and without alpha^2/h^2, near
    T_0 = 1e-6; where theory says bounded or a logarithm, the ratio to that settles."""

    def integral(power: float, low: float) -> float:
        t = np.geomspace(low, 1, 40_001)
        alpha, h = np.exp(-t / 2), -np.expm1(-t)
        return float(np.trapezoid((h / alpha**2) ** (1 - d / 2) * (alpha / h) ** power, t))

    rows = {p.quantity: p for p in predictions(d) if p.axis == INVERSE_T_MIN}
    for quantity, power in (
        (Quantity.EMPIRICAL_BAYES, 0),
        (Quantity.EMPIRICAL_BAYES_UNWEIGHTED, 2),
    ):
        p = rows[quantity]
        x = np.array([1e6, 1e7])
        y = np.array([integral(power, 1 / v) for v in x])
        if p.growth is not None:
            y /= p.growth.of(x)
        b = -np.diff(np.log(y))[0] / np.log(10)
        assert b == pytest.approx(p.exponent, abs=0.02)
        assert p.growth is None or d == 4


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 4])
def test_rate_and_stopping_time_balance_bias_and_variance(d: int) -> None:
    """An independent route: spectral sums over eigenvalues l^-(D+1) per degree l of multiplicity
    l^(D-1), a target at the edge of Sobolev smoothness 1, minimised over eta tau numerically."""
    input_dimension = d + 1
    degree = np.arange(1, 60_000, dtype=float)
    eigenvalue = degree ** -(input_dimension + 1)
    times = np.logspace(0, 18, 721)
    filtered = np.exp(-np.outer(times, eigenvalue))
    # coefficients with sum l^2 |f_l|^2 just finite: |f_l|^2 = l^-3 per degree (log factor apart)
    bias = filtered**2 @ degree**-3.0
    variance = (1 - filtered) ** 2 @ degree ** (input_dimension - 1)
    samples = np.array([1e5, 1e6, 1e7])
    total = bias + variance / samples[:, None]
    error = -np.polyfit(np.log(samples), np.log(total.min(axis=1)), 1)[0]
    moment = -np.polyfit(np.log(samples), np.log(times[total.argmin(axis=1)]), 1)[0]
    assert error == pytest.approx(row(d, Quantity.BEST_ERROR).exponent, rel=0.06)
    assert moment == pytest.approx(row(d, Quantity.BEST_TIME).exponent, rel=0.06)


def test_source_and_capacity_need_their_numbers() -> None:
    unknown = row(2, Quantity.KERNEL_BEST_ERROR)
    assert math.isnan(unknown.exponent)
    assert not unknown.applies()
    known = row(2, Quantity.KERNEL_BEST_ERROR, capacity=4 / 3, source=0.5)
    assert known.exponent == pytest.approx((2 / 3) / (5 / 3))
    assert known.applies()
    assert not row(2, Quantity.KERNEL_BEST_TIME).applies()


def test_networks_near_the_kernel_have_its_rates() -> None:
    """The same exponents, of the networks' own quantities, where a network is what is measured."""
    rows = {p.name: p for p in predictions(2, 4 / 3, 0.5)}
    for name, quantity in (
        ("best error against samples", Quantity.BEST_ERROR),
        ("best time against samples", Quantity.BEST_TIME),
    ):
        kernel, network = (rows[f"{whose} {name}"] for whose in ("kernel's", "network's"))
        assert network.exponent == kernel.exponent
        assert network.quantity == quantity
        assert network.statement.startswith("A network near its kernel limit")
        assert {Assumption.DESCENT, Assumption.LAZY} <= set(network.assumptions)
        assert network.applies({NETWORK: True})
        assert not network.applies({NETWORK: False})


def test_the_kernels_best_time_balances_bias_and_variance() -> None:
    """An independent route: (eta tau)^-s = (eta tau)^(1/b) / N, solved for eta tau at two N; and
    at the edge of Sobolev smoothness 1 it is the time of a Lipschitz target."""
    b, s = 1.4, 0.7
    time = [n ** (1 / (s + 1 / b)) for n in (1e3, 1e6)]
    slope = np.log(time[1] / time[0]) / np.log(1e3)
    found = row(2, Quantity.KERNEL_BEST_TIME, capacity=b, source=s)
    assert found.exponent == pytest.approx(-slope)
    for d in (1, 2, 5):
        kernel = {"capacity": (d + 2) / (d + 1), "source": 2 / (d + 2)}
        exponent = row(d, Quantity.KERNEL_BEST_TIME, **kernel).exponent
        assert exponent == pytest.approx(row(d, Quantity.BEST_TIME).exponent)


def test_source_condition_at_the_edge_of_smoothness_one_is_the_minimax_rate() -> None:
    """b = (D+1)/D and s b = 2/D, Sobolev smoothness 1, give 2/(2+D)."""
    for d in (1, 2, 5):
        capacity = (d + 2) / (d + 1)
        source = 2 / (d + 1) / capacity
        exponent = row(d, Quantity.KERNEL_BEST_ERROR, capacity=capacity, source=source).exponent
        assert exponent == pytest.approx(row(d, Quantity.BEST_ERROR).exponent)


def test_rows_are_told_apart_and_speak() -> None:
    rows = predictions(2)
    assert len({p.name for p in rows}) == len(rows)
    for p in rows:
        assert p.statement.endswith(".")
        assert p.source
        assert p.theory
        assert p.assumptions
        assert 0 < p.margin < 1 or (p.kind is Kind.CEILING and p.margin == 0)
        has_threshold = p.kind in (Kind.QUALITATIVE, Kind.CEILING)
        assert has_threshold == math.isfinite(p.threshold)
    assert "0.5" in row(2, Quantity.COUPLING_AT_TIME).statement


def test_needs_decide_whether_a_prediction_applies() -> None:
    p = Prediction("n", "q", "a", 1.0, Kind.SHARP, 0.1, "s", "t.", needs=("kernel",))
    assert not p.applies()
    assert not p.applies({"kernel": False})
    assert p.applies({"kernel": True})


def test_dimension_must_be_positive() -> None:
    with pytest.raises(ValueError, match="dimension = 0"):
        predictions(0)


def test_a_kind_given_as_text_is_judged_by_its_own_rule() -> None:
    given = {"margin": 0.15, "source": "s", "statement": "t."}
    made = Prediction("p", "error", "samples", 0.5, "sharp", **given)  # type: ignore[arg-type]
    assert made.kind is Kind.SHARP
    with pytest.raises(ValueError, match="at least"):
        Prediction("p", "error", "samples", 0.5, "at least", **given)  # type: ignore[arg-type]


def test_the_page_has_the_registrys_exponents() -> None:
    """The table of docs/theory.md, row by row in the registry's order, its formulas evaluated."""
    table = PAGE.split("| quantity | axis | $b$ | kind | from |")[1].split("\n\n")[0]
    cells = [line.split("|") for line in table.splitlines()[2:]]
    for d in (1, 2, 7):
        rows = predictions(d, capacity=1.5, source=0.4)
        assert len(cells) == len(rows)
        for cell, p in zip(cells, rows, strict=True):
            assert cell[4].split(",")[0].strip() == p.kind
            if p.kind is Kind.CEILING:
                assert cell[3].strip() == f"at most {p.threshold:g}"
                continue
            cell[3] = cell[3].replace("(d-4)_+", "(d-4)*(d>4)")
            formula = cell[3].split(",")[0].strip(" $").replace("sb", "0.4*1.5").replace("b", "1.5")
            assert re.fullmatch(r"[-+*/().>\dd]+", formula)
            assert eval(formula, {"d": d}) == pytest.approx(p.exponent), p.name


def test_the_page_has_the_theories() -> None:
    """Name, key and reference of each, and the year in the reference."""
    table = PAGE.split("| theory | key | paper | rows |")[1].split("\n\n")[0]
    cells = [[c.strip() for c in line.split("|")] for line in table.splitlines()[2:]]
    assert len(cells) == len(THEORIES)
    for cell, theory in zip(cells, THEORIES, strict=True):
        assert cell[1].lower() == theory.name.lower()
        assert cell[2] == f"`{theory.key}`"
        assert cell[3].endswith(f"](#{theory.paper})]")
        entry = PAGE.split(f'- <a id="{theory.paper}"></a>')[1].split("- <a id=")[0]
        assert str(theory.year) in entry


def test_a_theory_owns_its_rows() -> None:
    for theory in THEORIES:
        mine = predictions(3, theories=[theory.key])
        assert mine
        for p in mine:
            assert p.theory_key == theory.key
            assert set(theory.assumptions) <= set(p.assumptions)
            assert len(set(p.assumptions)) == len(p.assumptions)
    every = [p.name for theory in THEORIES for p in predictions(3, theories=[theory.key])]
    assert sorted(every) == sorted(p.name for p in predictions(3))


def test_theories_are_chosen_by_their_keys() -> None:
    assert check_theories(None) == KEYS
    assert check_theories(["empirical_bayes", "hrx"]) == ("hrx", "empirical_bayes")
    for wrong in (["hrx", "hrz"], []):
        with pytest.raises(ValueError, match="choose among hrx, no_stopping, "):
            check_theories(wrong)


def test_the_page_names_modules_and_anchors_that_exist() -> None:
    for path in re.findall(r"`((?:trainers|analysis|study)/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).is_file(), path
    anchors = set(re.findall(r'<a id="([\w-]+)"></a>', PAGE))
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) == anchors


def test_the_code_cites_sections_that_exist() -> None:
    sections = set(re.findall(r"^## (\d+)\.", PAGE, re.M))
    sections |= set(re.findall(r"^(?:\*\*|### )(\d+\.\d+) ", PAGE, re.M))
    cited = set()
    for package in ("trainers", "analysis", "study", "tests", "benchmarks"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            cited |= set(re.findall(r"docs/theory\.md, (?:sections? )?(\d+(?:\.\d+)?)", text))
    assert len(cited) >= 9
    assert cited <= sections
