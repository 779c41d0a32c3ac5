"""Content ids: what changes them and what must not; validation messages; recorded steps."""

import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from trainers.columns import COLUMNS
from trainers.trial import (
    Diffusion,
    Trajectory,
    TrialConfig,
    content_id,
    recorded_steps,
    time_bin_edges,
)

BASE = {
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "samples": 64,
    "width": 8,
    "step_size": 1.0,
}


def config(**changes: object) -> TrialConfig:
    return TrialConfig.model_validate({**BASE, **changes})


CHANGES: list[dict[str, object]] = [
    {"law": {"kind": "gaussian_mixture", "dimension": 3}},
    {"law": {"kind": "gaussian_mixture", "dimension": 2, "std": 0.2}},
    {"law": {"kind": "cube", "dimension": 2}},
    {"diffusion": {"t_min": 0.1}},
    {"samples": 65},
    {"width": 10},
    {"step_size": 0.5},
    {"steps": 10},
    {"initialisation": "plain"},
    {"bias": False},
    {"seed": 1},
    {"study_seed": 1},
    {"test_points": 64},
    {"holdout_points": 64},
    {"recorded": 20},
    {"precision": "float64"},
    {"kernel": False},
    {"norms": (1.0,)},
    {"copies": 4},
    {"copies": "fresh"},
    {"time_law": "log_snr"},
    {"weight": "eps"},
    {"trainer": "adam"},
    {"trainer": "mine:Trainer", "trainer_sha256": "a" * 64},
    {"trainer": "mine:Trainer", "trainer_sha256": "b" * 64},
]

IDS_OF_ONE = ("ffd27a6f2afa4694", "71db8cff4a8642b0", "e905d633ce266ff3")
IDS_OF_OTHER = ("6e16d94271a36213", "5b81baacdec16328", "2ad25daa48bf2544")
ONE_IN_NUMERICS_1 = "984cbb78ea5f8709"
OTHER_IN_NUMERICS_1 = "0f870bb290693bfe"


def test_everything_that_decides_the_numbers_changes_the_id() -> None:
    ids = [config(**change).trial_id for change in [{}, *CHANGES]]
    assert len(set(ids)) == len(ids)
    assert set(TrialConfig.model_fields) == {*BASE} | {name for c in CHANGES for name in c}


def test_equal_values_written_differently_share_an_id() -> None:
    assert config(step_size=1).trial_id == config(step_size=1.0).trial_id
    assert config(law={"dimension": 2, "kind": "gaussian_mixture", "components": 8}) == config()


def test_a_point_is_its_trials_without_the_seed() -> None:
    assert config(seed=1).point_id == config(seed=2).point_id
    assert config(width=10).point_id != config().point_id


def test_a_data_set_is_shared_over_width_and_step_size_only() -> None:
    for change in ({"width": 10}, {"step_size": 0.5}, {"kernel": False}, {"steps": 3}):
        assert config(**change).data_id == config().data_id
    others: list[dict[str, Any]] = [
        {"seed": 1}, {"samples": 65}, {"study_seed": 3}, {"diffusion": {"t_min": 0.1}},
        {"copies": 2}, {"copies": "fresh"}, {"time_law": "log_uniform"}, {"weight": "v"},
    ]  # fmt: skip
    for other in others:
        assert config(**other).data_id != config().data_id


def test_a_data_file_is_known_by_its_contents() -> None:
    law = {"kind": "atoms", "dimension": 2, "count": 5, "sha256": "a" * 64}
    here, there = config(law={**law, "file": "a.csv"}), config(law={**law, "file": "/b/c.csv"})
    assert here.trial_id == there.trial_id
    assert config(law={**law, "file": "a.csv", "sha256": "b" * 64}).trial_id != here.trial_id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 7}, "even width"),
        ({"samples": 0}, "samples"),
        ({"step_size": float("nan")}, "step_size"),
        ({"diffusion": {"t_min": 2.0}}, "t_min"),
        ({"diffusion": {"schedule": "linear"}}, "g_max"),
        ({"diffusion": {"g_max": 2.0}}, "g_max"),
        ({"kernel": False, "norms": (1.0,)}, "norms"),
        ({"norms": (2.0, 1.0)}, "norms"),
        ({"widht": 8}, "widht"),
        ({"law": {"kind": "atoms", "dimension": 2, "file": "x.csv"}}, "sha256"),
        (
            {
                "law": {
                    "kind": "subspace",
                    "dimension": 1,
                    "inner": {"kind": "cube", "dimension": 2},
                }
            },
            "inner",
        ),
    ],
)
def test_wrong_values_are_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**change)


