"""Batches cut on a GPU that holds all training images, where they fit: nothing then has to be sent in a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from hkdsr.data.crops import Batch, CropSampler, Place, Prefetcher

SHARE = 0.25
"""Of the free memory of a GPU, that the images may take."""


class ResidentSampler:
    """The batches of ``sampler``, byte for byte, cut on ``device``, to which all its images are copied.

    Not for a sampler that degrades.
    """

    def __init__(self, sampler: CropSampler, device: torch.device) -> None:
        self._sampler, self._device = sampler, device
        shapes = [[image.shape for image in sampler.images(index)] for index in range(len(sampler.store))]
        self._planes = []
        for plane, sizes in enumerate(zip(*shapes, strict=True)):
            starts = list(accumulate((int(np.prod(size)) for size in sizes), initial=0))
            content = torch.empty(starts[-1], dtype=torch.uint8, device=device)
            for index, start in enumerate(starts[:-1]):
                image = np.array(sampler.images(index)[plane]).reshape(-1)
                content[start : start + len(image)] = torch.from_numpy(image)
            self._planes.append((content, starts, [width for _, width, _ in sizes]))

    def in_bytes(self, step: int) -> Batch:
        """As ``CropSampler.in_bytes``, on the device."""
        places = self._sampler.places(step)
        lr, *others = (self._cut(plane, places) for plane in range(len(self._planes)))
        return Batch(lr, others.pop(0) if self._sampler.store.has_hr else None, others)

    def _cut(self, plane: int, places: list[Place]) -> Tensor:
        """(B, 3, p, p), uint8."""
        (content, starts, widths), factor = self._planes[plane], self._sampler.factors[plane]
        side = factor * self._sampler.patch
        crops = [(widths[p.image], starts[p.image], factor * p.top, factor * p.left, p.way) for p in places]
        # One number for each crop, to be combined with rows and columns of the crops.
        width, start, top, left, way = (numbers[:, None, None] for numbers in self._sent(crops).unbind(1))
        index = torch.arange(side, device=self._device)
        row = torch.where(way & 2 > 0, side - 1 - index[:, None], index[:, None])
        column = torch.where(way & 1 > 0, side - 1 - index, index)
        turned = way & 4 > 0
        row, column = torch.where(turned, column, row), torch.where(turned, row, column)
        pixel = start + 3 * ((top + row) * width + left + column)
        return content[pixel.unsqueeze(1) + torch.arange(3, device=self._device)[:, None, None]]

    def _sent(self, numbers: list[tuple[int, ...]]) -> Tensor:
        """On the device, without waiting for what it computes."""
        table = torch.tensor(numbers)
        return (table.pin_memory() if self._device.type == "cuda" else table).to(self._device, non_blocking=True)


def batches(sampler: CropSampler, start: int, device: torch.device) -> AbstractContextManager[Iterator[Batch]]:
    """Batches in uint8 from step ``start`` on: cut on ``device`` if that is a GPU with room, else in a thread."""
    if device.type == "cuda" and not sampler.degrades and _fits(sampler, torch.cuda.mem_get_info(device)[0]):
        resident = ResidentSampler(sampler, device)
        return nullcontext(map(resident.in_bytes, range(start, 1 << 62)))
    return Prefetcher(sampler, start, pin=device.type == "cuda")


def _fits(sampler: CropSampler, free: int) -> bool:
    store = sampler.store
    hr = 3 * sum(height * width for height, width in store.sizes)
    planes = sum((factor / store.scale) ** 2 for factor in sampler.factors)
    return planes * hr <= SHARE * free
