"""A study on GPUs and, beside them, on the cores of nodes without one."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_trainer
import pytest
import ray
import yaml
from ray.cluster_utils import Cluster
from rich.console import Console

from study import StudySpec, run
from study.commands.search import search
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.mixed import make_mixed_plan
from study.planning.plan import Plan, Slots, make_plan, makespan, slots_of
from study.spec.axes import Resources
from study.spec.messages import SpecError
from study.storage.store import Store
from trainers.trial import Cube, TrialConfig

REPOSITORY = Path(__file__).parents[3]
SUPPORT = REPOSITORY / "tests" / "support"
CPU, CUDA = DEFAULT_SPEEDS["cpu"], DEFAULT_SPEEDS["cuda"]
GPU_NODE, CPU_NODE = {"CPU": 4.0, "GPU": 2.0}, {"CPU": 3.0, "memory": 6.0 * 2**30}

STUDY = """
name: both
law: {kind: cube, dimension: 2}
seeds: 10
device: mixed
resources: {gpus_per_pack: 1}
base: {samples: 64, width: 64, step_size: 1.0}
sweeps:
  - samples: [16, 32, 64, 128]
  - width: [32, 128]
audit: false
"""

OTHERS: dict[str, dict[str, Any]] = {
    "design": {
        "name": "design",
        "base": {"samples": [16, 32, 64, 128], "width": 64, "step_size": 1.0},
        "design": {
            "kind": "adaptive",
            "half_width": {"best_score_error": 0.003},
            "budget": {"trials": 60},
            "pilot": 10,
        },
    },
    "search": {
        "name": "search",
        "base": {"samples": [16, 32, 64, 128]},
        "search": {
            "samplers": "random",
            "evaluations": 12,
            "batch": 12,
            "space": {"width": [32, 64, 128], "step_size": {"low": 0.1, "high": 2}},
        },
    },
}


def trials(count: int, **sizes: int) -> list[TrialConfig]:
    fields = {"samples": 256, "width": 256, **sizes}
    return [
        TrialConfig(law=Cube(dimension=2), step_size=1.0, seed=seed, **fields)  # type: ignore[arg-type]
        for seed in range(count)
    ]


def test_the_cores_of_nodes_without_a_gpu_are_beside_the_gpus() -> None:
    nodes = [{}, GPU_NODE, CPU_NODE]
    slots = slots_of(nodes, "mixed", Resources(), growing=False)
    assert (slots.workers, slots.device, slots.gpus) == (2, "cuda", 1.0)
    assert slots.beside == Slots(3, "cpu", memory=2 * 2**30)
    assert slots.text == "2 at once on cuda and 3 on cpu"
    assert slots_of(nodes, "auto", Resources(), growing=False).beside is None
    assert slots_of([GPU_NODE], "mixed", Resources(), growing=False).beside is None
    half = slots_of(nodes, "mixed", Resources(gpus_per_pack=0.5, workers=3), growing=False)
    assert (half.workers, half.gpus) == (3, 0.5)
    assert half.beside is not None
    assert (half.beside.workers, half.beside.gpus) == (3, 0.0)
    with pytest.raises(SpecError, match="cuda or mixed needs a GPU"):
        slots_of([CPU_NODE], "mixed", Resources(), growing=False)


def mixed(work: list[TrialConfig], slots: Slots) -> tuple[Plan, Plan]:
    """The plan for the GPUs alone, and the one for both."""
    alone = make_plan(work, slots, CUDA)
    return alone, make_mixed_plan(work, alone, CPU)


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "cores"), [(1, 2), (2, 16), (4, 100)])
def test_both_kinds_end_together_and_sooner_than_the_gpus_alone(gpus: int, cores: int) -> None:
    slots = Slots(gpus, "cuda", gpus=1.0, beside=Slots(cores, "cpu"))
    work = [t for s in (64, 256, 1024) for t in trials(600, samples=s)]
    alone, plan = mixed(work, slots)
    assert sorted(t.trial_id for p in plan.packs for t in p.trials) == sorted(
        t.trial_id for t in work
    )
    assert plan.training_seconds < alone.training_seconds
    ends = [makespan([p.cost for p in plan.packs_on(k)], k.workers) for k in slots.kinds]
    assert min(ends) > 0
    # Small trials are what cores are good at.
    moved = [t.samples for p in plan.packs_on(slots.kinds[1]) for t in p.trials]
    left = [t.samples for p in plan.packs_on(slots) for t in p.trials]
    assert max(moved) <= min(left)
    assert plan.packs == tuple(sorted(plan.packs, key=lambda p: (-p.cost, p.pack_id)))


@pytest.mark.slow
def test_what_would_end_last_or_cannot_be_held_beside_stays_on_the_gpus() -> None:
    heavy = trials(4, samples=4096, width=8192)
    slots = Slots(1, "cuda", gpus=1.0, beside=Slots(1, "cpu"))
    alone, plan = mixed(heavy, slots)
    assert plan is alone
    alone, plan = mixed(trials(600), replace(slots, beside=Slots(8, "cpu")))
    assert {p.device for p in plan.packs} == {"cuda", "cpu"}
    alone, plan = mixed(trials(600), replace(slots, beside=Slots(8, "cpu", memory=1.0)))
    assert plan is alone


def test_the_trials_of_a_search_are_divided_though_they_share_a_data_set() -> None:
    point = trials(1, samples=64, width=64)[0]
    work = [point.changed(step_size=0.1 + i / 200, kernel=False) for i in range(240)]
    slots = Slots(1, "cuda", gpus=1.0, beside=Slots(2, "cpu"))
    alone, plan = mixed(work, slots)
    assert {p.device for p in plan.packs} == {"cuda", "cpu"}
    assert plan.training_seconds < alone.training_seconds
    with_kernel = [trial.changed(kernel=True) for trial in work]
    assert len({p.device for p in mixed(with_kernel, slots)[1].packs}) == 1


@pytest.fixture(scope="module")
def fake(no_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The fake trainer's folder, on a cluster of a node that says it has a GPU and one without."""
    folder = tmp_path_factory.mktemp("fake")
    with pytest.MonkeyPatch.context() as patch:
        yield from cluster_with(folder, patch)


