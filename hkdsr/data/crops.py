"""Aligned training crops that depend on nothing but (seed, step): a resumed run sees what it would have seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from hkdsr.data.degrade import live_degrader, random_of
from hkdsr.data.derived import DerivedStore, JoinedStores
from hkdsr.data.store import ImageStore
from hkdsr.errors import HkdsrError
from hkdsr.settings.degrade import Degrade


@dataclass(frozen=True)
class Batch:
    """Crops of the same places: ``lr`` (B, 3, p, p); ``hr`` and each of ``teacher`` (B, 3, scale*p, scale*p).

    Contiguous RGB: uint8 as it comes from the images, or float32 in [0, 1], each value a multiple of 1/255.
    ``optional_hr`` is ``hr``, or None where there are LR images alone.
    """

    lr: Tensor
    optional_hr: Tensor | None
    teacher: list[Tensor]

    @property
    def hr(self) -> Tensor:
        """The HR crops. Not for a store without HR."""
        assert self.optional_hr is not None
        return self.optional_hr

    def on(self, device: torch.device) -> Batch:
        """The same in float32 on ``device``. Bytes are sent there as bytes, without waiting if they are pinned."""
        return self._each(lambda image: _in_float(image.to(device, non_blocking=True)))

    def pinned(self) -> Batch:
        """The same in memory that a GPU copies from by itself. Raises RuntimeError without a GPU."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        hr = None if self.optional_hr is None else change(self.optional_hr)
        return Batch(change(self.lr), hr, [change(image) for image in self.teacher])


@dataclass(frozen=True)
class Place:
    """A crop: the number of the image, the first row and column in LR pixels, and in which of 8 ways it is turned."""

    image: int
    top: int
    left: int
    way: int


