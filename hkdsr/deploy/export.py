"""Export to ONNX, with a gate: a file that does not give the same images is not written."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hkdsr.data import imresize, mod_crop, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.memory import ran_out
from hkdsr.nets.base import Network
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.scoring import cost, psnr_y
from hkdsr.scoring.inference import super_resolve
from hkdsr.settings.fields import as_tuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OPSET = 18
EXAMPLE = (2, 3, 48, 64)  # of a batch, for its size to be left open
LARGEST_STEP, LARGEST_LOSS = 1, 0.01
ODD = (61, 47)  # a cut of LR rows and columns that no stride, window or pooling divides


@dataclass(frozen=True)
class Parity:
    """How far the exported network's images are from the network's own, over ``images`` of them.

    ``step`` is the largest difference of two values in grey levels of 255, ``share`` the share of values that differ;
    ``loss`` the largest change of an image's PSNR-Y in dB, in either direction.
    """

    images: int
    step: int
    share: float
    loss: float

    @property
    def kept(self) -> bool:
        """Whether these count as the same images: values differ by roundings alone, PSNR-Y by at most 0.01 dB."""
        return self.step <= LARGEST_STEP and self.loss <= LARGEST_LOSS

    def sentence(self) -> str:
        """The same in words."""
        return (
            f"{self.images} images by ONNX Runtime and PyTorch: {100 * self.share:.3f} % of the values differ, by "
            f"at most {self.step} of 255; PSNR-Y by at most {self.loss:.4f} dB"
        )


def export(network: Network, target: str | Path, images: str | Path | Sequence[str | Path] = ()) -> Parity:
    """Write ``network`` as the ONNX file ``target`` if it gives the same images there.

    Input ``input`` (batch, 3, height, width), RGB in [0, 1], float32; output ``output``, scale times as large, not
    clamped; batch, height and width are variable. ``images`` are HR files to compare on (one or several), by default
    the demo's photographs: each image and a part of it with odd sides are reduced, and enlarged by both.

    Raises HkdsrError if the packages or the images for it are missing, the network cannot be exported, the images of
    the two differ (``Parity.kept``), or the file cannot be written.
    """
    target = Path(target)
    if target.suffix != ".onnx":
        raise HkdsrError(f"{target} does not end in .onnx, as ONNX files must: name another target")
    cuts = [cut for path in as_tuple(images) or demo_files()[1].values() for cut in _cuts(rgb(path), network.scale)]
    content = onnx(network)
    exported = OnnxNetwork(content, "what was exported")
    try:
        parity = compare(network, exported, cuts)
    except HkdsrError as error:
        raise HkdsrError(
            f"{target} is not written, as ONNX Runtime fails on images that PyTorch enlarges: {network.family} does "
            "not leave their size open in ONNX, so choose another network"
        ) from error
    if not parity.kept:
        raise HkdsrError(
            f"{target} is not written, as it would give other images ({parity.sentence()}): "
            f"networks of the family {network.family} change in ONNX, so choose another one"
        )
    write_atomically(target, content)
    return parity


def onnx(network: Network) -> bytes:
    """``network`` as ONNX, not compared yet. Raises HkdsrError if packages are missing or it cannot be exported."""
    own = copy.deepcopy(network).cpu().float().eval().requires_grad_(False).deployed()
    sizes = {0: "batch", 2: "height", 3: "width"}
    try:
        with _quiet():
            program = torch.onnx.export(
                own,
                (torch.rand(EXAMPLE, generator=torch.Generator().manual_seed(0)),),
                dynamo=True,
                dynamic_shapes=(sizes,),
                input_names=["input"],
                output_names=["output"],
                opset_version=OPSET,
                verbose=False,
            )
    except ImportError as error:
        raise HkdsrError("export needs ONNX: pip install 'hkdsr[onnx]'") from error
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        if ran_out(error):
            raise MemoryError from error
        raise HkdsrError(f"PyTorch cannot export a network of the family {network.family}: choose another") from error
    assert program is not None
    model = program.model_proto
    told = {"family": network.family, **network.settings, "cost": str(cost(network))}
    for key, value in told.items():
        model.metadata_props.add(key=key, value=str(value))
    return model.SerializeToString()


def compare(network: Network, exported: Network, images: Sequence[np.ndarray]) -> Parity:
    """How far both are apart where they enlarge HR ``images``, uint8 (H, W, 3) with sides that the scale divides."""
    scale, steps, changes = network.scale, [], []
    for hr in images:
        lr = imresize(hr, 1 / scale)
        own, other = super_resolve(network, lr), super_resolve(exported, lr)
        steps.append(np.abs(own.astype(int) - other))
        changes.append(abs(psnr_y(own, hr, scale) - psnr_y(other, hr, scale)))
    values = sum(step.size for step in steps)
    differ = sum(int(np.count_nonzero(step)) for step in steps)
    return Parity(len(steps), max(int(step.max()) for step in steps), differ / values, max(changes))


def _cuts(hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole image and a corner of it."""
    whole = mod_crop(hr, scale)
    return whole, whole[: scale * ODD[0], : scale * ODD[1]]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of what it does inside, at length."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
