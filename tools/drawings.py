"""Make a folder of drawings to train on out of free ones in Debian packages: what ``recipes/anime_x4.toml`` asks for.

    mkdir unpacked && cd unpacked
    apt-get download openclipart-png wesnoth-1.16-data tuxpaint-stamps-default renpy-demo renpy-thequestion
    for file in *.deb; do dpkg-deb -x "$file" .; done
    cd .. && python -m tools.drawings unpacked images/drawings

Drawings of 220 pixels and more are cut, made 200 to 400 pixels large, and laid on backgrounds where they are
transparent: plain, graded, or another drawing. Those that are nearly plain are left out. ``train`` holds what to train
on, ``check`` drawings for checks, of which not even another version is in ``train``. The same packages give the same
images.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hkdsr.data.sources import images_below
from hkdsr.errors import HkdsrError

SEED = 14
SMALLEST, SIDES = 220, (200, 400)
CHECKED = 20
"""How many drawings are kept for checks."""
ALIKE = 4
"""At most so many drawings of a folder whose names begin alike: they are often versions of one."""


@dataclass(frozen=True)
class Source:
    """Folders of a package, and how many drawings to take from them at most."""

    name: str
    folders: tuple[str, ...]
    count: int


CLIP_ART = "usr/share/openclipart/png"
WESNOTH = "usr/share/games/wesnoth/1.16/data"
SUBJECTS = (
    *("animals", "buildings", "education", "food", "people", "plants", "recreation", "science", "tools"),
    *("transportation/vehicles", "unsorted"),
)
SOURCES = (
    Source("openclipart", tuple(f"{CLIP_ART}/{name}" for name in SUBJECTS), 440),
    Source("wesnoth", (f"{WESNOTH}/core/images/portraits", f"{WESNOTH}/core/images/story"), 240),
    Source("tuxpaint", ("usr/share/tuxpaint/stamps",), 140),
    Source("renpy", tuple(f"usr/share/games/renpy/{name}/game/images" for name in ("demo", "the_question")), 24),
)


def main(words: Sequence[str] | None = None) -> None:
    """Write the folder. ``words`` replace sys.argv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="where the packages were unpacked; / where they are installed")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args(words)
    try:
        counts = make(arguments.packages, arguments.out)
    except HkdsrError as error:
        print(f"drawings: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.out}: {', '.join(f'{name} {count}' for name, count in counts.items())}")


def make(packages: Path, out: Path, sources: Sequence[Source] = SOURCES, checked: int = CHECKED) -> Counter[str]:
    """Write ``out/train`` and ``out/check``; the number of drawings by source, and of those in ``check``.

    Raises HkdsrError if a folder of a package is missing.
    """
    Image.MAX_IMAGE_PIXELS = None  # some drawings are posters
    random = np.random.default_rng(SEED)
    chosen = [(source.name, file) for source in sources for file in _files(packages, source, random)]
    kept = [chosen[place] for place in np.linspace(0, len(chosen) - 1, checked).astype(int)] if checked else []
    groups = {_group(file) for _, file in kept}
    counts: Counter[str] = Counter()
    for part, files in (("check", kept), ("train", [one for one in chosen if _group(one[1]) not in groups])):
        (out / part).mkdir(parents=True, exist_ok=True)
        for number, (name, file) in enumerate(files):
            _, behind = files[int(random.integers(len(files)))]
            scene(file, behind, random).save(out / part / f"{name}-{number:04}-{_plain(file.stem)}.png")
            counts[name if part == "train" else part] += 1
    return counts


def scene(file: Path, behind: Path, random: np.random.Generator) -> Image.Image:
    """A drawing, cut and made smaller, on a background where it is transparent; this may be the drawing ``behind``."""
    drawing = _drawing(file)
    if max(drawing.size) > 2 * SIDES[1]:
        drawing = _cut(drawing, random.uniform(0.5, 1), random)
    side = int(random.integers(*SIDES))
    drawing.thumbnail((side, side), Image.Resampling.LANCZOS)
    ground = _background(drawing.size, behind, random)
    ground.paste(drawing, mask=drawing.getchannel("A"))
    return ground


def is_plain(drawing: Image.Image) -> bool:
    """Whether less than a tenth of a drawing, shown small on grey, has edges, or it is hardly a drawing at all."""
    small = drawing.copy()
    small.thumbnail((160, 160), Image.Resampling.LANCZOS)
    grey = Image.new("RGB", small.size, (128, 128, 128))
    grey.paste(small, mask=small.getchannel("A"))
    light = np.asarray(grey.convert("L"), np.float32)
    if min(light.shape) < 48:
        return True
    steps = np.abs(np.diff(light, axis=0))[:, 1:] + np.abs(np.diff(light, axis=1))[1:]
    return float((steps > 12).mean()) < 0.1


def _files(packages: Path, source: Source, random: np.random.Generator) -> Iterator[Path]:
    files: list[Path] = []
    for name in source.folders:
        if not (packages / name).is_dir():
            raise HkdsrError(f"{packages / name} is missing: unpack the package of {source.name} into {packages}")
        files += images_below(packages / name)
    groups: Counter[str] = Counter()
    found = 0
    for place in random.permutation(len(files)):
        group = _group(files[place])
        if found < source.count and groups[group] < ALIKE and _is_fit(files[place]):
            groups[group] += 1
            found += 1
            yield files[place]


def _is_fit(file: Path) -> bool:
    with Image.open(file) as image:
        if not SMALLEST <= max(image.size) <= 8000:
            return False
    drawing = _drawing(file)
    return max(drawing.size) >= SMALLEST and min(drawing.size) >= 64 and not is_plain(drawing)


def _drawing(file: Path) -> Image.Image:
    """RGBA, without the transparent margin."""
    with Image.open(file) as image:
        drawing = image.convert("RGBA")
    return drawing.crop(drawing.getchannel("A").getbbox())


def _group(file: Path) -> str:
    """What versions of one drawing have in common: the folder and the first letters of the name."""
    return f"{file.parent.name}/{re.sub('[^a-z]', '', file.stem.lower())[:6]}"


def _plain(name: str) -> str:
    return re.sub("[^A-Za-z0-9_]+", "_", name)[:40]


def _cut(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    width, height = (round(side * share) for side in image.size)
    left, top = (int(random.integers(all_ - part + 1)) for all_, part in zip(image.size, (width, height), strict=True))
    return image.crop((left, top, left + width, top + height))


def _background(size: tuple[int, int], behind: Path, random: np.random.Generator) -> Image.Image:
    """Plain, white, from one colour to another, or a part of another drawing on a colour."""
    kind = random.choice(["plain", "white", "graded", "drawing"], p=[0.2, 0.15, 0.3, 0.35])
    colours = random.integers(0, 256, (2, 3)).astype(np.float32)
    if kind == "white":
        colours[:] = 255
    if kind != "graded":
        colours[1] = colours[0]
    height, width = size[1], size[0]
    along = np.add.outer(np.linspace(0, random.random(), height), np.linspace(0, random.random(), width))[..., None]
    share = along / max(float(along.max()), 1e-6)
    pixels = np.rint(colours[0] + share * (colours[1] - colours[0])).astype(np.uint8)
    ground = Image.fromarray(pixels, "RGB")
    if kind == "drawing":
        other = _cut(_drawing(behind), random.uniform(0.4, 0.8), random).resize(size, Image.Resampling.LANCZOS)
        ground.paste(other, mask=other.getchannel("A"))
    return ground


if __name__ == "__main__":
    main()
