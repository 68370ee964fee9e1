"""Upscale image files and folders of them: nothing is replaced by mistake, and all that a format holds is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tqdm import tqdm

from hkdsr.data.decode import header_size
from hkdsr.deploy.enlarge_file import Handling, enlarge_file
from hkdsr.deploy.grid import check_tile
from hkdsr.deploy.outcome import Outcome
from hkdsr.deploy.upscale_plan import Place, plan
from hkdsr.deploy.upscaler import Upscaler
from hkdsr.errors import HkdsrError, WriteError
from hkdsr.paths import exists, is_file, is_folder

if TYPE_CHECKING:
    from hkdsr.nets.base import Network

logger = logging.getLogger(__name__)

HANDLING = Handling()


def upscale_file(
    network: Network | Upscaler,
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
    is logged, and so are images that are done already (see ``upscale_files``). ``handling`` says how; its ``progress``
    shows a bar of tiles or of images, on a terminal only.

    Raises HkdsrError if the source cannot be read or the target cannot be written or hold it. In a folder, images
    that cannot be read are named in one error after the others are written.
    """
    outcomes = list(upscale_files(network, [source], target, handling))
    return outcomes[-1].folder or outcomes[-1].target


def upscale_files(
    network: Network | Upscaler,
    sources: Iterable[str | Path],
    target: str | Path | None = None,
    handling: Handling = HANDLING,
) -> Generator[Outcome, None, None]:
    """As ``upscale_file`` for each of ``sources``, which may be patterns (``photos/*.jpg``); gives what became of each.

    Where there are several, ``target`` is a folder, which is made if it is missing. An image of several that go into a
    folder is skipped if a file of its name and of the right size is there that is newer than the image and than the
    network's file, unless ``handling.overwrite``.

    Raises HkdsrError as ``upscale_file`` does, for a pattern that nothing matches, and, before anything is written, for
    one file as the target of several images.
    """
    check_tile(handling.tile)
    upscaler = _upscaler(network)
    places = plan(sources, target, upscaler.scale, recursive=handling.recursive, overwrite=handling.overwrite)
    targets = {place.target for place in places}
    if len(places) > 1:
        handling, shown = replace(handling, progress=False), handling.progress
    else:
        shown = False
    failed: list[Outcome] = []
    skipped = 0
    for place in tqdm(places, unit="image", disable=None if shown else True):
        outcome = None if handling.overwrite else _done(upscaler, place, targets, handling.network_file)
        if outcome is None:
            try:
                outcome = _enlarged(upscaler, place, handling)
            except WriteError:
                raise
            except HkdsrError as error:
                if not place.one_of_many and len(places) == 1:
                    raise
                outcome = Outcome(place.source, place.target, "failed", reason=str(error), folder=place.folder)
                failed.append(outcome)
        skipped += outcome.status == "skipped"
        yield outcome
    if skipped:
        logger.info("%d of %d images are skipped, as they are done: --overwrite makes them anew", skipped, len(places))
    if failed:
        raise HkdsrError(_told(failed, len(places), target))


def _upscaler(network: Network | Upscaler) -> Upscaler:
    if hasattr(network, "fill"):
        return cast("Upscaler", network)
    from hkdsr.deploy.upscale import TorchUpscaler

    return TorchUpscaler(cast("Network", network))


def _enlarged(upscaler: Upscaler, place: Place, handling: Handling) -> Outcome:
    if exists(place.target) and not place.may_replace:
        raise HkdsrError(f"{place.target} exists: move it away, name a target with --output, or add --overwrite")
    began = time.perf_counter()
    target, (width, height) = enlarge_file(upscaler, place.source, place.target, place.keeps_name, handling)
    size, large = (width, height), (upscaler.scale * width, upscaler.scale * height)
    return Outcome(place.source, target, "written", time.perf_counter() - began, size, large, folder=place.folder)


def _done(upscaler: Upscaler, place: Place, targets: set[Path], network_file: Path | None) -> Outcome | None:
    """That an image is skipped, if it is done."""
    if not place.one_of_many or not is_file(place.source):
        return None
    newest = max(path.stat().st_mtime for path in (place.source, network_file) if path and is_file(path))
    as_png = place.target.with_name(f"{place.target.name}.png")
    for target in (place.target, *({as_png} - targets)):
        if not is_file(target) or target.stat().st_mtime < newest:
            continue
        size, large = header_size(place.source), header_size(target)
        # Sorted, as the source may lie on its side.
        if size and large and sorted(large) == sorted(upscaler.scale * side for side in size):
            return Outcome(place.source, target, "skipped", 0.0, size, large, folder=place.folder)
    return None


def _told(failed: list[Outcome], count: int, target: str | Path | None) -> str:
    reasons = "; ".join(str(outcome.reason) for outcome in failed)
    folder = target if target is not None else failed[0].folder
    if folder is None or not is_folder(folder):
        return f"{len(failed)} of {count} images are not enlarged ({reasons}): repair them and run again"
    return f"{len(failed)} of {count} images are missing from {folder} ({reasons}): repair them and run again"
