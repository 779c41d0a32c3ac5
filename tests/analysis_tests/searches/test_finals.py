"""The finals, planted: who wins, who is better than theory, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.searches.answers import answers, deciding
from analysis.searches.best import IMPORTANCE, winners
from analysis.searches.finals import duels, finals
from analysis.searches.tuning import COLUMNS, POINT

AT = {"law_id": "l", "law_label": "cube", "dimension": 2, "samples": 64, "t_min": 0.1, "steps": 9}
CHOSEN = {"a": ("tpe", 0), "b": ("random", 1), "c": ("theory", 0)}


def choices(**losses: float) -> pd.DataFrame:
    rows = [
        {**AT, "method": method, "repetition": r, "trial_id": trial_id, "width": 64.0 * (r + 1),
         "step_size": 1.0, "initialisation": "plain", "bias": True, "trainer": "descent",
         "step": 7, "loss": losses.get(trial_id, 1.0), "below_median": 0.0, "score_error": 0.1}
        for trial_id, (method, r) in CHOSEN.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def evaluations(losses: dict[str, Any], errors: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {**AT, "method": "final", "number": number, "repetition": seed, "trial_id": f"{ids}{seed}",
         "finalist": ids, "value": loss, "score_error": errors[ids][seed], "step": 5 + seed,
         "state": "completed", "message": ""}
        for number, (ids, own) in enumerate(losses.items())
        for seed, loss in enumerate(own)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


LOSSES = {"a": [1.2, 2.2, 3.2], "b": [1.1, 2.1, 3.1], "c": [1.0, 2.1, 3.0]}
ERRORS = {"a": [0.1, 0.1, 0.1], "b": [0.2, 0.4, 0.6], "c": [0.1, 0.21, 0.3]}


def test_the_least_mean_loss_wins_whatever_the_error() -> None:
    found = finals(evaluations(LOSSES, ERRORS), choices(a=0.1))
    assert found["trial_id"].tolist() == ["c", "b", "a"]
    assert found["place"].tolist() == [1, 2, 3]
    assert found["loss"].tolist() == pytest.approx([6.1 / 3, 2.1, 2.2])
    assert found["score_error"].iloc[1] == pytest.approx((0.2 * 0.4 * 0.6) ** (1 / 3))
    assert found["tuned"].tolist() == [False, True, True]
    assert found["step"].tolist() == [6, 6, 6]
    difference = np.array(LOSSES["b"]) - LOSSES["c"]
    half = stats.t.ppf(0.975, 2) * difference.std(ddof=1) / np.sqrt(3)
    ends = difference.mean() - half, difference.mean() + half
    assert found.loc[1, ["above_low", "above_high"]].tolist() == pytest.approx(ends)


@pytest.mark.parametrize(
    ("factors", "said"),
    [([2.0, 2.1, 2.2], "theory's choice is better"), ([0.5, 0.52, 0.5], "the tuned one is better"),
     ([0.5, 1.0, 2.0], "3 fresh seeds cannot tell them apart")],
)  # fmt: skip
def test_the_ratio_is_that_of_geometric_means_paired_by_seed(
    factors: list[float], said: str
) -> None:
    errors = {**ERRORS, "b": [f * e for f, e in zip(factors, ERRORS["c"], strict=True)]}
    made = evaluations(LOSSES, errors)
    (duel,) = duels(made, finals(made, choices())).to_dict("records")
    logs = np.log(factors)
    half = stats.t.ppf(0.975, 2) * logs.std(ddof=1) / np.sqrt(3)
    wanted = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    assert [duel[name] for name in ("ratio", "low", "high")] == pytest.approx(wanted.tolist())
    assert duel["said"].startswith(f"score error, tuned / theory = {wanted[0]:.3g} [")
    assert duel["said"].endswith(said)


def test_a_failed_trial_takes_the_place_and_one_seed_has_no_interval() -> None:
    made = evaluations({**LOSSES, "c": [0.1, np.nan, 0.1]}, ERRORS)
    found = finals(made, choices())
    assert found["trial_id"].tolist() == ["b", "a", "c"]
    assert np.isnan(found["place"].iloc[2])
    assert duels(made, found).empty
    one = evaluations({ids: own[:1] for ids, own in LOSSES.items()}, ERRORS)
    (duel,) = duels(one, finals(one, choices())).to_dict("records")
    assert duel["said"] == ("score error, tuned / theory = 2: 1 fresh seed cannot tell them apart")


def test_where_f_star_is_not_known_losses_are_compared() -> None:
    made = evaluations(LOSSES, dict.fromkeys(LOSSES, [np.nan] * 3))
    found = finals(made, choices())
    assert found["score_error"].isna().all()
    (duel,) = duels(made, found).to_dict("records")
    assert duel["measure"] == "held-out loss"
    assert duel["ratio"] == pytest.approx(0.2 / 3)
    assert "not known" not in duel["said"]
    assert duel["said"].startswith("held-out loss, tuned - theory, on one held-out set = ")
    (answer,) = answers(choices(), found, duels(made, found), pd.DataFrame(columns=IMPORTANCE))
    assert "score error" not in "".join(answer.best)
    made = evaluations(LOSSES, {**ERRORS, "c": [np.nan, *ERRORS["c"][1:]]})
    (duel,) = duels(made, finals(made, choices())).to_dict("records")
    assert "of some trials the score error is not known" in duel["said"]


def test_equal_choices_are_one_finalist_and_without_theory_there_is_a_ranking_alone() -> None:
    losses = {"a b": LOSSES["a"], "c": LOSSES["c"]}
    made = evaluations(losses, {"a b": ERRORS["a"], "c": ERRORS["c"]})
    found = finals(made, choices())
    assert found["chosen_by"].tolist() == [
        "theory, repetition 0", "tpe, repetition 0; random, repetition 1"
    ]  # fmt: skip
    two = {name: LOSSES[name] for name in "ab"}
    alone = evaluations(two, ERRORS)
    found = finals(alone, choices())
    assert len(found) == 2
    assert duels(alone, found).empty


def test_the_answer_is_the_finals_or_each_repetitions_own() -> None:
    made = evaluations(LOSSES, ERRORS)
    found = finals(made, choices())
    told = {"hyperparameter": "bias", "importance": 0.81, "evaluations": 64, "samplers": "random"}
    shares = pd.DataFrame([{**AT, **told}], columns=IMPORTANCE)
    (answer,) = answers(choices(), found, duels(made, found), shares)
    (best,) = answer.best
    assert "(theory, repetition 0) won the finals: held-out loss 2.0333" in best
    assert "on 3 fresh seeds" in best
    assert best.endswith("not told apart from random, repetition 1")
    assert answer.deciding.startswith("What matters most: bias 81 %")
    nothing = evaluations({}, {})
    found = finals(nothing, choices())
    (answer,) = answers(choices(), found, duels(nothing, found), shares[:0])
    assert [words[:13] for words in answer.best] == ["repetition 0,", "repetition 1,"]
    assert answer.duel == ""
    assert answer.deciding == deciding(shares[:0])
    assert "Too few" in answer.deciding


def test_points_that_differ_in_t_min_are_told_apart() -> None:
    nothing, both = evaluations({}, {}), [choices(), choices().assign(t_min=0.2)]
    found = finals(nothing, both[0])
    made = answers(pd.concat(both), found, duels(nothing, found), pd.DataFrame(columns=IMPORTANCE))
    labels = [answer.label for answer in made]
    assert labels == [f"cube, d = 2, N = 64, t_min = {t}" for t in (0.1, 0.2)]


def test_without_finals_the_luck_of_the_data_does_not_decide() -> None:
    """`b` has the lower loss, on data on which all losses are."""
    found = choices(a=1.0, b=0.5).assign(below_median=[0.3, 0.1, 0.2])
    assert winners(found)["trial_id"].tolist() == ["a"]
    assert winners(found, "theory")["trial_id"].tolist() == ["c"]
    assert set(POINT) <= set(winners(found).columns)
