"""Checks that a trainer of your own keeps to the protocol.

    python -m trainers.conformance my_module:MyTrainer [--step-size 0.1]

or, as a test of yours:

    import pytest
    from trainers.conformance import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_trainer(check):
        check(Subject("my_module:MyTrainer"))

Each check raises ConformanceError, whose message says what was expected. They train a few small
networks in float64, on the CPU by default, in seconds.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.errors import TrainerError
from trainers.kept.networks import keeping_trainer, network_file, read_weights
from trainers.laws import make_distribution
from trainers.methods.custom import trainer_fields
from trainers.methods.load import handled, trainer_of
from trainers.pack import train_pack
from trainers.problem.regression import draw_holdout_set, draw_training_set
from trainers.protocol import Rows, Task, Trainer
from trainers.trial import TrialConfig, TrialStatus, recorded_steps

TOLERANCE = 1e-6
"""Relative difference allowed between runs that must agree: rounding of float64, grown by a hundred
steps of a method that divides by small moments."""

STEPS, EVALUATED = 60, 33
LAW = {"kind": "gaussian_mixture", "dimension": 2, "components": 4, "seed": 3}

Array = NDArray[np.float64]


class ConformanceError(AssertionError):
    """A trainer does not keep to the protocol; the message says where."""


@dataclass(frozen=True)
class Subject:
    """The trainer to check: its name as in a spec, a step size that suits it, where it runs."""

    name: str
    step_size: float = 0.1
    device: str = "cpu"

    def config(self, **changes: Any) -> TrialConfig:
        """A small trial of this trainer."""
        values = {
            "law": LAW, "samples": 40, "width": 16, "step_size": self.step_size, "steps": STEPS,
            "recorded": 9, "test_points": 32, "holdout_points": 16, "precision": "float64",
            "kernel": False, **trainer_fields(self.name),
        }  # fmt: skip
        return TrialConfig.model_validate({**values, **changes})

    def task(self, **changes: Any) -> Task:
        """That trial as a trainer sees it; its training points lead the evaluated ones."""
        config = self.config(**changes)
        law = make_distribution(config.law)
        data = draw_training_set(config, law)
        others = draw_holdout_set(config.model_copy(update={"holdout_points": EVALUATED}), law)
        return Task(config, data.z, data.x0, np.concatenate([data.z, others.z]))

    def train(
        self,
        tasks: Sequence[Task],
        recorded: Sequence[int] | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> list[Numbers]:
        """Trains `tasks` and returns each one's numbers, checked for shape and steps."""
        wanted = recorded_steps(STEPS, 9) if recorded is None else list(recorded)
        trainer = trainer_of(tasks[0].config)
        records = list(trainer.train(tasks, wanted, torch.device(self.device), tick))
        steps = [record.step for record in records]
        _require(steps == wanted, f"records at the steps {wanted}", f"got them at {steps}")
        B, n, d = len(tasks), len(tasks[0].z_eval), tasks[0].config.dimension
        for record in records:
            given = tuple(record.predictions.shape)
            _require(given == (B, d, n), f"predictions of shape {(B, d, n)}", f"got {given}")
            for name in ("train_loss", "diverged_step", "displacement", "flipped_fraction"):
                value = getattr(record, name)
                shape = None if value is None else tuple(value.shape)
                optional = name in ("displacement", "flipped_fraction")
                _require(
                    shape == (B,) or (optional and value is None),
                    f"{name} of shape {(B,)}{' or None' if optional else ''}",
                    f"got {shape}",
                )
            steps_seen = record.diverged_step
            _require(
                not steps_seen.is_floating_point() and bool((steps_seen >= -1).all()),
                "diverged_step a tensor of whole numbers, -1 where nothing diverged",
                f"got {steps_seen.tolist()}",
            )
        return [
            Numbers(
                np.stack([r.predictions[b].double().cpu().numpy().T for r in records]),
                np.array([float(r.train_loss[b]) for r in records]),
                int(records[-1].diverged_step[b]),
            )
            for b in range(B)
        ]


@dataclass(frozen=True)
class Numbers:
    """Of one task: predictions [R, n, d] at its evaluated points, train_loss [R]."""

    predictions: Array
    train_loss: Array
    diverged_step: int


def it_has_the_parts(subject: Subject) -> None:
    """kernel_limit is true or false; a step has a positive number of operations."""
    trainer = trainer_of(subject.config())
    _require(isinstance(trainer, Trainer), "the parts of trainers.protocol.Trainer", "one lacks")
    limit = trainer.kernel_limit
    _require(isinstance(limit, bool), "kernel_limit to be True or False", f"it is {limit!r}")
    count = trainer.operations(subject.config())
    _require(0 < count < math.inf, "a positive number of operations", f"got {count}")


