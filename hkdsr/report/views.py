"""Enlarge images by several networks, to look at: the files, what is shown of them side by side, and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from PIL import Image

from hkdsr.data import read_image, rgb
from hkdsr.data.decode import ANY_SIZE, CODEC_ERRORS, opened, require_size
from hkdsr.data.resize import imresize
from hkdsr.deploy.enlarge_file import MEGAPIXEL, Handling, enlarge_file
from hkdsr.deploy.upscaler import Upscaler
from hkdsr.deploy.watched import Part, Tell, Watched, large
from hkdsr.errors import HkdsrError
from hkdsr.scoring.scores import score_image
from hkdsr.stop import Stop

LARGEST_HR = 50 * MEGAPIXEL
"""Pixels of an HR image: it is in memory as a whole, three times."""
SQUARE = 12
"""Pixels of the squares that are seen through transparent parts."""
CONTRAST = 6
"""Differences of 255 / CONTRAST grey levels and more have the brightest colour."""


@dataclass(frozen=True)
class Shown:
    """An image's views by what made them, as files; ``text`` stands below them, in Markdown."""

    views: Mapping[str, Path]
    text: str


@dataclass
class Enlarged:
    """The ``files`` of one image, and its ``views`` by what made them; ``scores`` by network, (PSNR-Y, SSIM-Y)."""

    views: dict[str, Path] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    sizes: list[str] = field(default_factory=list)

    def shown(self) -> Shown:
        """What people see of it."""
        table = [f"| {name} | {psnr:.2f} dB | {ssim:.4f} |" for name, (psnr, ssim) in self.scores.items()]
        head = ["", "| | PSNR-Y | SSIM-Y |", "| --- | --- | --- |"] if table else []
        return Shown(self.views, "\n".join([" · ".join(dict.fromkeys(self.sizes)), *head, *table]))


def enlarge_all(
    sources: Sequence[Path],
    networks: Mapping[str, Upscaler],
    truths: Sequence[Path],
    folder: Path,
    stop: Stop,
    tell: Callable[[float, str], object],
) -> tuple[dict[str, Shown], list[Path]]:
    """Enlarge images into ``folder``: what is shown, by image, and the files, the first a ZIP of all if there are many.

    ``truths`` are HR images, found by the names of the images; a single one is that of a single image. ``tell`` takes
    the share that is done, in 0..1, and a text. Raises HkdsrError as ``enlarge`` does.
    """
    shown, files = dict[str, Shown](), list[Path]()
    by_name = {truth.stem: truth for truth in truths}
    for number, source in enumerate(sources):
        hr = truths[0] if len(sources) == len(truths) == 1 else by_name.get(source.stem)

        def told(share: float, tiles: int, number: int = number, name: str = source.name) -> None:
            tell((number + share) / len(sources), f"{name}, tile {tiles}")

        (own := folder / str(number)).mkdir()
        made = enlarge(source, networks, hr, own, stop, told)
        shown[source.name if source.name not in shown else f"{source.name} ({number + 1})"] = made.shown()
        files += made.files
    return shown, [packed(files, folder), *files] if len(files) > 1 else files


def enlarge(
    source: Path, networks: Mapping[str, Upscaler], hr: Path | None, folder: Path, stop: Stop, tell: Tell
) -> Enlarged:
    """Enlarge ``source`` into ``folder``, by each of the networks, as ``hkdsr upscale`` does.

    ``tell`` is as in ``Watched``, for each network anew. Raises HkdsrError as ``enlarge_file`` does, CancelledError,
    and for an HR image of another size or of more than ``LARGEST_HR``.
    """
    made, alpha, scales = Enlarged(), _alpha(source), {one.scale for one in networks.values()}
    truth = None if hr is None else _truth(source, hr, scales)
    for name, upscaler in networks.items():
        scale, watched = upscaler.scale, Watched(upscaler, stop, tell)
        target = folder / f"{source.stem}_{name.removesuffix(' (yours)').partition('.')[0]}.png"
        if target in made.files:
            target = folder / f"{source.stem}_{len(made.files)}_{target.name.removeprefix(f'{source.stem}_')}"
        enlarge_file(watched, source, target, False, Handling(progress=False))
        made.files.append(target)
        bicubic = "bicubic" if len(scales) == 1 else f"bicubic x{scale}"
        if bicubic not in made.views:
            shown = _opaque(_rgb(imresize(watched.lr, scale)), alpha, watched.part, scale)
            made.views[bicubic] = _saved(shown, folder)
        made.views[name] = _saved(_opaque(_rgb(watched.sr), alpha, watched.part, scale), folder)
        made.sizes.append(_size(watched))
        stop.check()
        if truth is not None and scale in truth:
            _compare(made, name, bicubic, source, target, truth[scale], watched, folder)
    return made


