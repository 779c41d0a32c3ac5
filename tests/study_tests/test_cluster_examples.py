"""The cluster's files: valid, of the pinned versions, and as safe as they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from services import free_port
from typer.testing import CliRunner

from study import cli

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "examples" / "cluster"

STUDY = """
name: tiny
law: {kind: cube, dimension: 1}
seeds: 2
steps: 20
base: {samples: 16, width: 8, step_size: 1.0}
sweeps:
  - samples: [8, 16, 32]
audit: false
"""


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
    from ray.autoscaler._private.aws.config import DEFAULT_AMI, DEFAULT_AMI_NAME

    # What Ray takes where no image is named has a Python that is too old.
    assert "18.04" in DEFAULT_AMI_NAME
    for node in (head, worker):
        assert node["node_config"]["ImageId"] not in {*DEFAULT_AMI.values(), "latest_dlami", ""}
    profiles = [node["node_config"]["IamInstanceProfile"]["Arn"] for node in (head, worker)]
    assert profiles == ["HEAD_PROFILE_ARN", "WORKER_PROFILE_ARN"]
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


def allowed(policy: str) -> dict[str, list[dict[str, Any]]]:
    """Action -> the statements that allow it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for statement in json.loads((CLUSTER / policy).read_text())["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert "*" not in action, policy
            found.setdefault(action, []).append(statement)
    return found


def test_the_head_may_launch_workers_and_workers_have_the_bucket_alone() -> None:
    """The calls are those that Ray's provider for AWS makes on the head, in its own source."""
    import ray.autoscaler._private.aws.node_provider as provider

    source = Path(provider.__file__).read_text()
    head, worker = allowed("head_policy.json"), allowed("worker_policy.json")
    calls = {
        "create_instances(": "ec2:RunInstances",
        "create_tags(": "ec2:CreateTags",
        "start_instances(": "ec2:StartInstances",
        "stop_instances": "ec2:StopInstances",
        "terminate_instances": "ec2:TerminateInstances",
        "describe_images(": "ec2:DescribeImages",
        "describe_instance_types(": "ec2:DescribeInstanceTypes",
        "instances.filter(": "ec2:DescribeInstances",
    }
    for call, action in calls.items():
        assert call in source, call
        assert action in head, action
    (passed,) = head["iam:PassRole"]
    assert passed["Resource"] == "WORKER_ROLE_ARN"
    name = read(REPOSITORY / "ray_cluster.yaml")["cluster_name"]
    for action in ("ec2:StopInstances", "ec2:TerminateInstances"):
        (stop,) = head[action]
        assert stop["Condition"] == {"StringEquals": {"ec2:ResourceTag/ray-cluster-name": name}}
    bucket = {action for action in head if action.startswith("s3:")}
    assert bucket == set(worker) >= {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}


def test_the_rayjob_is_of_the_pinned_version_with_a_token_and_grows_from_zero() -> None:
    job = read(CLUSTER / "rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert 0 < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
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


def test_no_example_holds_a_secret() -> None:
    for path in [REPOSITORY / "ray_cluster.yaml", *CLUSTER.iterdir()]:
        text = path.read_text()
        for word in ("AWS_SECRET", "AKIA", "RAY_AUTH_TOKEN=", "--disable", "0.0.0.0"):
            assert word not in text, path


def _environment(folder: Path) -> dict[str, str]:
    """Programs of this interpreter, and a token of the test's own."""
    (folder / "token").write_text("a" * 64)
    bin_folder = Path(sys.executable).parent
    return {
        **{k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")},
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "TORCH_COMPILE_DISABLE": "1",  # compiling takes longer than all the rest
    }


@pytest.mark.ray
@pytest.mark.slow
def test_the_slurm_script_runs_a_study_and_leaves_nothing_behind(tmp_path: Path) -> None:
    script = CLUSTER / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    # Slurm's part, on one node: srun runs the command that follows its options.
    fakes = {
        "scontrol": "echo localhost",
        "srun": 'while [[ "$1" == --* ]]; do shift; done\n'
        '[ "$1" != hostname ] || exec echo 127.0.0.1\nexec "$@"',
        "scorerates": f'exec {sys.executable} -m study.cli "$@"',
        "python": f'exec {sys.executable} "$@"',
        "ray": f'exec {Path(sys.executable).parent}/ray "$@"',
    }
    for name, text in fakes.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "study.yaml").write_text(STUDY)
    environment = {
        **_environment(tmp_path),
        "SCORERATES_BIN": str(programs),
        "SLURM_JOB_ID": str(free_port()),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_CPUS_PER_TASK": "1",
    }
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        [str(script), str(tmp_path / "study.yaml"), str(tmp_path / "shared" / "tiny")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    storage = tmp_path / "shared" / "tiny"
    assert (storage / "report.html").exists()
    assert not list(storage.glob(".ray-token*"))
    deadline = time.monotonic() + 60
    while left := _processes(f"ray-{environment['SLURM_JOB_ID']}"):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_the_steps_use_commands_and_options_that_exist() -> None:
    text = (CLUSTER.parents[1] / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"scorerates (run|status|analyze|sync|ui)([^`\n]*)", text)
    assert {name for name, _ in commands} == {"run", "status", "analyze", "sync", "ui"}
    for name, rest in commands:
        assert set(re.findall(r"--[a-z-]+", rest)) <= known_options(name), (name, rest)
    for heading in ("AWS", "Kubernetes", "Slurm"):
        section = text.split(f"## {heading}")[1].split("\n## ")[0]
        for step in ("Launch", "Watch", "Fetch", "Tear down", "ubmit"):
            assert step in section, (heading, step)


def _processes(word: str) -> list[str]:
    """Command lines on this machine that name `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [command] if word in command else []
    return found