def its_numbers_are_finite_and_it_learns(subject: Subject) -> None:
    """At a step size that suits it nothing diverges, and the training loss falls."""
    (numbers,) = subject.train([subject.task()])
    fine = np.isfinite(numbers.predictions).all() and np.isfinite(numbers.train_loss).all()
    _require(
        bool(fine) and numbers.diverged_step == -1,
        f"finite numbers at step_size = {subject.step_size:g}",
        "it diverges: give the check a step size that suits it (--step-size)",
    )
    first, last = numbers.train_loss[0], numbers.train_loss[-1]
    _require(last < first, "a training loss that falls", f"it goes from {first:g} to {last:g}")


def its_train_loss_is_that_of_its_predictions(subject: Subject) -> None:
    """train_loss is 1/(2N) sum_j ||f(z_j) - X_{0,j}||^2 over all N, at the recorded weights."""
    task = subject.task()
    (numbers,) = subject.train([task])
    residual = numbers.predictions[:, : len(task.z)] - task.x0
    _same(numbers.train_loss, np.square(residual).sum(2).mean(1) / 2, "train_loss, recomputed")


def it_gives_the_same_numbers_again(subject: Subject) -> None:
    """All randomness comes from the configuration's seeds."""
    (first,), (second,) = (subject.train([subject.task()]) for _ in range(2))
    _same(first.predictions, second.predictions, "predictions of the same trial, trained twice")


def its_seed_is_used(subject: Subject) -> None:
    """On the same data, another seed gives other numbers, before training or after."""
    data = subject.task()
    others = [
        replace(subject.task(**change), z=data.z, x0=data.x0, z_eval=data.z_eval)
        for change in ({"seed": 1}, {"study_seed": 1})
    ]
    (first,) = subject.train([data])
    for other in others:
        (second,) = subject.train([other])
        _require(
            not np.allclose(first.predictions, second.predictions, rtol=1e-3, atol=1e-6),
            "other numbers with another seed and study_seed",
            "they are the same: label the stream of randomness with both",
        )


def its_numbers_do_not_depend_on_company(subject: Subject) -> None:
    """A pack equals its trials one by one, whatever their N, m, step size and order."""
    tasks = [subject.task(), subject.task(seed=1, step_size=subject.step_size / 2)]
    tasks += [_sized(subject.task(samples=37, width=14), tasks[0])]
    together = subject.train(tasks)
    backwards = subject.train(tasks[::-1])[::-1]
    for task, one, other in zip(tasks, together, backwards, strict=True):
        (alone,) = subject.train([task])
        _same(one.predictions, alone.predictions, "predictions in a pack and alone")
        _same(one.train_loss, alone.train_loss, "train_loss in a pack and alone")
        _same(one.predictions, other.predictions, "predictions in a pack and in its reverse")


def it_can_be_stopped_early(subject: Subject) -> None:
    """Training that is asked for fewer steps begins as the whole one does."""
    whole, part = recorded_steps(STEPS, 9), recorded_steps(STEPS, 9)[:6]
    (full,) = subject.train([subject.task()], whole)
    (begun,) = subject.train([subject.task()], part)
    _same(full.predictions[: len(part)], begun.predictions, "predictions up to an earlier end")


def it_does_not_look_at_the_evaluated_points(subject: Subject) -> None:
    """A prediction at a point does not depend on the other points that are evaluated."""
    task = subject.task()
    other = replace(task, z_eval=np.concatenate([task.z_eval[:10], task.z_eval[:-10]]))
    (first,), (second,) = subject.train([task]), subject.train([other])
    _same(first.predictions[:, :10], second.predictions[:, :10], "predictions at other points")
    _same(first.train_loss, second.train_loss, "train_loss with other evaluated points")


def it_learns_from_the_labels(subject: Subject) -> None:
    """Other labels, other predictions; and the arrays are left as they were."""
    task = subject.task()
    z, x0, z_eval = task.z.copy(), task.x0.copy(), task.z_eval.copy()
    (first,) = subject.train([task])
    unchanged = all(
        np.array_equal(a, b) for a, b in ((z, task.z), (x0, task.x0), (z_eval, task.z_eval))
    )
    _require(unchanged, "a task's arrays to stay as they are", "training changed them")
    (second,) = subject.train([replace(task, x0=task.x0[::-1].copy())])
    moved = np.abs(first.predictions[-1] - second.predictions[-1]).max()
    _require(moved > 1e-6, "predictions that follow the labels", "other labels change nothing")


