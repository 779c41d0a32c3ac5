"""Sizes at which training and the kernel take another route: the trainer obeys them, and the
planner counts with them. No imports."""

from __future__ import annotations

FUSED_MAX_FEATURES = 12
"""Largest k + d of the fused passes; above it matrix products are faster (benchmarks/step.py)."""

TRITON_MAX_FEATURES = 34
"""The same of the Triton kernels on a GPU, d = 16 with k = 18: above it a thread's registers do not
hold what a neuron or a sample takes."""

GROUPED_MAX_OUTPUTS = 4
"""Largest d whose neurons are grouped by their output signs (trainers.network.sign_groups): the
groups double with each output, and what they are padded with."""

EIGEN_SAMPLES = 512
"""Kernel descent takes the eigendecomposition up to this N: no dearer there, and it has the
spectrum."""

STACKED_SAMPLES = 256
"""Trials of infinite width have their data sets decomposed in stacks, in full, up to this N; above
it block Lanczos is faster, one by one (benchmarks/limit.py)."""

STORED_SAMPLES = 8192
"""Up to this N the Gram matrix is stored (512 MiB, which the never-stopped limit takes anyway): its
products are then plain ones."""

INTERPOLATION_SAMPLES = 8192
"""Largest N whose never-stopped limit is computed: it takes a stored K (512 MiB) and N^3/3
operations."""

TILE = {"cpu": 512, "cuda": 4096}
"""Edge of a tile of the Gram matrix: 2 MiB of float64 on a CPU; wide enough to fill a GPU. Points
are padded to it."""

CLEAN_POINTS = 1024
"""M: clean points (z, f*(z)), independent of every training set, that f_H is fitted to."""

BASIS = 3
"""Basis vectors of block Lanczos for each leading eigenpair wanted: residuals of the last are then
about 1e-5 of it."""
