"""The table that is read a column at a time says the same as the one that is loaded whole."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.data import table
from analysis.data.results import load_results, tidy
from analysis.data.schema import SCHEMA
from analysis.data.sweeps import at_best, at_end, settings
from analysis.data.table import Table, load_table
from analysis.drawing.figure import render
from analysis.drawing.plot import Panel, Plot, Series
from analysis.report import page as report
from analysis.report.page import write_report
from analysis.verdicts.evaluation import evaluate


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> Path:
    """results.parquet as the store compiles it, trials in no order, some per row group: several
    settings, and trials that failed, diverged, were pruned, or have no kernel."""
    grid = synthetic.Grid(seeds=3, dimensions=(1, 2), laws=("gaussian_mixture", "atoms"))
    plain = synthetic.Grid(seeds=2, kernel=False, base=(512, 2048, 1.0), samples=(64, 256, 1024))
    whole = synthetic.synthetic_table(grid)
    other = synthetic.synthetic_table(plain).assign(initialisation="plain")
    frame = pd.concat([whole, other[~other["trial_id"].isin(whole["trial_id"])]])
    trials = [rows for _, rows in frame.groupby("trial_id")]
    np.random.default_rng(0).shuffle(trials)
    for i, rows in enumerate(trials[:9]):
        trials[i] = [_failed, _diverged, _pruned][i % 3](rows.copy())
    place = tmp_path_factory.mktemp("study") / "results.parquet"
    with pq.ParquetWriter(place, SCHEMA) as writer:
        for start in range(0, len(trials), 7):
            part = pd.concat(trials[start : start + 7])
            writer.write_table(pa.Table.from_pandas(part, SCHEMA, preserve_index=False))
    return place


def _failed(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.iloc[:1].assign(status="failed", message="no <memory>", device=None)
    return rows.assign(score_error=np.nan, train_loss=np.nan)


def _diverged(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.assign(status="diverged", diverged_step=500)
    return rows.assign(score_error=rows["score_error"].where(rows["step"] < 500))


def _pruned(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[:20].assign(status="pruned")


@pytest.mark.slow
def test_its_rows_are_those_of_the_frame(stored: Path) -> None:
    frame, found = load_results(stored), load_table(str(stored))
    assert isinstance(found.source, table._Stored)
    assert len(found) == len(frame)
    pd.testing.assert_frame_equal(pd.concat(found.parts(), ignore_index=True), frame)
    names = ["trial_id", "samples", "diverged_step", "step", "coupling"]
    pd.testing.assert_frame_equal(
        found[names].astype({"trial_id": "str"}), frame[names], check_dtype=True
    )


@pytest.mark.slow
def test_verdicts_report_and_figures_are_the_same_bytes(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fingerprints: None
) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 1, 12, tzinfo=tz)

    monkeypatch.setattr(report, "datetime", Noon)
    made = {}
    for name, read in (("frame", load_results), ("table", lambda place: load_table(str(place)))):
        results = read(stored)
        verdicts = evaluate(results)
        write_report(tmp_path / name, verdicts)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        made[name] = {p.relative_to(tmp_path / name): p.read_bytes() for p in files}
        made[name][Path("verdicts")] = repr([v.to_dict() for v in verdicts]).encode()
    assert len(made["frame"]) > 100
    assert made["table"].keys() == made["frame"].keys()
    assert [k for k, v in made["table"].items() if v != made["frame"][k]] == []


@pytest.mark.slow
def test_verdicts_read_a_few_columns_each_once(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What memory and time at 100,000 trials rest on."""
    asked: list[str] = []
    read = table._Stored.column

    def column(self: table._Stored, name: str, at: np.ndarray) -> np.ndarray:
        asked.append(name)
        return read(self, name, at)

    monkeypatch.setattr(table._Stored, "column", column)
    evaluate(load_table(str(stored)))
    assert set(asked) == {
        "effective_time", "score_error", "score_error_unweighted", "score_error_select",
        "score_error_assess", "score_error_group1", "train_loss", "coupling", "kernel_score_error",
    }  # fmt: skip
    assert max(asked.count(name) for name in asked) <= 2


def test_a_table_with_a_trial_in_two_places_is_loaded_whole(stored: Path, tmp_path: Path) -> None:
    once = pq.read_table(stored)
    pq.write_table(pa.concat_tables([once, once.slice(0, 30)]), tmp_path / "results.parquet")
    found = load_table(str(tmp_path / "results.parquet"))
    assert not isinstance(found.source, table._Stored)
    columns = [name for name in SCHEMA.names if name != "message"]
    pd.testing.assert_frame_equal(
        pd.concat(found.parts(), ignore_index=True)[columns], load_results(stored)[columns]
    )