def it_lets_itself_be_stopped(subject: Subject) -> None:
    """`tick` is called before every step, and what it raises ends the training."""
    calls = 0

    class Enough(Exception):
        pass

    def tick() -> None:
        nonlocal calls
        calls += 1
        if calls == STEPS // 2:
            raise Enough

    try:
        subject.train([subject.task()], tick=tick)
    except Enough:
        return
    _require(
        False,
        f"a call of tick before each of {STEPS} steps, and its exception to pass",
        f"{calls} calls",
    )


def a_divergence_stays_alone(subject: Subject) -> None:
    """A step size that is far too large gives a diverged trial or finite numbers, never an
    exception, and its companion keeps its own."""
    task, wild = subject.task(), subject.task(step_size=1e30)
    fine, broken = subject.train([task, wild])
    (alone,) = subject.train([task])
    _same(fine.predictions, alone.predictions, "predictions beside a trial that diverges")
    finite = np.isfinite(broken.predictions[-1]).all()
    _require(
        bool(finite) == (broken.diverged_step == -1),
        "NaN and its step in diverged_step where a trial diverged, finite numbers where not",
        f"diverged_step = {broken.diverged_step}, finite at the end: {bool(finite)}",
    )


def it_follows_weights_if_it_says_so(subject: Subject) -> None:
    """Where `handles` has "weight": rows of weight 0 do not count, and train_loss is weighted."""
    if "weight" not in handled(trainer_of(subject.config())):
        return
    task = subject.task()
    weights = np.where(np.arange(len(task.z)) % 2, 0.0, 1.5)
    (numbers,) = subject.train([replace(task, weights=weights)])
    others = np.where(weights[:, None] > 0, task.x0, task.x0 + 3.0)
    (moved,) = subject.train([replace(task, x0=others, weights=weights)])
    _same(numbers.predictions, moved.predictions, "predictions with other labels of weight 0")
    residual = numbers.predictions[:, : len(task.z)] - task.x0
    expected = (weights * np.square(residual).sum(2)).mean(1) / 2
    _same(numbers.train_loss, expected, "train_loss with weights, recomputed")


def it_follows_fresh_rows_if_it_says_so(subject: Subject) -> None:
    """Where `handles` has "fresh": step tau is taken on the rows of step tau."""
    if "fresh" not in handled(trainer_of(subject.config())):
        return
    task, last = subject.task(), STEPS // 2
    other = Rows(task.z, task.x0[::-1].copy())

    def changing_at(step: int) -> Task:
        return replace(task, fresh=_Changing(Rows(task.z, task.x0), other, step))

    steps = [0, last, last + 1, STEPS]
    (fixed,) = subject.train([task], steps)
    (never,) = subject.train([changing_at(STEPS + 1)], steps)
    _same(never.predictions, fixed.predictions, "predictions with fresh rows that never change")
    (changed,) = subject.train([changing_at(last)], steps)
    _same(changed.predictions[:2], fixed.predictions[:2], "predictions before the rows change")
    apart = np.abs(changed.predictions[2] - fixed.predictions[2]).max()
    _require(apart > 1e-9, "predictions that follow the rows of each step", "they stay the same")


@dataclass(frozen=True)
class _Changing:
    """Stands for FreshRows: one set of rows before a step, another from it on."""

    before: Rows
    after: Rows
    step: int

    def at(self, step: int) -> Rows:
        return self.before if step < self.step else self.after


def its_networks_can_be_kept_if_it_says_so(subject: Subject) -> None:
    """Where `handles` has "keep": what `weights` gave predicts, on its own, in company and at other
    points, what was recorded (on the CPU to the bit); and `weights` gives copies."""
    if "keep" not in handled(trainer_of(subject.config())):
        return
    tasks = [subject.task(), subject.task(seed=1)]
    trainer, device = keeping_trainer(tasks[0].config), torch.device(subject.device)
    steps, found, shown = recorded_steps(STEPS, 5), [], []
    for record in trainer_of(tasks[0].config).train(tasks, steps, device, lambda: None):
        given = record.weights
        _require(given is not None, "`weights` in every record", "it is None")
        assert given is not None
        found.append([dict(given(b)) for b in range(len(tasks))])
        shown.append(record.predictions.double().cpu().numpy())
    exact = subject.device == "cpu"
    for networks, predictions in zip(found, shown, strict=True):
        for b, task in enumerate(tasks):
            content = network_file(task.config, 0, networks[b])
            config, _step, weights = read_weights(content, "the file")
            stacked = {name: values[None] for name, values in weights.items()}
            alone = _at(trainer.network([config], stacked, device), task.z_eval[None], device)
            _same(alone[0], predictions[b], "predictions of a network that was kept")
            _require(
                not exact or np.array_equal(alone[0], predictions[b]),
                "predictions of a network that was kept that agree to the bit",
                f"they differ by {np.abs(alone[0] - predictions[b]).max():.3g}",
            )
        stacked = {n: torch.stack([own[n] for own in networks]) for n in networks[0]}
        points = np.stack([task.z_eval for task in tasks])
        function = trainer.network([task.config for task in tasks], stacked, device)
        _same(_at(function, points, device), predictions, "predictions of two kept networks")
        few = _at(function, points[:, :1], device)
        scale = np.abs(predictions).max()
        _require(
            bool(np.abs(few - predictions[:, :, :1]).max() <= TOLERANCE * max(scale, 1e-6)),
            "the same predictions of kept networks at one point",
            "they differ",
        )