def packed(files: Sequence[Path], folder: Path) -> Path:
    """The files in one ZIP file; of equal names the later ones are numbered."""
    target, names = folder / "enlarged.zip", set[str]()
    with ZipFile(target, "w", ZIP_STORED) as archive:
        for number, file in enumerate(files):
            name = f"{number}_{file.name}" if file.name in names else file.name
            names.add(name)
            archive.write(file, name)
    return target


def _compare(
    made: Enlarged, name: str, bicubic: str, source: Path, target: Path, hr: np.ndarray, watched: Watched, folder: Path
) -> None:
    scale, place = watched.scale, large(watched.part, watched.scale)
    sr, truth = rgb(target), hr[place]
    if bicubic not in made.scores:
        made.scores[bicubic] = _score(imresize(rgb(source), scale), hr, scale)
        made.views["HR" if bicubic == "bicubic" else f"HR x{scale}"] = _saved(truth, folder)
    made.scores[name] = _score(sr, hr, scale)
    away = abs(sr[place].astype(np.float32) - truth).max(axis=2, keepdims=True) * (3 * CONTRAST / 255)
    # From black by red and yellow to white, so that bright is far off in every kind of colour vision.
    made.views[f"{name}, off HR"] = _saved((255 * (away - [0, 1, 2]).clip(0, 1)).astype(np.uint8), folder)


def _score(sr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[float, float]:
    found = score_image("", sr, hr, scale)
    return found.psnr_y, found.ssim_y


def _truth(source: Path, hr: Path, scales: set[int]) -> dict[int, np.ndarray]:
    """HR by the scale that it has, cut to a multiple of that."""
    require_size(hr, LARGEST_HR, "compare a part of both images, or give no HR")
    image, (height, width) = rgb(hr), read_image(source).colour.shape[:2]
    for scale in scales:
        if (image.shape[0] // scale, image.shape[1] // scale) == (height, width):
            return {scale: image[: scale * height, : scale * width]}
    sizes = " or ".join(f"{scale * width}x{scale * height}" for scale in sorted(scales))
    raise HkdsrError(
        f"the HR image {hr.name} has {image.shape[1]}x{image.shape[0]} pixels, but {source.name} enlarged has {sizes}: "
        "give the image that it was reduced from, or none"
    )


def _size(watched: Watched) -> str:
    (height, width), (shown_height, shown_width) = watched.shape[:2], watched.sr.shape[:2]
    text = f"x{watched.scale}: {watched.scale * width}x{watched.scale * height} pixels"
    whole = (shown_height, shown_width) == (watched.scale * height, watched.scale * width)
    return text if whole else f"{text}, of which the {shown_width}x{shown_height} in the middle are shown"


def _alpha(source: Path) -> np.ndarray | None:
    """Of an image that has any: uint8 or uint16 (H, W)."""
    try:
        with opened(source, source, ANY_SIZE) as image:
            transparent = image.has_transparency_data
    except CODEC_ERRORS:
        return None
    return read_image(source).alpha if transparent else None


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB (h, w, 3) of grey or colour of 8 or 16 bits."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _opaque(colour: np.ndarray, alpha: np.ndarray | None, part: Part, scale: int) -> np.ndarray:
    """``colour`` before squares in two greys, where it is transparent."""
    if alpha is None:
        return colour
    share = _rgb(imresize(alpha, scale)[large(part, scale)]).astype(np.float32) / 255
    rows, columns = np.indices(colour.shape[:2], np.int32) // SQUARE
    squares = np.where((rows + columns) % 2, 205, 245)[..., None]
    return (share * colour + (1 - share) * squares).round().astype(np.uint8)


def _saved(image: np.ndarray, folder: Path) -> Path:
    views = folder / "views"
    views.mkdir(exist_ok=True)
    target = views / f"{len(list(views.iterdir()))}.png"
    Image.fromarray(np.ascontiguousarray(image)).save(target, compress_level=1)
    return target
