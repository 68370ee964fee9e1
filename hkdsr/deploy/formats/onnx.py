"""ONNX, for ONNX Runtime and much else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from hkdsr.deploy.formats.base import Files, Format
from hkdsr.deploy.formats.onnx_form import InForm, OnnxForm
from hkdsr.deploy.formats.plain_graph import make_plain
from hkdsr.errors import HkdsrError
from hkdsr.memory import ran_out
from hkdsr.nets.base import Network
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.scoring import cost

if TYPE_CHECKING:
    from onnx_ir import Model

OPSET = 18
EXAMPLE = (2, 3, 48, 64)  # of a batch, for its size to be left open
USUAL = OnnxForm()


def write(network: Network, form: OnnxForm = USUAL) -> Files:
    """Input ``input`` (batch, 3, height, width), RGB in [0, 1], float32; output ``output``, scale times as large.

    All sizes but the 3 are open, and the output is not clamped; or as ``form`` says.
    """
    height, width = (2, 3) if form.layout == "nchw" else (1, 2)
    sizes = {0: "batch", height: "height", width: "width"}
    try:
        with _quiet():
            program = torch.onnx.export(
                InForm(network.deployed(), form).eval() if form.description else network.deployed(),
                (_example(form),),
                dynamo=True,
                dynamic_shapes=None if form.size else (sizes,),
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
    if form.plain:
        make_plain(program.model)
    _forget_places(program.model)
    model = program.model_proto
    for key, value in (description(network) | form.description).items():
        model.metadata_props.add(key=key, value=value)
    return {ONNX.suffix: model.SerializeToString()}


def description(network: Network) -> dict[str, str]:
    """What a file tells of the network in it: family, settings and cost."""
    told = {"family": network.family, **network.settings, "cost": cost(network)}
    return {key: str(value) for key, value in told.items()}


def in_form(form: OnnxForm) -> Format:
    """ONNX with files in ``form``."""
    return replace(ONNX, write=partial(write, form=form), size=form.size)


def _forget_places(model: Model) -> None:
    """Remove the exporter's notes, which show where on this machine the code of every operation lies."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)


def _example(form: OnnxForm) -> torch.Tensor:
    """A batch of images in ``form``."""
    shape = (1, 3, *form.size) if form.size else EXAMPLE
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    x = x.permute(0, 2, 3, 1).contiguous() if form.layout == "nhwc" else x
    return (255 * x).byte() if form.values == "uint8" else x


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
