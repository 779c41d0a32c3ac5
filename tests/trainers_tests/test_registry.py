"""The registry of trainers: every row loads, and says what the loaded trainer says."""

from __future__ import annotations

import pytest

from trainers.methods.load import trainer_of
from trainers.network.batches import bytes_of_trial
from trainers.protocol import Trainer
from trainers.registry import TRAINERS, facts_of
from trainers.trial import Cube, TrialConfig


def config(trainer: str, **others: object) -> TrialConfig:
    fields = {"law": Cube(dimension=3), "samples": 500, "width": 40, "step_size": 0.1, **others}
    return TrialConfig.model_validate({**fields, "trainer": trainer})


@pytest.mark.parametrize("name", TRAINERS)
def test_a_row_says_what_its_trainer_says(name: str) -> None:
    trainer = trainer_of(config(name))
    assert isinstance(trainer, Trainer)
    assert trainer.kernel_limit == TRAINERS[name].kernel_limit
    assert trainer.operations(config(name)) == config(name).training_operations / 1000


def test_a_trainer_of_the_users_own_is_planned_as_descent() -> None:
    own = config("mine:Trainer", trainer_sha256="a" * 64)
    assert own.training_operations == config("descent").training_operations
    assert facts_of(own.trainer).kernel_limit
    assert not facts_of(own.trainer).full_batch  # it does not run the project's passes


def test_a_batch_holds_what_its_trainer_adds() -> None:
    plain = bytes_of_trial(config("sgd"), 512, 40)
    points = 512 + 2048 + 1024
    assert bytes_of_trial(config("descent"), 512, 40) - plain == 4 * 4 * points
    mlp = config("mlp_adamw")
    assert bytes_of_trial(mlp, 512, 40) - plain == 4 * 6 * mlp.parameters
    high = {"law": Cube(dimension=5)}
    alone = bytes_of_trial(config("sgd", **high), 512, 40)
    assert bytes_of_trial(config("descent", **high), 512, 40) == alone  # no groups at d > 4
