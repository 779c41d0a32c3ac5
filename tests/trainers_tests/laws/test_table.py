"""Tables of mixed columns: what is found, the encoding and its inverse, parts without leaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trainers import train_pack
from trainers.errors import LawError
from trainers.kept.keep import Keep
from trainers.laws import checked_data, make_distribution, resolve_files
from trainers.laws.table import Categorical, Codec, Numeric, Table, TableRows
from trainers.laws.table_file import KEY, TableFile, read_table
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import draw_training_set
from trainers.trial import TrialConfig

ROWS = 300


def frame(rows: int = ROWS) -> pd.DataFrame:
    """Whole numbers with ties, numbers far apart in scale, text, numbered categories, a class."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "ID": np.arange(1, rows + 1),
            "delay": rng.integers(-2, 6, rows),
            "amount": np.round(np.exp(rng.normal(8, 2, rows)), 2),
            "town": rng.choice(["Rome", "Oslo", "Bern, old"], rows),
            "degree": rng.choice([1, 2, 3, 7], rows),
            "default": rng.integers(0, 2, rows),
        }
    )


@pytest.fixture
def law(tmp_path: Path) -> Callable[..., Table]:
    def made(data: pd.DataFrame | None = None, **fields: Any) -> Table:
        (frame() if data is None else data).to_csv(tmp_path / "t.csv", index=False)
        given = {"kind": "table", "file": "t.csv", "target": "default", "drop": ["ID"]}
        given = {"categorical": ["degree"], **given, **fields}
        held: dict[str, Any] = {}
        found = Table.model_validate(resolve_files(given, tmp_path, held))
        (file,) = held.values()
        assert isinstance(file, TableFile)
        made.notes = file.notes  # type: ignore[attr-defined]
        return found

    return made


def rows_of(law: Table) -> TableRows:
    found = make_distribution(law)
    assert isinstance(found, TableRows)
    return found


def test_what_is_found_is_told(law: Callable[..., Table]) -> None:
    found = law()
    assert (found.dimension, found.count) == (2 + 3 + 4 + 2, ROWS)
    notes = ", ".join(law.notes)  # type: ignore[attr-defined]
    assert "300 rows: 210 to train on, 30 held out, 60 to test; d = 11" in notes
    assert "numeric, standardised: delay amount" in notes
    assert "categorical (found): town (Bern, old Oslo Rome)" in notes
    assert "categorical (declared): degree (1 2 3 7)" in notes
    assert "categorical (the target): default (0 1)" in notes
    law(drop=[], categorical=[])
    notes = ", ".join(law.notes)  # type: ignore[attr-defined]
    assert "ID counts the rows (add it to law.drop" in notes
    assert "quantile-normalised: ID delay amount degree" not in notes


@pytest.mark.parametrize("numeric", ["standardise", "quantile"])
def test_rows_come_back_as_they_were(law: Callable[..., Table], numeric: str) -> None:
    found, whole = law(numeric=numeric), frame().drop(columns="ID")
    codec, cells = rows_of(found).codec, read_table(found.file).points
    train = found.split["train"]
    back = pd.DataFrame(codec.decode(codec.encode(cells, train)))
    pd.testing.assert_frame_equal(
        back, whole.iloc[train].reset_index(drop=True), check_dtype=False, rtol=1e-9
    )
    # Any point is a row: whole numbers, in range, known categories; and a row stays itself.
    points = 2 * np.random.default_rng(0).standard_normal((500, codec.dimension))
    made = pd.DataFrame(codec.decode(points))
    assert list(made) == list(whole)
    assert set(made.town) <= set(whole.town)
    assert set(made.degree) <= {1, 2, 3, 7}
    assert made.delay.dtype == np.int64
    assert made.amount.between(whole.amount[train].min(), whole.amount[train].max()).all()
    again = pd.DataFrame(codec.decode(codec.rows(points)))
    pd.testing.assert_frame_equal(again, made, rtol=1e-9)


@pytest.mark.parametrize(
    "names",
    [["2020_01", "2020_02"], ["01", "02"], ["7", "07"], ["+1", "-0"], [f"{10**20}", f"{10**21}"]],
)
def test_texts_that_only_look_like_numbers_stay_texts(names: list[str]) -> None:
    column = Categorical.fitted("code", np.array(names, dtype=object))
    rows = column.encode(np.array(names[::-1], dtype=object))
    back = column.decode(rows)
    assert back.tolist() == names[::-1]
    np.testing.assert_array_equal(column.encode(back), rows)