def test_ids_of_infinite_values_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        content_id(float("inf"))


@pytest.mark.parametrize("steps", [1, 2, 10, 39, 40, 41, 100, 1000, 100_000])
def test_recorded_steps_are_log_spaced_and_hold_both_ends(steps: int) -> None:
    grid = recorded_steps(steps, 40)
    assert grid[0] == 0
    assert grid[-1] == steps
    assert grid == sorted(set(grid))
    assert len(grid) == min(40, steps + 1) or 40 <= len(grid) <= 42
    ratios = [b / a for a, b in pairwise(grid[20:])]
    if steps >= 1000:
        assert max(ratios) / min(ratios) < 1.3


@pytest.mark.parametrize("steps", [2, 3, 1000])
def test_two_recorded_steps_are_both_ends(steps: int) -> None:
    assert recorded_steps(steps, 2) == [0, steps]


def test_time_bins_cover_the_range() -> None:
    edges = time_bin_edges(Diffusion(t_min=0.05, t_max=1.0))
    assert edges[0] == 0.05
    assert edges[-1] == 1.0
    assert edges[1] / edges[0] == pytest.approx(edges[-1] / edges[-2])


def test_a_series_must_be_as_long_as_the_steps() -> None:
    with pytest.raises(ValueError, match="score_error"):
        Trajectory(config(), [0, 1], series={"score_error": [1.0]})


def test_columns_are_named_once() -> None:
    names = [c.name for c in COLUMNS]
    assert len(set(names)) == len(names)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, trainers; print([m for m in ('torch', 'numpy', 'ray') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_ids_from_before_there_was_a_choice_of_trainers_hold() -> None:
    law = {"kind": "gaussian_mixture", "dimension": 2, "components": 8, "std": 0.1, "seed": 5}
    one = TrialConfig.model_validate(
        {"law": law, "samples": 512, "width": 4096, "step_size": 1.0, "trainer": "descent"}
    )
    assert one.earlier_ids()[-1] == ONE_IN_NUMERICS_1
    assert (one.trial_id, one.point_id, one.data_id) == IDS_OF_ONE
    other = TrialConfig.model_validate(
        {
            "law": {"kind": "cube", "dimension": 3}, "diffusion": {"t_min": 0.1}, "samples": 64,
            "width": 7, "step_size": 0.5, "steps": 10, "initialisation": "plain", "bias": False,
            "seed": 3, "norms": (1.0, 2.0),
        }
    )  # fmt: skip
    assert other.earlier_ids()[-1] == OTHER_IN_NUMERICS_1
    assert (other.trial_id, other.point_id, other.data_id) == IDS_OF_OTHER


def test_a_trainer_of_ones_own_is_known_by_its_files_hash() -> None:
    ours = [config(trainer="mine:Trainer", trainer_sha256=h * 64) for h in "ab"]
    assert ours[0].trial_id != ours[1].trial_id
    assert ours[0].trainer_label == "mine:Trainer@aaaaaaaa"
    assert ours[0].data_id == config().data_id
    for wrong in ({"trainer": "mine:Trainer"}, {"trainer_sha256": "a" * 64}):
        with pytest.raises(ValidationError, match="SHA-256"):
            config(**wrong)
    with pytest.raises(ValidationError, match="use one of descent, sgd, adam, mlp_adamw"):
        config(trainer="adma")


def test_operations_follow_the_method() -> None:
    base = config(samples=1000, width=50, steps=10)
    assert base.training_operations == 4 * 1000 * 50 * (4 + 2) * 10
    for name in ("sgd", "adam"):
        own = base.model_copy(update={"trainer": name})
        assert own.training_operations == 4 * 64 * 50 * (4 + 2) * 10
    mlp = base.model_copy(update={"trainer": "mlp_adamw"})
    layers = [(2 + 16, 50), (50 + 16, 50), (50 + 16, 50), (50, 2)]
    assert mlp.parameters == sum(inside * out + out for inside, out in layers)
    assert mlp.training_operations == 6 * 64 * mlp.parameters * 10
