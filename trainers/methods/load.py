"""From a trial's configuration to the trainer that it names."""

from __future__ import annotations

import importlib

from trainers.errors import TrainerError
from trainers.methods.custom import load_custom
from trainers.protocol import Trainer
from trainers.registry import TRAINERS
from trainers.trial import TrialConfig


def trainer_of(config: TrialConfig) -> Trainer:
    """The trainer that a trial names. Raises TrainerError for one of the user's own that cannot be
    loaded, lacks a part of the protocol, or does not handle what the trial asks for."""
    if config.trainer_sha256 is None:
        module, _, name = TRAINERS[config.trainer].made_by.partition(":")
        trainer: Trainer = getattr(importlib.import_module(module), name)()
        return trainer
    own = load_custom(config.trainer, config.trainer_sha256)
    if not isinstance(own, Trainer):
        raise TrainerError(
            f"trainer {config.trainer}: its class must have kernel_limit, operations and train "
            "(trainers.protocol.Trainer)"
        )
    asked = {"fresh": config.fresh, "weight": config.weight != "x0"}
    unheard = [name for name, wanted in asked.items() if wanted and name not in handled(own)]
    if unheard:
        keys = {"fresh": "copies: fresh", "weight": f"weight: {config.weight}"}
        raise TrainerError(
            f"trainer {config.trainer} does not say that it follows {keys[unheard[0]]}: let it use "
            f'Task.rows and give its class handles = ("{unheard[0]}",) (trainers.protocol)'
        )
    return own


def handled(trainer: Trainer) -> tuple[str, ...]:
    """What of "weight" and "fresh" a trainer says that it follows."""
    return tuple(getattr(trainer, "handles", ()))
