"""What runs the network of ``hkdsr upscale``: PyTorch, or for a shipped network ONNX Runtime or OpenVINO."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hkdsr.data.decode import header_size
from hkdsr.deploy.onnx_upscaler import is_installed, open_shipped, shipped_as_onnx
from hkdsr.deploy.upscaler import Upscaler
from hkdsr.errors import HkdsrError
from hkdsr.paths import is_file, user_path

logger = logging.getLogger(__name__)

Runtime = Literal["auto", "torch", "onnx", "openvino"]

SMALL = 10**6
"""Pixels up to which the import of PyTorch takes longer than the image."""
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Files of the drivers of GPUs that PyTorch can use."""


def open_network(model: str, runtime: Runtime, device: str, inputs: Sequence[str]) -> tuple[Upscaler, Path]:
    """What enlarges by ``model``, and the network's file. ``auto`` takes ONNX Runtime where PyTorch's start is longest:

    for a shipped network and one image of up to a megapixel, on a computer without GPU. Which one it is, is logged.

    Raises HkdsrError for a network that is missing or damaged, or that ``runtime`` does not run.
    """
    shipped, chosen = shipped_as_onnx(model), choose_runtime(model, runtime, device, inputs)
    if chosen == "torch":
        upscaler, file = _by_torch(model, device)
    elif shipped is None:
        raise HkdsrError(
            f"--runtime {runtime} is for shipped networks: export {model} and name that file, or leave --runtime out"
        )
    else:
        if device not in ("auto", "cpu"):
            raise HkdsrError(f"--runtime {runtime} runs on the CPU: leave out --device {device}, or take torch")
        upscaler, file = open_shipped(shipped, chosen), shipped
    if shipped is not None or upscaler.runtime != "PyTorch":
        logger.info("%s is run by %s", model, upscaler.runtime)
    return upscaler, file


def choose_runtime(
    model: str, runtime: Runtime, device: str, inputs: Sequence[str]
) -> Literal["torch", "onnx", "openvino"]:
    """What ``open_network`` takes: ``runtime`` itself unless that is ``auto``."""
    if runtime != "auto":
        return runtime
    quick = shipped_as_onnx(model) is not None and is_installed("onnx") and _on_cpu(device) and _is_small(inputs)
    return "onnx" if quick else "torch"


def _by_torch(model: str, device: str) -> tuple[Upscaler, Path]:
    from hkdsr.deploy.upscale import TorchUpscaler
    from hkdsr.devices import pick_device
    from hkdsr.nets.files.load import file_of, load

    return TorchUpscaler(load(model).to(pick_device(device, "--device"))), file_of(model)


def _on_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and not any(Path(gpu).exists() for gpu in GPUS))


def _is_small(inputs: Sequence[str]) -> bool:
    """Whether the inputs are one small image."""
    if len(inputs) != 1 or not is_file(path := user_path(inputs[0])):
        return False
    size = header_size(path)
    return size is not None and size[0] * size[1] <= SMALL
