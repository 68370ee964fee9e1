"""``hkdsr upscale``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hkdsr.cli.output import show


@dataclass(frozen=True)
class Upscale:
    """Enlarge an image, or every image of a folder."""

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """An image or a folder of images; "-i" may be left out where it comes first."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write, or the folder for a folder's images; by default photo_x2.png, or photos_x2, beside it."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "small_x2"
    """A checkpoint or a shipped network's name."""
    tile: int | None = None
    """Side of the tiles in LR pixels; by default the whole image, or tiles as large as memory allows, on a CPU at
    most 1024."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""


def run(arguments: list[str]) -> None:
    """Enlarge what the arguments name. Raises HkdsrError as ``upscale_file`` does, and for a missing network."""
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--input", *arguments]
    settings = tyro.cli(Upscale, prog="hkdsr upscale", args=arguments)
    from hkdsr.deploy.upscale_files import upscale_file
    from hkdsr.devices import pick_device
    from hkdsr.nets.files.load import load

    network = load(settings.model).to(pick_device(settings.device, "--device"))
    tile = "auto" if settings.tile is None else settings.tile
    show(f"written: {upscale_file(network, settings.input, settings.output, tile)}")
