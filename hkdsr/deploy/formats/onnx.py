"""ONNX, for ONNX Runtime and much else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hkdsr.deploy.formats.base import Files, Format
from hkdsr.errors import HkdsrError
from hkdsr.memory import ran_out
from hkdsr.nets.base import Network
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.scoring import cost

OPSET = 18
EXAMPLE = (2, 3, 48, 64)  # of a batch, for its size to be left open


def write(network: Network) -> Files:
    """Input ``input`` (batch, 3, height, width), RGB in [0, 1], float32; output ``output``, scale times as large.

    All sizes but the 3 are open, and the output is not clamped.
    """
    sizes = {0: "batch", 2: "height", 3: "width"}
    try:
        with _quiet():
            program = torch.onnx.export(
                network.deployed(),
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
    for key, value in description(network).items():
        model.metadata_props.add(key=key, value=value)
    return {ONNX.suffix: model.SerializeToString()}


def description(network: Network) -> dict[str, str]:
    """What a file tells of the network in it: family, settings and cost."""
    told = {"family": network.family, **network.settings, "cost": cost(network)}
    return {key: str(value) for key, value in told.items()}


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


ONNX = Format("onnx", "ONNX", ".onnx", None, "ONNX Runtime", write, OnnxNetwork.from_file)
