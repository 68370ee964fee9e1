"""Upscale image files and folders of them: nothing is replaced by mistake, and all that a format holds is kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from hkdsr.data import list_images, read_image
from hkdsr.data.images import SUFFIXES
from hkdsr.deploy.enlarge_file import Handling, enlarge_file, kept_name, require_other
from hkdsr.deploy.upscale import check_tile
from hkdsr.errors import HkdsrError, WriteError
from hkdsr.nets.base import Network
from hkdsr.paths import entries, exists, is_folder, matching_paths, require_writable, user_path

logger = logging.getLogger(__name__)

NAMED = 3
HANDLING = Handling()


def upscale_file(
    network: Network,
    source: str | Path,
    target: str | Path | None = None,
    handling: Handling = HANDLING,
) -> Path:
    """Upscale an image file into ``target``, or every image of a folder into the folder ``target``; returns that.

    Without a target, ``photo.jpg`` becomes ``photo_x2.png`` (by the network's scale) and ``photos`` ``photos_x2``,
    beside the source, if there is no such file yet; a source is never replaced. An image's format is that of the
    target's suffix; where the target is a folder, images keep their names, and what such a file could not hold (16
    bits, transparency, a side too long) gets ".png" after its name. Colour profiles, EXIF, XMP and resolution are kept
    where the format has a place for them. Files appear whole or not at all. What else is in a folder is left out, which
    is logged. ``handling`` says how; its ``progress`` shows a bar of tiles or of images, on a terminal only.

    Raises HkdsrError if the source cannot be read or the target cannot be written or hold it. In a folder, images
    that cannot be read are named in one error after the others are written.
    """
    check_tile(handling.tile)
    source = user_path(source)
    target = _beside(source, network.scale) if target is None else user_path(target)
    if is_folder(source):
        _upscale_folder(network, source, target, handling)
        return target
    return enlarge_file(network, source, target, handling)


def upscale_files(
    network: Network,
    sources: Iterable[str | Path],
    target: str | Path | None = None,
    handling: Handling = HANDLING,
) -> Iterator[Path]:
    """As ``upscale_file`` for each of ``sources``, which may be patterns (``photos/*.jpg``); gives what was written.

    Where there are several, ``target`` is a folder, which is made if it is missing.

    Raises HkdsrError as ``upscale_file`` does, for a pattern that nothing matches, and, before anything is written, for
    one file as the target of several images.
    """
    paths = matching_paths(sources)
    if target is None:
        _require_apart([(path, _beside(path, network.scale)) for path in paths])
    elif len(paths) > 1:
        target = user_path(target)
        if not is_folder(target) and (target.suffix.lower() in SUFFIXES or exists(target)):
            raise HkdsrError(f"{target} is a file, but there are {len(paths)} images: name a folder")
        images = [image for path in paths for image in (list_images(path) if is_folder(path) else [path])]
        _require_own_targets(images, target)
        require_writable(target, folder=True)
        _make_folder(target)
    for path in paths:
        yield upscale_file(network, path, target, handling)


def _upscale_folder(network: Network, source: Path, target: Path, handling: Handling) -> None:
    require_other(source, target)
    images = list_images(source)
    _require_own_targets(images, target)
    _report_others(source, images)
    require_writable(target, folder=True)
    _make_folder(target)
    failures: list[str] = []
    for path in tqdm(images, unit="image", disable=None if handling.progress else True):
        try:
            enlarge_file(network, path, target, replace(handling, progress=False))
        except WriteError:
            raise
        except HkdsrError as error:
            failures.append(str(error))  # the error itself would keep the image in memory
    if failures:
        raise HkdsrError(
            f"{len(failures)} of {len(images)} images are missing from {target} "
            f"({'; '.join(failures)}): repair them and run again with --output {target}"
        )


def _require_own_targets(images: list[Path], target: Path) -> None:
    """Raises HkdsrError if two images would be written to one file of the folder ``target``."""
    _require_apart([(path, target / path.name) for path in images])
    by_name = {path.name: path for path in images}
    for path in images:
        other = by_name.get(f"{path.name}.png")
        if other and kept_name(target, path, read_image(path)).name == other.name:
            _require_apart([(path, target / other.name), (other, target / other.name)])


def _require_apart(targets: Iterable[tuple[Path, Path]]) -> None:
    """Raises HkdsrError for two sources with one target; ``targets`` are pairs of both."""
    seen: dict[Path, Path] = {}
    for source, target in targets:
        if (other := seen.setdefault(target, source)) is not source:
            raise HkdsrError(f"{other} and {source} would both become {target}: rename one, or enlarge one at a time")


def _beside(source: Path, scale: int) -> Path:
    """The target of a source for which none was named. PNG, as another JPEG would lose what was gained."""
    source = Path(os.path.abspath(source))  # not resolve(): the result of a link belongs beside the link
    target = source.with_name(f"{source.name if is_folder(source) else source.stem}_x{scale}")
    target = target if is_folder(source) else target.with_name(f"{target.name}.png")
    if exists(target):
        raise HkdsrError(f"{target} exists: move it away, or name a target with --output")
    return target


def _report_others(folder: Path, images: list[Path]) -> None:
    others = sorted({path for path in entries(folder) if not path.name.startswith(".")} - set(images))
    if others:
        named = ", ".join(path.name for path in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        logger.warning("left out of %s, as they are not image files: %s%s", folder, named, more)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HkdsrError(f"the folder {folder} cannot be made ({error.strerror}): name another target") from error
