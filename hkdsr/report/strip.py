"""One image that compares networks: a scene with a marked square, then that square by each of the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hkdsr.data import ImageData, check_target, rgb, write_image
from hkdsr.data.resize import bicubic_pair
from hkdsr.errors import HkdsrError
from hkdsr.memory import CUT, needed_for
from hkdsr.nets.files.load import load
from hkdsr.paths import require_writable, same_file, user_path
from hkdsr.report.labels import labels
from hkdsr.report.pixels import most_different_crops
from hkdsr.scoring import BICUBIC, psnr_y, ssim_y
from hkdsr.scoring.inference import upscaled

PANEL, GAP, LINE, FONT = 192, 8, 17, 13
BACKGROUND, INK, MARK = (255, 255, 255), (28, 29, 33), (255, 64, 32)


@dataclass(frozen=True)
class _Panel:
    label: str
    scores: str
    image: np.ndarray


def draw_strip(hr: Path, networks: Sequence[str], at: tuple[int, int] | None = None, side: int = 64) -> np.ndarray:
    """A strip of the image file ``hr`` for networks of one scale, one of which may be "bicubic"; uint8 (H, W, 3).

    HR is reduced by MATLAB's bicubic and enlarged again by each network. Below each square are PSNR-Y (dB) and SSIM-Y
    of the whole image by the published protocol. ``at`` is (top, left) of a square of ``side`` HR pixels; the default
    is the square where bicubic differs most from HR, which favours none of the networks.

    Raises HkdsrError if a file cannot be read, if the scales differ, and for a square that is not inside the image.
    """
    loaded = [None if name == BICUBIC else load(name) for name in networks]
    scales = {network.scale for network in loaded if network is not None}
    if len(scales) != 1:
        found = f"of scales {', '.join(map(str, sorted(scales)))}" if scales else "none but bicubic"
        raise HkdsrError(f"the networks are {found}: name one or more of one scale")
    (scale,) = scales
    lr, truth = bicubic_pair(rgb(hr), scale)
    height, width = truth.shape[:2]
    if min(height, width) < side or side < 1:
        raise HkdsrError(f"a square of {side} does not fit into {hr} of {width}x{height}: set another --side")
    bicubic = upscaled(None, lr, scale, name=hr)
    top, left = at or most_different_crops(bicubic, truth, truth, side, 1)[0]
    if not (0 <= top <= height - side and 0 <= left <= width - side):
        raise HkdsrError(f"the square of {side} at {top}, {left} is not inside {hr}: set another --at")
    images = [bicubic if network is None else upscaled(network, lr, scale, name=hr) for network in loaded]
    square = slice(top, top + side), slice(left, left + side)
    panels = [
        _Panel(label, f"{psnr_y(sr, truth, scale):.2f} dB / {ssim_y(sr, truth, scale):.4f}", sr[square])
        for label, sr in zip(labels(networks), images, strict=True)
    ]
    panels.append(_Panel("HR", f"x{scale}, PSNR-Y / SSIM-Y", truth[square]))
    return np.asarray(_draw(_marked_scene(truth, top, left, side), hr.name, panels))


def write_strip(
    hr: Path, networks: Sequence[str], target: Path, at: tuple[int, int] | None = None, side: int = 64
) -> None:
    """Write the strip of ``draw_strip`` to the image file ``target``.

    Raises HkdsrError as ``draw_strip`` does, if ``target`` is the HR image or cannot be written, and for a lack of
    memory.
    """
    target, hr = user_path(target), user_path(hr)
    if same_file(target, hr):
        raise HkdsrError(f"{target} is also the HR image: name another output")
    check_target(target, ImageData(np.zeros((1, 1, 3), np.uint8)))
    require_writable(target)
    with needed_for(str(hr), CUT):
        write_image(target, ImageData(draw_strip(hr, networks, at, side)))


def _marked_scene(truth: np.ndarray, top: int, left: int, side: int) -> Image.Image:
    whole = Image.fromarray(truth)
    ImageDraw.Draw(whole).rectangle(
        (left - 2, top - 2, left + side + 1, top + side + 1), outline=MARK, width=max(2, truth.shape[0] // 120)
    )
    return whole.resize((round(truth.shape[1] * PANEL / truth.shape[0]), PANEL), Image.Resampling.LANCZOS)


def _draw(scene: Image.Image, title: str, panels: Sequence[_Panel]) -> Image.Image:
    width = scene.width + len(panels) * (PANEL + GAP)
    canvas = Image.new("RGB", (width, PANEL + 2 * LINE + GAP), BACKGROUND)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT)
    canvas.paste(scene, (0, 0))
    pen.text((0, PANEL + 4), _shortened(title, pen, font), INK, font)
    for index, panel in enumerate(panels):
        x = scene.width + GAP + index * (PANEL + GAP)
        # Nearest neighbour: smoothing would hide differences.
        canvas.paste(Image.fromarray(panel.image).resize((PANEL, PANEL), Image.Resampling.NEAREST), (x, 0))
        for line, text in enumerate((panel.label, panel.scores)):
            pen.text((x, PANEL + 4 + line * LINE), _shortened(text, pen, font), INK, font)
    return canvas


def _shortened(text: str, pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if pen.textlength(text, font) <= PANEL:
        return text
    while pen.textlength(f"{text}...", font) > PANEL:
        text = text[:-1]
    return f"{text}..."