def test_encodings_against_other_routes(law: Callable[..., Table]) -> None:
    found, data = law(numeric="standardise"), frame()
    points, train = rows_of(found), found.split["train"]
    np.testing.assert_allclose(
        points.points[:, 1], stats.zscore(data.amount.to_numpy()[train]), atol=1e-12
    )
    at = points.codec.slices["town"]
    one_hot = pd.get_dummies(data.town.iloc[train]).to_numpy() * 2.0 - 1
    np.testing.assert_array_equal(points.points[:, at], one_hot)
    values = rows_of(law(numeric="quantile")).points[:, 0]  # mid-ranks, ties share theirs
    ranks = stats.rankdata(data.delay.to_numpy()[train]) - 0.5
    np.testing.assert_allclose(values, stats.norm.ppf(ranks / len(train)), atol=1e-12)


@pytest.mark.parametrize("numeric", ["standardise", "quantile"])
def test_parts_are_apart_and_the_encoding_is_the_training_part_s(
    law: Callable[..., Table], numeric: str
) -> None:
    plain = law(numeric=numeric)
    parts = plain.split
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(ROWS))
    changed = frame()
    others = np.concatenate([parts["holdout"], parts["test"]])
    changed.loc[others, "amount"] *= 1e6
    changed.loc[others, "town"] = "Elsewhere"
    seen, unseen = rows_of(plain), rows_of(law(changed, numeric=numeric))
    np.testing.assert_array_equal(seen.points, unseen.points)
    assert unseen.codec.slices == seen.codec.slices
    at = unseen.codec.slices["town"]
    assert (unseen.part("test").points[:, at] == -1).all()  # none of the categories
    again, other = law(), law(seed=1)
    np.testing.assert_array_equal(again.split["test"], law().split["test"])
    assert set(again.split["test"]) != set(other.split["test"])


def test_draws_hold_every_row_equally_often(law: Callable[..., Table]) -> None:
    rows = rows_of(law())
    drawn = rows.sample(2 * len(rows.points) + 5, np.random.default_rng(0))
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == len(rows.points)
    assert set(counts) == {2, 3}


def test_trials_are_drawn_from_their_parts(law: Callable[..., Table]) -> None:
    found = law()
    rows = rows_of(found)
    config = TrialConfig(law=found, samples=210, width=8, step_size=1.0, test_points=64)
    training = draw_training_set(config, rows)
    evaluation = EvaluationSet.draw(config, rows)
    of_part = {p: set(map(bytes, rows.part(p).points)) for p in ("train", "holdout", "test")}
    assert set(map(bytes, training.x0)) == of_part["train"]
    assert set(map(bytes, evaluation.holdout.x0)) == of_part["holdout"]
    assert set(map(bytes, evaluation.test.x0)) <= of_part["test"]
    with pytest.raises(ValueError, match="has 210 rows to train on"):
        config.changed(samples=211)
    with pytest.raises(ValueError, match=r"width = inf is measured against f\*"):
        config.changed(width=float("inf"))
    with pytest.raises(ValueError, match=r"decomposition.norms is measured against f\*"):
        config.changed(norms=(1.0,))


def test_missing_cells(law: Callable[..., Table]) -> None:
    data = frame()
    data["delay"] = data.delay.astype(object)
    data.loc[[3, 5], "delay"] = "?"
    data.loc[[4], "town"] = ""
    with pytest.raises(LawError, match=r"2 cells of delay are missing: .*law.missing: impute"):
        law(data)
    found = law(data, missing="impute")
    notes = law.notes  # type: ignore[attr-defined]
    assert "imputed: 2 of delay, 1 of town" in notes
    codec, cells = rows_of(found).codec, read_table(found.file).points
    filled = codec.decode(codec.encode(cells, np.array([3, 4])))
    train = frame().iloc[found.split["train"]].drop(index=[3, 4, 5], errors="ignore")
    assert filled["delay"][0] == round(train.delay.median())
    assert filled["town"][1] == train.town.mode()[0]
    data.loc[7, "default"] = np.nan
    with pytest.raises(LawError, match="the target default are missing"):
        law(data, missing="impute")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "y"}, r"law.target names 'y', which is no column: it has ID, delay"),
        ({"drop": ["default"]}, "law.target and law.drop both name 'default'"),
        ({"dimension": 4}, r"law.dimension = 4, but .*t.csv gives 11: remove law.dimension"),
        ({"file": "none.csv"}, r"law.file: cannot read .*none.csv"),
        ({"file": None}, "law.file must be the path of a CSV file"),
    ],
)
def test_what_is_refused(law: Callable[..., Table], fields: Any, message: str) -> None:
    with pytest.raises(LawError, match=message):
        law(**fields)


