"""The processes that train one network together, and what they exchange.

Every process draws the same batch and takes its own equal share of it. Losses are means over images, so the mean of
the processes' gradients is that of the whole batch: a recipe gives the same training, up to rounding, whatever the
number of processes. Only the first process trains exits, validates and writes; all of them make the teacher's images.
All processes need access to the folders ``out`` and ``data.cache``.

Gradients are averaged here in one collective instead of by ``DistributedDataParallel``, which either fails at a
parameter without a gradient (a head whose weight is 0) or, with ``find_unused_parameters``, warns in every run that has
none. Its advantage, communication during the backward pass, is small for students of a few megabytes.

Exceptions to "the same training": methods that compare the images of a batch with one another see only those of their
share; state that a method keeps in buffers is that of the first process, unless the method averages it; random numbers
are the same in every process. What is drawn for the whole batch (the windows and positions of FSM) is therefore the
same as in one process; what is drawn for each image repeats in every share of the batch, which is equally unbiased but
less varied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hkdsr.errors import HkdsrError

Made = TypeVar("Made")


class ConnectionLostError(HkdsrError):
    """Another process has ended; it may be started again."""


@dataclass(frozen=True)
class ProcessGroup:
    """``size`` processes that train together; this one is number ``rank`` (from 0).

    All of them must call the same methods in the same order. With one process the methods do nothing.

    Methods raise HkdsrError if the connection to another process is lost.
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            self._all_reduce(torch.zeros(1))

    def agreed(self, value: Made) -> Made:
        """The first process's ``value``, which must be picklable."""
        box = [value]
        if self.size > 1:
            with _connected():
                dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def gathered(self, value: Made) -> list[Made]:
        """The ``value`` of every process, by rank, which must be picklable."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _connected():
            dist.all_gather_object(values, value)
        return values

    def main_first(self, make: Callable[[], Made]) -> Made:
        """Call ``make`` in the first process, then in the others, which find the files that the first has written."""
        if self.main:
            made = make()
            self.wait()
            return made
        self.wait()
        return make()

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace gradients by their means over the processes; a missing gradient counts as zero.

        Parameters that have a gradient in no process keep none, so that the optimiser skips them.
        """
        if self.size == 1:
            return
        here = [p.grad is not None for p in parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        marks = torch.tensor(here, dtype=gradients[0].dtype, device=gradients[0].device)
        flat = torch.cat([*(g.flatten() for g in gradients), marks])
        self._all_reduce(flat)
        *means, marks = (flat / self.size).split([*(g.numel() for g in gradients), len(marks)])
        # Reading the marks waits for the GPU, so they are read only where this process has gradients missing.
        anywhere = here if all(here) else [mark > 0 for mark in marks.tolist()]
        for parameter, gradient, mean, used in zip(parameters, gradients, means, anywhere, strict=True):
            if used:
                parameter.grad = gradient.copy_(mean.view_as(gradient))

    @torch.no_grad()
    def share_state(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors of any dtype by those of the first process."""
        tensors = list(tensors) if self.size > 1 else []
        if not tensors:
            return
        pieces = [tensor.detach().flatten().view(torch.uint8) for tensor in tensors]
        flat = torch.cat(pieces)
        with _connected():
            dist.broadcast(flat, 0)
        for tensor, piece in zip(tensors, flat.split([len(piece) for piece in pieces]), strict=True):
            # Cloned, because a view as a larger dtype must start at a multiple of its size.
            tensor.copy_(piece.clone().view(tensor.dtype).view_as(tensor))

    def means(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The means of scalars over the processes."""
        if self.size == 1:
            return terms
        values = torch.stack(list(terms.values()))
        self._all_reduce(values)
        return dict(zip(terms, values / self.size, strict=True))

    def _all_reduce(self, tensor: Tensor) -> None:
        with _connected():
            dist.all_reduce(tensor)


ALONE = ProcessGroup()


@contextmanager
def _connected() -> Iterator[None]:
    """Name the error that a collective raises when another process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionLostError(
            f"the connection to another process of this training is lost ({short_reason(error)}): read the messages of "
            "the other processes, then run the same command again to continue"
        ) from error


def short_reason(error: RuntimeError) -> str:
    """The first sentence of an error of ``torch.distributed``, which may have many lines."""
    return str(error).partition("\n")[0].partition(". ")[0]
