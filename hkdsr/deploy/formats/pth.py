""".pth, for programs that read nothing newer: the weights of ``safetensors``, pickled by PyTorch."""

from __future__ import annotations

import io

import torch

from hkdsr.deploy.formats import safetensors
from hkdsr.deploy.formats.base import Files, Format
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import public_weights

CONTAINER = "params"
"""Where BasicSR keeps a network's weights."""


def write(network: Network) -> Files:
    """The weights alone, under the names of public files: settings that no weight shows are lost."""
    safetensors.warn_if_unread(network)
    file = io.BytesIO()
    torch.save({CONTAINER: public_weights(network)}, file)
    return {PTH.suffix: file.getvalue()}


PTH = Format("pth", "PyTorch's format", ".pth", None, "the written file", write, safetensors.read)
