"""The command line: exit codes, messages, and what each command prints. No Ray here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_trainer import trajectory

from analysis.data.schema import table_from
from study import StudySpec, cli
from study.commands.run import RunResult
from study.planning import calibration
from study.planning.cost import DEFAULT_SPEEDS, Speeds
from study.planning.plan import Slots
from study.storage.store import Store
from trainers.trial import NUMERICS_VERSION, failed

pytestmark = pytest.mark.usefixtures("fingerprints")

REPOSITORY = Path(__file__).parents[2]

STUDY = """
name: small
law: {kind: cube, dimension: 2}
seeds: 3
base: {samples: 64, width: 64, step_size: 1.0}
sweeps: {samples: [16, 32, 64, 128, 256, 512]}
"""

Capture = pytest.CaptureFixture[str]


def command(*arguments: object) -> int:
    """The exit code of `scorerates ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    code = ended.value.code
    assert isinstance(code, int) or code is None
    return code or 0


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def stored(study: Path) -> Path:
    """Its results: all trials but two, one of which failed."""
    spec = StudySpec.load(study)
    store = Store(study.parent / "results" / "small")
    store.claim(spec.name, spec.text, spec.folder)
    trials = spec.trials()
    done = [trajectory(trial) for trial in trials[2:]]
    store.write_pack(table_from([failed(trials[0], "planted"), *done], "small"))
    return study


@pytest.mark.parametrize("name", ["", "plan", "run", "analyze", "status", "sync", "ui", "theory"])
def test_every_command_explains_itself(name: str, capsys: Capture) -> None:
    assert command(*name.split(), "--help") == 0
    assert "Usage: " in capsys.readouterr().out


@pytest.mark.slow
def test_plan_says_what_a_study_costs(study: Path, capsys: Capture) -> None:
    assert command("plan", study, "--workers", 2, "--device", "cpu", "--no-calibrate") == 0
    out = capsys.readouterr().out
    assert "18 (0 done)" in out
    assert "6, 3 seeds each" in out
    operations = sum(t.training_operations for t in StudySpec.load(study).trials())
    assert f"{operations:.3g} floating-point operations" in out
    assert "recorded default" in out
    assert not (study.parent / "results").exists()


@pytest.mark.slow
def test_plan_counts_networks_and_kernels(study: Path, capsys: Capture) -> None:
    study.write_text(STUDY.replace("seeds: 3", "seeds: {network: 3, kernel: 20}"))
    assert command("plan", study, "--workers", 2, "--device", "cpu", "--no-calibrate") == 0
    out = capsys.readouterr().out
    trials = StudySpec.load(study).trials()
    limits = [trial for trial in trials if trial.infinite]
    points = len({trial.point_id for trial in limits})
    assert len(limits) == 20 * points
    assert f"{len(trials)} (0 done)" in out
    assert f"6, 3 seeds each, and {points} at infinite width, 20 seeds each" in " ".join(
        out.split()
    )


@pytest.mark.slow
def test_plan_counts_the_seeds_of_sweeps(study: Path, capsys: Capture) -> None:
    grid = "{samples: [16, 32, 64, 128, 256, 512]}"
    limits = "{samples: 8, width: .inf, seeds: 9}, {samples: 16, width: .inf, seeds: 4}"
    study.write_text(STUDY.replace(grid, f"[{grid}, {limits}]"))
    assert command("plan", study, "--workers", 2, "--device", "cpu", "--no-calibrate") == 0
    assert "6, 3 seeds each, and 2 at infinite width, 4 to 9 seeds each" in capsys.readouterr().out


@pytest.mark.slow
def test_plan_says_how_a_data_file_was_read(study: Path, capsys: Capture) -> None:
    law = "{kind: cube, dimension: 2}"
    points = study.with_name("[p].csv")
    study.write_text(STUDY.replace(law, "{kind: atoms, file: '[p].csv'}"))
    for text, said in (
        ("a;b\n1;2,5\n3;5\n4;4\n", "columns separated by semicolons, decimal commas"),
        ("1,2.5\n3,5\n4,4\n", "no header: line 1 (1,2.5) is the first row"),
        ("a,b\n1,2.5\n3,5\n4,4\n", ""),
    ):
        points.write_text(text)
        assert command("plan", study, "--device", "cpu", "--no-calibrate") == 0
        assert capsys.readouterr().err == (f"{points}: {said}\n" if said else "")


@pytest.mark.slow
def test_plan_counts_what_is_done(stored: Path, capsys: Capture) -> None:
    assert command("plan", stored, "--workers", 2, "--no-calibrate") == 0
    out = capsys.readouterr().out
    assert "18 (16 done)" in out
    assert re.search(r"2 trials in 1 pack +\n", out)


@pytest.mark.slow
def test_plan_takes_the_pace_of_finished_trials(
    stored: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = StudySpec.load(stored)
    done = [trajectory(trial) for trial in spec.trials()[2:]]
    store = Store(stored.parent / "results" / "small")
    for pack in store.pack_ids():
        (stored.parent / "results" / "small" / "trials" / f"{pack}.parquet").unlink()
    store.write_pack(table_from(done, "small"), 3600.0)
    assert command("plan", stored, "--workers", 2, "--no-calibrate") == 0
    assert "measured on 16 finished trials" in capsys.readouterr().out


@pytest.mark.slow
def test_plan_measures_this_machine_once(
    study: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = replace(DEFAULT_SPEEDS["cpu"], source="measured on this machine")
    calls: list[Slots] = []

    def measure(slots: Slots) -> Speeds:
        calls.append(slots)
        return measured

    monkeypatch.setattr(calibration, "_measured", measure)
    monkeypatch.setattr(calibration, "_busy", lambda: False)
    for options, count in (((), 1), ((), 1), (("--calibrate",), 2), (("--no-calibrate",), 2)):
        assert command("plan", study, "--workers", 2, "--device", "cpu", *options) == 0
        assert "(measured on this machine)" in capsys.readouterr().out
        assert len(calls) == count


@pytest.mark.slow
def test_plan_warns_of_step_sizes_beyond_the_limit(study: Path, capsys: Capture) -> None:
    study.write_text(STUDY.replace("step_size: 1.0", "step_size: 50"))
    assert command("plan", study, "--no-calibrate") == 0
    err = capsys.readouterr().err
    assert "step_size = 50 is above the stability limit 2N/lambda_max" in err
    assert err.count("warning") == 1


def test_status_counts_trials(stored: Path, capsys: Capture) -> None:
    for source in (stored, "small", stored.parent / "results" / "small"):
        assert command("status", source) == 0
        counts = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
        expected = {"trials": 18, "completed": 16, "diverged": 0, "failed": 1, "missing": 1}
        assert counts == {name: str(count) for name, count in expected.items()}


def test_analyze_prints_a_table_and_writes_files(stored: Path, capsys: Capture) -> None:
    assert command("analyze", stored) == 0
    out = capsys.readouterr().out
    assert "best score error" in out
    folder = stored.parent / "results" / "small"
    verdicts = json.loads((folder / "verdicts.json").read_text())
    (best,) = [v for v in verdicts if (v["quantity"], v["axis"]) == ("best_score_error", "samples")]
    assert best["exponent"] == pytest.approx(0.5, abs=0.01)
    assert best["theory_exponent"] == pytest.approx(0.4)
    assert (folder / "report.html").exists()


def test_analyze_json_is_json_and_nothing_else(stored: Path, capsys: Capture) -> None:
    assert command("analyze", "small", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    folder = stored.parent / "results" / "small"
    assert printed == json.loads((folder / "verdicts.json").read_text())


@pytest.mark.slow
def test_a_results_table_alone_can_be_analyzed(stored: Path, capsys: Capture) -> None:
    assert command("analyze", "small", "--json") == 0
    folder = stored.parent / "alone"
    folder.mkdir()
    (stored.parent / "results" / "small" / "results.parquet").rename(folder / "results.parquet")
    first = json.loads(capsys.readouterr().out)
    assert command("analyze", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == first


def test_theory_prints_the_registry(capsys: Capture) -> None:
    assert command("theory", "--dimension", 4) == 0
    assert "0.286" in capsys.readouterr().out
    assert command("theory", "-d", 4, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert any(abs(row["exponent"] - 2 / 7) < 1e-12 for row in rows if row["exponent"])
    assert {row["growth"] for row in rows} == {None, "A x^-b log x"}
    assert command("theory", "-d", 4, "--theory", "memorization") == 0
    told = capsys.readouterr().out
    assert "Clocks of memorization (2025)" in told
    assert "assumes: noise drawn anew at every step" in told
    assert "minimax" not in told


def test_wrong_input_ends_with_2_and_one_message(study: Path, capsys: Capture) -> None:
    (study.parent / "bad.yaml").write_text(STUDY.replace("samples: 64", "sample: 64"))
    (study.parent / "foreign").mkdir()
    (study.parent / "foreign" / "notes.txt").write_text("mine")
    other = study.parent / "other"
    Store(other).claim("other", "name: other\n", study.parent)
    for arguments, said in [
        (("plan", "none.yaml"), "cannot read none.yaml: No such file or directory; correct its"),
        (("run", "bd.yaml"), "cannot read bd.yaml: No such file or directory; did you mean bad."),
        (("run", "none/a.yaml"), "there is no folder none either: give the whole path"),
        (("plan", study.parent), "Is a directory; name a file in it"),
        (("plan", "bad.yaml"), "bad.yaml: "),
        (("run", "bad.yaml", "--no-tracking"), "unknown key base.sample: did you mean samples?"),
        (("plan", study, "--device", "tpu"), "--device tpu: must be auto, cpu, cuda or mixed"),
        (("plan", study, "--storage", other), "holds the results of study 'other'"),
        (("run", study, "--storage", other, "--no-tracking"), "holds the results of study 'other'"),
        (("run", study, "--storage", "foreign", "--no-tracking"), "holds no study (notes.txt)"),
        (("run", study, "--storage", f"{study}/x", "--no-tracking"), "cannot use"),
        (("status", "nothing"), "no study file, results directory or study"),
        (("status", study.parent), "holds no study: run one there first"),
        (("analyze", study), "no trial of study 'small' has finished: run it first"),
        (("analyze", study.parent / "foreign"), "foreign"),
        (("theory", "--dimension", "0"), "greater than or equal to 1"),
        (("theory",), "Missing option"),
        (("theory", "-d", "2", "--theory", "hrz"), "no theory is called 'hrz': choose among hrx, "),
        (("plan", study, "--frob"), "No such option"),
        (("frob",), "No such command"),
    ]:
        assert command(*arguments) == 2, arguments
        captured = capsys.readouterr()
        assert said in captured.err, arguments
        assert "Traceback" not in captured.err
        assert not captured.out


def test_sync_names_a_server_that_does_not_answer(
    stored: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert command("sync", "small", "--tracking-uri", "http://127.0.0.1:9") == 2
    assert "http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.slow
def test_sync_rebuilds_the_view(stored: Path, capsys: Capture) -> None:
    uri = f"sqlite:///{stored.parent}/view.db"
    assert command("sync", "small", "--tracking-uri", uri) == 0
    assert "16 trials added to experiment 'small'" in capsys.readouterr().out
    assert command("sync", "small", "--tracking-uri", uri) == 0
    assert "0 trials added" in capsys.readouterr().out


def test_ui_of_a_server_is_where_it_is(capsys: Capture) -> None:
    assert command("ui", "--tracking-uri", "http://server:5000") == 0
    assert "http://server:5000" in capsys.readouterr().out


@pytest.mark.slow
def test_light_commands_load_nothing_heavy(study: Path) -> None:
    """One after the other in one process, so that what any of them loads is there at the end."""
    commands = (["--help"], ["theory", "-d", "2"], ["plan", str(study)], ["status", "x"])
    code = f"""
import subprocess, sys
from study import cli
from study.planning import calibration
# The process that measures this machine, and takes a minute, says at once that it cannot.
start = subprocess.Popen
calibration.Popen = lambda command, **options: start([sys.executable, "-c", "exit(1)"], **options)
for arguments in {commands!r}:
    try: cli.main(arguments)
    except SystemExit as ended: print("ended", arguments[0], ended.code)
heavy = ('ray', 'torch', 'mlflow', 'matplotlib', 'optuna', 'scipy.stats')
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    *said, loaded = done.stdout.splitlines()
    assert [line for line in said if line.startswith("ended")] == [
        f"ended {name} {code}"
        for name, code in zip(("--help", "theory", "plan", "status"), (0, 0, 0, 2), strict=True)
    ]
    assert loaded == "[]"


@pytest.mark.parametrize("source", ["x" * 300, "x\0y", "", "."])
def test_status_of_what_is_no_study(study: Path, capsys: Capture, source: str) -> None:
    (study.parent / "results").mkdir()
    assert command("status", source) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    assert len(told) < 400


@pytest.mark.parametrize("storage", ["", " ", "~nosuchuser/x", "a\0b", "x" * 300, "y/" * 3000])
@pytest.mark.parametrize("name", ["status", "analyze", "sync"])
def test_a_storage_that_cannot_be(study: Path, capsys: Capture, name: str, storage: str) -> None:
    assert command(name, study, "--storage", storage) == 2
    told = capsys.readouterr().err.strip()
    assert "Traceback" not in told
    assert len(told.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_what_the_terminal_cannot_encode_is_written_out(stored: Path, encoding: str) -> None:
    folder = stored.parent / "η≥\udcff"
    (stored.parent / "results" / "small").rename(folder)
    done = subprocess.run(
        [sys.executable, "-m", "study.cli", "status", str(folder)],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, check=True,
    )  # fmt: skip
    said = done.stdout.decode(encoding)
    assert f"/{'η≥' if encoding == 'utf-8' else 'eta>='}\\udcff" in said
    assert "completed" in said


def test_a_study_that_diverged_as_a_whole_is_told(study: Path, capsys: Capture) -> None:
    study.write_text(STUDY.replace("step_size: 1.0", "step_size: 9.0"))
    spec = StudySpec.load(study)
    store = Store(study.parent / "results" / "small")
    store.claim(spec.name, spec.text, spec.folder)
    store.write_pack(table_from(map(trajectory, spec.trials()), "small"))
    assert command("analyze", study) == 0
    assert "all 18 trials diverged, so there is no rate to judge" in capsys.readouterr().out
    counts = {"completed": 0, "diverged": 18, "failed": 0, "missing": 0}
    assert RunResult("", counts, trained=18).exit_code == 3
    assert RunResult("", {**counts, "completed": 1}, trained=18).exit_code == 0


def test_status_tells_results_of_earlier_numerics(
    study: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = StudySpec.load(study)
    store = Store(study.parent / "results" / "small")
    store.claim(spec.name, spec.text, spec.folder)
    with monkeypatch.context() as patch:
        patch.setattr("trainers.trial.NUMERICS_VERSION", NUMERICS_VERSION - 1)
        old = [trajectory(trial) for trial in StudySpec.load(study).trials()[:7]]
        store.write_pack(table_from(old, "small"))
    assert command("status", study) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "missing 18" in out
    assert "of an earlier version 7" in out
    assert "7 trials were trained by an earlier version of this program" in out
    assert "analyze` reads them as they are, the next `scorerates run` trains them anew" in out
    assert "not of this study" not in out

    store.write_pack(table_from(map(trajectory, spec.trials()[:3]), "small"))
    assert command("status", study) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "of an earlier version 7" in out
    assert "4 trials were trained by an earlier version" in out
    assert "analyze` leaves them out" in out

    store.write_pack(table_from(map(trajectory, spec.trials()[3:]), "small"))
    assert command("status", study) == 0
    assert "trained by an earlier version" not in capsys.readouterr().out


def test_results_that_ray_would_delete_are_refused(
    study: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study.parent / "working_dir_files" / "_ray_pkg_0123abcd"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for options in ((), ("--storage", "here")):
        assert command("run", study, "--no-tracking", *options) == 2
        err = capsys.readouterr().err
        assert "which Ray deletes: name a directory that stays" in err
    assert list(folder.iterdir()) == []
