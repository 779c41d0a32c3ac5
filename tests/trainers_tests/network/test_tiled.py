"""The passes of a GPU: the kernels in Triton's interpreter and compiled, their launches, graphs."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from trainers.limits import TRITON_MAX_FEATURES
from trainers.methods import full_batch
from trainers.methods.full_batch import choose_passes
from trainers.network.gradient_descent import Batch, Problem, _Descent
from trainers.network.graphs import SIZES, Replayed
from trainers.network.passes import BLOCKED
from trainers.network.tiled import MULTIPLE, PROGRAMS, Launch, Tile, tile_for
from trainers.trial import Cube, TrialConfig

CASES = Path(__file__).with_name("triton_cases.py")


def needs_triton() -> None:
    try:
        import triton  # noqa: F401
    except ImportError:
        # CI installs the dev extra: there a test is never left out.
        assert "CI" not in os.environ, "needs triton: pip install -e .[dev]"
        pytest.skip("needs triton: pip install -e .[dev]")


def run_cases(**environment: str) -> None:
    command = [sys.executable, "-m", "pytest", str(CASES), "-p", "no:cacheprovider", "--no-header"]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_kernels_in_triton_s_interpreter() -> None:
    needs_triton()
    run_cases(TRITON_INTERPRET="1")


@pytest.mark.cuda
def test_the_kernels_on_the_card() -> None:
    run_cases()


@pytest.mark.slow
@pytest.mark.parametrize(("d", "grouped"), [(1, False), (2, True), (8, False), (16, False)])
def test_compiled_kernels_keep_sums_in_their_threads(d: int, grouped: bool) -> None:
    """Compiled for a Hopper card, which needs none: no barrier, no exchange between threads, no
    shared memory in the loops over N x m; atomics nowhere."""
    needs_triton()
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from trainers.network import triton_kernels as kernels

    k, outputs, groups = d + 2, 1 if grouped else d, 2 ** (d - 1) if grouped else 1
    tile = tile_for(k, outputs)
    sizes = {"K": k, "OUT": outputs, "GROUPS": groups, "BIAS": True, "ROWS": tile.rows}
    sizes["TILE"] = 32 * tile.points * tile.warps
    for kernel in (kernels.forward_kernel, kernels.backward_kernel, kernels.flips_kernel):
        names = kernel.arg_names
        constants = {name: value for name, value in sizes.items() if name in names}
        signature: dict[str, str] = {}
        for name in names:
            pointer = name in ("W", "W0", "A", "Z", "V", "parts")
            kind = "*i32" if (name, kernel) == ("parts", kernels.flips_kernel) else "*fp32"
            signature[name] = "constexpr" if name in constants else kind if pointer else "i32"
        aligned: Any = {
            (index,): [["tt.divisibility", 16]]
            for index, name in enumerate(names)
            if signature[name].startswith("*") or name in ("m", "n", "share")
        }
        source = ASTSource(
            fn=kernel,
            signature=signature,
            constexprs={(names.index(name),): value for name, value in constants.items()},
            attrs=aligned,
        )
        made = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": tile.warps})
        loop = longest_loop(made.asm["ptx"])
        assert "fma.rn.f32" in loop
        for word in ("bar.sync", "barrier", "shfl", "atom", "red.", ".shared", ".local", "tf32"):
            assert word not in loop, word
        # Rows come as whole vectors.
        assert "ld.global.v4" in loop
        assert "atom" not in made.asm["ptx"]


def longest_loop(ptx: str) -> str:
    """From the label of the longest loop to the jump back to it."""
    lines = ptx.splitlines()
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if line.startswith("$")}
    jumps = [(i, re.search(r"\bbra\S*\s+(\$\w+);", line)) for i, line in enumerate(lines)]
    loops = [lines[labels[to[1]] : i] for i, to in jumps if to and labels[to[1]] < i]
    return "\n".join(max(loops, key=len))


@pytest.mark.parametrize("nets", [1, 2, 16, 1024])
@pytest.mark.parametrize("resident", [16, 128, 4096, 1_000_000])
@pytest.mark.parametrize("streamed", [16, 144, 4096, 1_000_000])
def test_a_launch_covers_every_point_once(nets: int, resident: int, streamed: int) -> None:
    for tile in (Tile(8, 4, 4), Tile(4, 2, 4)):
        run = Launch.of(nets, resident, streamed, tile)
        assert (run.tiles - 1) * run.tile < resident <= run.tiles * run.tile
        assert (run.parts - 1) * run.share < streamed <= run.parts * run.share
        assert run.share % MULTIPLE == 0
        assert MULTIPLE % tile.rows == 0
        # More than one part only where the tiles leave the card idle.
        assert run.parts == 1 or nets * run.tiles * run.parts <= PROGRAMS
        assert run.tile == 32 * tile.points * run.warps


def test_small_and_large_packs_fill_a_card() -> None:
    """132 multiprocessors: programs of the sizes that the targets are about."""
    tile = tile_for(4, 1)
    small = Launch.of(512 * 2, 128, 160, tile)
    assert (small.warps, small.tiles * 512 * 2 * small.parts) == (1, 1024)
    large = Launch.of(16 * 2, 4096, 2080, tile)
    assert large.tiles * 32 * large.parts >= 132
    alone = Launch.of(2, 4096, 2080, tile)
    assert alone.tiles * 2 * alone.parts >= 132


def config(d: int, precision: str = "float32") -> TrialConfig:
    return TrialConfig(
        law=Cube(dimension=d), samples=8, width=8, step_size=0.1, precision=precision
    )


def test_the_route_on_a_gpu(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    cuda, route = torch.device("cuda"), cast(Any, choose_passes)
    monkeypatch.setattr(full_batch, "triton_problem", lambda: "")
    monkeypatch.setattr(full_batch, "tiled_passes", lambda *what: what)
    assert route(config(2), cuda, True) == ((True, 2, True), "triton")
    assert route(config(16), cuda) == ((True, 16, False), "triton")
    assert TRITON_MAX_FEATURES == 18 + 16
    assert route(config(17), cuda) == (BLOCKED, "matmul")
    assert not caplog.records
    monkeypatch.setattr(full_batch, "triton_problem", lambda: "ImportError: no triton")
    assert route(config(2), cuda, True) == (BLOCKED, "blocked")
    assert "no triton" in caplog.text


def test_matrix_products_are_in_full_float32() -> None:
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32


def problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(40, 4))
    w, a = rng.normal(size=(4, 32)), rng.choice([-1.0, 1.0], size=(2, 32))
    return Problem(z, rng.normal(size=(40, 2)), w, a, z[:9], 0.3)


def test_replayed_graphs_take_the_steps_of_the_loop() -> None:
    """Graphs of some steps each, here plain calls, against one step after the other: the same
    weights, losses and counts at every number of steps."""
    lengths = [1, 7, 32, 100]
    problems = [problem(0), problem(1)]
    one, other = (
        _Descent(Batch.pack(problems, torch.float64, torch.device("cpu")), BLOCKED) for _ in "ab"
    )
    taken: list[int] = []

    def capture(function: Any) -> Any:
        def replay() -> None:
            taken.append(1)
            function()

        return replay

    replayed = Replayed.of(other, capture)
    reached = 0
    for length in lengths:
        one.steps(length)
        left = length
        while left:
            left -= replayed.go_on(left)
        reached += length
        for a, b in zip(_values(one.record(reached)), _values(other.record(reached)), strict=True):
            assert torch.equal(a, b)
    # 1; 7 of 1; 32; 3 of 32 and 4 of 1.
    assert (len(taken), SIZES) == (1 + 7 + 1 + 7, (32, 8, 1))


def _values(record: Any) -> list[torch.Tensor]:
    return [v for v in vars(record).values() if isinstance(v, torch.Tensor)]


def test_nothing_runs_while_graphs_are_made_and_inputs_stay_where_they_are() -> None:
    descent = _Descent(Batch.pack([problem(0)], torch.float64, torch.device("cpu")), BLOCKED)
    functions: list[Any] = []

    def capture(function: Any) -> Any:
        functions.append(function)
        return function

    before = descent._batch.W.clone()
    replayed = Replayed.of(descent, capture)
    assert torch.equal(descent._batch.W, before)
    places = (descent.loss.data_ptr(), descent.gradient.data_ptr())
    replayed.go_on(9)
    replayed.go_on(1)
    assert places == (descent.loss.data_ptr(), descent.gradient.data_ptr())
    assert len(functions) == len(SIZES)
