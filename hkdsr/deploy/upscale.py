"""Upscale images of any size and kind: in tiles if need be, one on the device at a time, joined without seams.

The result is assembled in host memory as integers, so that the device holds one tile and nothing of the image.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from hkdsr.data import ImageData, check_target, holds, imresize, list_images, read_image, write_image
from hkdsr.deploy.tiles import Tile, cover, reach
from hkdsr.errors import HkdsrError
from hkdsr.files import same_file
from hkdsr.nets.base import Network

SMALLEST_TILE = 16
# Linux rarely refuses memory, it ends the process that uses it: on the CPU "auto" does not begin with more than this.
LARGEST_CPU_TILE = 1024
NAMED = 3


def upscale(
    network: Network, image: np.ndarray, tile: int | Literal["auto"] | None = None, progress: bool = False
) -> np.ndarray:
    """Upscale an image by ``network.scale``, on the network's device, in the mode (training or not) that it is in.

    ``image`` is uint8 or uint16, grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4); the result is of the same type and kind,
    and 16 bits are kept. Grey is run as three equal channels and averaged. Alpha is resized bicubically; colours
    are upscaled as stored, also where they are invisible, so an arbitrary colour under transparent pixels reaches into
    the edge of what is visible.

    ``tile`` is the side of the squares to work in, in LR pixels without their surroundings; None runs the whole image
    at once, "auto" too if it fits into the device's memory and else in tiles, halved until they fit. Tiles match the
    whole image within 1/255, except for networks that see all of it (channel attention, say): these give a
    UserWarning. ``progress`` shows a bar of tiles.

    Raises HkdsrError for an image of another type or shape, for a tile of under 16 pixels and for a lack of memory.
    """
    planes = image.shape[2:] if image.ndim > 1 and image.size else None
    if image.dtype not in (np.uint8, np.uint16) or planes not in ((), (3,), (4,)):
        raise HkdsrError(
            f"cannot upscale {image.dtype} of shape {image.shape}: "
            "give uint8 or uint16 of shape (H, W), (H, W, 3) or (H, W, 4)"
        )
    if planes == (4,):
        colour = upscale(network, image[..., :3], tile, progress)
        return np.dstack((colour, imresize(image[..., 3], network.scale)))
    _check_tile(tile)
    side = 0
    for side in _sides(image, tile, _device(network)):
        upscaled = _upscale_if_it_fits(network, image, side, progress)
        if upscaled is not None:
            return upscaled
    remedy = "use a smaller network" if tile == "auto" else "set tile to 'auto' or to a smaller number"
    raise HkdsrError(f"tiles of {side} pixels do not fit into the memory of {_device(network)}: {remedy}")


def upscale_file(
    network: Network,
    source: str | Path,
    target: str | Path | None = None,
    tile: int | Literal["auto"] | None = "auto",
    progress: bool = True,
) -> Path:
    """Upscale an image file into ``target``, or every image of a folder into the folder ``target``; returns that.

    Without a target, ``photo.jpg`` becomes ``photo_x2.png`` (by the network's scale) and ``photos`` ``photos_x2``,
    beside the source; what is there already is not replaced, and a source never. An image's format is that of the
    target's suffix; where the target is a folder, images keep their names, and what such a file could not hold (16
    bits, transparency, a side too long) gets ".png" after its name. Colour profiles are kept. Files appear whole or not
    at all. What else is in a folder is left out, with a UserWarning. ``tile`` as in ``upscale``. ``progress`` shows a
    bar of tiles or of images, on a terminal only.

    Raises HkdsrError if the source cannot be read or the target cannot be written or hold it. In a folder, images
    that cannot be read are named in one error after the others are written.
    """
    _check_tile(tile)
    source = Path(source)
    target = _beside(source, network.scale) if target is None else Path(target)
    if source.is_dir():
        _upscale_folder(network, source, target, tile, progress)
        return target
    image = read_image(source)
    if target.is_dir():
        target = _kept_name(target, source, image)
    _check_other(source, target)
    check_target(target, image)
    _make_folder(target.parent)
    write_image(target, _upscale_image(network, image, tile, progress))
    return target


def _upscale_folder(
    network: Network, source: Path, target: Path, tile: int | Literal["auto"] | None, progress: bool
) -> None:
    _check_other(source, target)
    images = list_images(source)
    _tell_of_others(source, images)
    _make_folder(target)
    failures: list[HkdsrError] = []
    for path in tqdm(images, unit="image", disable=None if progress else True):
        try:
            upscaled = _upscale_image(network, read_image(path), tile, progress=False)
        except HkdsrError as error:
            failures.append(error)
            continue
        write_image(_kept_name(target, path, upscaled), upscaled)
    if failures:
        raise HkdsrError(
            f"{len(failures)} of {len(images)} images are missing from {target} "
            f"({'; '.join(map(str, failures))}): mend them and run again with --output {target}"
        )


def _kept_name(folder: Path, source: Path, image: ImageData) -> Path:
    """Where in ``folder`` the image of file ``source`` goes: PNG if a file of its name could not hold it."""
    target = folder / source.name
    return target if holds(target, image) else target.with_name(f"{target.name}.png")


def _check_other(source: Path, target: Path) -> None:
    if same_file(source, target):
        raise HkdsrError(f"{target} is also the source: name another target")


def _beside(source: Path, scale: int) -> Path:
    """The target of a source for which none was named. PNG, as another JPEG would lose what was gained."""
    source = Path(os.path.abspath(source))  # not resolve(): the result of a link belongs beside the link
    target = source.with_name(f"{source.name if source.is_dir() else source.stem}_x{scale}")
    target = target if source.is_dir() else target.with_name(f"{target.name}.png")
    if target.exists():
        raise HkdsrError(f"{target} exists: move it away, or name a target with --output")
    return target


def _tell_of_others(folder: Path, images: list[Path]) -> None:
    others = sorted({path for path in folder.iterdir() if not path.name.startswith(".")} - set(images))
    if others:
        named = ", ".join(path.name for path in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        warnings.warn(f"left out, as no images of a known kind: {named}{more} in {folder}", stacklevel=4)


def _upscale_image(network: Network, image: ImageData, tile: int | Literal["auto"] | None, progress: bool) -> ImageData:
    if image.grey:
        grey = upscale(network, image.colour[..., 0], tile, progress)
        colour = np.broadcast_to(grey[..., None], (*grey.shape, 3))
    else:
        colour = upscale(network, image.colour, tile, progress)
    alpha = None if image.alpha is None else imresize(image.alpha, network.scale)
    return replace(image, colour=colour, alpha=alpha)


def _check_tile(tile: int | Literal["auto"] | None) -> None:
    if isinstance(tile, int) and tile < SMALLEST_TILE:
        raise HkdsrError(f"tile is {tile}: leave it out or set it to at least {SMALLEST_TILE} pixels")


def _sides(image: np.ndarray, tile: int | Literal["auto"] | None, device: torch.device) -> Iterator[int]:
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
        warnings.warn(
            f"{type(network).__name__} sees the whole image at once, so tiles of {side} pixels differ slightly from "
            "it: use larger ones, or none, to come closer",
            stacklevel=5,
        )
    return cover(size, side, needed.pixels, network.pad_multiple)


@torch.inference_mode()
def _join(network: Network, image: np.ndarray, tiles: Iterable[Tile]) -> np.ndarray:
    network.to(memory_format=torch.channels_last)  # on a CPU down to half the time for plain convolutions
    scale, largest, weight = network.scale, np.iinfo(image.dtype).max, next(network.parameters())
    joined = np.empty((scale * image.shape[0], scale * image.shape[1], *image.shape[2:]), image.dtype)
    for tile in tiles:
        pixels = torch.from_numpy(image[tile.seen].astype(np.float32) / largest)
        planes = pixels.expand(3, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        upscaled = network(planes[None].to(weight))[0][:, *tile.kept_of_seen(scale)].float().clamp(0, 1)
        upscaled = upscaled.mean(0) if pixels.ndim == 2 else upscaled.permute(1, 2, 0)
        joined[tile.kept_of_whole(scale)] = (largest * upscaled).round().cpu().numpy()
    return joined


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HkdsrError(f"the folder {folder} cannot be made ({error.strerror}): name another target") from error


def _device(network: Network) -> torch.device:
    return next(network.parameters()).device
