"""The cluster's files: valid, of the pinned versions, and as safe as they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from typer.testing import CliRunner

from study import cli

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "examples" / "cluster"
SLURM = CLUSTER / "slurm.sh"


def pinned(package: str) -> str:
    (version,) = re.findall(
        rf"^{package}==(\S+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE
    )
    return str(version)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def options_of(command: str) -> set[str]:
    return {word.split("=")[0] for word in shlex.split(command) if word.startswith("--")}


def known_options(command: str) -> set[str]:
    said = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "200"}).output
    return set(re.findall(r"--[a-z-]+", said))


def test_ray_accepts_the_cluster_and_it_is_private_preemptible_and_starts_from_zero() -> None:
    config = read(REPOSITORY / "ray_cluster.yaml")
    validate_config(prepare_config(config))
    head, worker = (config["available_node_types"][name] for name in ("head", "gpu_worker"))
    assert config["provider"]["use_internal_ips"] is True
    assert head["resources"]["CPU"] == 0
    assert worker["min_workers"] == 0
    assert worker["max_workers"] <= config["max_workers"]
    assert worker["resources"]["GPU"] == 1
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert any("--constraint constraints.txt" in line for line in config["setup_commands"])
    assert any("RAY_AUTH_MODE=token" in line for line in config["setup_commands"])
    assert "/home/ubuntu/.ray/auth_token" in config["file_mounts"]
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all(line.startswith(". ~/.scorerates && ") for line in starts)
    assert sum("--dashboard-host=127.0.0.1" in line for line in starts) == 1
    (ui,) = [line for line in starts if "scorerates ui" in line]
    assert "--host 127.0.0.1" in ui
    for line in (*config["setup_commands"], *starts):
        subprocess.run(["bash", "-n", "-c", line], check=True)


def test_the_rayjob_is_of_the_pinned_version_with_a_token_and_grows_from_zero() -> None:
    job = read(CLUSTER / "rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    command = shlex.split(spec["entrypoint"])
    assert command[:2] == ["scorerates", "run"]
    assert options_of(spec["entrypoint"]) <= known_options("run")
    assert command[command.index("--device") + 1] == "cuda"
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned("ray")
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["serviceType"] == "ClusterIP"
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert (worker["replicas"], worker["minReplicas"]) == (0, 0)
    assert worker["maxReplicas"] == int(command[command.index("--workers") + 1])
    for group in (head, worker):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert "MLFLOW_TRACKING_URI" in {entry["name"] for entry in container["env"]}
    assert worker["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{pinned('ray')}-py311-gpu" in dockerfile
    assert "--constraint constraints.txt" in dockerfile


FAKE_TOOLS = {
    "scontrol": "echo node1; echo node2; echo node3",
    # Everything that Slurm would start, with what it would see.
    "srun": 'echo "srun $* | $RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}" >> "$CALLS"\n'
    'case "$*" in\n'
    '  *scorerates*) until grep -q -e --exclude "$CALLS"; do sleep 0.05; done; exit $CODE;;\n'
    "  *--block*) exec sleep 30;;\n"
    "esac",
}


@pytest.mark.parametrize("code", [0, 3])
def test_the_slurm_script_starts_a_head_the_other_nodes_and_the_driver(
    tmp_path: Path, code: int
) -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").write_text("")
    for name, body in FAKE_TOOLS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "CODE": str(code),
        "VENV": str(tmp_path / "venv"),
        "STUDY": "a study.yaml",
        "STORAGE": "/shared/a",
        "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "node[1-3]",
        "SLURM_NNODES": "3",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "1",
    }
    ended = subprocess.run(
        ["bash", str(SLURM)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all(call.endswith("| token 64") for call in calls), "the token is in the environment"
    (head,) = [call for call in calls if " --head " in call]
    (workers,) = [call for call in calls if "--exclude=node1" in call]
    (driver,) = [call for call in calls if "scorerates run" in call]
    assert "--nodelist=node1" in head
    assert "--port=24567" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert "--ntasks=2" in workers
    assert "--address=node1:24567 --num-cpus=8 --num-gpus=1" in workers
    assert "a study.yaml --address node1:24567 --storage /shared/a" in driver
    run = driver.split("|")[0]
    assert options_of(run[run.index("scorerates") :]) <= known_options("run")


def test_the_steps_use_commands_and_options_that_exist() -> None:
    text = (CLUSTER / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"scorerates (run|status|analyze|sync|ui)([^`\n]*)", text)
    assert {name for name, _ in commands} == {"run", "status", "analyze", "sync", "ui"}
    for name, rest in commands:
        assert set(re.findall(r"--[a-z-]+", rest)) <= known_options(name), (name, rest)
    for heading in ("AWS", "Kubernetes", "Slurm"):
        section = text.split(f"## {heading}")[1].split("\n## ")[0]
        for step in ("Launch", "Watch", "Fetch", "Tear down", "ubmit"):
            assert step in section, (heading, step)
