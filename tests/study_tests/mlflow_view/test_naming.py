"""Names of runs: what varies, in the first characters, and nothing twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.mlflow_view.contents import _distinct_names, _verdict_names
from study.mlflow_view.naming import Naming, as_written, beside_axis, naming_of, short_laws
from study.spec.sections import StudySpec
from trainers.trial import TrialConfig

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def row_of(point: TrialConfig, seed: int) -> dict[str, Any]:
    """What the results table says of a trial."""
    return {
        "law_id": point.law_id, "law_label": point.law.label, "dimension": point.dimension,
        "samples": point.samples, "width": float(point.width), "step_size": point.step_size,
        "steps": point.steps, "t_min": point.diffusion.t_min, "t_max": point.diffusion.t_max,
        "schedule": point.diffusion.schedule, "copies": 0 if point.fresh else point.copies,
        "time_law": point.time_law, "weight": point.weight, "precision": point.precision,
        "initialisation": point.initialisation, "feature_bias": point.bias,
        "trainer": point.trainer, "seed": seed,
    }  # fmt: skip


def spec_of(**values: Any) -> StudySpec:
    law = {"kind": "gaussian_mixture", "dimension": 2}
    text = yaml.safe_dump({"name": "s", "law": law, "steps": 100, **values})
    return StudySpec.from_text(text)


def names(spec: StudySpec, seeds: int = 3) -> list[str]:
    naming, points = naming_of(spec), {p.point_id: p for p in spec.points()}
    return [naming.trial(row_of(p, s)) for p in points.values() for s in range(seeds)]


def test_the_axes_that_vary_come_first_and_what_is_usual_goes_unsaid() -> None:
    spec = spec_of(
        base={"samples": 512, "width": 1024, "step_size": 2.0},
        sweeps=[
            {"samples": [64, 256, 512]},
            {"width": [64, 1024, 32768]},
            {"step_size": [0.25, 0.5]},
        ],
    )
    told = names(spec)
    assert "N256 s2 GM" in told
    assert "N512 s0 m64 GM" in told
    assert "N512 s1 η0.25 GM" in told
    assert "N512 s1 GM" in told
    assert len(told) == 3 * 7
    assert len({name[:12] for name in told}) == len(told)
    assert naming_of(spec).described == ("Where the name of a run says nothing else: m1024 η2.")
    point = row_of(spec.points()[0], 0)
    assert naming_of(spec).point(point) == "N64 GM"


def test_a_law_stands_before_what_is_unusual_where_there_are_several() -> None:
    law = {"kind": "gaussian_mixture", "dimension": 2, "components": 2, "std": 0.1}
    spec = spec_of(
        law=[{**law, "seed": seed} for seed in (5, 6)],
        base={"samples": 512, "width": 1024, "step_size": 2.0},
        sweeps=[{"samples": [64, 256, 512]}, {"width": [64, 1024, 32768]}],
    )
    told = names(spec)
    assert {"N256 s2 GM#5", "N512 s0 GM#6 m64"} <= set(told)


def test_metrics_of_verdicts_name_no_more_than_tells_them_apart() -> None:
    limit = {"width": math.inf, "precision": "float64", "trainer": "kernel_limit", "steps": None}
    network = {"width": 1024, "precision": "float32", "trainer": "descent", "steps": 1000}
    other = {**network, "steps": 2000}
    told = [
        name.partition("/")[2]
        for name in _distinct_names([("a by b", "GM-d2", one) for one in (limit, network, other)])
    ]
    assert told == ["GM-d2 width inf", "GM-d2 steps 1000", "GM-d2 steps 2000"]
    assert (
        _distinct_names([("a by b", "GM-d2", one) for one in (network, dict(network))])
        == ["a by b/GM-d2"] * 2
    )


def test_a_factorial_names_all_its_axes() -> None:
    spec = spec_of(base={"step_size": 1.0}, sweeps=[{"samples": [64, 128], "width": [8, 16]}])
    assert names(spec, 1) == ["N64 s0 m8 GM", "N64 s0 m16 GM", "N128 s0 m8 GM", "N128 s0 m16 GM"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_no_two_trials_of_an_example_share_a_name(path: Path) -> None:
    spec = StudySpec.load(path)
    if spec.search is None:
        told = names(spec, 2)
        assert len(set(told)) == len(told)


def test_a_search_names_what_it_chooses() -> None:
    spec = spec_of(
        base={"samples": 64},
        search={"space": {"width": {"low": 64, "high": 512}, "step_size": {"low": 0.1, "high": 4}}},
    )
    point = spec.search_points()[0].changed(width=128, step_size=0.32768)
    assert naming_of(spec).trial(row_of(point, 4)) == "s4 m128 η0.328 GM"


def test_laws_are_told_apart_by_what_they_differ_in() -> None:
    mixture = "gaussian_mixture[components=8,std=0.1,seed={}]"
    laws = {"aaaa1": mixture.format(5), "bbbb2": mixture.format(6), "cccc3": "cube"}
    assert short_laws(laws) == {"aaaa1": "GM#5", "bbbb2": "GM#6", "cccc3": "cube"}
    assert short_laws(laws, ["aaaa1"])["aaaa1"] == "GM"
    inner = "subspace[dimension=2,seed={}]/cube"
    nested = "subspace[dimension=2,seed={}]/gaussian_mixture[seed=1]"
    for label in (inner, nested):
        two = short_laws({"aaaa1": label.format(1), "bbbb2": label.format(2)})
        assert two["aaaa1"] != two["bbbb2"]


def test_a_table_of_somebody_else_has_names_too() -> None:
    row = {"law_id": "x", "law_label": "../=[/b]<i>", "seed": 1, "width": 8.0}
    assert Naming().trial(row).startswith("s1 ")


def test_a_curve_is_named_by_what_it_holds_of_n_and_m() -> None:
    assert beside_axis("samples", {"width": 1024}) == "m1024"
    assert beside_axis("samples", {"width": math.inf}) == "m∞"
    assert beside_axis("samples", {"width_per_sample": 4.0}) == "m4N"
    assert beside_axis("samples", {"width_per_sample": 1.0}) == "mN"
    assert beside_axis("width", {"samples": 512}) == "N512"
    assert as_written({"width_per_sample": 0.5, "t_min": 0.1}) == {"width": "0.5N", "t_min": 0.1}
    assert as_written({"width": 8}) == {"width": 8}


def test_a_rate_of_networks_has_one_name_whatever_else_was_asked() -> None:
    """The kernel's rate of networks, alone and beside theory's own of the same curve."""
    curve = {
        "quantity": "best_effective_time", "axis": "samples", "law": "cube", "dimension": 2,
        "fixed": {"width": 64},
    }  # fmt: skip
    own = {**curve, "prediction": "best stopping time", "theory_key": "hrx", "theory": "minimax"}
    kernels = {
        **curve, "prediction": "network's best time", "theory_key": "source_capacity",
        "theory": "spectrum and coefficients",
    }  # fmt: skip
    alone, (first, second) = (_verdict_names(v, Naming()) for v in ([kernels], [own, kernels]))
    assert first == "best_effective_time by samples/cube-d2"
    assert alone == [second]
    assert second == "best_effective_time by samples - spectrum and coefficients/cube-d2"
    of_the_limit = {**kernels, "quantity": "kernel_best_effective_time"}
    assert _verdict_names([of_the_limit], Naming()) == [
        "kernel_best_effective_time by samples/cube-d2"
    ]
