"""OpenVINO, the fastest runtime here for CPUs: a description (.xml) and the weights beside it (.bin).

The network goes through ONNX, which OpenVINO reads by itself. Its own converter for PyTorch reports to its makers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from hkdsr.deploy.formats import onnx
from hkdsr.deploy.formats.base import Files, Format
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.openvino import METADATA, OpenVinoNetwork, runtime, without_reports

if TYPE_CHECKING:
    from types import ModuleType

    from openvino import Model

CONVOLUTION = "Convolution"


def write(network: Network) -> Files:
    """Input and output as in ONNX; the weights in float32."""
    return _saved(_model(network), network)


def quantise(network: Network, crops: Sequence[np.ndarray], in_float: int = 1) -> Files:
    """As ``write``, for numbers of 8 bits whose ranges reach from the least to the largest value on ``crops``.

    NNCF's own choice of ranges cuts off what is rare, which loses more than twice as much. The last ``in_float``
    convolutions stay in float: their roundings are seen in the image, those of others are averaged by what follows.
    """
    model = _model(network)
    convolutions = [
        layer.get_friendly_name() for layer in model.get_ordered_ops() if layer.get_type_name() == CONVOLUTION
    ]
    nncf = _quantiser()
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    whole = RangeEstimatorParametersSet.MINMAX
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=whole, weights_range_estimator_params=whole
    )
    batches = [(crop.astype(np.float32) / 255).transpose(2, 0, 1)[None] for crop in crops]
    with redirect_stdout(StringIO()):  # a bar of progress
        made = nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(names=convolutions[-in_float:]),
            preset=nncf.QuantizationPreset.MIXED,  # the range of features need not have 0 in its middle
            advanced_parameters=ranges,
        )
    return _saved(made, network)


def _quantiser() -> ModuleType:
    """The package nncf, imported so that it cannot report its use to its makers."""
    with without_reports():
        try:
            import nncf
        except ImportError as error:
            raise HkdsrError("export to int8 needs NNCF: pip install 'hkdsr[openvino]'") from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def _model(network: Network) -> Model:
    openvino = runtime()
    try:
        return openvino.Core().read_model(onnx.write(network)[onnx.ONNX.suffix])
    except RuntimeError as error:
        raise HkdsrError(f"OpenVINO cannot read a network of the family {network.family}: choose another") from error


def _saved(model: Model, network: Network) -> Files:
    for key, value in onnx.description(network).items():
        model.set_rt_info(value, [METADATA, key])
    with TemporaryDirectory() as folder:
        file = Path(folder, f"network{OPENVINO.suffix}")
        runtime().save_model(model, file, compress_to_fp16=False)
        return {part.suffix: part.read_bytes() for part in (file, file.with_suffix(".bin"))}


OPENVINO = Format(
    "openvino", "OpenVINO", ".xml", ".bin", "OpenVINO", write, OpenVinoNetwork.from_file, quantise=quantise
)
