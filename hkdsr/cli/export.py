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

FormatName = Literal["onnx", "openvino", "ncnn", "safetensors", "pth"]


@dataclass(frozen=True)
class Export:
    """Write a network for other runtimes if it gives the same images there: they are compared first."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, or code as FILE.py:NAME:setting=value,..."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write; by default the network's name with the suffix of the format. OpenVINO and ncnn have a file
    of weights (.bin) beside it."""
    format: Annotated[FormatName | None, tyro.conf.arg(aliases=["-f"])] = None
    """The format: ``onnx``, ``openvino``, ``ncnn``, ``safetensors`` or ``pth``; by default that of the output's suffix,
    or onnx."""
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


def run(arguments: list[str]) -> None:
    """Write a network for another runtime, beside its file or, for a shipped network or code, in the current folder.

    Raises HkdsrError as ``hkdsr.export`` does, if there is no such network, and if it would replace itself.
    """
    settings = tyro.cli(Export, prog="hkdsr export", args=arguments)
    from hkdsr.deploy.calibration import training_folders
    from hkdsr.deploy.card import Maker, warnings_of, write_cards
    from hkdsr.deploy.export import chosen_format, export
    from hkdsr.deploy.formats import FORMATS
    from hkdsr.nets.files.load import load, metadata
    from hkdsr.paths import require_writable, same_file, user_path
    from hkdsr.user_code import code_name

    name = settings.format or (None if settings.output else "onnx")
    code = code_name(settings.network)
    beside = Path(code.name if code else settings.network)
    output = user_path(settings.output or beside.with_suffix(FORMATS[name or "onnx"].suffix))
    chosen = chosen_format(output, name, int8=settings.int8)
    require_writable(output)
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
    )
    logger.info("%s", parity.sentence(chosen.runtime))
    for suffix in filter(None, (chosen.suffix, chosen.weights)):
        show_written(output.with_suffix(suffix))
    if maker:
        for warning in warnings_of(maker, told):
            logger.warning("%s", warning)
        for card in write_cards(output, network, told, maker):
            show_written(card)
