"""What is measured of generated rows of a table, against scikit-learn's own scores, by planting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from trainers import train_pack
from trainers.kept.keep import Keep, Sampling
from trainers.laws import make_distribution, resolve_files
from trainers.laws.table import Table, TableRows
from trainers.problem.regression import draw_training_set
from trainers.sampling.distances import energy_distance
from trainers.sampling.quality import Exact, compared
from trainers.sampling.tables import (
    CLASSIFIERS,
    REAL_COLUMNS,
    TABLE_COLUMNS,
    closest,
    correlation_distance,
    detection,
    marginal_distance,
    real_columns,
    table_columns,
    utility,
)
from trainers.trial import Diffusion, TrialConfig


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Breast cancer: five of its columns, one of them cut into three categories, and the class."""
    folder = tmp_path_factory.mktemp("table")
    data = load_breast_cancer(as_frame=True).frame
    cut = pd.cut(data["worst radius"], [0, 13, 17, 99], labels=["small", "mid", "large"])
    kept = ["mean texture", "mean smoothness", "worst concavity", "area error", "target"]
    data[kept].assign(size=cut).to_csv(folder / "cancer.csv", index=False)
    mapping: dict[str, Any] = {"kind": "table", "file": "cancer.csv", "target": "target"}
    return Table.model_validate(resolve_files({**mapping, "numeric": "quantile"}, folder, {}))


@pytest.fixture(scope="module")
def rows(law: Table) -> TableRows:
    found = make_distribution(law)
    assert isinstance(found, TableRows)
    return found


def test_utility_is_what_scikit_learn_says(rows: TableRows) -> None:
    codec, train, test = rows.codec, rows.points, rows.part("test").points
    at = codec.slices["target"]
    others = [i for i in range(codec.dimension) if not at.start <= i < at.stop]
    model = LogisticRegression(max_iter=500).fit(train[:, others], train[:, at.stop - 1] > 0)
    truth = test[:, at.stop - 1] > 0
    chance = model.predict_proba(test[:, others])[:, 1]
    found = utility(codec, train, test)
    assert found["tstr_auc_logistic"] == pytest.approx(roc_auc_score(truth, chance))
    assert found["tstr_balanced_logistic"] == pytest.approx(
        balanced_accuracy_score(truth, model.predict(test[:, others]))
    )
    assert min(found.values()) > 0.8  # the class can be told


def test_utility_of_shuffled_and_of_one_class(rows: TableRows) -> None:
    codec, test = rows.codec, rows.part("test").points
    at = codec.slices["target"]
    shuffled = rows.points.copy()
    shuffled[:, at] = np.random.default_rng(0).permutation(shuffled[:, at])
    for name in CLASSIFIERS:
        assert abs(utility(codec, shuffled, test)[f"tstr_auc_{name}"] - 0.5) < 0.2
    alone = rows.points[rows.points[:, at.start] > 0]
    assert set(utility(codec, alone, test).values()) == {0.5}


def test_distances_of_marginals_and_correlations(rows: TableRows) -> None:
    codec, points = rows.codec, rows.points
    assert marginal_distance(codec, points, points) == 0
    assert correlation_distance(codec, points, points) == 0
    moved = points.copy()
    moved[:, 0] += 100  # of six columns one is as far away as can be
    assert marginal_distance(codec, moved, points) == pytest.approx(1 / 6)
    assert correlation_distance(codec, moved, points) == pytest.approx(0, abs=1e-9)
    # Column by column: two samples apart, by the definition of each distance.
    half, other = points[:100], points[100:250]
    expected = [np.abs(np.subtract(*_steps(half[:, i], other[:, i]))).max() for i in range(4)]
    for name in ("target", "size"):
        at = codec.slices[name]
        shares = [(one[:, at] > 0).mean(axis=0) for one in (half, other)]
        expected.append(np.abs(shares[0] - shares[1]).sum() / 2)
    assert marginal_distance(codec, half, other) == pytest.approx(np.mean(expected))
    table = np.abs(np.corrcoef(half.T) - np.corrcoef(other.T))
    owner = np.repeat(np.arange(6), [c.width for c in codec.columns])
    apart = table[owner[:, None] < owner[None, :]].mean()
    assert correlation_distance(codec, half, other) == pytest.approx(apart)


