"""Upscale one image file: what a format holds is kept, and large images are read and written by strips."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hkdsr.data import ImageData, check_target, holds, read_image, write_image
from hkdsr.data.strips import Strips, open_strips
from hkdsr.data.write import BY_LINES
from hkdsr.deploy.grid import TileSize
from hkdsr.deploy.stream import stream
from hkdsr.deploy.transparency import fill_hidden
from hkdsr.deploy.upscaler import Upscaler
from hkdsr.errors import HkdsrError
from hkdsr.memory import CUT, needed_for
from hkdsr.paths import require_writable, same_file

logger = logging.getLogger(__name__)

MEGAPIXEL = 10**6


@dataclass(frozen=True)
class Handling:
    """How images are enlarged: ``tile`` as in ``upscale``; results of ``stream_from`` megapixels or more by strips.

    ``recursive`` includes the folders in folders. ``overwrite`` makes what is there already anew; without it, results
    of several images count as done if they are newer than the image and than ``network_file``. ``progress`` shows bars.
    """

    tile: TileSize = "auto"
    stream_from: float = 50
    progress: bool = True
    recursive: bool = False
    overwrite: bool = False
    network_file: Path | None = None


def enlarge_file(
    upscaler: Upscaler, source: Path, target: Path, keeps_name: bool, handling: Handling
) -> tuple[Path, tuple[int, int]]:
    """Upscale the image file ``source``; returns the file that was written and the size (width, height) of the source.

    That is ``target``, or with ``keeps_name`` ``kept_name``.

    Raises HkdsrError if the source cannot be read or the target cannot hold it, WriteError if it cannot be written.
    """
    with needed_for(str(source), CUT):
        image, strips = _opened(source, upscaler.scale, handling)
        height, width = (upscaler.scale * side for side in image.colour.shape[:2])
        result = replace(image, colour=np.broadcast_to(np.zeros((), image.colour.dtype), (height, width, 3)))
        size = (image.colour.shape[1], image.colour.shape[0])
        if keeps_name:
            target = kept_name(target, result)
        require_other(source, target)
        check_target(target, result)
        require_writable(target)
        large = height * width >= handling.stream_from * MEGAPIXEL
        if large and target.suffix.lower() in BY_LINES:
            colour = _visible(image) if strips is None else strips
            stream(upscaler, colour, result, image.alpha, target, str(source), handling.tile, handling.progress)
            return target, size
        if large:
            logger.info("%s is made as a whole, in memory: name it .png or .tif to write it line by line", target)
        write_image(target, _enlarged(upscaler, source, image if strips is None else read_image(source), handling))
        return target, size


def kept_name(target: Path, image: ImageData) -> Path:
    """``target``, or a PNG file of that name if it could not hold ``image``."""
    return target if holds(target, image) else target.with_name(f"{target.name}.png")


def require_other(source: Path, target: Path) -> None:
    """Raises HkdsrError if both are one file or folder."""
    if same_file(source, target):
        raise HkdsrError(f"{target} is also the source: name another target")


def _opened(source: Path, scale: int, handling: Handling) -> tuple[ImageData, Strips | None]:
    """The image, with a stand-in for its colours where they are read by strips."""
    smallest = handling.stream_from * MEGAPIXEL / scale**2
    found = open_strips(source, smallest)
    if found is not None:
        return found
    image = read_image(source)
    if image.colour.shape[0] * image.colour.shape[1] >= smallest:
        logger.info("%s is read as a whole (plain PNG, JPEG and TIFF files are not, with 'hkdsr[large]')", source)
    return image, None


def _visible(image: ImageData) -> np.ndarray:
    """Grey (H, W) or RGB (H, W, 3), with colours under transparent pixels replaced."""
    colour = image.colour[..., 0] if image.grey else image.colour
    return colour if image.alpha is None else fill_hidden(colour, image.alpha)


def _enlarged(upscaler: Upscaler, source: Path, image: ImageData, handling: Handling) -> ImageData:
    visible, scale = _visible(image), upscaler.scale
    height, width = visible.shape[:2]
    colour = np.empty((scale * height, scale * width, *visible.shape[2:]), visible.dtype)
    upscaler.fill(visible, colour, str(source), handling.tile, handling.progress)
    if image.grey:
        colour = np.broadcast_to(colour[..., None], (*colour.shape, 3))
    if image.alpha is None:
        return replace(image, colour=colour)
    from hkdsr.data.resize import imresize  # imports PyTorch, which images without alpha may not need

    return replace(image, colour=colour, alpha=imresize(image.alpha, scale))
