"""SGD and Adam against plain loops in numpy; the minibatches' law; padding."""

import numpy as np
import pytest
import torch

from trainers import TrialConfig, TrialStatus, train_pack
from trainers.methods.minibatch import Adam, Minibatches, Sgd
from trainers.methods.mlp import MlpAdamW
from trainers.problem.regression import stream
from trainers.protocol import Task
from trainers.registry import MINIBATCH

LAW = {"kind": "gaussian_mixture", "dimension": 2, "seed": 5}


def config(**changes: object) -> TrialConfig:
    values = {
        "law": LAW, "samples": 90, "width": 20, "step_size": 0.3, "steps": 70, "recorded": 6,
        "test_points": 32, "holdout_points": 16, "precision": "float64", "trainer": "sgd",
    }  # fmt: skip
    return TrialConfig.model_validate({**values, **changes})


def task(c: TrialConfig) -> Task:
    rng = np.random.default_rng(c.seed)
    z = rng.standard_normal((c.samples, c.features))
    return Task(c, z, rng.standard_normal((c.samples, 2)), rng.standard_normal((9, c.features)))


def loop(t: Task, adam: bool) -> tuple[np.ndarray, float]:
    """Predictions and training loss after the last step, as the papers write the updates."""
    c, p = t.config, t.problem()
    w, m = p.w.copy(), c.width
    rng = stream("minibatch", c.study_seed, c.samples, c.seed)
    draws = np.concatenate([rng.integers(c.samples, size=(64, MINIBATCH)) for _ in range(2)])
    mean, square = np.zeros_like(w), np.zeros_like(w)

    def f(z: np.ndarray) -> np.ndarray:
        return np.maximum(z @ w, 0) @ p.a.T / np.sqrt(m)

    for tau in range(1, c.steps + 1):
        rows = draws[tau - 1]
        z, y = t.z[rows], t.x0[rows]
        residual = f(z) - y
        g = z.T @ ((z @ w > 0) * (residual @ p.a)) / np.sqrt(m) / MINIBATCH
        if adam:
            mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
            g = mean / (1 - 0.9**tau) / (np.sqrt(square / (1 - 0.999**tau)) + 1e-8)
        w = w - c.step_size * g
    return f(t.z_eval), float(np.square(f(t.z) - t.x0).sum(1).mean() / 2)


@pytest.mark.parametrize(("trainer", "eta"), [(Sgd(), 0.3), (Adam(), 0.02)])
def test_the_numbers_are_those_of_a_plain_loop(trainer: Sgd | Adam, eta: float) -> None:
    t = task(config(step_size=eta))
    *_, last = trainer.train([t], [0, 70], torch.device("cpu"), lambda: None)
    predictions, loss = loop(t, isinstance(trainer, Adam))
    np.testing.assert_allclose(last.predictions[0].numpy().T, predictions, rtol=1e-9)
    assert float(last.train_loss) == pytest.approx(loss, rel=1e-9)


def test_minibatches_are_uniform_and_shared_over_width_and_step_size() -> None:
    one, wide = config(samples=50), config(samples=50, width=40, step_size=0.1)
    other = config(samples=50, seed=1)
    drawn = Minibatches([one, wide, other], torch.device("cpu"))
    picks = torch.stack([drawn.at(step) for step in range(200)])
    assert torch.equal(picks[:, 0], picks[:, 1])
    assert not torch.equal(picks[:, 0], picks[:, 2])
    counts = np.bincount(picks[:, 0].flatten().numpy(), minlength=50)
    expected = 200 * MINIBATCH / 50
    assert len(counts) == 50
    assert np.square(counts - expected).sum() / expected < 85  # chi^2 of 49: p = 0.001


def test_sgd_follows_descent_where_the_minibatch_is_large() -> None:
    """With N = 1 every minibatch is the one triple: SGD is then full-batch descent."""
    common = {"samples": 1, "steps": 20, "recorded": 5, "kernel": False}
    sgd, full = train_pack([config(**common), config(**common, trainer="descent")], "cpu")
    np.testing.assert_allclose(sgd.series["train_loss"], full.series["train_loss"], rtol=1e-9)
    np.testing.assert_allclose(sgd.series["displacement"], full.series["displacement"], rtol=1e-9)


