"""Sketches of predictions: their mean square difference is the distance, with the error stated."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch

from trainers import TrialConfig, train_pack
from trainers.columns import SKETCH_SIZE
from trainers.laws import make_distribution
from trainers.methods.load import trainer_of
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import draw_training_set
from trainers.problem.sketch import as_text, sketch
from trainers.protocol import Task

CPU = torch.device("cpu")


def config(**changes: object) -> TrialConfig:
    values = {
        "law": {"kind": "gaussian_mixture", "dimension": 2, "seed": 5}, "samples": 30, "width": 16,
        "step_size": 1.0, "steps": 60, "recorded": 12, "test_points": 96, "holdout_points": 16,
        "kernel": False, **changes,
    }  # fmt: skip
    return TrialConfig.model_validate(values)


def evaluation(c: TrialConfig) -> EvaluationSet:
    return EvaluationSet.draw(c, make_distribution(c.law))


def read(text: str | None) -> np.ndarray:
    assert text is not None
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(float)


def test_the_distance_is_met_on_average_and_within_the_stated_error() -> None:
    """One difference, so all projections see one direction: the worst case, sqrt(2 / K)."""
    ratios = []
    for study_seed in range(60):
        own = evaluation(config(study_seed=study_seed))
        apart = np.random.default_rng(study_seed).standard_normal((1, 2, 96))
        distance = float(own.mean_square(apart[0].T))
        ratios.append(float(np.square(sketch(own, apart)[0]).mean()) / distance)
    stated = np.sqrt(2 / SKETCH_SIZE)
    assert abs(np.mean(ratios) - 1) < 4 * stated / np.sqrt(60)
    assert 0.65 * stated < np.std(ratios) < 1.35 * stated


def test_a_sketch_is_linear_and_the_same_however_many_signs_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = evaluation(config())
    f = np.random.default_rng(1).standard_normal((3, 2, 96))
    whole = sketch(own, f)
    assert whole.shape == (3, SKETCH_SIZE)
    np.testing.assert_allclose(sketch(own, f[:1] - f[1:2])[0], whole[0] - whole[1], atol=1e-12)
    monkeypatch.setattr("trainers.problem.sketch._SIGNS", 5 * 2 * 96)
    np.testing.assert_allclose(sketch(own, f), whole, atol=1e-12)


def test_the_signs_are_those_of_the_law() -> None:
    f = np.ones((1, 2, 96))
    one = sketch(evaluation(config()), f)
    np.testing.assert_array_equal(sketch(evaluation(config(seed=7, samples=9)), f), one)
    assert not np.allclose(sketch(evaluation(config(study_seed=1)), f), one)


def test_as_text() -> None:
    values = np.random.default_rng(2).standard_normal(SKETCH_SIZE)
    np.testing.assert_allclose(read(as_text(values)), values, rtol=1e-6)
    assert as_text(np.append(values, np.nan)) is None
    assert as_text(np.append(values, 1e39)) is None


@pytest.mark.usefixtures("eager")
def test_a_trial_keeps_its_own_at_the_best_and_the_last_step() -> None:
    """Against the predictions that the trainer yields, measured here once more."""
    trials = [config(seed=seed, step_size=eta) for seed, eta in ((0, 1.0), (1, 2.0), (2, 0.5))]
    for trial, trajectory in zip(trials, train_pack(trials, "cpu"), strict=True):
        own, law = evaluation(trial), make_distribution(trial.law)
        data = draw_training_set(trial, law)
        task = Task(trial, data.z, data.x0, own.z)
        records = list(trainer_of(trial).train([task], trajectory.steps, CPU, lambda: None))
        f = np.stack([r.predictions[0, :, :96].double().numpy() for r in records])
        errors = own.mean_square(np.swapaxes(f, 1, 2) - own.test.fstar)
        best = int(np.argmin(errors))
        assert best > 0
        texts = trajectory.texts["sketch"]
        kept = [i for i, text in enumerate(texts) if text is not None]
        assert kept == sorted({best, len(texts) - 1})
        for i in kept:
            np.testing.assert_allclose(read(texts[i]), sketch(own, f[i : i + 1])[0], atol=1e-4)


@pytest.mark.usefixtures("eager")
def test_a_diverged_trial_has_none_at_its_last_step() -> None:
    trials = [config(), config(step_size=500.0)]
    whole, diverged = train_pack(trials, "cpu")
    assert whole.texts["sketch"][-1] is not None
    assert diverged.status == "diverged"
    assert diverged.texts["sketch"][-1] is None
    (alone,) = train_pack(trials[:1], "cpu")
    for text, other in zip(whole.texts["sketch"], alone.texts["sketch"], strict=True):
        assert (text is None) == (other is None)
        if text is not None:
            np.testing.assert_allclose(read(text), read(other), atol=1e-4)


def test_twins_at_infinite_width_are_as_far_apart_as_their_predictions() -> None:
    """Against kernel descent by plain steps on both data sets, and the exact distance."""
    from trainers.kernel.ntk import relu_ntk

    trials = [config(width=float("inf"), seed=seed, recorded=20) for seed in range(8)]
    own, law = evaluation(trials[0]), make_distribution(trials[0].law)
    sketches, predictions = [], []
    for trial, trajectory in zip(trials, train_pack(trials, "cpu"), strict=True):
        texts = trajectory.texts["sketch"]
        errors = [v for v in trajectory.series["score_error"] if v is not None]
        best = int(np.argmin(errors))
        assert texts[best] is not None
        data = draw_training_set(trial, law)
        gram, cross = relu_ntk(data.z, data.z), relu_ntk(own.test.z, data.z)
        weights = np.zeros_like(data.x0)
        for _ in range(trajectory.steps[best]):
            weights += (data.x0 - gram @ weights) / len(data)
        predictions.append((cross @ weights).T)
        sketches.append(read(texts[best]))
        np.testing.assert_allclose(
            sketches[-1], sketch(own, predictions[-1][None])[0], rtol=1e-5, atol=1e-5
        )
    pairs = [(i, i + 1) for i in range(0, 8, 2)]
    exact = [own.mean_square((predictions[a] - predictions[b]).T) for a, b in pairs]
    read_off = [np.square(sketches[a] - sketches[b]).mean() for a, b in pairs]
    ratio = np.mean(read_off) / np.mean(exact)
    assert abs(ratio - 1) < 3 * np.sqrt(2 / SKETCH_SIZE / len(pairs))