def test_columns_that_are_refused(law: Callable[..., Table], tmp_path: Path) -> None:
    with pytest.raises(LawError, match="delay is constant in the training part: add it to law"):
        law(frame().assign(delay=3))
    named = frame().assign(town=[f"no. {i}" for i in range(ROWS)])
    with pytest.raises(LawError, match="210 different texts, rather names than categories"):
        law(named)
    odd = frame().assign(odd=[f"{i}.5" for i in range(ROWS - 1)] + ["n/a?"])
    with pytest.raises(LawError, match="odd holds numbers but for 'n/a\\?': correct it, or leave"):
        law(odd)
    (tmp_path / "bare.csv").write_text("1,a\n2,b\n")
    with pytest.raises(LawError, match="put a line of names above the rows"):
        read_table(tmp_path / "bare.csv")


def test_a_table_is_known_by_its_bytes(law: Callable[..., Table], tmp_path: Path) -> None:
    found = law()
    data = Path(found.file).read_bytes()
    assert found.sha256 is not None
    held = {KEY + found.sha256: checked_data(data, KEY + found.sha256, "t.csv")}
    moved = found.model_copy(update={"file": None})
    assert moved.identity() == found.identity()
    drawn = [
        make_distribution(one, points).sample(5, np.random.default_rng(0))
        for one, points in ((moved, held), (found, None))
    ]
    np.testing.assert_array_equal(*drawn)
    with pytest.raises(LawError, match="restore the file"):
        checked_data(data + b"\n", KEY + found.sha256, "t.csv")
    with pytest.raises(LawError, match="are not here"):
        make_distribution(moved)


def test_whole_numbers_between_ties_are_rounded() -> None:
    column = Numeric.fitted("pay", np.array([0, 0, 0, 10, 20.0, np.nan]), "quantile")
    assert column.fill == 0
    assert column.decode(np.linspace(-9, 9, 50)[:, None]).min() == 0
    assert column.decode(np.linspace(-9, 9, 50)[:, None]).max() == 20


@pytest.mark.parametrize("how", ["standardise", "quantile"])
def test_numbers_beyond_whole_ones_are_plain(how: str) -> None:
    values = 1e19 + 1e16 * np.arange(20)
    column = Numeric.fitted("id", values, how)
    back = column.decode(column.encode(values))
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, values, rtol=1e-12)
    assert Numeric.fitted("id", values / 1e6, how).whole


def test_what_needs_fstar_is_null_and_the_best_step_is_the_held_out_one(
    law: Callable[..., Table], eager: None
) -> None:
    config = TrialConfig(
        law=law(), samples=100, width=32, step_size=1.0, steps=60, test_points=64,
        holdout_points=64, recorded=8,
    )  # fmt: skip
    keep = Keep(("best",), frozenset({0}))
    for initialisation in ("symmetric", "plain"):
        one = config.changed(initialisation=initialisation)
        (trained,) = train_pack([one], "cpu", keep=keep)
        needs = ("score_error", "score_error_unweighted", "bias", "variance", "kernel_score_error")
        for name in needs:
            assert trained.series[name] == [None] * len(trained.steps), name
        for name in ("posterior_variance", "noise_variance", "noise_source", "target_norm"):
            assert trained.values[name] is None, name
        assert trained.values["memorizer_error"] is None
        assert trained.values["empirical_bayes_best_cutoff"] is None
        held = np.array(trained.series["holdout_loss"], dtype=float)
        kernel = np.array(trained.series["kernel_holdout_loss"], dtype=float)
        assert np.isfinite(held).all()
        assert np.isfinite(kernel).all()
        assert trained.values["largest_step_size"] > 0
        named = [i for i, name in enumerate(trained.texts["network"]) if name is not None]
        assert named == [int(held.argmin())]


def test_the_kernel_without_fstar_is_the_kernel(law: Callable[..., Table], eager: None) -> None:
    """The same rows as labels by plain descent with the kernel matrix: no split into noise and f*
    matters to f^K."""
    from trainers.kernel.ntk import relu_ntk

    found = law()
    config = TrialConfig(
        law=found, samples=64, width=32, step_size=0.5, steps=20, test_points=32,
        holdout_points=32, recorded=5, precision="float64",
    )  # fmt: skip
    (trained,) = train_pack([config], "cpu")
    rows = rows_of(found)
    data, held = draw_training_set(config, rows), EvaluationSet.draw(config, rows).holdout
    K, cross = relu_ntk(data.z, data.z), relu_ntk(held.z, data.z)
    weights = np.zeros_like(data.x0)
    losses = {}
    for step in range(21):
        losses[step] = np.square(cross @ weights - held.x0).sum(1).mean() / 2
        weights = weights + 0.5 / 64 * (data.x0 - K @ weights)
    expected = [losses[step] for step in trained.steps]
    np.testing.assert_allclose(trained.series["kernel_holdout_loss"], expected, rtol=1e-6)


def test_a_codec_is_fitted_again_alike(law: Callable[..., Table]) -> None:
    found = law()
    cells = read_table(found.file).points
    first, again = Codec.fitted(found, cells), Codec.fitted(found, cells)
    np.testing.assert_array_equal(first.encode(cells), again.encode(cells))
