"""A page of samples of a degradation, to look at before training: what is given beside the LR image that comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hkdsr.data import ImageData, check_target, rgb, write_image
from hkdsr.data.degrade import Degrader, random_of
from hkdsr.data.sources import images_below
from hkdsr.errors import HkdsrError
from hkdsr.memory import CUT, needed_for
from hkdsr.paths import exists, is_folder, require_writable, user_path
from hkdsr.settings.degrade import Degrade

COLUMNS = ROWS = 8
SIDE = 96
"""Side of what is given in pixels, at most; a multiple of every scale."""
GAP, BETWEEN = 10, 2


def draw_samples(images: Sequence[np.ndarray], degrade: Degrade, scale: int, seed: int) -> np.ndarray:
    """64 squares of uint8 images (H, W, 3), each beside its degraded image, enlarged without smoothing; (H, W, 3).

    ``scale`` is that from a degraded image to what is given. The same ``seed`` gives the same page. Raises HkdsrError
    for images that are too small.
    """
    side = min(SIDE, *(min(image.shape[:2]) for image in images)) // scale * scale
    if not side:
        raise HkdsrError(f"one of the images is smaller than the scale {scale} on a side: leave it out")
    degrader = Degrader(degrade, scale)
    page = np.full((ROWS * (side + GAP) + GAP, COLUMNS * (2 * side + BETWEEN + GAP) + GAP, 3), 255, np.uint8)
    for index in range(ROWS * COLUMNS):
        random = random_of(seed, 0, index)
        image = images[index % len(images)]
        top, left = (int(random.integers(room - side, endpoint=True)) for room in image.shape[:2])
        given = image[top : top + side, left : left + side]
        degraded = degrader.degraded(given, random).repeat(scale, 0).repeat(scale, 1)
        y = GAP + index // COLUMNS * (side + GAP)
        x = GAP + index % COLUMNS * (2 * side + BETWEEN + GAP)
        page[y : y + side, x : x + side] = given
        page[y : y + side, x + side + BETWEEN : x + 2 * side + BETWEEN] = degraded
    return page


def write_samples(inputs: Sequence[str | Path], target: Path, degrade: Degrade, scale: int, seed: int) -> None:
    """Write the page of ``draw_samples`` for image files and folders to the image file ``target``.

    Raises HkdsrError for a missing or unreadable image, and if ``target`` cannot be written.
    """
    target = user_path(target)
    check_target(target, ImageData(np.zeros((1, 1, 3), np.uint8)))
    require_writable(target)
    files: list[Path] = []
    for path in map(user_path, inputs):
        if not exists(path):
            raise HkdsrError(f"there is no image or folder {path}: name images or folders of them")
        files += images_below(path) if is_folder(path) else [path]
    if not files:
        raise HkdsrError(f"{inputs[0]} has no images: name a folder with PNG, JPEG, WebP or TIFF files")
    if target.resolve() in {file.resolve() for file in files}:
        raise HkdsrError(f"{target} is also one of the images: name another file for --preview")
    kept = files[:: max(len(files) // (ROWS * COLUMNS), 1)][: ROWS * COLUMNS]
    with needed_for(str(target), CUT):
        images = [rgb(file) for file in kept]
        write_image(target, ImageData(draw_samples(images, degrade, scale, seed)))