@pytest.mark.parametrize("constants", [(0.1, 0.3), (1 / 3, -0.7), (0.0, 0.1)])
def test_constants_have_no_correlation(rows: TableRows, constants: tuple[float, float]) -> None:
    """Numbers that a mean rounds, so that they seem to spread, and all of them together."""
    codec, points = rows.codec, rows.points.copy()
    points[:, :2] = constants
    other = points.copy()
    other[:, :2] = 0.0  # without rounding
    assert correlation_distance(codec, points, other) == pytest.approx(0, abs=1e-12)


def _steps(a: Any, b: Any) -> Any:
    """Both distribution functions at every value."""
    grid = np.concatenate([a, b])
    return [(one[:, None] <= grid).mean(axis=0) for one in (a, b)]


def test_detection_and_the_closest_record(rows: TableRows) -> None:
    points = rows.points
    assert abs(detection(points[:150], points[150:300]) - 0.5) < 0.15
    assert detection(points[:60] + 3.0, points[60:120]) == 1.0
    far = closest(rows.part("test").points, points)
    assert far == pytest.approx(np.median(cdist(rows.part("test").points, points).min(axis=1)))
    assert closest(points, points) == 0


def test_the_training_rows_as_samples(rows: TableRows) -> None:
    """A generator that hands its rows out is as useful as they are, and is found out."""
    made, real = table_columns(rows, rows.points, rows.points), real_columns(rows, rows.points)
    assert tuple(made) == TABLE_COLUMNS
    assert set(real) == set(REAL_COLUMNS)
    for name in TABLE_COLUMNS:
        if name not in ("table_detection", "table_closest"):
            assert made[name] == real[f"{name}_real"], name
    assert made["table_closest"] == 0 < real["table_closest_real"]


def test_levels_of_a_table_are_of_distinct_rows(rows: TableRows, law: Table) -> None:
    """Sets as large as the samples would hold rows of the test part several times: those are far
    nearer to one another than fresh rows are."""
    k = len(rows.part("test").points)
    config = TrialConfig(
        law=law, samples=64, width=8, step_size=1.0, kernel=False, diffusion=Diffusion(t_max=4.0)
    )
    level = {}
    for points in (16, k // 2, 1024):
        how = Sampling(("best",), frozenset({0}), points=points, start="normal")
        assert compared(rows, how) == min(points, k // 2)
        exact = Exact.of(config, rows, how).columns
        assert math.isnan(exact["sample_divergence_exact"])
        level[points] = exact["sample_energy_exact"]
    assert level[1024] == level[k // 2]
    assert level[16] > level[1024]
    rng = np.random.default_rng(0)  # rows that no level has seen, in pairs of sets as large
    drawn = [rows.points[rng.permutation(len(rows.points))[: 2 * (k // 2)]] for _ in range(40)]
    found = [energy_distance(both[: k // 2], both[k // 2 :]) for both in drawn]
    assert np.mean(np.array(found) > level[1024]) < 0.2


@pytest.mark.slow
def test_columns_of_a_trial_that_is_sampled(law: Table, rows: TableRows, eager: None) -> None:
    config = TrialConfig(
        law=law, samples=300, width=256, step_size=1.0, steps=100, test_points=64, kernel=False,
        holdout_points=64, recorded=8, diffusion=Diffusion(t_max=4.0),
    )  # fmt: skip
    how = Sampling(("best",), frozenset({0}), points=256, grid_steps=40, start="normal")
    (trained,) = train_pack([config], "cpu", keep=Keep((), frozenset(), how))
    best = int(np.argmin(np.array(trained.series["holdout_loss"], dtype=float)))
    for name in (*TABLE_COLUMNS, "sample_energy", "sample_wasserstein", "share_memorized"):
        at = [i for i, value in enumerate(trained.series[name]) if value is not None]
        assert at == [best], name
    for name in ("sample_nll", "sample_divergence", "girsanov_score", "sample_modes"):
        assert trained.series[name] == [None] * len(trained.steps), name
    for name in ("sample_nll_exact", "sample_energy_true", "girsanov_start"):
        assert trained.values[name] is None, name
    training = draw_training_set(config, rows).x0
    expected = real_columns(rows, training)
    assert {name: trained.values[name] for name in expected} == expected
    assert trained.series["tstr_auc_logistic"][best] > 0.7  # chance: 1/2
