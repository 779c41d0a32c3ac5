"""Networks that are kept: at the steps asked for, and predicting what was recorded, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import trainers.pack as pack
from trainers import TrialConfig, load_network, train_pack
from trainers.errors import TrainerError
from trainers.kept.keep import HEADER_BYTES, STOPS, Keep, network_bytes
from trainers.kept.networks import NetworkFileError, Networks, file_name, network_file, read_weights
from trainers.laws import make_distribution
from trainers.methods.custom import trainer_fields
from trainers.methods.full_batch import packed_network
from trainers.network.passes import BLOCKED
from trainers.problem import diffusion as forward
from trainers.problem.evaluation import EvaluationSet
from trainers.stopping import Recorded, stop
from trainers.trial import Trajectory, TrialStatus

LAW = {"kind": "gaussian_mixture", "dimension": 2, "components": 4, "seed": 3}
RATES = {"descent": 1.0, "sgd": 0.5, "adam": 0.02, "mlp_adamw": 0.003}
ALL = Keep(("best", "last", "stops"), frozenset([0, 1]))
EXAMPLES = Path(__file__).parents[2] / "examples/trainers"

Array = np.ndarray


def trial(**changes: object) -> TrialConfig:
    values = {"law": LAW, "samples": 48, "width": 32, "step_size": 1.0, "steps": 120, **changes}
    return TrialConfig.model_validate(
        {"recorded": 12, "test_points": 64, "holdout_points": 32, **values}
    )


def points(config: TrialConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """x and t of the evaluated points, in their order."""
    drawn = EvaluationSet.draw(config, make_distribution(config.law))
    x = np.concatenate([drawn.test.xt, drawn.holdout.xt])
    return torch.as_tensor(x), torch.as_tensor(np.concatenate([drawn.test.t, drawn.holdout.t]))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Array]]:
    """What every batch predicted at its recorded steps, [B, d, n], as it was measured."""
    seen: list[tuple[int, Array]] = []
    measure = pack._row

    def row(record, *others):
        seen.append((record.step, record.predictions.double().numpy().copy()))
        return measure(record, *others)

    monkeypatch.setattr(pack, "_row", row)
    return seen


def packed(trainer: str) -> list[TrialConfig]:
    """Trials of two widths, some kept: one batch, with padding."""
    return [
        trial(trainer=trainer, step_size=RATES[trainer], seed=seed, width=width)
        for seed in (0, 2, 1)
        for width in (32, 30)
    ]


@pytest.mark.parametrize("trainer", RATES)
def test_the_steps_of_the_rules_are_kept_and_no_number_changes(trainer: str) -> None:
    configs = packed(trainer)
    kept, plain = train_pack(configs, "cpu", keep=ALL), train_pack(configs, "cpu")
    for one, other in zip(kept, plain, strict=True):
        assert one.series == other.series
        assert other.networks == {}
        assert "network" not in other.texts
        if one.config.seed == 2:
            assert one.networks == {}
            assert "kept" not in one.values
            continue
        assert one.values["kept"] == "best last stops"
        steps = {one.steps[i] for i, name in enumerate(one.texts["network"]) if name}
        assert steps == named(one, ("oracle", *STOPS)) | {one.steps[-1]}
        names = {f"{name}.safetensors" for name in one.texts["network"] if name}
        assert names == one.networks.keys()


def named(one: Trajectory, rules: tuple[str, ...]) -> set[int]:
    """The steps that rules name of a whole trajectory."""
    series = {
        name: np.array([np.nan if v is None else v for v in one.series[name]])
        for name in ("score_error", "holdout_loss", "train_loss", "kernel_complexity")
        if name in one.series
    }
    seen = Recorded(
        np.array(one.steps),
        one.config.step_size,
        one.config.samples,
        one.config.dimension,
        noise_variance=one.values["noise_variance"],
        **series,
    )
    return {s for rule in rules if (s := stop(rule, seen).step) is not None}


LOADS = """
import sys, numpy as np, torch
from trainers import load_network
torch.set_num_threads(int(sys.argv[1]))
folder = sys.argv[2]
for line in open(f"{folder}/list"):
    name, points = line.split()
    held = np.load(f"{folder}/{points}")
    network = load_network(f"{folder}/{name}")
    f = network.f(torch.as_tensor(held["x"]), torch.as_tensor(held["t"]))
    np.save(f"{folder}/{name}.npy", f.numpy())
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_another_process_predicts_to_the_bit_what_was_recorded(
    recorded: list[tuple[int, Array]], tmp_path: Path
) -> None:
    """Every built-in trainer, batches of several trials and of one, plain and weighted, in d = 2
    and in d = 12, where training takes matrix products; compiled as in a study."""
    wide = {"law": {"kind": "cube", "dimension": 12}}
    batches = [
        *map(packed, RATES),
        [trial(width=512)],
        [trial(weight="v", precision="float64", seed=seed) for seed in (0, 1)],
        [trial(**wide, seed=0), trial(**wide, seed=1, width=26)],
        [trial(seed=seed, width=1000, trainer="sgd", step_size=0.5) for seed in range(7)],
    ]
    expected: dict[str, Array] = {}
    with (tmp_path / "list").open("w") as listed:
        for number, configs in enumerate(batches):
            recorded.clear()
            trained = train_pack(configs, "cpu", keep=ALL)
            assert len({len(step_predictions[1]) for step_predictions in recorded}) == 1
            order = [c.trial_id for c in sorted(configs, key=lambda c: (-c.width,))]
            x, t = points(configs[0])
            np.savez(tmp_path / f"{number}.npz", x=x.numpy(), t=t.numpy())
            for one in trained:
                for name, content in one.networks.items():
                    (tmp_path / name).write_bytes(content)
                    step = load_network(content).step
                    (at,) = [p for s, p in recorded if s == step]
                    expected[name] = at[order.index(one.config.trial_id)].T
                    print(name, f"{number}.npz", file=listed)
    environment = {**os.environ, "PYTHONPATH": str(Path(pack.__file__).parents[1])}
    # Trained with one thread.
    subprocess.run([sys.executable, "-c", LOADS, "2", str(tmp_path)], check=True, env=environment)
    for name, predictions in expected.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), predictions), name
    assert len(expected) > 40


