"""Run a network on an image as a whole or, where memory does not suffice, in tiles: the one place that goes on.

Upscaling, scores, strips, validation and the teacher's images come here. The results are assembled in host memory, so
that the device holds one tile and nothing of the image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from hkdsr.deploy.grid import Tile, cover, halved
from hkdsr.deploy.tiles import Enlarger, images_of, network_of, reach
from hkdsr.memory import OutOfMemoryError, fits
from hkdsr.nets.sanity import name_of

logger = logging.getLogger(__name__)

Images = Sequence[Tensor]


@dataclass(frozen=True)
class Job:
    """An image to enlarge.

    ``name`` and ``size`` (LR height, width) say which; ``remedy`` ends the sentence if memory does not suffice.
    ``given`` cuts what a tile sees, (1, 3, h, w) for the network; ``keep`` takes the enlarged images of what it keeps,
    each (1, 3, scale*h, scale*w). ``exact``: no tiles for networks that see the whole image at once, as they would
    give another image; else a warning is logged for them.
    """

    name: str
    size: tuple[int, int]
    remedy: str
    given: Callable[[Tile], Tensor]
    keep: Callable[[Tile, Images], object]
    exact: bool = True


@torch.inference_mode()
def run(enlarger: Enlarger, job: Job, sides: Iterable[int], progress: bool = False) -> None:
    """Run the job in tiles of the first of ``sides`` (LR pixels) that fits into memory; large ones are the whole image.

    ``progress`` shows a bar of tiles. Raises OutOfMemoryError if none fits.
    """
    side = 0
    for tries, side in enumerate(sides):
        if tries:
            logger.info("%s does not fit into memory: it is tried in tiles of %d pixels", job.name, side)
        if fits(lambda side=side: _enlarge(enlarger, job, side, progress)):
            return
        torch.cuda.empty_cache()
    device = next(enlarger.parameters(), torch.zeros(())).device
    raise OutOfMemoryError(f"{job.name}: tiles of {side} pixels do not fit into the memory of {device}: {job.remedy}")


def enlarged(
    enlarger: Enlarger,
    x: Tensor,
    name: str,
    remedy: str,
    finish: Callable[[Images], Images] = list,
    *,
    exact: bool = True,
) -> list[Tensor]:
    """LR ``x`` (1, 3, h, w), of the network's device and type -> images (1, 3, scale*h, scale*w).

    As a whole if that fits into memory, else in tiles, halved until they fit and joined on the CPU. ``finish`` changes
    the values of what each tile gives. ``name``, ``remedy`` and ``exact`` as in ``Job``. Raises OutOfMemoryError.
    """
    height, width = x.shape[-2:]
    scale = network_of(enlarger).scale
    joined: list[Tensor] = []

    def keep(tile: Tile, images: Images) -> None:
        images = finish(images)
        if tile.kept == (slice(0, height), slice(0, width)):
            joined[:] = images
            return
        if tile.kept[0].start == tile.kept[1].start == 0:
            joined.clear()  # of tiles that did not fit
            joined[:] = [torch.empty(1, 3, scale * height, scale * width, dtype=image.dtype) for image in images]
        for whole, image in zip(joined, images, strict=True):
            whole[..., *tile.kept_of_whole(scale)] = image.cpu()

    run(
        enlarger,
        Job(name, (height, width), remedy, lambda tile: x[..., *tile.seen], keep, exact),
        halved(max(height, width)),
    )
    return joined


def _enlarge(enlarger: Enlarger, job: Job, side: int, progress: bool) -> None:
    tiles = list(_tiles(enlarger, job, side))
    scale = network_of(enlarger).scale
    for tile in tqdm(tiles, unit="tile", disable=None if progress and len(tiles) > 1 else True):
        images = images_of(enlarger, job.given(tile))
        job.keep(tile, [image[..., *tile.kept_of_seen(scale)] for image in images])


def _tiles(enlarger: Enlarger, job: Job, side: int) -> Iterable[Tile]:
    if side >= max(job.size):
        return cover(job.size, side, 0, 1)
    needed, network = reach(enlarger), network_of(enlarger)
    if needed.sees_all:
        if job.exact:
            raise OutOfMemoryError(
                f"{job.name} does not fit into memory as a whole, and {name_of(network)} sees the whole image at once, "
                f"so tiles would give another one: {job.remedy}"
            )
        logger.warning(
            "%s sees the whole image at once, so tiles of %d pixels differ slightly from it: use larger tiles, or none",
            name_of(network),
            side,
        )
    return cover(job.size, side, needed.pixels, network.pad_multiple)
