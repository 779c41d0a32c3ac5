#!/usr/bin/env bash
# A study on Slurm: one task a node, the first of them head and driver, all with their GPUs.
#   sbatch --export=ALL,STUDY=examples/quickstart.yaml,STORAGE=/shared/quickstart examples/cluster/slurm.sh
# Ends with the study. One that was cut short (--time, preemption) continues with the same command.
#SBATCH --job-name=scorerates
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
set -euo pipefail

: "${STUDY:?the study, a YAML file}"
: "${STORAGE:?a directory that all nodes share, or s3://...}"
VENV=${VENV:-.venv}
TRACKING=${TRACKING:-sqlite:///$HOME/mlflow.db} # written by the driver alone
source "$VENV/bin/activate"

# A token for this job alone, in the environment: a command line would show it to every user.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')

# Ports of this job's own: nodes may be shared.
port=$((20000 + SLURM_JOB_ID % 10000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
folder=$(mktemp -d /tmp/sr-XXXXXX)
gpus=${SLURM_GPUS_ON_NODE:-0}

cleanup() {
  kill "${pids[@]}" 2>/dev/null || true
  wait || true
  rm -rf "$folder"
}
pids=()
trap cleanup EXIT

start() { # NODE TASKS RAY-START-OPTIONS...
  local node=$1 tasks=$2
  shift 2
  srun --overlap --nodes="$tasks" --ntasks="$tasks" $node \
    ray start "$@" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" --block &
  pids+=($!)
}
start "--nodelist=$head" 1 --head --port="$port" --temp-dir="$folder" \
  --dashboard-host=127.0.0.1 --dashboard-port=$((port + 10000))
for _ in $(seq 60); do
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" ray health-check --address "$head:$port" && break
  sleep 2
done
if [ "$SLURM_NNODES" -gt 1 ]; then
  start "--exclude=$head" $((SLURM_NNODES - 1)) --address="$head:$port"
fi

# The driver gets the warning that the time is up, and ends cleanly; what it has is stored.
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
  scorerates run "$STUDY" --address "$head:$port" --storage "$STORAGE" --tracking-uri "$TRACKING" &
driver=$!
pids+=("$driver")
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM
wait "$driver" && code=0 || code=$?
# A trap cuts the first wait short; this one has the driver's own end.
if kill -0 "$driver" 2>/dev/null; then wait "$driver" && code=0 || code=$?; fi
exit "$code"