def test_columns_that_a_trainer_has_not_are_null() -> None:
    configs = [config(trainer=name, step_size=0.01) for name in ("sgd", "adam", "mlp_adamw")]
    sgd, adam, mlp = train_pack(configs, "cpu")
    assert [t.status for t in (sgd, adam, mlp)] == [TrialStatus.COMPLETED] * 3
    assert None not in sgd.series["coupling"]
    assert "coupling" not in adam.series
    assert None not in adam.series["displacement"]
    assert set(mlp.series["displacement"]) == {None}
    assert sgd.values["largest_step_size"] is not None
    assert "largest_step_size" not in adam.values
    assert {t.values["kernel_path"] for t in (sgd, adam, mlp)} == {None}
    assert sgd.values["operations"] == configs[0].training_operations
    assert mlp.values["operations"] == configs[2].training_operations


@pytest.mark.slow
def test_a_trial_that_is_cut_short_begins_as_the_whole_one_and_is_marked() -> None:
    for name in ("descent", "sgd", "adam", "mlp_adamw"):
        c = config(trainer=name, step_size=0.01, kernel=False)
        (whole,), (cut,) = train_pack([c], "cpu"), train_pack([c], "cpu", until=20)
        last = len(cut.steps)
        assert cut.status == TrialStatus.PRUNED
        assert cut.steps == [s for s in whole.steps if s <= 20]
        assert cut.message == f"stopped at step {cut.steps[-1]} of 70"
        assert cut.values["operations"] == c.training_operations * cut.steps[-1] / 70
        np.testing.assert_allclose(
            np.array(cut.series["holdout_loss"], float),
            np.array(whole.series["holdout_loss"][:last], float),
            rtol=1e-9,
        )
        (same,) = train_pack([c], "cpu", until=70)
        assert same.status == TrialStatus.COMPLETED


def test_the_mlp_is_one_of_torch_trained_by_its_adamw() -> None:
    """An independent build of the network, torch's optimiser, and the moving average."""
    c = config(trainer="mlp_adamw", step_size=0.01, steps=30, width=12)
    t = task(c)
    t.z[:, 2] = np.abs(t.z[:, 2])  # times
    t.z_eval[:, 2] = np.abs(t.z_eval[:, 2])
    # Company of another width and N: padding must change nothing.
    company = {"width": 16, "samples": 70, "seed": 4, "step_size": 0.02, "steps": 30}
    wide = task(config(trainer="mlp_adamw", **company))
    wide.z[:, 2], wide.z_eval[:, 2] = np.abs(wide.z[:, 2]), np.abs(wide.z_eval[:, 2])
    *_, last = MlpAdamW().train([t, wide], [0, 30], torch.device("cpu"), lambda: None)

    def points(z: np.ndarray) -> torch.Tensor:
        time = z[:, 2] + 0.05
        u = 0.5 * np.log(np.expm1(time))  # h / alpha^2 = e^t - 1 where g = 1
        phase = u[:, None] * np.geomspace(0.5, 16.0, 8)
        return torch.as_tensor(np.concatenate([z[:, :2], np.cos(phase), np.sin(phase)], 1))

    rng = stream("mlp", 0, 0, 12)
    layers = []
    for inside in (2, 12, 12):
        bound = (inside + 16) ** -0.5
        layer = torch.nn.Linear(inside + 16, 12, dtype=torch.float64)
        layer.weight.data = torch.as_tensor(rng.uniform(-bound, bound, (inside + 16, 12)).T.copy())
        layer.bias.data = torch.as_tensor(rng.uniform(-bound, bound, (1, 12))[0])
        layers.append(layer)
    head = torch.nn.Linear(12, 2, dtype=torch.float64)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    model = torch.nn.ModuleList([*layers, head])

    def f(p: torch.Tensor) -> torch.Tensor:
        h = torch.nn.functional.silu(layers[0](p))
        for layer in layers[1:]:
            h = h + torch.nn.functional.silu(layer(torch.cat([h, p[:, 2:]], 1)))
        return head(h)

    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
    average = [p.detach().clone() for p in model.parameters()]
    rng = stream("minibatch", 0, 90, 0)
    rows = rng.integers(90, size=(64, MINIBATCH))
    z, y = points(t.z), torch.as_tensor(t.x0)
    for step in range(30):
        optimiser.zero_grad()
        ((f(z[rows[step]]) - y[rows[step]]).square().sum(1).mean() / 2).backward()
        optimiser.step()
        decay = min(0.999, (1 + step) / (10 + step))
        for mean, p in zip(average, model.parameters(), strict=True):
            mean.mul_(decay).add_(p.detach(), alpha=1 - decay)
    for mean, p in zip(average, model.parameters(), strict=True):
        p.data = mean
    expected = f(points(t.z_eval)).detach().numpy()
    np.testing.assert_allclose(last.predictions[0].numpy().T, expected, rtol=1e-6, atol=1e-9)
