"""Upscale images of any size and kind: in tiles if need be, one on the device at a time, joined without seams.

The result is assembled in host memory, so that the device holds one tile and nothing of the image.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from hkdsr.data import imresize, rgb
from hkdsr.deploy.tiles import Tile, cover, reach
from hkdsr.deploy.transparency import fill_hidden
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load
from hkdsr.nets.sanity import name_of, require_image

logger = logging.getLogger(__name__)

SMALLEST_TILE = 16
# Linux rarely refuses memory, it ends the process that uses it: on the CPU "auto" does not begin with more than this.
LARGEST_CPU_TILE = 1024
MODES = {"1": "L", "LA": "RGBA", "PA": "RGBA", "P": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
"""What Pillow images of other modes are converted to."""

TileSize = int | Literal["auto"] | None


@overload
def upscale(
    network: Network | str | Path, image: Image.Image, tile: TileSize = None, progress: bool = False
) -> Image.Image: ...
@overload
def upscale(
    network: Network | str | Path, image: np.ndarray | str | Path, tile: TileSize = None, progress: bool = False
) -> np.ndarray: ...
def upscale(
    network: Network | str | Path,
    image: np.ndarray | Image.Image | str | Path,
    tile: TileSize = None,
    progress: bool = False,
) -> np.ndarray | Image.Image:
    """Upscale an image by ``network.scale``, on the network's device, in the mode (training or not) that it is in.

    ``network`` may also be a file or the name of a shipped network.

    ``image`` is an array, grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4), of uint8, uint16, or floats in [0, 1]; the
    result is of the same type and kind. A Pillow image gives a Pillow image, a file uint8 RGB. Grey is run as three
    equal channels and averaged. Alpha is resized bicubically, and colours under wholly transparent pixels are replaced
    by those of the nearest visible ones.

    ``tile`` is the side of the squares to work in, in LR pixels without their surroundings; None runs the whole image
    at once, "auto" too if it fits into the device's memory and else in tiles, halved until they fit. Tiles match the
    whole image within 1/255, except for networks that see all of it (channel attention, for example): for these a
    warning is logged. ``progress`` shows a bar of tiles.

    Raises HkdsrError for an image of another type or shape, for a tile of under 16 pixels, for a lack of memory, and
    for a network whose result is not an image (NaN, or values far out of range).
    """
    if isinstance(network, str | Path):
        network = load(network)
    if not isinstance(network, Network):
        raise HkdsrError(f"cannot upscale by {_kind(network)}: give a network, its file or the name of a shipped one")
    if isinstance(image, Image.Image):
        converted = image.convert(MODES[image.mode]) if image.mode in MODES else image
        return Image.fromarray(upscale(network, np.array(converted), tile, progress))
    if isinstance(image, str | Path):
        image = rgb(image)
    _check_image(image)
    if image.shape[2:] == (4,):
        colour = upscale(network, fill_hidden(image[..., :3], image[..., 3]), tile, progress)
        return np.dstack((colour, enlarged_alpha(image[..., 3], network.scale)))
    check_tile(tile)
    side = 0
    for side in _sides(image, tile, _device(network)):
        upscaled = _upscale_if_it_fits(network, image, side, progress)
        if upscaled is not None:
            return upscaled
    remedy = "use a smaller network" if tile == "auto" else "set tile to 'auto' or to a smaller number"
    raise HkdsrError(f"tiles of {side} pixels do not fit into the memory of {_device(network)}: {remedy}")


def enlarged_alpha(alpha: np.ndarray, scale: int) -> np.ndarray:
    """Alpha (H, W) of uint8, uint16 or floats in [0, 1], resized bicubically to scale times its size."""
    if np.issubdtype(alpha.dtype, np.integer):
        return imresize(alpha, scale)
    return imresize(torch.from_numpy(np.ascontiguousarray(alpha)), float(scale)).clamp(0, 1).numpy()


def _check_image(image: object) -> None:
    if not isinstance(image, np.ndarray):
        raise HkdsrError(f"cannot upscale {_kind(image)}: give an array, a Pillow image or the path of an image file")
    planes = image.shape[2:] if image.ndim in (2, 3) and image.size else None
    if image.dtype not in (np.uint8, np.uint16, np.float32, np.float64) or planes not in ((), (3,), (4,)):
        raise HkdsrError(
            f"cannot upscale {image.dtype} of shape {image.shape}: "
            "give uint8, uint16 or floats of shape (H, W), (H, W, 3) or (H, W, 4)"
        )
    if np.issubdtype(image.dtype, np.floating) and not (image.min() >= 0 and image.max() <= 1):
        raise HkdsrError("cannot upscale floats out of the range [0, 1]: divide the image by its largest value")


def _kind(value: object) -> str:
    return f"an object of the type {type(value).__name__}"


def check_tile(tile: TileSize) -> None:
    """Raises HkdsrError for a tile that is too small."""
    if isinstance(tile, int) and tile < SMALLEST_TILE:
        raise HkdsrError(f"tile is {tile}: leave it out or set it to at least {SMALLEST_TILE} pixels")


def _sides(image: np.ndarray, tile: TileSize, device: torch.device) -> Iterator[int]:
    """The tile sizes to try, largest first."""
    whole = max(image.shape[:2])
    if tile is None:
        yield whole
    elif tile != "auto":
        yield tile
    else:
        side = min(whole, LARGEST_CPU_TILE) if device.type == "cpu" else whole
        yield side
        while side > SMALLEST_TILE:
            side = max(-(-side // 2), SMALLEST_TILE)
            yield side


def _upscale_if_it_fits(network: Network, image: np.ndarray, side: int, progress: bool) -> np.ndarray | None:
    """The upscaled image, or None if memory ran out."""
    try:
        tiles = list(_tiles(network, image, side))
        return _join(network, image, tqdm(tiles, unit="tile", disable=None if progress and len(tiles) > 1 else True))
    except (RuntimeError, MemoryError) as error:
        # CUDA has an exception of its own; other devices tell only by their words.
        named = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not named and not any(words in str(error).lower() for words in ("allocat", "out of memory")):
            raise
    torch.cuda.empty_cache()
    return None


def _tiles(network: Network, image: np.ndarray, side: int) -> Iterable[Tile]:
    size = (image.shape[0], image.shape[1])
    if side >= max(size):
        return cover(size, side, 0, 1)
    needed = reach(network)
    if needed.sees_all:
        logger.warning(
            "%s sees the whole image at once, so tiles of %d pixels differ slightly from it: use larger tiles, or none",
            name_of(network),
            side,
        )
    return cover(size, side, needed.pixels, network.pad_multiple)


@torch.inference_mode()
def _join(network: Network, image: np.ndarray, tiles: Iterable[Tile]) -> np.ndarray:
    network.to(memory_format=torch.channels_last)  # on a CPU down to half the time for plain convolutions
    scale, weight = network.scale, next(network.parameters())
    rounded = np.issubdtype(image.dtype, np.integer)
    largest = np.iinfo(image.dtype).max if rounded else 1
    joined = np.empty((scale * image.shape[0], scale * image.shape[1], *image.shape[2:]), image.dtype)
    for tile in tiles:
        pixels = torch.from_numpy(image[tile.seen].astype(np.float32) / largest)
        planes = pixels.expand(3, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        upscaled = network(planes[None].to(weight))[0][:, *tile.kept_of_seen(scale)]
        require_image(upscaled, name_of(network))
        upscaled = upscaled.float().clamp(0, 1)
        upscaled = largest * (upscaled.mean(0) if pixels.ndim == 2 else upscaled.permute(1, 2, 0))
        joined[tile.kept_of_whole(scale)] = (upscaled.round() if rounded else upscaled).cpu().numpy()
    return joined


def _device(network: Network) -> torch.device:
    return next(network.parameters()).device
