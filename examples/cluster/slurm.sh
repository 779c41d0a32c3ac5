#!/usr/bin/env bash
# A study on Slurm: `sbatch examples/cluster/slurm.sh STUDY.yaml STORAGE` in the repository, after
# `make install`; STORAGE is a directory that all nodes share. One Ray cluster, for this job alone,
# one process a node. Preempted or out of time, it is queued again and goes on.
#SBATCH --job-name=scorerates
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -euo pipefail

study=${1:?usage: slurm.sh STUDY.yaml STORAGE}
storage=$(realpath -m "${2:?usage: slurm.sh STUDY.yaml STORAGE}")
bin=${SCORERATES_BIN:-$PWD/.venv/bin}
cpus=${SLURM_CPUS_PER_TASK:-2}
gpus=${SLURM_GPUS_ON_NODE:-0}

# Nodes are shared with strangers: a token of this job alone, in a file that only you can read (mktemp).
mkdir -p "$storage"
token_file=$(mktemp "$storage/.ray-token.XXXXXX")
"$bin/python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token_file"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token_file
export RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | cut -d' ' -f1)
port=$((20000 + SLURM_JOB_ID % 10000))
folder=/tmp/ray-$SLURM_JOB_ID

steps=()
end() {
  trap - EXIT TERM INT
  # The driver first, so that it ends cleanly; then Ray, which goes with its steps.
  [ -z "${driver:-}" ] || { kill -TERM "$driver" 2>/dev/null && wait "$driver"; } || true
  [ ${#steps[@]} -eq 0 ] || kill -TERM "${steps[@]}" 2>/dev/null || true
  wait || true
  rm -f "$token_file"
}
trap end EXIT
trap 'end; scontrol requeue "$SLURM_JOB_ID" || true; exit 143' TERM
trap 'end; exit 130' INT

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
  "$bin/ray" start --head --block --node-ip-address="$address" --port="$port" \
  --num-cpus="$cpus" --num-gpus="$gpus" --include-dashboard=false --temp-dir="$folder" &
steps+=($!)
if [ ${#nodes[@]} -gt 1 ]; then
  for node in "${nodes[@]:1}"; do
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$node" \
      "$bin/ray" start --block --address="$address:$port" --num-cpus="$cpus" --num-gpus="$gpus" &
    steps+=($!)
  done
fi

# Ray answers once all nodes are there; a driver started before would plan for fewer.
"$bin/python" - "$address:$port" "${#nodes[@]}" <<'PYTHON'
import sys, time
import ray
address, wanted = sys.argv[1], int(sys.argv[2])
deadline = time.monotonic() + 300
while True:
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
        found = sum(node["Alive"] for node in ray.nodes())
        ray.shutdown()
    except Exception as error:
        found, reason = 0, error
    if found >= wanted:
        break
    if time.monotonic() > deadline:
        sys.exit(f"{found} of {wanted} nodes joined {address} in 300 s")
    time.sleep(2)
PYTHON

"$bin/scorerates" run "$study" --address "$address:$port" --storage "$storage" \
  --tracking-uri "${TRACKING_URI:-sqlite:///$storage/../mlflow.db}" &
driver=$!
code=0
wait "$driver" || code=$?
driver=
exit "$code"
