"""What a pack holds in memory, and what a worker of this machine may hold."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from study.planning.cost import (
    LANCZOS_PRODUCTS,
    has_kernel,
    limit_products,
)
from study.spec.messages import SpecError
from trainers.kept.keep import Keep
from trainers.limits import (
    EIGEN_SAMPLES,
    FUSED_MAX_FEATURES,
    INTERPOLATION_SAMPLES,
    STACKED_SAMPLES,
    STORED_SAMPLES,
    TILE,
)
from trainers.network.batches import batches, bytes_of_trial
from trainers.trial import Subspace, TrialConfig

COMPILER_BYTES = 270 << 20
"""What a worker's process grows by when it compiles the fused passes, beyond `import torch`, with
the 67 MiB of triton, which torch imports where it finds it."""

EAGER_BYTES = 40 << 20
"""The same on the path of matrix products, which compiles nothing."""

SHARE_OF_FREE_MEMORY = 0.8


def memory_of(trials: Sequence[TrialConfig], keep: Keep | None = None) -> int:
    """Bytes by which a worker grows that trains these trials as one pack, `import torch` excepted:
    its largest batch, data and evaluation sets, the kernel's matrices, bases and columns, two
    tiles of the memorizer, and the networks to keep, once as tensors and once as files."""
    if not trials:
        return 0
    trained = [members for members in batches(trials) if not trials[members[0]].infinite]
    batch = max((_batch_bytes([trials[i] for i in members]) for members in trained), default=0)
    sets = {(t.law, t.diffusion): t for t in trials}.values()
    evaluated = sum(
        (t.test_points + t.holdout_points) * (t.features + 4 * t.dimension) for t in sets
    )
    data = {t.data_key: t.rows * (t.features + 2 * t.dimension) for t in trials}
    kernels = [t for t in trials if has_kernel(t)]
    compiled = kernels or any(t.infinite for t in trials)
    eager = not compiled and all(t.features + t.dimension > FUSED_MAX_FEATURES for t in trials)
    fixed = EAGER_BYTES if eager else COMPILER_BYTES
    laws = sum(law.held_values for law in {t.law for t in trials})
    limits = 8 * max((_limit_values(t) for t in trials if t.infinite), default=0)
    tiles = max(2 * min(t.samples, TILE["cpu"]) * min(t.test_points, TILE["cpu"]) for t in trials)
    values = evaluated + sum(data.values()) + laws + tiles
    kept = sum(2 * keep.bytes_of(t) for t in trials) if keep is not None else 0
    return fixed + batch + 8 * values + limits + _kernel_bytes(kernels) + kept


def _batch_bytes(batch: Sequence[TrialConfig]) -> int:
    n, m = max(t.rows for t in batch), max(t.width for t in batch)
    return len(batch) * bytes_of_trial(batch[0], n, m)


def _kernel_bytes(trials: Sequence[TrialConfig]) -> int:
    """f^K of every trajectory, the references that wait for a further one, and the largest."""
    trajectories: dict[object, TrialConfig] = {}
    for t in trials:
        own = t.trial_id if t.initialisation == "plain" else ""
        key = (*t.data_key, t.bias, t.norms, t.step_size, t.steps, own)
        trajectories[key] = t
    values = sum(t.recorded * t.test_points * t.dimension for t in trajectories.values())
    waiting: dict[object, list[TrialConfig]] = {}
    for t in trajectories.values():
        waiting.setdefault((*t.data_key, t.bias), []).append(t)
    kept = sum(_reference_values(group[0]) for group in waiting.values() if len(group) > 1)
    return 8 * (values + kept + max(map(_working_values, trials), default=0))


def _reference_values(t: TrialConfig) -> int:
    labels = t.dimension * (2 + len(t.norms))
    full = t.rows <= EIGEN_SAMPLES
    basis = t.rows if full else min(t.rows, (LANCZOS_PRODUCTS - 2) * labels)
    evaluated = t.test_points + t.holdout_points
    return evaluated * (basis + t.features + t.dimension * len(t.norms))


def _working_values(t: TrialConfig) -> int:
    """Values held while a reference is made and read: K where it is stored or factored, the
    Krylov basis, and the predictions of all labels at all recorded steps, four times over."""
    labels = t.dimension * (2 + len(t.norms))
    evaluated = t.test_points + t.holdout_points
    gram = t.rows**2 if t.rows <= max(STORED_SAMPLES, INTERPOLATION_SAMPLES) else 0
    krylov = t.rows * (LANCZOS_PRODUCTS + 2) * labels if t.rows > EIGEN_SAMPLES else gram
    read = 4 * t.recorded * labels * evaluated
    return gram + krylov + read + _reference_values(t)


def _limit_values(t: TrialConfig) -> int:
    """Values held while one trial of infinite width is solved: K with its factor and eigenvectors
    or the Krylov basis, kappa(points, Z) or the basis there, and the predictions with what is made
    of them; small data sets by the tile."""
    labels = t.dimension * (2 + len(t.norms))
    evaluated = t.evaluated_points
    n, stacked = t.rows, t.rows <= STACKED_SAMPLES
    n = max(n, TILE["cpu"]) if stacked else n
    basis = n if stacked else min(n, limit_products(t) * labels)
    gram = 3 * n**2 if n <= max(STORED_SAMPLES, INTERPOLATION_SAMPLES) else 0
    return gram + 3 * n * basis + 2 * evaluated * basis + 4 * t.recorded * labels * evaluated


def refuse_what_does_not_fit(trials: Sequence[TrialConfig], machine: float) -> None:
    """Raises SpecError for the largest of `trials` that holds more than the `machine`'s bytes, and
    names the sizes that make it large. Allocates nothing."""
    by_size = {
        (t.law, t.samples, t.copies, t.width, t.steps, t.trainer, t.norms): t for t in trials
    }
    sizes = by_size.values()
    largest = max(sizes, key=lambda t: memory_of([t]), default=None)
    if largest is None or (held := memory_of([largest])) <= machine:
        return
    law = largest.law.inner if isinstance(largest.law, Subspace) else largest.law
    rows = "samples" if largest.rows == largest.samples else "samples x copies"
    points = {
        "law.dimension": largest.dimension,
        "law.components": getattr(law, "components", 0),
        "law.count": getattr(law, "count", 0),
        rows: largest.rows,
        "width": 0 if largest.infinite else largest.width,
        "test_points": largest.test_points,
        "holdout_points": largest.holdout_points,
        "recorded": min(largest.recorded, largest.steps + 1),
    }
    typical = {"law.dimension": 8, rows: 4096, "width": 4096, "test_points": 2048}
    typical |= {"holdout_points": 1024, "recorded": 40}
    by_excess = sorted(points, key=lambda name: -points[name] / typical.get(name, 1024))
    lighter = memory_of([largest.changed(kernel=False, norms=())])
    named = ", ".join(f"{name} = {points[name]:,}" for name in by_excess[:2])
    raise SpecError(
        f"{named}: one trial would hold {held / 2**30:,.3g} GiB, and this machine "
        f"has {machine / 2**30:,.3g} GiB: lower {by_excess[0]}"
        + (", or set kernel: false" if lighter <= machine else "")
    )


def machine_bytes() -> float:
    """Memory that a process of this machine, or container, can have; infinity where unknown."""
    try:
        limit = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError):
        limit = math.inf
    with contextlib.suppress(OSError, ValueError):
        limit = min(limit, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    return limit


def memory_of_a_worker(workers: int, device: str, gpus: float = 0.0) -> float:
    """Bytes that each of `workers` on this machine may hold; infinity where it does not say."""
    if device == "cuda":
        return _card_bytes() * min(gpus or 1.0, 1.0) * SHARE_OF_FREE_MEMORY
    return _free_bytes() * SHARE_OF_FREE_MEMORY / max(workers, 1)


def _free_bytes() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError):
        return math.inf


def _card_bytes() -> float:
    """Memory of the smallest GPU here."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout
        return min(float(line) for line in out.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return math.inf
