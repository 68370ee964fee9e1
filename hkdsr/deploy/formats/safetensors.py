"""safetensors under the names that spandrel knows, for chaiNNer, ComfyUI and others."""

from __future__ import annotations

import logging
from pathlib import Path

from hkdsr.deploy.formats.base import Files, Format
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load, to_bytes
from hkdsr.nets.files.spandrel import SpandrelNetwork
from hkdsr.nets.files.state_dict import read_checkpoint

logger = logging.getLogger(__name__)

READ_BY_SPANDREL = ("compact", "rcan", "span", "swinir")
"""Families whose files it reads; those of the plain variant of ``span`` it does not."""


def write(network: Network) -> Files:
    """The weights as ``hkdsr.save`` writes them, with family and settings beside them."""
    warn_if_unread(network)
    return {SAFETENSORS.suffix: to_bytes(network)}


def warn_if_unread(network: Network) -> None:
    """Log a warning for a network of a family that spandrel does not read."""
    if not _reads(network):
        logger.warning(
            "spandrel, and with it chaiNNer and ComfyUI, does not know the family %s: the file is for hkdsr and the "
            "family's own programs",
            network.family,
        )


def read(path: Path) -> Network:
    """The network of a file: by spandrel where it reads the family, else by ``hkdsr.load``.

    Raises HkdsrError if spandrel is missing or refuses the file.
    """
    network = load(path)
    return SpandrelNetwork.from_states([read_checkpoint(path)[0]], path) if _reads(network) else network


def _reads(network: Network) -> bool:
    return network.family in READ_BY_SPANDREL and network.settings.get("attention") != 0


SAFETENSORS = Format("safetensors", ".safetensors", None, "the written file", write, read)
