"""Between its records a batch never waits for the device: two copies at its end hold everything."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainers import pack
from trainers.kernel.distances import DistancesOnDevice
from trainers.methods.full_batch import Descent
from trainers.pack import train_pack
from trainers.trial import Cube, Trajectory, TrialConfig

METHODS = ("cpu", "numpy", "item", "tolist", "__bool__", "__int__", "__float__", "__index__")
OPERATIONS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")
"""What asks the device for a value, and so waits for all that it was given before."""

CPU = torch.device("cpu")


def trials(d: int = 11) -> list[TrialConfig]:
    """On the path of matrix products. Two data sets, two step sizes that share a kernel, one
    plain, one without a kernel, one that diverges."""
    common = {"law": Cube(dimension=d), "samples": 24, "width": 16, "steps": 40, "recorded": 9}
    common |= {"test_points": 64, "holdout_points": 8}
    each: list[dict[str, Any]] = [
        {"step_size": 0.3},
        {"step_size": 0.3, "width": 14},
        {"step_size": 0.5},
        {"step_size": 0.3, "seed": 1},
        {"step_size": 0.3, "initialisation": "plain"},
        {"step_size": 0.3, "seed": 2, "kernel": False},
        {"step_size": 1e6, "seed": 1},
    ]
    return [TrialConfig(**{**common, **own}) for own in each]


def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes a GPU's route through the records, with tensors of the CPU."""
    monkeypatch.setattr(pack, "distances", DistancesOnDevice)


class Waits(TorchDispatchMode):
    """Counts what waits, while `counting`."""

    def __init__(self) -> None:
        super().__init__()
        self.counting = False
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name.startswith("index") and any(
            index is not None and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        if self.counting and (name in OPERATIONS or masked):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))

    def watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.counting:
                self.seen[name] += 1
            return method(*args, **kwargs)

        return call


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Counts from the first record of a batch on."""
    seen = Waits()
    for name in METHODS:
        method = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, seen.watched(name, method))
    train = Descent.train

    def watched(self: Descent, *args: Any) -> Any:
        for record in train(self, *args):
            if not seen.counting:
                seen.__enter__()
            seen.counting = True
            yield record

    monkeypatch.setattr(Descent, "train", watched)
    yield seen
    if seen.counting:
        seen.__exit__(None, None, None)


def test_a_batch_waits_at_its_end(monkeypatch: pytest.MonkeyPatch, waits: Waits) -> None:
    on_device(monkeypatch)
    train_pack(trials()[:1], "cpu")
    # After the last record: what was measured, then the predictions that sketches are made of.
    assert waits.seen == {"cpu": 2, "numpy": 2}


def test_what_waits_is_counted(waits: Waits) -> None:
    values = torch.ones(3)
    with waits:
        waits.counting = True
        float(values.sum())
        values[values > 0]
        values.cpu().tolist()
        waits.counting = False
    assert {"__float__", "_local_scalar_dense", "index", "cpu", "tolist"} <= set(waits.seen)


@pytest.mark.slow
def test_a_gpu_s_route_gives_the_cpu_s_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    here = train_pack(trials(), "cpu")
    on_device(monkeypatch)
    for own, other in zip(here, train_pack(trials(), "cpu"), strict=True):
        assert own.status == other.status
        assert own.message == other.message
        assert own.series.keys() == other.series.keys()
        for name, values in own.series.items():
            np.testing.assert_allclose(
                floats(values), floats(other.series[name]), rtol=1e-12, atol=1e-30, err_msg=name
            )
    couplings = [coupling(t) for t in here]
    assert [len(c) for c in couplings] == [9, 9, 9, 9, 9, 0, 9]
    assert all(c[-1] > 0 for c in couplings[:5])
    assert here[-1].status == "diverged"


def floats(values: list[float | None]) -> np.ndarray:
    return np.array(values, dtype=float)


def coupling(trajectory: Trajectory) -> list[float | None]:
    return trajectory.series.get("coupling", [])
