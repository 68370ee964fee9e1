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
SPAN_BLOCKS = 6
"""Of ``span`` it reads networks with attention and this number of blocks alone."""


def write(network: Network) -> Files:
    """The weights as ``hkdsr.save`` writes them, with family and settings beside them."""
    warn_if_unread(network)
    return {SAFETENSORS.suffix: to_bytes(network)}


def warn_if_unread(network: Network) -> None:
    """Log a warning for a network of a family that spandrel does not read."""
    if not _reads(network):
        logger.warning(
            "spandrel, and with it chaiNNer or ComfyUI, does not know this %s network: the file is for "
            "hkdsr and the family's own programs",
            network.family,
        )


def read(path: Path) -> Network:
    """The network of a file: by spandrel where it reads the family, else by ``hkdsr.load``.

    Raises HkdsrError if spandrel is missing or refuses the file.
    """
    network = load(path)
    return SpandrelNetwork.from_states([read_checkpoint(path)[0]], path) if _reads(network) else network


def _reads(network: Network) -> bool:
    settings = network.settings
    plain_span = network.family == "span" and (settings["attention"] == 0 or settings["blocks"] != SPAN_BLOCKS)
    return network.family in READ_BY_SPANDREL and not plain_span


SAFETENSORS = Format("safetensors", "safetensors", ".safetensors", None, "the written file", write, read)
