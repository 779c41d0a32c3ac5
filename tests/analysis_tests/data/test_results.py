"""The results table: built from trajectories, read back from files; nulls, types and refusals."""

import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.data.results import is_tracking_uri, load_results, tidy
from analysis.data.schema import SCHEMA, ResultsError, table_from
from trainers.columns import COLUMNS
from trainers.trial import Trajectory, TrialConfig, TrialStatus, failed


def config(seed: int = 0, **changes: object) -> TrialConfig:
    law = {"kind": "cube", "dimension": 3}
    values = {"law": law, "samples": 64, "width": 8, "step_size": 0.3, "seed": seed, **changes}
    return TrialConfig.model_validate(values)


def trajectory(seed: int = 0, **changes: object) -> Trajectory:
    series: dict[str, list[float | None]] = {"score_error": [1.0, 0.5, None]}
    values = {"noise_variance": 0.25, "noise_source": "exact"}
    return Trajectory(config(seed, **changes), [0, 3, 7], values=values, series=series)


def test_rows_and_columns_are_as_declared() -> None:
    table = table_from([trajectory()], "mine")
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.num_rows == 3
    row = table.slice(1, 1).to_pylist()[0]
    assert row["trial_id"] == config().trial_id
    assert row["study"] == "mine"
    assert row["dimension"] == 3
    assert row["effective_time"] == 0.3 * 3
    assert row["score_error"] == 0.5
    assert row["noise_source"] == "exact"
    assert row["feature_bias"] is True
    meanings = {f.name: f.metadata[b"unit"].decode() for f in table.schema}
    assert meanings == {c.name: c.unit for c in COLUMNS}


def test_what_was_not_measured_is_null_and_never_zero() -> None:
    table = table_from([trajectory()], "mine")
    assert table["coupling"].null_count == 3
    assert table["score_error"].to_pylist()[-1] is None
    assert table["diverged_step"].null_count == 3
    bad = Trajectory(config(), [0], series={"score_error": [float("inf")]})
    assert table_from([bad], "mine")["score_error"].null_count == 1


def test_files_older_than_the_choice_of_a_trainer_are_of_descent() -> None:
    table = table_from([trajectory()], "mine").drop_columns("trainer").to_pandas()
    other = table_from([trajectory(trainer="adam")], "mine").to_pandas()
    frame = tidy(pd.concat([table, other]))
    assert set(frame["trainer"]) == {"descent", "adam"}
    assert set(frame.loc[frame["trial_id"] == config().trial_id, "trainer"]) == {"descent"}


def test_files_older_than_the_ends_of_g_have_what_a_study_does_not_say() -> None:
    linear = {"schedule": "linear", "g_min": 0.1, "g_max": 9.0}
    made = [trajectory(), trajectory(diffusion={"g_min": 5.0}), trajectory(diffusion=linear)]
    whole = tidy(table_from(made, "mine").to_pandas())
    ends = ["trial_id", "g_min", "g_max"]
    by_id = whole[ends].drop_duplicates().set_index("trial_id")
    assert by_id.loc[made[0].config.trial_id].to_list() == [1.0, 1.0]
    assert by_id.loc[made[1].config.trial_id].to_list() == [5.0, 5.0]
    assert by_id.loc[made[2].config.trial_id].to_list() == [0.1, 9.0]
    old = table_from([made[0], made[2]], "mine").drop_columns(["g_min", "g_max"]).to_pandas()
    new = table_from([made[1]], "mine").to_pandas()
    read = tidy(pd.concat([old, new]))[ends].drop_duplicates().set_index("trial_id")
    assert read.loc[made[0].config.trial_id].to_list() == [1.0, 1.0]
    assert read.loc[made[1].config.trial_id].to_list() == [5.0, 5.0]
    assert read.loc[made[2].config.trial_id].isna().all()


def test_unknown_names_are_refused() -> None:
    wrong = Trajectory(config(), [0], series={"scor_error": [1.0]})
    with pytest.raises(ValueError, match="scor_error"):
        table_from([wrong], "mine")


def test_a_failed_trial_is_one_row_with_its_message() -> None:
    table = table_from([failed(config(), "no memory")], "mine")
    (row,) = table.to_pylist()
    assert row["status"] == "failed"
    assert row["message"] == "no memory"
    assert row["score_error"] is None


