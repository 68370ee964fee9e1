"""The formats that networks are exported to, one a file."""

from hkdsr.deploy.formats.base import Files, Format
from hkdsr.deploy.formats.ncnn import NCNN
from hkdsr.deploy.formats.onnx import ONNX
from hkdsr.deploy.formats.openvino import OPENVINO
from hkdsr.deploy.formats.pth import PTH
from hkdsr.deploy.formats.safetensors import SAFETENSORS
from hkdsr.deploy.formats.web import WEB

FORMATS: dict[str, Format] = {entry.name: entry for entry in (ONNX, OPENVINO, NCNN, SAFETENSORS, PTH, WEB)}

__all__ = ["FORMATS", "Files", "Format"]