def _at(function: Callable[[torch.Tensor], torch.Tensor], z: Array, device: torch.device) -> Array:
    return np.asarray(function(torch.as_tensor(z, device=device)).double().cpu().numpy())


def it_runs_in_a_pack(subject: Subject) -> None:
    """`train_pack` turns it into trajectories with every column that it can have."""
    configs = [subject.config(kernel=True), subject.config(seed=1, kernel=True)]
    for trajectory in train_pack(configs, subject.device):
        message = trajectory.message
        _require(trajectory.status == TrialStatus.COMPLETED, "completed trials", message)
        known = all(v is not None for v in trajectory.series["score_error"])
        _require(known, "a score error at every recorded step", "there are gaps")
    (cut, _) = train_pack(configs, subject.device, until=10)
    _require(cut.status == TrialStatus.PRUNED, "a pruned trial", f"it is {cut.status}")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    it_has_the_parts,
    its_numbers_are_finite_and_it_learns,
    its_train_loss_is_that_of_its_predictions,
    it_gives_the_same_numbers_again,
    its_seed_is_used,
    its_numbers_do_not_depend_on_company,
    it_can_be_stopped_early,
    it_does_not_look_at_the_evaluated_points,
    it_learns_from_the_labels,
    it_lets_itself_be_stopped,
    a_divergence_stays_alone,
    it_follows_weights_if_it_says_so,
    it_follows_fresh_rows_if_it_says_so,
    its_networks_can_be_kept_if_it_says_so,
    it_runs_in_a_pack,
)
"""Every check, the most basic first."""


def check_trainer(name: str, step_size: float = 0.1, device: str = "cpu") -> None:
    """Runs every check on the trainer of that name (as in a spec). Raises ConformanceError with
    all that failed, and TrainerError where it cannot be loaded."""
    problems = [message for _, message in results(Subject(name, step_size, device)) if message]
    if problems:
        raise ConformanceError("\n".join(problems))


def results(subject: Subject) -> list[tuple[str, str]]:
    """Each check's name in words, and its complaint, empty where it holds."""
    outcomes = []
    for check in CHECKS:
        words = check.__name__.replace("_", " ")
        try:
            check(subject)
            message = ""
        except TrainerError:
            raise
        except ConformanceError as error:
            message = f"{words}: {error}"
        except Exception as error:  # the trainer's own
            message = f"{words}: {type(error).__name__}: {error}"
        outcomes.append((words, message))
    return outcomes


def _sized(task: Task, like: Task) -> Task:
    """`task` with as many evaluated points as `like`."""
    return replace(task, z_eval=like.z_eval)


def _same(a: Array, b: Array, what: str) -> None:
    scale = max(float(np.abs(b[np.isfinite(b)]).max(initial=0.0)), 1e-12)
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) > TOLERANCE * scale
    wrong = bool(apart.any()) or not np.array_equal(np.isfinite(a), np.isfinite(b))
    if wrong:
        largest = float(np.nanmax(np.abs(a - b)))
        raise ConformanceError(f"{what} must agree; they differ by {largest:.3g} of {scale:.3g}")


def _require(condition: bool, expected: str, got: str) -> None:
    if not condition:
        raise ConformanceError(f"expected {expected}; {got}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: prints a line for every check; 0 where all hold, 1 where not, 2 for a trainer
    that cannot be loaded."""
    parser = argparse.ArgumentParser(
        prog="python -m trainers.conformance", description="Checks a trainer of your own."
    )
    parser.add_argument("trainer", help="module:Class, or the name of a built-in trainer")
    parser.add_argument("--step-size", type=float, default=0.1, help="one that suits it")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    sys.path.insert(0, str(Path.cwd()))
    try:
        outcomes = results(Subject(given.trainer, given.step_size, given.device))
    except (TrainerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for words, message in outcomes:
        print(f"{'ok  ' if not message else 'FAIL'}  {message or words}")
    return 1 if any(message for _, message in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