def one_network(**changes: object) -> tuple[TrialConfig, bytes]:
    config = trial(**changes)
    (one,) = train_pack([config], "cpu", keep=Keep(("last",), frozenset([0])))
    (content,) = one.networks.values()
    return config, content


def test_f_score_noise_and_velocity_are_one_network() -> None:
    config, content = one_network()
    network = load_network(content)
    x, t = points(config)
    f = network.f(x, t)
    alpha, h = (
        torch.as_tensor(v)[:, None]
        for v in (
            forward.alpha(config.diffusion, t.numpy()),
            forward.h(config.diffusion, t.numpy()),
        )
    )
    assert torch.allclose(alpha * f + h.sqrt() * network.eps(x, t), x)
    assert torch.allclose(network.score(x, t) * h.sqrt(), -network.eps(x, t))
    assert torch.allclose(network.v(x, t), alpha * network.eps(x, t) - h.sqrt() * f)
    assert torch.equal(load_network(content, predicts="score")(x, t), network.score(x, t))
    assert torch.allclose(network.f(x[:1], float(t[0])), f[:1])
    assert network.step == config.steps
    assert network.config == config


def test_networks_of_one_shape_predict_side_by_side() -> None:
    trained = train_pack([trial(seed=0), trial(seed=1)], "cpu", keep=Keep(("last",), ALL.seeds))
    contents = [content for one in trained for content in one.networks.values()]
    configs, _steps, weights = zip(*(read_weights(c, "it") for c in contents), strict=True)
    x, t = points(configs[0])
    together = Networks(configs, weights)(torch.stack([x, x.flip(0)]), t)
    for b, points_of in enumerate((x, x.flip(0))):
        assert torch.allclose(together[b], load_network(contents[b]).f(points_of, t), atol=1e-6)


def test_what_was_trained_in_groups_predicts_without_them() -> None:
    """As on a machine that has no compiler."""
    config, content = one_network(width=512)
    _, _, weights = read_weights(content, "it")
    assert weights["layout"][0] == 1
    x, t = points(config)
    stacked = {name: values[None] for name, values in weights.items()}
    plain = packed_network(BLOCKED, [config], stacked, torch.device("cpu"))
    z = torch.cat([x, (t - config.diffusion.t_min)[:, None], torch.ones(len(x), 1)], 1)
    found = plain(z[None].double())[0].T.double()
    assert torch.allclose(found, load_network(content).f(x, t), atol=1e-6)


@pytest.mark.parametrize("trainer", RATES)
def test_a_file_is_its_weights_and_little_more(trainer: str) -> None:
    config, content = one_network(trainer=trainer, step_size=RATES[trainer])
    signs = config.width * config.dimension if trainer != "mlp_adamw" else 0
    assert config.parameters * 4 + signs < len(content) <= network_bytes(config)
    assert len(content) - config.parameters * 4 - signs < HEADER_BYTES


def test_a_trajectory_that_is_cut_short_keeps_nothing_and_a_diverged_one_its_last() -> None:
    (cut,) = train_pack([trial()], "cpu", until=10, keep=ALL)
    assert cut.status == TrialStatus.PRUNED
    assert cut.networks == {}
    (wild,) = train_pack([trial(step_size=1e4)], "cpu", keep=Keep(("last",), ALL.seeds))
    assert wild.status == TrialStatus.DIVERGED
    (content,) = wild.networks.values()
    losses = zip(wild.steps, wild.series["train_loss"], strict=True)
    finite = [step for step, loss in losses if loss is not None]
    assert load_network(content).step == finite[-1] < wild.steps[-1]


def test_infinite_width_has_no_network() -> None:
    (limit,) = train_pack([trial(width="inf")], "cpu", keep=ALL)
    assert limit.networks == {}
    assert not ALL.wants(limit.config)


def test_damaged_files_are_told(tmp_path: Path) -> None:
    _, content = one_network()
    path = tmp_path / file_name(content)
    path.write_bytes(content)
    assert load_network(path).step == 120
    assert load_network(f"file://{path}").step == 120
    path.write_bytes(content[:-3])
    with pytest.raises(NetworkFileError, match="its content is not that of its name; remove"):
        load_network(path)
    with pytest.raises(NetworkFileError, match="no network of this program, or damaged"):
        load_network(content[:-3])
    with pytest.raises(NetworkFileError, match="no network of this program"):
        load_network(bytes(64))
    with pytest.raises(NetworkFileError, match="cannot be read"):
        load_network(tmp_path / "none.safetensors")
    other = network_file(trial(), 7, {"w": torch.zeros(1)}).replace(b"network 1", b"network 9")
    with pytest.raises(NetworkFileError, match="format 'scorerates network 9'"):
        load_network(other)


def test_a_trainer_that_cannot_keep_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (EXAMPLES / "momentum.py").read_text().replace('("weight", "keep")', '("weight",)')
    (tmp_path / "unkept.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = trial(**trainer_fields("unkept:Momentum"), step_size=0.1)
    with pytest.raises(TrainerError, match="does not say that its networks can be kept: give"):
        train_pack([config], "cpu", keep=ALL)
    (one,) = train_pack([config], "cpu")
    assert one.status == TrialStatus.COMPLETED
