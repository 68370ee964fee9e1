"""OpenVINO, the fastest runtime here for CPUs: a description (.xml) and the weights beside it (.bin).

The network goes through ONNX, which OpenVINO reads by itself. Its own converter for PyTorch reports to its makers.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hkdsr.deploy.formats import onnx
from hkdsr.deploy.formats.base import Files, Format
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.openvino import METADATA, OpenVinoNetwork, runtime

if TYPE_CHECKING:
    from openvino import Model


def write(network: Network) -> Files:
    """Input and output as in ONNX; the weights in float32."""
    return _saved(_model(network), network)


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


OPENVINO = Format("openvino", ".xml", ".bin", "OpenVINO", write, OpenVinoNetwork.from_file)
