"""Training on a card: the CPU's numbers, graphs as the loop, and no waiting between records."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from trainers.columns import UNTRAINED_ERRORS
from trainers.methods.full_batch import Descent
from trainers.network import graphs
from trainers.network.graphs import Replayed
from trainers.pack import train_pack
from trainers.trial import Cube, GaussianMixture, TrialConfig

pytestmark = [pytest.mark.cuda, pytest.mark.compiled]


def trials(d: int, **fields: Any) -> list[TrialConfig]:
    """Two data sets; one trial is plain, one narrower, one diverges."""
    law = GaussianMixture(dimension=d, components=4, std=0.2) if d < 8 else Cube(dimension=d)
    common: dict[str, Any] = {
        "law": law,
        "samples": 200,
        "width": 256,
        "step_size": 0.5,
        "steps": 200,
        **fields,
    }
    each: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"initialisation": "plain"},
        {"width": 230},
        {"step_size": 1e5},
    ]
    return [TrialConfig(**{**common, **own}) for own in each]


@pytest.mark.parametrize("d", [1, 2, 3, 8, 16, 23])
def test_packs_have_the_cpu_s_numbers(d: int) -> None:
    here, there = train_pack(trials(d), "cpu"), train_pack(trials(d), "cuda")
    for own, other in zip(here, there, strict=True):
        assert own.status == other.status
        assert other.values["kernel_path"] == ("matmul" if d == 23 else "triton")
        for name in ("score_error", "train_loss", "holdout_loss", "displacement", "coupling"):
            a, b = (np.array(t.series[name], dtype=float) for t in (own, other))
            close = 1e-3 if name == "coupling" else 1e-4
            np.testing.assert_allclose(a, b, rtol=close, atol=1e-9, err_msg=name)
        for name in UNTRAINED_ERRORS:
            assert other.values[name] == pytest.approx(own.values[name], rel=1e-9)


def test_float32_stays_close_to_float64() -> None:
    single = train_pack(trials(2, kernel=False)[:2], "cuda")
    double = train_pack(trials(2, kernel=False, precision="float64")[:2], "cuda")
    for own, other in zip(single, double, strict=True):
        a, b = (np.array(t.series["score_error"], dtype=float) for t in (own, other))
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_graphs_take_the_steps_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    capture = graphs.captured

    def counted(function: Any) -> Any:
        made.append(function)
        return capture(function)

    monkeypatch.setattr(graphs, "captured", counted)
    replayed = train_pack(trials(2, kernel=False), "cuda")
    assert len(made) == len(graphs.SIZES)

    def plain(descent: Any) -> Any:
        return Replayed({1: lambda: descent.steps(1)})

    monkeypatch.setattr(Replayed, "of", plain)
    for own, other in zip(replayed, train_pack(trials(2, kernel=False), "cuda"), strict=True):
        assert own.series == other.series


def test_nothing_waits_between_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch raises where it would."""
    train = Descent.train

    def watched(self: Descent, *args: Any) -> Iterator[Any]:
        records = train(self, *args)
        yield next(records)
        yield next(records)  # the graphs are captured after this one
        yield next(records)
        torch.cuda.set_sync_debug_mode("error")
        yield from records
        torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Descent, "train", watched)
    try:
        done = train_pack(trials(2), "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [t.status for t in done] == ["completed"] * 4 + ["diverged"]
