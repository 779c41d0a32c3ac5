"""Trials of infinite width: what identifies one, and its trajectory beside a network's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from trainers import Trajectory, TrialConfig, TrialStatus, train_pack
from trainers.kernel import limit
from trainers.kernel.solution import decompose
from trainers.trial import LIMIT_TIME, MEMORIZING

KERNEL_ID = "98c53c78cd7fb64b"


def config(**changes: Any) -> TrialConfig:
    values = {
        "law": {"kind": "gaussian_mixture", "dimension": 2, "seed": 5},
        "samples": 40,
        "width": math.inf,
        "step_size": 1.0,
        "recorded": 12,
        "test_points": 200,
        "holdout_points": 100,
        **changes,
    }
    return TrialConfig.model_validate(values)


def column(trajectory: Trajectory, name: str) -> dict[int, float | None]:
    return dict(zip(trajectory.steps, trajectory.series[name], strict=True))


# --- what it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"width": "inf"},
        {"width": ".inf"},
        {"steps": 7},
        {"precision": "float32"},
        {"kernel": False},
        {"trainer": "descent"},
    ],
)
def test_what_cannot_matter_does_not_change_the_id(changes: dict[str, Any]) -> None:
    assert config(**changes) == config()
    assert config(**changes).trial_id == config().trial_id == KERNEL_ID


def test_of_the_norms_only_the_largest_matters() -> None:
    assert config(norms=(0.5, 3.0)).trial_id == config(norms=(3.0,)).trial_id
    assert config(norms=(3.0,)).trial_id != config().trial_id


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 64},
        {"step_size": 0.5},
        {"seed": 1},
        {"bias": False},
        {"recorded": 13},
        {"samples": 41},
    ],
)
def test_what_matters_does(changes: dict[str, Any]) -> None:
    assert config(**changes).trial_id != config().trial_id


def test_it_survives_being_sent() -> None:
    one = config(norms=(1.0,))
    assert TrialConfig.model_validate(one.model_dump(mode="json")) == one
    assert TrialConfig.model_validate_json(one.model_dump_json()) == one
    assert one.changed(steps=3) == one


def test_its_data_are_those_of_networks() -> None:
    assert config().data_id == config(width=64).data_id


def test_steps_follow_from_the_horizon() -> None:
    assert config(step_size=0.25).steps == 4 * LIMIT_TIME
    assert config(samples=50_000).steps == 50_000
    assert config(step_size=1e9).steps == 1
    assert config(copies=2).steps == MEMORIZING * LIMIT_TIME
    assert config(samples=5_000, copies=4).steps == MEMORIZING * 20_000


def test_ids_with_copies_know_the_horizon() -> None:
    """Results that end earlier are other results."""
    assert config(copies=2).identity()["horizon"] == MEMORIZING
    assert "horizon" not in config().identity()
    assert "horizon" not in config(width=64, copies=2).identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initialisation": "plain"}, "use initialisation: symmetric, or leave inf out of width"),
        ({"trainer": "adam"}, "use trainer: descent, or leave inf out of width"),
        ({"width": 64, "trainer": "kernel_limit"}, "trainer = 'kernel_limit' is unknown"),
        ({"width": -math.inf}, "width"),
        ({"width": math.nan}, "width"),
        ({"samples": math.inf}, "samples"),
    ],
)
def test_what_contradicts_it_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


# --- its trajectory -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pack_has_its_kernel_columns_beside_the_networks_on_the_same_data() -> None:
    shared = {"norms": (0.3, 3.0), "precision": "float64", "steps": 300, "recorded": 40}
    pairs = [
        config(width=width, samples=samples, seed=seed, step_size=step_size, **shared)
        for samples, seed, step_size in ((40, 0, 1.0), (40, 1, 1.0), (40, 1, 0.5), (300, 0, 2.0))
        for width in (16, math.inf)
    ]
    trajectories = train_pack(pairs, "cpu")
    assert [t.config for t in trajectories] == pairs
    for network, kernel in zip(trajectories[::2], trajectories[1::2], strict=True):
        assert kernel.status == TrialStatus.COMPLETED
        assert kernel.steps[-1] * kernel.config.step_size == LIMIT_TIME
        common = sorted(set(network.steps) & set(kernel.steps))
        assert len(common) >= 8
        for name in (
            "kernel_score_error",
            "kernel_train_loss",
            "kernel_holdout_loss",
            "bias",
            "variance",
            "label_mismatch",
            "early_stopping",
            "approximation",
        ):
            beside, alone = column(network, name), column(kernel, name)
            got = [alone[step] for step in common]
            np.testing.assert_allclose(got, [beside[step] for step in common], rtol=1e-9)
        for own, name in (
            ("score_error", "kernel_score_error"),
            ("train_loss", "kernel_train_loss"),
            ("holdout_loss", "kernel_holdout_loss"),
        ):
            assert kernel.series[own] == kernel.series[name]
        for name in ("coupling", "displacement", "flipped_fraction"):
            assert name not in kernel.series
        for name in ("interpolation_error", "largest_step_size", "noise_variance", "target_norm"):
            assert kernel.values[name] == pytest.approx(network.values[name], rel=1e-9)


@pytest.mark.slow
def test_wide_networks_come_near_it() -> None:
    shared = {"precision": "float64", "steps": 300, "kernel": False}
    wide = [config(width=2**13, seed=seed, **shared) for seed in range(2)]
    limits = [config(seed=seed) for seed in range(2)]
    trained, solved = train_pack(wide, "cpu"), train_pack(limits, "cpu")
    for network, kernel in zip(trained, solved, strict=True):
        for name in ("score_error", "score_error_unweighted", "train_loss", "score_error_bin1"):
            theirs, ours = column(network, name), column(kernel, name)
            for step in set(theirs) & set(ours):
                assert ours[step] == pytest.approx(theirs[step], rel=0.05)


def test_trials_on_one_data_set_share_its_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(z: np.ndarray, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(z))
        return decompose(z, *arguments, **options)

    monkeypatch.setattr(limit, "decompose", counted)
    train_pack([config(samples=300, step_size=eta) for eta in (0.5, 1.0, 2.0)], "cpu")
    assert sizes == [300]


def test_a_step_size_above_the_limit_is_a_diverged_trial() -> None:
    fine, wild = train_pack([config(), config(step_size=50.0)], "cpu")
    assert fine.status == TrialStatus.COMPLETED
    assert wild.status == TrialStatus.DIVERGED
    assert "stability limit" in wild.message
    at = wild.steps.index(wild.values["diverged_step"])
    known = [v is not None for v in wild.series["score_error"]]
    assert known == [i < at for i in range(len(known))]