def cluster_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (folder / "calls").mkdir(parents=True)
    (folder / "control.json").write_text(json.dumps({"sleep": 0.02}))
    monkeypatch.setenv("FAKE_TRAINER", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))  # speeds: the recorded defaults
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{SUPPORT}")
    # Sockets lie there, and their paths may have 107 characters at most.
    place = tempfile.mkdtemp(prefix="mx-", dir="/tmp")
    (Path(place) / "ray").mkdir()
    monkeypatch.setenv("RAY_TMPDIR", place)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        # More cores than its packs need: what has no GPU must not take them.
        cluster.add_node(num_cpus=4, num_gpus=1, env_vars={"FAKE_NODE": "with"})
        cluster.add_node(num_cpus=2, num_gpus=0, env_vars={"FAKE_NODE": "without"})
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        yield folder
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grid", "design", "search"])
def test_both_kinds_of_nodes_train_one_study(
    kind: str, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.report.page.write_report", lambda *_args, **_options: None)
    plain = yaml.safe_load(STUDY)
    if kind != "grid":
        del plain["seeds"], plain["sweeps"]
    spec = StudySpec.from_mapping({**plain, **OTHERS.get(kind, {})})
    command = search if kind == "search" else run
    quiet = Console(quiet=True)
    result = command(spec, tmp_path / "r", None, trainer=fake_trainer.train, console=quiet)
    assert result.exit_code == 0
    files = list((fake / "calls").iterdir())
    trained = [file.name.partition(".")[0] for file in files]
    assert set(Store(tmp_path / "r").ledger().entries) == set(trained)
    if kind == "grid":
        assert set(trained) == {t.trial_id for t in spec.trials()}
    assert len(trained) == len(set(trained)) >= 40
    assert {file.read_text() for file in files} == {"cuda with", "cpu without"}
    for file in files:
        file.unlink()
