"""``hkdsr upscale``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show_written

INPUT_FLAGS = ("-i", "--input")


@dataclass(frozen=True)
class Upscale:
    """Enlarge images, or every image of a folder."""

    inputs: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE-OR-FOLDER ...")]
    """Images or folders of images; patterns such as 'photos/*.jpg' too."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write, or the folder for several images; by default photo_x2.png, or photos_x2, beside each input."""
    recursive: Annotated[bool, tyro.conf.arg(aliases=["-r"])] = False
    """Also the folders in a folder; the results lie in folders of the same names."""
    overwrite: bool = False
    """Make anew what is there already. Else images of a folder are skipped if their results are there, of the right
    size, and newer than the image and the network's file."""
    report: Path | None = None
    """A JSON file to write: what became of each image, with sizes and seconds."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m", "--network"])] = "small_x2"
    """A checkpoint, a file of ONNX (.onnx), OpenVINO (.xml) or ncnn (.param), a shipped network's name, or code as
    FILE.py:NAME:setting=value,... or FILE.pt2:forward"""
    tile: int | None = None
    """Side of the tiles in LR pixels; by default the whole image, or tiles as large as memory allows, on a CPU at
    most 1024, and 256 or 512 in larger images."""
    stream_from: float = 50
    """Megapixels of the result from which on images are read and written by strips, so that memory does not grow with
    them: into PNG and TIFF. The pixels are the same."""
    max_pixels: int | None = None
    """The most pixels that an image to enlarge may have; by default 10^9, or what the environment variable
    HKDSR_MAX_PIXELS says."""
    device: str = "auto"
    """``auto`` takes the first GPU if there is one; or cpu, cuda:1 ..."""
    runtime: Literal["auto", "torch", "onnx", "openvino"] = "auto"
    """What runs a shipped network: ``torch`` (PyTorch), ``onnx`` (ONNX Runtime) or ``openvino``. ``auto`` takes ONNX
    Runtime, where that is installed, for one image of up to a megapixel on a computer without GPU, which halves the
    time from the start; else PyTorch. Their images are at most one grey level apart. Exported files are run by the
    runtime that they are for."""


def run(arguments: list[str]) -> None:
    """Enlarge what the arguments name. Raises HkdsrError as ``upscale_files`` does, and for a missing network."""
    arguments = [word for word in arguments if word not in INPUT_FLAGS]
    settings = tyro.cli(Upscale, prog="hkdsr upscale", args=arguments)
    from hkdsr.data.notes import MAX_PIXELS
    from hkdsr.deploy.enlarge_file import Handling
    from hkdsr.deploy.outcome import Outcome, write_report
    from hkdsr.deploy.runtime import open_network
    from hkdsr.deploy.upscale_files import upscale_files

    if settings.max_pixels is not None:
        os.environ[MAX_PIXELS] = str(settings.max_pixels)
    upscaler, file = open_network(settings.model, settings.runtime, settings.device, settings.inputs)
    tile = "auto" if settings.tile is None else settings.tile
    handling = Handling(
        tile=tile,
        stream_from=settings.stream_from,
        recursive=settings.recursive,
        overwrite=settings.overwrite,
        network_file=file,
    )
    outcomes: list[Outcome] = []
    try:
        for outcome in upscale_files(upscaler, settings.inputs, settings.output, handling):
            outcomes.append(outcome)
            if outcome.folder is None and outcome.status == "written":
                show_written(outcome.target)
        for folder in dict.fromkeys(outcome.folder for outcome in outcomes if outcome.folder is not None):
            show_written(folder)
    finally:
        if settings.report:
            write_report(settings.report, outcomes, settings.model, upscaler.runtime)