class CropSampler:
    """Random aligned crops of ``patch_lr`` LR pixels a side, turned and flipped in one of the 8 ways of a square.

    An image is drawn with probability proportional to its area, so that every region of the data set counts alike
    however the images were cut; the position is uniform over all that fit, the far edges included. Images smaller
    than the patch are left out; ``left_out`` is their number.

    ``derived`` adds the planes of derived stores (the teacher's images) as ``Batch.teacher``.

    ``degrade`` makes LR crops by degrading the HR crop or, where there is no HR, the LR crop. What it draws depends on
    nothing but seed, step and the crop's place in the batch.

    ``share`` (i, n) gives of each batch only the i-th (from 0) of n equal parts, for one of n processes.

    Raises HkdsrError if no image is as large as the patch, or the batch cannot be shared evenly.
    """

    def __init__(
        self,
        store: ImageStore,
        patch_lr: int,
        batch: int,
        seed: int,
        derived: DerivedStore | JoinedStores | None = None,
        share: tuple[int, int] = (0, 1),
        degrade: Degrade | None = None,
    ) -> None:
        self.store, self._derived = store, derived
        self._degrader = live_degrader(degrade, store.scale, store.has_hr)
        self.patch, self._count, self._seed = patch_lr, batch, seed
        others = int(store.has_hr) + (derived.planes if derived else 0)
        self.factors = (1, *[store.scale] * others)
        """How many times as large as LR each of ``images`` is."""
        index, of = share
        if batch % of:
            raise HkdsrError(
                f"training.batch is {batch}, which {of} processes cannot share evenly: set it to a multiple of {of}"
            )
        self._mine = slice(index * batch // of, (index + 1) * batch // of)
        sizes = np.array(store.sizes, dtype=np.int64) // store.scale
        self._fitting = np.flatnonzero(sizes.min(axis=1) >= patch_lr)
        self.left_out = len(store) - len(self._fitting)
        if not len(self._fitting):
            raise HkdsrError(
                f"data.patch is {patch_lr} LR pixels, larger than every training image: "
                f"set it to at most {sizes.min(axis=1).max()}"
            )
        self._room = sizes[self._fitting] - patch_lr + 1
        self._area_up_to = np.cumsum(sizes[self._fitting].prod(axis=1))

    def batch(self, step: int) -> Batch:
        """The batch of training step ``step`` (from 0), in float32."""
        return self.in_bytes(step).on(torch.device("cpu"))

    @property
    def degrades(self) -> bool:
        """Whether LR crops are made anew in each step."""
        return self._degrader is not None

    def in_bytes(self, step: int) -> Batch:
        """The batch of training step ``step`` (from 0), in uint8."""
        crops = [
            self._degraded(self._crops(place), step, int(index))
            for index, place in zip(range(self._count)[self._mine], self.places(step), strict=True)
        ]
        lr, *others = (_batched(plane) for plane in zip(*crops, strict=True))
        return Batch(lr, others.pop(0) if self.store.has_hr else None, others)

    def places(self, step: int) -> list[Place]:
        """Where the crops of training step ``step`` (from 0) are."""
        random = np.random.default_rng(np.random.SeedSequence([self._seed, step]))
        drawn = np.searchsorted(self._area_up_to, random.integers(self._area_up_to[-1], size=self._count), side="right")
        places = random.integers(self._room[drawn])
        ways = random.integers(8, size=self._count)
        # All is drawn and then divided: the processes together see what one would.
        mine = (values[self._mine].tolist() for values in (self._fitting[drawn], places, ways))
        return [Place(image, top, left, way) for image, (top, left), way in zip(*mine, strict=True)]

    def images(self, image: int) -> list[np.ndarray]:
        """LR, HR if there is one, and the derived images, uint8 (H, W, 3), without a copy."""
        planes = [self.store.lr(image), *([self.store.hr(image)] if self.store.has_hr else [])]
        if self._derived is not None:
            planes += [self._derived.get(plane, image) for plane in range(self._derived.planes)]
        return planes

    def _crops(self, place: Place) -> list[np.ndarray]:
        """The windows of ``images``."""
        windows = []
        for plane, factor in zip(self.images(place.image), self.factors, strict=True):
            top, left, side = factor * place.top, factor * place.left, factor * self.patch
            windows.append(_turned(plane[top : top + side, left : left + side], place.way))
        return windows

    def _degraded(self, crops: list[np.ndarray], step: int, index: int) -> list[np.ndarray]:
        if self._degrader is None:
            return crops
        lr, *others = crops
        source = others[0] if self.store.has_hr else lr
        return [self._degrader.degraded(source, random_of(self._seed, step, index)), *others]


class Prefetcher:
    """Batches of ``sampler`` from step ``start`` on, in order, prepared in one background thread ``ahead`` of use.

    They are in uint8; with ``pin``, in memory that a GPU copies from by itself. An endless iterator and a context
    manager; leaving it (or ``close``) stops the thread. What the sampler raises is raised where the batch is taken.
    """

    def __init__(self, sampler: CropSampler, start: int, ahead: int = 4, pin: bool = False) -> None:
        self._sampler, self._pin = sampler, pin
        self._step = start
        self._thread = ThreadPoolExecutor(1, "crops")
        self._pending: deque[Future[Batch]] = deque()
        for _ in range(ahead):
            self._request()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self._request()
        return self._pending.popleft().result()

    def close(self) -> None:
        """Stop the thread and drop what it has prepared; no batch can be taken afterwards."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self) -> None:
        self._pending.append(self._thread.submit(self._prepared, self._step))
        self._step += 1

    def _prepared(self, step: int) -> Batch:
        batch = self._sampler.in_bytes(step)
        return batch.pinned() if self._pin else batch


def _turned(window: np.ndarray, way: int) -> np.ndarray:
    """One of the 8 symmetries of the square applied to (p, p, 3), as a view: ``way``'s bits transpose and flip."""
    if way & 4:
        window = window.swapaxes(0, 1)
    return window[:: -1 if way & 2 else 1, :: -1 if way & 1 else 1]


def _batched(windows: tuple[np.ndarray, ...]) -> Tensor:
    """Windows (p, p, 3) uint8 -> (B, 3, p, p) uint8."""
    side = len(windows[0])
    stacked = np.empty((len(windows), 3, side, side), np.uint8)
    # Planes first: a mirrored row is then one run of bytes, four times faster to copy than pixels of three.
    for planes, window in zip(stacked, windows, strict=True):
        planes[:] = window.transpose(2, 0, 1)
    return torch.from_numpy(stacked)


def _in_float(image: Tensor) -> Tensor:
    return image.float().div_(255) if image.dtype == torch.uint8 else image