def test_a_frame_in_any_order_with_rows_twice_is_put_in_order(synthetic: ModuleType) -> None:
    frame = synthetic.synthetic_table(synthetic.Grid(seeds=2, widths=(64,), step_sizes=(1.0,)))
    mixed = pd.concat([frame, frame.iloc[::3]]).sample(frac=1.0, random_state=0)
    found = Table.of(mixed)
    assert found.trials["trial_id"].tolist() == mixed["trial_id"].unique().tolist()
    again = tidy(pd.concat(found.parts()))
    pd.testing.assert_frame_equal(again, frame)
    some = found.only(found.trials["samples"] == 64)
    assert some[["samples"]]["samples"].unique().tolist() == [64]
    assert len(some) == 2 * 40


@pytest.mark.slow
def test_a_frame_of_before_g_was_a_column_is_judged_alike(stored: Path) -> None:
    frame = load_results(stored)
    earlier = frame.drop(columns=["g_min", "g_max"])
    assert evaluate(earlier).to_frame().equals(evaluate(frame).to_frame())
    assert [s.label for s in settings(earlier)] == [s.label for s in settings(frame)]
    linear = Table.of(earlier.assign(schedule="linear"))
    assert linear.trials[["g_min", "g_max"]].isna().all(axis=None)


def test_best_and_last_rows_are_by_trial(stored: Path) -> None:
    found, frame = load_table(str(stored)), load_results(stored)
    done = settings(found)[0].frame
    own = frame[frame["trial_id"].isin(done.trials["trial_id"])]
    best = at_best(done, "step", "samples")
    expected = own.loc[own.groupby("trial_id")["score_error"].idxmin()]
    assert best["trial_id"].tolist() == expected["trial_id"].tolist()
    assert best["step"].tolist() == expected["step"].tolist()
    assert best["samples"].tolist() == expected["samples"].tolist()
    last = at_end(done, "step", "displacement")
    expected = own.loc[own.groupby("trial_id")["step"].idxmax()]
    assert last["trial_id"].tolist() == expected["trial_id"].tolist()
    assert last["displacement"].tolist() == expected["displacement"].tolist()


def test_what_is_too_large_for_a_page_stands_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "base64" in report.download("a.csv", b"x,y\n", "numbers", tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(report, "_INLINE", 3)
    assert 'href="figures/a.csv"' in report.download("a.csv", b"x,y\n", "numbers", tmp_path)
    assert (tmp_path / "a.csv").read_bytes() == b"x,y\n"


@pytest.mark.slow
def test_a_cloud_of_thousands_is_drawn_as_one_image() -> None:
    def drawn(count: int) -> str:
        x = np.geomspace(1, 10, count)
        panel = Panel("x", "y", (Series("", x, x, role="trials"), Series("fit", x[:2], x[:2])))
        return render(Plot("cloud", "Cloud", "A cloud.", (panel,))).inline[0]

    assert "<image" not in drawn(100)
    assert "<image" in drawn(20000)
    assert len(drawn(20000)) < 10 * len(drawn(100))


def test_of_a_trial_given_twice_the_best_status_counts(synthetic: ModuleType) -> None:
    """As of two tables put together: it failed in one and completed, or diverged, in the other."""
    whole = synthetic.synthetic_table(synthetic.Grid(seeds=2, samples=(64, 128, 256)))
    first, second = whole["trial_id"].unique()[:2]
    ill = whole.copy()
    ill.loc[whole["trial_id"] == second, "status"] = "diverged"
    bare = _failed(whole[whole["trial_id"] == first])
    bare = pd.concat([bare, _failed(whole[whole["trial_id"] == second])])
    for parts in ([bare, ill], [ill, bare]):
        found = Table.of(pd.concat(parts)).by_id()
        expected = Table.of(ill).by_id()
        assert found.trials["status"].tolist() == expected.trials["status"].tolist()
        assert found.counts.tolist() == expected.counts.tolist()
        pd.testing.assert_frame_equal(
            found[["step", "score_error"]], expected[["step", "score_error"]]
        )
    assert Table.of(bare).trials["status"].tolist() == ["failed", "failed"]
