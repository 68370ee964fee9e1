"""Upscale images of any size and kind: in tiles if need be, one on the device at a time, joined without seams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hkdsr.data import imresize, rgb
from hkdsr.deploy.grid import Tile, TileSize, check_tile, first_side, halved
from hkdsr.deploy.piecewise import Images, Job, run
from hkdsr.deploy.tiles import reach
from hkdsr.deploy.transparency import fill_hidden
from hkdsr.deploy.upscaler import Readable, Writable
from hkdsr.errors import HkdsrError
from hkdsr.memory import CUT, needed_for
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load
from hkdsr.nets.sanity import name_of, require_image

MODES = {"1": "L", "LA": "RGBA", "PA": "RGBA", "P": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
"""What Pillow images of other modes are converted to."""


@dataclass(frozen=True)
class TorchUpscaler:
    """A network as an ``Upscaler``."""

    network: Network

    @property
    def scale(self) -> int:
        """Of the network."""
        return self.network.scale

    @property
    def runtime(self) -> str:
        """PyTorch, or what runs a file of another format."""
        if self.network.runs_in_pytorch:
            return "PyTorch"
        kind = str(self.network.settings["architecture"])
        return "ONNX Runtime" if kind == "ONNX" else kind

    @property
    def on_gpu(self) -> bool:
        """Whether the network is on one."""
        return next(self.network.parameters()).device.type != "cpu"

    def fill(self, image: Readable, enlarged: Writable, name: str, tile: TileSize, progress: bool) -> None:
        """As the function ``fill``."""
        fill(self.network, image, enlarged, name, tile, progress)


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
        return Image.fromarray(upscale_array(network, np.array(converted), "the image", tile, progress))
    if isinstance(image, str | Path):
        return upscale_array(network, rgb(image), str(image), tile, progress)
    return upscale_array(network, image, "the image", tile, progress)


def upscale_array(
    network: Network, image: np.ndarray, name: str, tile: TileSize = None, progress: bool = False
) -> np.ndarray:
    """As ``upscale``, for an array that messages call ``name``."""
    _check_image(image)
    check_tile(tile)
    with needed_for(name, CUT):
        if image.shape[2:] == (4,):
            colour = upscale_array(network, fill_hidden(image[..., :3], image[..., 3]), name, tile, progress)
            return np.dstack((colour, enlarged_alpha(image[..., 3], network.scale)))
        scale = network.scale
        enlarged = np.empty((scale * image.shape[0], scale * image.shape[1], *image.shape[2:]), image.dtype)
        fill(network, image, enlarged, name, tile, progress)
        return enlarged


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


def _sides(network: Network, shape: Sequence[int], tile: TileSize, device: torch.device) -> Iterable[int]:
    """The tile sizes to try, largest first."""
    whole = max(shape[:2])
    if tile == "auto":
        return halved(whole if device.type != "cpu" else first_side(whole, lambda: _surroundings(network)))
    return [whole if tile is None else tile]


def _surroundings(network: Network) -> int | None:
    seen = reach(network)
    return None if seen.sees_all else seen.pixels


def fill(
    network: Network, image: Readable, enlarged: Writable, name: str, tile: TileSize = None, progress: bool = False
) -> None:
    """Enlarge ``image`` tile by tile into ``enlarged``, which has its type. Raises HkdsrError as ``upscale`` does."""
    network.to(memory_format=torch.channels_last)  # on a CPU down to half the time for plain convolutions
    scale, weight = network.scale, next(network.parameters())
    rounded, grey = np.issubdtype(image.dtype, np.integer), len(image.shape) == 2
    largest = np.iinfo(image.dtype).max if rounded else 1

    def given(tile: Tile) -> Tensor:
        pixels = torch.from_numpy(image[tile.seen].astype(np.float32) / largest)
        return (pixels.expand(3, -1, -1) if grey else pixels.permute(2, 0, 1))[None].to(weight)

    def keep(tile: Tile, images: Images) -> None:
        ((upscaled,),) = images
        require_image(upscaled, name_of(network))
        upscaled = upscaled.float().clamp(0, 1)
        upscaled = largest * (upscaled.mean(0) if grey else upscaled.permute(1, 2, 0))
        values = (upscaled.round() if rounded else upscaled).cpu().numpy()
        enlarged[tile.kept_of_whole(scale)] = values.astype(image.dtype)

    remedy = "use a smaller network" if tile == "auto" else "set tile to 'auto' or to a smaller number"
    job = Job(name, (image.shape[0], image.shape[1]), remedy, given, keep, exact=False)
    run(network, job, _sides(network, image.shape, tile, weight.device), progress)
