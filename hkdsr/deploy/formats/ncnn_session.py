"""Running a pair of ncnn files; as a script, trying one out. Without imports of this package, to start at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

PROBE = 48
"""LR pixels of the image that files are tried on."""


def session(description: str, weights: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function from a batch of images, float32 (batch, 3, height, width), to what the network makes of it.

    ``description`` and ``weights`` are the paths of the .param and the .bin file. Raises RuntimeError if ncnn refuses
    the files, as the function does for images; either may end the process if the files are damaged.
    """
    ncnn: Any = import_module("ncnn")  # whose types are not told
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for setting in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, setting, False)
    if net.load_param(description) or net.load_model(weights):
        raise RuntimeError("the files cannot be loaded")
    inputs, outputs = net.input_names(), net.output_names()
    if len(inputs) != 1 or len(outputs) != 1:
        raise RuntimeError("there is not one input and one output")

    def run(images: np.ndarray) -> np.ndarray:
        return np.stack([_enlarged(net, ncnn.Mat, inputs[0], outputs[0], image) for image in images])

    return run


def _enlarged(net: Any, mat: Any, source: str, target: str, image: np.ndarray) -> np.ndarray:
    pixels = np.ascontiguousarray(image)
    extractor = net.create_extractor()
    if extractor.input(source, mat(pixels).clone()):  # a Mat borrows the array's memory, its clone does not
        raise RuntimeError("the input is not taken")
    status, made = extractor.extract(target)
    if status:
        raise RuntimeError("a layer failed")
    return np.array(made)  # a copy: the Mat's memory goes with the extractor


def try_out(description: str, weights: str) -> None:
    """Enlarge two small images. Raises RuntimeError as ``session`` does."""
    run = session(description, weights, 1)
    for height, width in ((PROBE, PROBE), (PROBE - 11, PROBE + 5)):
        run(np.zeros((1, 3, height, width), np.float32))


if __name__ == "__main__":
    try_out(*sys.argv[1:])
