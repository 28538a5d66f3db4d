"""A step of training that is replayed instead of being launched kernel by kernel, and several of them side by side.

At the size of this book's networks a GPU waits for Python: a step of resnet20 is a thousand small kernels, each
launched by hand. A CUDA graph is a whole step (forward, backward, Adam) as one object; replaying it is one launch. It
does not matter which network or how many classes it is for, so tasks may differ, and graphs on different streams run
side by side. On a CPU, and where nothing is to be captured, the same objects simply run the step.

What a captured step needs, and where it gets it: inputs at fixed addresses (copied there); learning rate and
strength as tensors (:func:`mplib.steps.set_rate`, the buffer of the perturbation); a draw of its own (below); all lazy
set-up done before (the first steps of a run are taken as they are, on the same stream).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

WARM_UP = 3
"""Steps that are taken as they are before one is captured: libraries choose their kernels, Adam makes its moments."""

LANES = 8
"""Streams at most. More would not run side by side, and each holds the memory of a step."""

Body = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""What a step does with a batch of images and its labels; all that changes from call to call lies in tensors."""


class Lane:
    """A stream of a GPU, and the memory of the steps that are captured on it: they run one after another."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What is launched inside runs on this lane, after all that was launched before."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            yield

    def join(self) -> None:
        """What is launched from now on waits for this lane."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)


def lanes(device: torch.device, count: int, capture: bool = True) -> list[Lane | None]:
    """A lane for each of ``count`` networks, shared where there are many; None where nothing can be captured."""
    if device.type != "cuda" or not capture:
        return [None] * count
    made = [Lane(device) for _ in range(min(count, LANES))]
    return [made[number % len(made)] for number in range(count)]


class Step:
    """One kind of step of one network, to be taken again and again with other batches and other seeds.

    Args:
        body: the step; it may draw from torch's default generators. One that draws from the CPU's is not captured, for
            its draw would be part of the graph and the same for ever.
        lane: where it is captured and replayed; None to run it as it is.

    Example:
        >>> step = Step(lambda images, labels: (images.mean() + torch.rand(()), labels.sum()))
        >>> for seed in (0, 1):
        ...     step.start(seed, torch.ones(2), torch.ones(2))
        >>> step.finish()[1]
        tensor(2.)
    """

    def __init__(self, body: Body, lane: Lane | None = None) -> None:
        self._body, self._lane = body, lane
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._outputs: tuple[Tensor, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._draws: torch.Generator | None = None
        self._taken, self._replayable = 0, True

    def start(self, seed: int, images: Tensor, labels: Tensor) -> None:
        """Take the step; on a lane, without waiting for it.

        Args:
            seed: of everything that the step draws.
            images, labels: the batch, of the same shapes each time.
        """
        if self._lane is None:
            torch.manual_seed(seed)
            self._outputs = self._body(images, labels)
            return
        if self._inputs is None:
            self._inputs = images.clone(), labels.clone()
        else:
            for kept, given in zip(self._inputs, (images, labels), strict=True):
                kept.copy_(given)
        with self._lane.entered():
            if self._graph is None and self._replayable and self._taken >= WARM_UP:
                self._capture(self._lane, *self._inputs)
            if self._graph is None or self._draws is None:
                torch.manual_seed(seed)
                before = torch.get_rng_state()
                self._outputs = self._body(*self._inputs)
                self._replayable &= torch.equal(before, torch.get_rng_state())
            else:
                self._draws.manual_seed(seed)
                self._graph.replay()
        self._taken += 1

    def finish(self) -> tuple[Tensor, ...]:
        """What the step gave. Its tensors may be written over by the next step: copy what is to be kept."""
        if self._lane is not None:
            self._lane.join()
        return self._outputs

    def _capture(self, lane: Lane, images: Tensor, labels: Tensor) -> None:
        self._draws, graph = torch.Generator(lane.device), torch.cuda.CUDAGraph()
        # Not "global", under which a thread of NCCL that looks after its own events would spoil the capture.
        recording = torch.cuda.graph(graph, pool=lane.pool, stream=lane.stream, capture_error_mode="thread_local")
        with _drawing_from(self._draws), recording:
            self._outputs = self._body(images, labels)
        self._graph = graph


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """The default generator of a GPU draws from the state of another one inside.

    All that draws in a step, site, dropout or objective, draws from the default generator. A graph reads seed and
    offset of a generator from the GPU's memory, so graphs that share one cannot run side by side; this gives each its
    own. What is drawn is what the default generator would have drawn with the same seed.
    """
    index = generator.device.index
    default = torch.cuda.default_generators[torch.cuda.current_device() if index is None else index]
    before = default.graphsafe_get_state()
    default.graphsafe_set_state(generator)
    try:
        yield
    finally:
        default.graphsafe_set_state(before)
