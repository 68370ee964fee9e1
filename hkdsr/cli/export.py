"""``hkdsr export``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hkdsr.cli.output import show_written

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """Write a network as an ONNX file if it gives the same images there: they are compared first."""

    network: Positional[str]
    """A checkpoint, a shipped network's name, or code as FILE.py:NAME:setting=value,..."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write; by default the network's name with .onnx."""
    images: tuple[Path, ...] = ()
    """HR images to compare on; by default the demo's photographs (of hkdsr[demo])."""


def run(arguments: list[str]) -> None:
    """Write a network as ONNX, beside its file or, for a shipped network or code, in the current folder.

    Raises HkdsrError as ``hkdsr.export`` does, and if there is no such network.
    """
    settings = tyro.cli(Export, prog="hkdsr export", args=arguments)
    from hkdsr.deploy.export import export
    from hkdsr.nets.files.load import load
    from hkdsr.paths import require_writable, user_path
    from hkdsr.user_code import code_name

    code = code_name(settings.network)
    output = user_path(settings.output or Path(code.name if code else settings.network).with_suffix(".onnx"))
    require_writable(output)
    logger.info("%s", export(load(settings.network), output, settings.images).sentence())
    show_written(output)
