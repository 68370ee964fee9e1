"""``hkdsr export``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show_written
from hkdsr.errors import HkdsrError

logger = logging.getLogger(__name__)

FormatName = Literal["onnx", "openvino", "ncnn", "safetensors", "pth", "web"]


@dataclass(frozen=True)
class Export:
    """Write a network for other runtimes if it gives the same images there: they are compared first."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, or code as FILE.py:NAME:setting=value,..."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write, or the folder of a web page; by default the network's name with the suffix of the format, or
    with _web. OpenVINO and ncnn have a file of weights (.bin) beside it."""
    format: Annotated[FormatName | None, tyro.conf.arg(aliases=["-f"])] = None
    """The format: ``onnx``, ``openvino``, ``ncnn``, ``safetensors``, ``pth`` or ``web``, a folder with a page that
    enlarges images in the browser; by default that of the output's suffix, or onnx."""
    images: tuple[Path, ...] = ()
    """HR images to compare on; by default the demo's photographs (of hkdsr[demo])."""
    int8: bool = False
    """Compute with numbers of 8 bits, if that loses no more than 0.15 dB: OpenVINO only."""
    calibration: tuple[Path, ...] = ()
    """Images, or folders of them, on which the ranges of the 8 bits are found; by default the student's training
    images, where they still are, or the demo's."""
    allow_weak: bool = False
    """Also export a network whose images have a lower PSNR-Y than those of bicubic enlargement."""
    author: str = ""
    """Your name, of letters, digits and hyphens. With it, two cards are written beside the network: NAME.json in the
    format of OpenModelDB, and NAME.md."""
    licence: str = ""
    """The licence of the network for its card, in SPDX's words, such as ``MIT``."""
    teacher_licence: str = ""
    """The licence of its teacher for the card; by default what the network's file tells."""
    plain_graph: bool = False
    """ONNX without operations that the runtimes of phones and browsers lack: PRelu, DepthToSpace and Clip become exact
    arithmetic and convolutions."""
    values: Literal["float", "uint8"] = "float"
    """What an ONNX file takes and gives: ``float`` for float32 in [0, 1], ``uint8`` for grey levels."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """How an ONNX file takes and gives images: ``nchw`` (colours first) or ``nhwc`` (colours last)."""
    size: str | None = None
    """Height and width of the LR image, as 360x640, for an ONNX file that takes images of this size only, one at a
    time; by default it takes all sizes."""
    runtime: Path | None = None
    """The folder of the npm package onnxruntime-web, out of which a web page gets its runtime: node_modules/
    onnxruntime-web after ``npm install onnxruntime-web@1.30.0``."""


def run(arguments: list[str]) -> None:
    """Write a network for another runtime, beside its file or, for a shipped network or code, in the current folder.

    Raises HkdsrError as ``hkdsr.export`` does, if there is no such network, and if it would replace itself.
    """
    settings = tyro.cli(Export, prog="hkdsr export", args=arguments)
    from hkdsr.deploy.calibration import training_folders
    from hkdsr.deploy.card import Maker, warnings_of, write_cards
    from hkdsr.deploy.export import chosen_format, export
    from hkdsr.deploy.formats import FORMATS
    from hkdsr.deploy.formats.onnx_form import OnnxForm
    from hkdsr.deploy.formats.web import INSTALL, has_runtime, runtime_files
    from hkdsr.files import write_atomically
    from hkdsr.nets.files.load import load, metadata
    from hkdsr.paths import require_writable, same_file, user_path
    from hkdsr.user_code import code_name

    name = settings.format or (None if settings.output else "onnx")
    code = code_name(settings.network)
    beside = Path(code.name if code else settings.network)
    output = user_path(settings.output or FORMATS[name or "onnx"].target(beside))
    form = OnnxForm(settings.plain_graph, settings.values, settings.layout, _size(settings.size))
    chosen = chosen_format(output, name, int8=settings.int8, form=form)
    require_writable(output, folder=chosen.folder)
    if settings.runtime and not chosen.folder:
        raise HkdsrError("a runtime is for web pages only: add --format web, or leave --runtime out")
    runtime = runtime_files(user_path(settings.runtime)) if settings.runtime else {}
    if same_file(output, user_path(settings.network)):
        raise HkdsrError(f"{output} is also the network to export: name another file with --output")
    told = metadata(settings.network) if code is None else {}
    maker = Maker(settings.author, settings.licence, settings.teacher_licence) if settings.author else None
    if maker is None and (settings.licence or settings.teacher_licence):
        raise HkdsrError("a licence is given but no author: give your name with --author, as both stand in the card")
    network = load(settings.network)
    calibration = settings.calibration or (training_folders(settings.network) if settings.int8 else ())
    parity = export(
        network,
        output,
        settings.images,
        format=chosen.name,
        int8=settings.int8,
        calibration=calibration,
        allow_weak=settings.allow_weak,
        form=form,
    )
    logger.info("%s", parity.sentence(chosen.runtime))
    for name, content in runtime.items():
        write_atomically(output / name, content)
    for part in (chosen.suffix, *filter(None, [chosen.weights])):
        show_written(chosen.place(output, part))
    if chosen.folder and not has_runtime(output):
        logger.warning("the page in %s lacks its runtime: %s", output, INSTALL)
    if maker:
        for warning in warnings_of(maker, told):
            logger.warning("%s", warning)
        for card in write_cards(output, network, told, maker):
            show_written(card)


def _size(text: str | None) -> tuple[int, int] | None:
    """Height and width from ``360x640``."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise HkdsrError(f"the size is '{text}': give height and width in pixels, as 360x640")
    return int(height), int(width)