def write(folder: Path, name: str, *trajectories: Trajectory) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_from(trajectories, "mine"), folder / name)


def test_a_directory_is_read_from_its_packs(tmp_path: Path) -> None:
    write(tmp_path / "trials", "b.parquet", trajectory(2))
    write(tmp_path / "trials", "a.parquet", trajectory(3), trajectory(1))
    write(tmp_path, "results.parquet", trajectory(9))
    frame = load_results(tmp_path)
    assert frame["seed"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert str(frame["seed"].dtype) == "int64"
    assert str(frame["diverged_step"].dtype) == "Int64"
    assert str(frame["score_error"].dtype) == "float64"
    assert np.isnan(frame["score_error"].iloc[2])
    only = load_results(tmp_path / "results.parquet")
    assert only["seed"].unique().tolist() == [9]


def test_a_trial_stored_twice_counts_once_and_success_wins(tmp_path: Path) -> None:
    write(tmp_path / "trials", "a.parquet", failed(config(1), "first try"))
    write(tmp_path / "trials", "b.parquet", trajectory(1))
    write(tmp_path / "trials", "c.parquet", trajectory(1))
    frame = load_results(tmp_path)
    assert len(frame) == 3
    assert (frame["status"] == TrialStatus.COMPLETED).all()


def test_remote_files_are_read_too() -> None:
    fs = fsspec.filesystem("memory")
    with fs.open("/study/trials/a.parquet", "wb") as file:
        pq.write_table(table_from([trajectory(4)], "mine"), file)
    assert load_results("memory://study")["seed"].unique().tolist() == [4]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no results"),
        (lambda p: (p / "results.parquet").write_bytes(b"PAR1 not really"), "results.parquet"),
        (lambda p: pd.DataFrame({"a": [1]}).to_parquet(p / "results.parquet"), "trial_id"),
        (
            lambda p: pq.write_table(
                table_from([trajectory()], "s").rename_columns({"coupling": "bias"}),
                p / "results.parquet",
            ),
            "Multiple matches",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, make, words: str) -> None:
    make(tmp_path)
    with pytest.raises(ResultsError, match=words):
        load_results(tmp_path)


def test_missing_places_and_studies_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such file"):
        load_results(tmp_path / "nowhere")
    (tmp_path / "study.yaml").write_text("name: a\n")
    with pytest.raises(ResultsError, match="is no results table: name a results directory"):
        load_results(tmp_path / "study.yaml")
    write(tmp_path, "results.parquet", trajectory())
    assert len(load_results(tmp_path, study="mine")) == 3
    with pytest.raises(ResultsError, match="it holds mine"):
        load_results(tmp_path, study="yours")


@pytest.mark.slow
def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    place = tmp_path / "typo.db"
    with pytest.raises(ResultsError, match="no such database"):
        load_results(f"sqlite:///{place}", "mine")
    assert not place.exists()
    place.write_text("no database at all " * 100)
    with pytest.raises(ResultsError, match=r"typo\.db"):
        load_results(f"sqlite:///{place}", "mine")


def test_a_status_of_another_version_does_not_hide_a_trial() -> None:
    frame = table_from([trajectory(1), trajectory(2)], "mine").to_pandas()
    frame.loc[frame["seed"] == 2, "status"] = "paused"
    assert tidy(frame)["seed"].unique().tolist() == [1, 2]


def test_addresses_of_tracking_servers_are_told_from_files() -> None:
    assert is_tracking_uri("sqlite:///mlflow.db")
    assert is_tracking_uri("http://127.0.0.1:5000")
    assert is_tracking_uri("postgresql+psycopg2://user@host/db")
    assert not is_tracking_uri("results/quickstart")
    assert not is_tracking_uri("s3://bucket/study")


@pytest.mark.slow
def test_analysis_loads_neither_torch_nor_ray_nor_mlflow() -> None:
    code = (
        "import sys, analysis\n"
        "from analysis import evaluate, fit_power_law, judge, load_results, predictions\n"
        "import analysis.report.page\n"
        "print([m for m in ('torch', 'ray', 'mlflow', 'optuna') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
