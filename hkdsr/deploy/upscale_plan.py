"""Which image goes where: found before anything is written, so that no two become one file and no source is lost."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hkdsr.data import list_images, read_image
from hkdsr.data.images import SUFFIXES, image_files
from hkdsr.deploy.enlarge_file import kept_name, require_other
from hkdsr.errors import HkdsrError
from hkdsr.paths import entries, exists, is_folder, matching_paths, require_writable, same_file, user_path

logger = logging.getLogger(__name__)

NAMED = 3


@dataclass(frozen=True)
class Place:
    """An image file and its target, which gets ".png" after its name if ``keeps_name`` and the file cannot hold it.

    ``folder`` is that of the results, where a folder was named; ``one_of_many`` are skipped if they are done already;
    ``may_replace`` says whether another file may be there.
    """

    source: Path
    target: Path
    keeps_name: bool = False
    folder: Path | None = None
    one_of_many: bool = False
    may_replace: bool = True


def plan(
    sources: Iterable[str | Path], target: str | Path | None, scale: int, *, recursive: bool, overwrite: bool
) -> list[Place]:
    """Every image of ``sources`` (files, folders and patterns) with its place, by the rules of ``upscale_files``.

    Raises HkdsrError for a pattern that nothing matches, a folder without images, one file as the target of two images,
    and a target that cannot be written, or that is there already and was not named.
    """
    paths = matching_paths(sources)
    folder = None if target is None else user_path(target)
    if folder is not None and len(paths) > 1:
        if not is_folder(folder) and (folder.suffix.lower() in SUFFIXES or exists(folder)):
            raise HkdsrError(f"{folder} is a file, but there are {len(paths)} images: name a folder")
        require_writable(folder, folder=True)
    places = []
    for path in paths:
        own = _beside(path, scale, overwrite) if folder is None else folder
        if is_folder(path):
            places += _of_folder(path, own, recursive, may_replace=overwrite or folder is not None)
        elif len(paths) > 1 and folder is not None:
            places.append(Place(path, folder / path.name, keeps_name=True, one_of_many=True))
        elif is_folder(own):
            places.append(Place(path, own / path.name, keeps_name=True))
        else:
            places.append(Place(path, own))
    _require_own_targets(places)
    return places


def _of_folder(source: Path, target: Path, recursive: bool, may_replace: bool) -> list[Place]:
    require_other(source, target)
    images = _below(source, target) if recursive else list_images(source)
    if not images:
        raise HkdsrError(
            f"{source} has no images, nor has a folder in it: name a folder with {', '.join(SUFFIXES)} files"
        )
    for folder in sorted({source, *(path.parent for path in images)}):
        _report_others(folder, set(images), recursive)
    require_writable(target, folder=True)
    return [
        Place(path, target / path.relative_to(source), True, target, one_of_many=True, may_replace=may_replace)
        for path in images
    ]


def _below(folder: Path, target: Path) -> list[Path]:
    """The images in ``folder`` and the folders in it, those of results, hidden ones and links left out."""
    found = image_files(folder)
    for path in entries(folder):
        if is_folder(path) and not path.is_symlink() and not path.name.startswith(".") and not same_file(path, target):
            found += _below(path, target)
    return found


def _require_own_targets(places: list[Place]) -> None:
    """Raises HkdsrError if two images would be written to one file."""
    _require_apart([(place.source, place.target) for place in places])
    by_target = {place.target: place for place in places}
    for place in places:
        other = by_target.get(place.target.with_name(f"{place.target.name}.png"))
        if place.keeps_name and other:
            named = kept_name(place.target, read_image(place.source))
            _require_apart([(place.source, named), (other.source, other.target)])


def _require_apart(targets: Iterable[tuple[Path, Path]]) -> None:
    """Raises HkdsrError for two sources with one target; ``targets`` are pairs of both."""
    seen: dict[Path, Path] = {}
    for source, target in targets:
        if (other := seen.setdefault(target, source)) is not source:
            raise HkdsrError(f"{other} and {source} would both become {target}: rename one, or enlarge one at a time")


def _beside(source: Path, scale: int, overwrite: bool) -> Path:
    """The target of a source for which none was named. PNG, as another JPEG would lose what was gained."""
    source = Path(os.path.abspath(source))  # not resolve(): the result of a link belongs beside the link
    if is_folder(source):
        return source.with_name(f"{source.name}_x{scale}")
    target = source.with_name(f"{source.stem}_x{scale}.png")
    if exists(target) and not overwrite:
        raise HkdsrError(f"{target} exists: move it away, name a target with --output, or add --overwrite")
    return target


def _report_others(folder: Path, images: set[Path], recursive: bool) -> None:
    others = [path for path in entries(folder) if not path.name.startswith(".") and path not in images]
    others = [path for path in others if not (recursive and is_folder(path))]
    if others:
        named = ", ".join(path.name for path in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        logger.warning("left out of %s, as they are not image files: %s%s", folder, named, more)
