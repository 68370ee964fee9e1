"""ncnn, which Upscayl and phones use: a description (.param) and the weights beside it (.bin), made by pnnx."""

from __future__ import annotations

import logging
import re
import subprocess
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from hkdsr.deploy.formats.base import Files, Format
from hkdsr.deploy.formats.ncnn_runtime import NcnnRuntimeNetwork
from hkdsr.deploy.tiles import WIDEST, reach
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.sanity import name_of

logger = logging.getLogger(__name__)

BLOBS = {"in0": "data", "out0": "output"}
"""The names of input and output, by pnnx and by the programs that use ncnn."""
COMMON_PADDING = 10
"""LR pixels around the tiles of programs that use ncnn."""
SIZES = ((48, 64), (61, 47))
"""Two sizes of LR images, from which pnnx tells open sizes from fixed ones."""


class _Bare(nn.Module):
    """The network's parts alone: what ``Network.trace`` does around them would add layers that few programs have."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.network.shallow(x)
        deep, _ = self.network.run_trunk(shallow, ())
        return self.network.reconstruct(deep, shallow, x)


def write(network: Network) -> Files:
    """Input ``data``, RGB in [0, 1]; output ``output``, not clamped; in float32.

    A warning is logged if the network sees further than the surroundings that common programs give their tiles.
    """
    program = _converter()
    if not network.runs_in_parts or network.pad_multiple > 1:
        raise HkdsrError(f"ncnn cannot hold a network of the family {network.family}: choose a convolutional student")
    with TemporaryDirectory() as folder:
        _traced(_Bare(network)).save(str(Path(folder, "net.pt")))
        sizes = (
            f"inputshape{'' if index == 0 else index + 1}=[1,3,{height},{width}]f32"
            for index, (height, width) in enumerate(SIZES)
        )
        command = [program, "net.pt", *sizes, "fp16=0"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        made = Path(folder, "net.ncnn.param"), Path(folder, "net.ncnn.bin")
        if done.returncode or not all(file.is_file() for file in made):
            raise HkdsrError(f"pnnx cannot convert a network of the family {network.family}: choose another student")
        description, weights = made[0].read_text(encoding="utf-8"), made[1].read_bytes()
    _require_known_layers(description, network)
    _warn_of_seams(network)
    names = "|".join(BLOBS)
    named = re.sub(rf"\b({names})\b", lambda match: BLOBS[match[0]], description)
    return {NCNN.suffix: named.encode(), ".bin": weights}


def _converter() -> str:
    """The program of pnnx."""
    try:
        import pnnx
    except ImportError as error:
        raise HkdsrError("export to ncnn needs ncnn and pnnx: pip install 'hkdsr[ncnn]'") from error
    return pnnx.EXEC_PATH


def _traced(module: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and sizes that depend on the image are reported
        traced = torch.jit.trace(module, torch.rand(1, 3, *SIZES[0]), check_trace=False)
    assert isinstance(traced, torch.jit.ScriptModule)
    return traced


def _require_known_layers(description: str, network: Network) -> None:
    """What pnnx knows and ncnn does not has a dot in its name."""
    for line in description.splitlines()[2:]:
        layer = line.split()[0]
        if "." in layer:
            raise HkdsrError(
                f"ncnn has no layer for a part of a network of the family {network.family} ({layer}): choose another "
                "student"
            )


def _warn_of_seams(network: Network) -> None:
    found = reach(network)
    if found.sees_all or found.pixels > COMMON_PADDING:
        far = f"more than {WIDEST}" if found.sees_all else f"{found.pixels}"
        logger.warning(
            "%s sees %s LR pixels far, but programs that use ncnn commonly give their tiles %d pixels of surroundings: "
            "seams may show there, so use large tiles",
            name_of(network),
            far,
            COMMON_PADDING,
        )


NCNN = Format("ncnn", "ncnn", ".param", ".bin", "ncnn", write, NcnnRuntimeNetwork)
