"""Training steps captured as CUDA graphs, one for each shape, and replayed.

A replay launches a whole step at once, where the host would launch some 1,700 kernels one after the
other. It reads its inputs from static tensors, into which those of each step are copied on the
device; whatever else a step read when it was captured is frozen in it. Weights, optimizer, buffers
and average are changed in place, and gradients live from zero_grad to the optimizer within a step.

Off unless BENCH_CAPTURE=1: it has never run on a GPU. Its twin on the CPU, in
tests/training/test_capture.py, poisons whatever is not static.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.training.clocks import Clocks
from bench.training.inputs import StepInputs
from bench.training.memory import is_out_of_memory
from bench.training.shapes import Shape
from bench.training.step import Trained, train_step
from variants.ops import paths

VARIABLE = "BENCH_CAPTURE"
EAGER, CAPTURED = "launched one by one", "CUDA graphs"
"""As the record of a run names them."""

_logger = logging.getLogger(__name__)


class Graph(Protocol):
    """Work that was captured."""

    def capture(self, work: Callable[[], Tensor]) -> Tensor:
        """Capture `work` without doing it; the tensor in which each replay leaves its result."""

    def replay(self) -> None:
        """Do the work once, without waiting for it."""


class CudaGraph:
    """A `torch.cuda.CUDAGraph`; all share one pool of memory, since they never run at once and
    nothing in it outlives a replay."""

    def __init__(self, pool: Any) -> None:
        self._graph, self._pool = torch.cuda.CUDAGraph(), pool

    def capture(self, work: Callable[[], Tensor]) -> Tensor:
        """See Graph."""
        # Of this thread only: meanwhile another one pins the next batch.
        with torch.cuda.graph(self._graph, pool=self._pool, capture_error_mode="thread_local"):
            return work()

    def replay(self) -> None:
        """See Graph."""
        self._graph.replay()


@dataclass(frozen=True)
class _Captured:
    graph: Graph
    inputs: StepInputs
    row: Tensor


class CapturedSteps:
    """Takes training steps as `train_step` does. The first step of a shape runs eagerly, so that
    what is built once is built; the second captures and replays; later ones replay.

    A batch without a shape runs eagerly. So does everything after a capture that failed, with one
    warning.
    """

    def __init__(self, make_graph: Callable[[], Graph]) -> None:
        self._make_graph = make_graph
        self._seen: set[Shape] = set()
        self._captured: dict[Shape, _Captured] = {}
        self.failure: str | None = None
        """Why a step was not captured."""

    def __call__(self, trained: Trained, inputs: StepInputs, clocks: Clocks) -> Tensor:
        """The row of the window."""
        shape = inputs.shape
        if shape is None or self.failure or shape not in self._seen:
            if shape is not None:
                self._seen.add(shape)
            return train_step(trained, inputs, clocks)
        with clocks("replay"):
            captured = self._captured.get(shape) or self._capture(trained, inputs, clocks, shape)
            if captured is None:
                return train_step(trained, inputs, clocks)
            # A graph reads and writes the addresses that it was captured with, so inputs are copied
            # into them on the same stream, and the row is copied out before the next replay
            # overwrites it:
            #
            #     inputs --copy--> static inputs --replay--> static row --clone--> result
            for static, given in zip(captured.inputs.tensors(), inputs.tensors(), strict=True):
                static.copy_(given, non_blocking=True)
            captured.graph.replay()
            return captured.row.clone()

    def _capture(
        self, trained: Trained, inputs: StepInputs, clocks: Clocks, shape: Shape
    ) -> _Captured | None:
        # Gradients of the last step would else be freed within the capture.
        trained.optimizer.zero_grad(set_to_none=True)
        static, graph = inputs.mapped(torch.clone), self._make_graph()
        try:
            row = graph.capture(lambda: train_step(trained, static, Clocks({}, trained.device)))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            _logger.warning("steps run without CUDA graphs, since one was not captured: %s", error)
            self.failure = str(error)
            paths.note(paths.STEPS, EAGER)
            return None
        self._captured[shape] = _Captured(graph, static, row)
        return self._captured[shape]


def is_wanted(device: torch.device) -> bool:
    """True if steps on `device` are to be captured."""
    return device.type == "cuda" and os.environ.get(VARIABLE) == "1"


def captured_steps() -> CapturedSteps:
    """Steps captured on CUDA."""
    pool = torch.cuda.graph_pool_handle()
    return CapturedSteps(lambda: CudaGraph(pool))
