"""Steps of a descent captured as CUDA graphs: a few launches for the steps between two records.

A step of small networks is microseconds of arithmetic in about ten kernels, and launching them one
by one takes longer than running them. The kernels of a step do not depend on its number, so a graph
of 32 steps serves wherever 32 or more are left until the next record, then one of 8, then of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

SIZES = (32, 8, 1)
"""Steps of the graphs, largest first; the last is 1. Capturing takes as long as launching once."""


class Steps(Protocol):
    """What can be captured: steps that leave their results in `loss` and `gradient`."""

    loss: Tensor
    gradient: Tensor

    def steps(self, count: int) -> int:
        """Takes `count` steps, by work on the device alone; returns it."""


class Replayed:
    """Takes the steps of a descent by replaying graphs of them."""

    def __init__(self, graphs: Mapping[int, Callable[[], None]]) -> None:
        """graphs: what takes so many steps at once, largest number first, for 1 too."""
        self._graphs = graphs

    @classmethod
    def of(
        cls,
        descent: Steps,
        capture: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
    ) -> Replayed:
        """The graphs of `descent`, of which nothing runs before the first is replayed.

        capture: makes a replay of a function; by default as a CUDA graph."""
        made = capture or captured
        # Every graph starts from these two tensors and leaves its results in them.
        loss, gradient = descent.loss.clone(), descent.gradient.clone()
        graphs: dict[int, Callable[[], None]] = {}
        for size in SIZES:

            def several(size: int = size) -> None:
                descent.loss, descent.gradient = loss, gradient
                descent.steps(size)
                loss.copy_(descent.loss)
                gradient.copy_(descent.gradient)
                descent.loss, descent.gradient = loss, gradient

            graphs[size] = made(several)
        descent.loss, descent.gradient = loss, gradient
        return cls(graphs)

    def go_on(self, most: int) -> int:
        """Takes some steps, at most so many; returns how many."""
        size = next(size for size in self._graphs if size <= most)
        self._graphs[size]()
        return size


def captured(function: Callable[[], None]) -> Callable[[], None]:
    """`function` as a CUDA graph, which the returned function replays. What it launches must have
    run before: a kernel that is loaded while a graph is captured ends the capture."""
    graph = torch.cuda.CUDAGraph()
    # Other threads of a worker may talk to the device meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        function()
    return graph.replay
