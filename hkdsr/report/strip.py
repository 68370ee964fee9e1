"""One image that puts networks side by side: a marked scene, then the same square of it by each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hkdsr.data import ImageData, check_target, imresize, mod_crop, rgb, write_image
from hkdsr.errors import HkdsrError
from hkdsr.files import same_file
from hkdsr.nets.files.load import load
from hkdsr.report.pixels import telling_crops
from hkdsr.scoring import BICUBIC, psnr_y, ssim_y
from hkdsr.scoring.inference import super_resolve

PANEL, GAP, LINE, FONT = 192, 8, 17, 13
PAPER, INK, MARK = (255, 255, 255), (28, 29, 33), (255, 64, 32)


@dataclass(frozen=True)
class _Panel:
    label: str
    scores: str
    image: np.ndarray


def draw_strip(hr: Path, networks: Sequence[str], at: tuple[int, int] | None = None, side: int = 64) -> np.ndarray:
    """A strip of the image file ``hr`` for networks of one scale, "bicubic" among them if named; uint8 (H, W, 3).

    HR is reduced by MATLAB's bicubic and enlarged again by each network. Under each stand PSNR-Y (dB) and SSIM-Y of the
    whole image by the published protocol. ``at`` is (top, left) of a square of ``side`` HR pixels; without it the
    square where bicubic is furthest from HR is taken, which favours none of the networks.

    Raises HkdsrError if a file cannot be read, the scales differ, and for a square that is not in the image.
    """
    loaded = [None if name == BICUBIC else load(name) for name in networks]
    scales = {network.scale for network in loaded if network is not None}
    if len(scales) != 1:
        found = f"of scales {', '.join(map(str, sorted(scales)))}" if scales else "none but bicubic"
        raise HkdsrError(f"the networks are {found}: name one or more of a single scale")
    (scale,) = scales
    truth = mod_crop(rgb(hr), scale)
    if min(truth.shape[:2]) < side or side < 1:
        raise HkdsrError(f"a square of {side} is not in {hr} of {truth.shape[1]}x{truth.shape[0]}: set another --side")
    lr = imresize(truth, 1 / scale)
    bicubic = imresize(lr, scale)
    top, left = at or telling_crops(bicubic, truth, truth, side, 1)[0]
    if not (0 <= top <= truth.shape[0] - side and 0 <= left <= truth.shape[1] - side):
        raise HkdsrError(f"the square of {side} at {top}, {left} is not wholly in {hr}: set another --at")
    images = [bicubic if network is None else super_resolve(network, lr) for network in loaded]
    square = slice(top, top + side), slice(left, left + side)
    panels = [
        _Panel(label, f"{psnr_y(sr, truth, scale):.2f} dB / {ssim_y(sr, truth, scale):.4f}", sr[square])
        for label, sr in zip(labels(networks), images, strict=True)
    ]
    panels.append(_Panel("HR", f"x{scale}, PSNR-Y / SSIM-Y", truth[square]))
    return np.asarray(_drawn(_scene(truth, top, left, side), hr.name, panels))


def write_strip(
    hr: Path, networks: Sequence[str], target: Path, at: tuple[int, int] | None = None, side: int = 64
) -> None:
    """Write the strip of ``draw_strip`` to the image file ``target``.

    Raises HkdsrError as ``draw_strip`` does, and if ``target`` is the HR image or cannot be written.
    """
    if same_file(target, hr):
        raise HkdsrError(f"{target} is also the HR image: name another output")
    check_target(target, ImageData(np.zeros((1, 1, 3), np.uint8)))
    write_image(target, ImageData(draw_strip(hr, networks, at, side)))


def labels(networks: Sequence[str]) -> list[str]:
    """File names, and before one that several have its folder's: students of all runs are called alike."""
    stems = [Path(name).stem for name in networks]
    return [
        stem if stems.count(stem) == 1 else f"{Path(name).parent.name}/{stem}"
        for name, stem in zip(networks, stems, strict=True)
    ]


def _scene(truth: np.ndarray, top: int, left: int, side: int) -> Image.Image:
    whole = Image.fromarray(truth)
    ImageDraw.Draw(whole).rectangle(
        (left - 2, top - 2, left + side + 1, top + side + 1), outline=MARK, width=max(2, truth.shape[0] // 120)
    )
    return whole.resize((round(truth.shape[1] * PANEL / truth.shape[0]), PANEL), Image.Resampling.LANCZOS)


def _drawn(scene: Image.Image, title: str, panels: Sequence[_Panel]) -> Image.Image:
    width = scene.width + len(panels) * (PANEL + GAP)
    paper = Image.new("RGB", (width, PANEL + 2 * LINE + GAP), PAPER)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(FONT)
    paper.paste(scene, (0, 0))
    pen.text((0, PANEL + 4), _fitting(title, pen, font), INK, font)
    for index, panel in enumerate(panels):
        x = scene.width + GAP + index * (PANEL + GAP)
        # Enlarged pixel by pixel: what is compared must not be smoothed.
        paper.paste(Image.fromarray(panel.image).resize((PANEL, PANEL), Image.Resampling.NEAREST), (x, 0))
        for line, text in enumerate((panel.label, panel.scores)):
            pen.text((x, PANEL + 4 + line * LINE), _fitting(text, pen, font), INK, font)
    return paper


def _fitting(text: str, pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if pen.textlength(text, font) <= PANEL:
        return text
    while pen.textlength(f"{text}...", font) > PANEL:
        text = text[:-1]
    return f"{text}..."
