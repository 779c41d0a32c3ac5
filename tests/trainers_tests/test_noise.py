"""Noise copies, fresh noise, laws of time and weights: against plain loops, on every route."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainers import TrialConfig, TrialStatus, train_pack
from trainers.errors import TrainerError
from trainers.kernel.limit import DataSet, Reading, limit_columns
from trainers.kernel.ntk import relu_ntk
from trainers.laws import make_distribution
from trainers.methods.full_batch import Descent
from trainers.methods.load import trainer_of
from trainers.methods.minibatch import Minibatches, Sgd
from trainers.methods.mlp import EMA_DECAY, WEIGHT_DECAY, MlpAdamW, initial_layers, inputs, network
from trainers.network.passes import initial_weights
from trainers.problem.empirical_bayes import memorize
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import (
    FreshRows,
    Samples,
    draw_training_set,
    row_weights,
    scaled,
)
from trainers.protocol import Task
from trainers.trial import recorded_steps

Array = NDArray[np.float64]
CPU = torch.device("cpu")
LAW = {"kind": "gaussian_mixture", "dimension": 2, "seed": 5}
NOISES: list[dict[str, Any]] = [
    {"copies": 3},
    {"weight": "eps", "step_size": 0.05},
    {"weight": "score", "time_law": "log_uniform", "step_size": 1e-3},
    {"copies": 2, "weight": "v", "time_law": "log_snr", "step_size": 0.02},
    {"copies": 2, "weight": "min_snr", "time_law": "log_normal", "bias": False},
]
FRESH: list[dict[str, Any]] = [
    {"copies": "fresh"},
    {"copies": "fresh", "weight": "eps", "time_law": "log_normal", "step_size": 0.02},
    {"copies": "fresh", "initialisation": "plain"},
]


def config(**changes: object) -> TrialConfig:
    values = {
        "law": LAW, "samples": 24, "width": 16, "step_size": 0.5, "steps": 40, "recorded": 8,
        "test_points": 64, "holdout_points": 32, "precision": "float64", **changes,
    }  # fmt: skip
    return TrialConfig.model_validate(values)


def rows_of(c: TrialConfig) -> list[tuple[Array, Array, Array]]:
    """z, x0 and weights of every step, as plain draws."""
    data = draw_training_set(c, make_distribution(c.law))
    fresh = FreshRows(c, data) if c.fresh else None
    weights = row_weights(c, data.t)
    found = []
    for step in range(c.steps + 1):
        if fresh is None:
            w = np.ones(len(data)) if weights is None else weights
            found.append((data.z, data.x0, w))
        else:
            rows = fresh.at(step)
            w = np.ones(len(rows.z)) if rows.weights is None else rows.weights
            found.append((rows.z, rows.x0, w))
    return found


def evaluation_of(c: TrialConfig) -> EvaluationSet:
    return EvaluationSet.draw(c, make_distribution(c.law))


def score_error(evaluation: EvaluationSet, f: Array) -> float:
    return float(evaluation.mean_square(f - evaluation.test.fstar))


@pytest.mark.parametrize("noise", [*NOISES, *FRESH])
def test_a_network_is_that_of_a_plain_loop(noise: dict[str, Any]) -> None:
    """w <- w - eta grad of 1/(2n) sum_j w_j ||f(z_j) - X_0,j||^2, weights written out."""
    c = config(**noise)
    (trajectory,) = train_pack([c], "cpu")
    assert trajectory.status == TrialStatus.COMPLETED
    w, a = initial_weights(c)
    evaluation, steps = evaluation_of(c), recorded_steps(c.steps, c.recorded)

    def f(z: Array) -> Array:
        return np.maximum(z @ w, 0) @ a.T / np.sqrt(c.width)

    for step, (z, x0, weights) in enumerate(rows_of(c)):
        residual = f(z) - x0
        if step in steps:
            at = steps.index(step)
            loss = float((weights * np.square(residual).sum(1)).mean() / 2)
            assert trajectory.series["train_loss"][at] == pytest.approx(loss, rel=1e-10)
            error = score_error(evaluation, f(evaluation.test.z))
            assert trajectory.series["score_error"][at] == pytest.approx(error, rel=1e-10)
        signal = (weights[:, None] * residual) @ a
        w = w - c.step_size * z.T @ ((z @ w > 0) * signal) / np.sqrt(c.width) / len(z)


@pytest.mark.parametrize("noise", NOISES)
def test_kernel_descent_is_that_of_a_plain_loop(noise: dict[str, Any]) -> None:
    """f <- f - eta/n sum_j w_j r_j kappa(., z_j): beside a network, and at infinite width."""
    c = config(**noise)
    limit = c.changed(width=float("inf"), recorded=30)
    beside, alone = train_pack([c, limit], "cpu")
    evaluation, data = evaluation_of(c), draw_training_set(c, make_distribution(c.law))
    given = row_weights(c, data.t)
    weights = np.ones(len(data)) if given is None else given
    K, cross = relu_ntk(data.z, data.z), relu_ntk(evaluation.test.z, data.z)
    error, loss = {}, {}
    coefficients = np.zeros_like(data.x0)
    for step in range(c.steps + 1):
        residual = K @ coefficients - data.x0
        error[step] = score_error(evaluation, cross @ coefficients)
        loss[step] = float((weights * np.square(residual).sum(1)).mean() / 2)
        coefficients = coefficients - c.step_size / len(data) * weights[:, None] * residual
    for trajectory in (beside, alone):
        compared = 0
        for at, step in enumerate(trajectory.steps):
            if step <= c.steps:
                got = trajectory.series
                assert got["kernel_score_error"][at] == pytest.approx(error[step], rel=1e-10)
                assert got["kernel_train_loss"][at] == pytest.approx(loss[step], rel=1e-10)
                compared += 1
        assert compared >= 5
    biases = beside.series["bias"], beside.series["variance"]
    assert all(v is not None for column in biases for v in column)


def test_lanczos_and_eigen_agree_on_weighted_copies() -> None:
    c = config(samples=60, copies=5, weight="eps", step_size=0.05)  # 300 rows: Lanczos alone
    evaluation, data = evaluation_of(c), draw_training_set(c, make_distribution(c.law))
    rows = scaled(data, row_weights(c, data.t))
    own = DataSet(rows, [Reading(c.step_size, [0, 3, 40])])
    ((found,),) = limit_columns([own], evaluation)
    assert found.route == "lanczos"
    K, cross = relu_ntk(data.z, data.z), relu_ntk(evaluation.test.z, data.z)
    w = row_weights(c, data.t)
    assert w is not None
    coefficients = np.zeros_like(data.x0)
    for _ in range(40):
        step = c.step_size / len(data) * w[:, None]
        coefficients = coefficients - step * (K @ coefficients - data.x0)
    expected = score_error(evaluation, cross @ coefficients)
    assert found.series["score_error"][-1] == pytest.approx(expected, rel=1e-8)


def trained(task: Task, trainer: Any, last: int) -> Array:
    *_, record = trainer.train([task], [0, last], CPU, lambda: None)
    return np.asarray(record.predictions[0].double().numpy().T)


def test_a_doubled_weight_is_the_row_twice() -> None:
    c = config(bias=True, weight="eps")
    data = draw_training_set(c, make_distribution(c.law))
    z_eval = evaluation_of(c).test.z
    weights = np.ones(len(data))
    weights[3] = 2.0
    once = trained(Task(c, data.z, data.x0, z_eval, weights), Descent(), c.steps)
    z, x0 = (np.concatenate([v, v[3:4]]) for v in (data.z, data.x0))
    n = len(data)
    more = c.changed(step_size=c.step_size * (n + 1) / n)  # L is a mean over n + 1 rows there
    twice = trained(Task(more, z, x0, z_eval, np.ones(n + 1)), Descent(), c.steps)
    np.testing.assert_allclose(once, twice, rtol=1e-10)


def test_few_copies_are_the_first_of_many() -> None:
    law = make_distribution(config().law)
    one, four = (draw_training_set(config(copies=m), law) for m in (1, 4))
    assert len(four) == 4 * len(one)
    for name in ("t", "x0", "xt", "z", "fstar"):
        np.testing.assert_array_equal(getattr(four, name)[:24], getattr(one, name))
    np.testing.assert_array_equal(four.x0, np.tile(one.x0, (4, 1)))
    assert len(np.unique(four.t)) == 96
    noise = (four.xt - four.alpha[:, None] * four.x0) / np.sqrt(four.h)[:, None]
    parts = noise.reshape(4, -1)
    assert np.abs(np.corrcoef(parts) - np.eye(4)).max() < 0.5


def test_fresh_rows_follow_the_step_and_nothing_else() -> None:
    c = config(copies="fresh")
    data = draw_training_set(c, make_distribution(c.law))
    first, second = FreshRows(c, data), FreshRows(c, data)
    np.testing.assert_array_equal(first.at(0).z, data.z)
    forward = [first.at(step).z for step in (0, 1, 7)]
    backward = [second.at(step).z for step in (7, 1, 0)][::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({z.tobytes() for z in forward}) == 3
    others = FreshRows(config(copies="fresh", seed=1), data)
    assert not np.array_equal(others.at(1).z, forward[1])
    many = np.concatenate([first.at(step).z for step in range(1, 400)])
    assert many[:, 2].min() >= 0
    assert many[:, 2].max() <= 0.95
    assert many[:, 2].mean() == pytest.approx(0.475, abs=0.02)


@pytest.mark.slow
def test_fresh_noise_does_not_depend_on_the_company() -> None:
    """Trials on one data set see the same rows, others theirs, in every order."""
    noisy = [config(copies="fresh", **c) for c in ({}, {"width": 32}, {"seed": 1})]
    together, backwards = train_pack(noisy, "cpu"), train_pack(noisy[::-1], "cpu")[::-1]
    for c, one, other in zip(noisy, together, backwards, strict=True):
        (alone,) = train_pack([c], "cpu")
        for name in ("score_error", "train_loss", "generalization_gap", "memorizer_distance"):
            np.testing.assert_allclose(one.series[name], alone.series[name], rtol=1e-9)  # type: ignore[arg-type]
            np.testing.assert_allclose(one.series[name], other.series[name], rtol=1e-9)  # type: ignore[arg-type]


def test_fresh_noise_has_no_kernel() -> None:
    (trajectory,) = train_pack([config(copies="fresh", kernel=True)], "cpu")
    assert not {"coupling", "kernel_score_error"} & trajectory.series.keys()
    assert trajectory.values.get("interpolation_error") is None
    with pytest.raises(ValueError, match="copies: fresh"):
        config(copies="fresh", width="inf")


@pytest.mark.parametrize("noise", [{"copies": 2, "weight": "eps"}, FRESH[1]])
def test_minibatches_of_weighted_and_fresh_rows(noise: dict[str, Any]) -> None:
    c = config(**{**noise, "trainer": "sgd", "step_size": 0.05})
    task = _task_of(c)
    found = trained(task, Sgd(), c.steps)
    batches = Minibatches([c], CPU)
    w, a = initial_weights(c)
    for step, (z, x0, weights) in enumerate(rows_of(c)[:-1]):
        chosen = batches.at(step)[0].numpy()
        z, x0, weights = z[chosen], x0[chosen], weights[chosen]
        residual = np.maximum(z @ w, 0) @ a.T / np.sqrt(c.width) - x0
        signal = (weights[:, None] * residual) @ a
        w = w - c.step_size * z.T @ ((z @ w > 0) * signal) / np.sqrt(c.width) / len(z)
    expected = np.maximum(task.z_eval @ w, 0) @ a.T / np.sqrt(c.width)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise", [{"copies": 2, "weight": "eps"}, FRESH[1]])
def test_the_mlp_follows_weights_and_fresh_rows(noise: dict[str, Any]) -> None:
    """By autograd and torch's own AdamW."""
    c = config(**{**noise, "trainer": "mlp_adamw", "step_size": 0.01, "steps": 25})
    task = _task_of(c)
    found = trained(task, MlpAdamW(), c.steps)
    layers = [torch.tensor(v)[None].requires_grad_(True) for v in initial_layers(c, c.width)]
    average = [layer.detach().clone() for layer in layers]
    optimiser = torch.optim.AdamW(layers, lr=c.step_size, weight_decay=WEIGHT_DECAY)
    batches = Minibatches([c], CPU)
    for step, (z, x0, weights) in enumerate(rows_of(c)[:-1]):
        chosen = batches.at(step)[0].numpy()
        points, labels = torch.tensor(inputs(c, z[chosen]))[None], torch.tensor(x0[chosen])[None]
        squares = (network(layers, points) - labels).square().sum(2)
        optimiser.zero_grad()
        ((torch.tensor(weights[chosen]) * squares).mean() / 2).backward()
        optimiser.step()
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        for mean, layer in zip(average, layers, strict=True):
            mean.lerp_(layer.detach(), 1 - decay)
    expected = network(average, torch.tensor(inputs(c, task.z_eval))[None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def _task_of(c: TrialConfig) -> Task:
    data = draw_training_set(c, make_distribution(c.law))
    fresh = FreshRows(c, data) if c.fresh else None
    points = evaluation_of(c).test.z[:9]
    return Task(c, data.z, data.x0, points, row_weights(c, data.t), fresh)


@pytest.mark.parametrize("width", [16, float("inf")])
def test_what_memorization_is_measured_by(width: float) -> None:
    """The distance to the memorizer and the gap, from predictions made anew."""
    c = config(copies=3, width=width, recorded=30)
    (trajectory,) = train_pack([c], "cpu")
    law, evaluation = make_distribution(c.law), evaluation_of(c)
    data: Samples = draw_training_set(c, law)
    held = evaluation.holdout
    at = 10
    assert trajectory.steps[at] > 0
    noise = (held.xt - held.alpha[:, None] * held.x0) / np.sqrt(held.h)[:, None]
    x0 = data.x0[np.arange(32) % 24]
    x = held.alpha[:, None] * x0 + np.sqrt(held.h)[:, None] * noise
    copies = np.column_stack([x, held.t - c.diffusion.t_min, np.ones(32)])
    points = np.concatenate([evaluation.test.z, held.z, copies])
    if c.infinite:
        K = relu_ntk(data.z, data.z) / len(data)
        values, U = np.linalg.eigh(K)
        left = (1 - c.step_size * values) ** trajectory.steps[at]
        f = relu_ntk(points, data.z) @ (U * ((1 - left) / values)) @ (U.T @ data.x0) / len(data)
    else:
        w, a = initial_weights(c)
        for _ in range(trajectory.steps[at]):
            residual = np.maximum(data.z @ w, 0) @ a.T / np.sqrt(c.width) - data.x0
            moved = data.z.T @ ((data.z @ w > 0) * (residual @ a))
            w = w - c.step_size * moved / np.sqrt(c.width) / len(data)
        f = np.maximum(points @ w, 0) @ a.T / np.sqrt(c.width)
    test = evaluation.test
    made = memorize(data.x0[:24], test.xt, test.alpha, test.h, CPU).mean
    distance = float(evaluation.mean_square(f[:64] - made))
    assert trajectory.series["memorizer_distance"][at] == pytest.approx(distance, rel=1e-8)
    losses = [float(np.square(f[p] - y).sum(1).mean() / 2)
              for p, y in ((slice(64, 96), held.x0), (slice(96, 128), x0))]  # fmt: skip
    gap = losses[0] - losses[1]
    assert trajectory.series["generalization_gap"][at] == pytest.approx(gap, rel=1e-6)
    (plain,) = train_pack([c.changed(copies=1)], "cpu")
    assert "generalization_gap" not in plain.series
    assert plain.series["memorizer_distance"][at] is not None


def test_an_own_trainer_says_what_it_follows(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainers.methods.custom import trainer_fields

    source = "from trainers.methods.full_batch import Descent\n\nclass Own(Descent):\n    {}\n"
    for name, body in (
        ("deaf_trainer", "handles = ()"),
        ("hearing_trainer", "handles = ('weight',)"),
    ):
        (tmp_path / f"{name}.py").write_text(source.format(body))
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {name: trainer_fields(f"{name}:Own") for name in ("deaf_trainer", "hearing_trainer")}
    assert trainer_of(config(**own["deaf_trainer"], copies=4)).kernel_limit
    with pytest.raises(TrainerError, match=r"weight: eps.*handles"):
        trainer_of(config(**own["deaf_trainer"], weight="eps"))
    assert trainer_of(config(**own["hearing_trainer"], weight="eps")).kernel_limit
    with pytest.raises(TrainerError, match="copies: fresh"):
        trainer_of(config(**own["hearing_trainer"], copies="fresh"))
