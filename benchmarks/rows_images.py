"""Rows about making images: tiny_x4 beside other runtimes, and how soon the command line is ready."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.rounds import Form, Missing, Pair
from hkdsr.data import imresize, rgb
from hkdsr.data.embedded import demo_files
from hkdsr.deploy.export import export
from hkdsr.deploy.formats import ncnn_session
from hkdsr.deploy.onnx_upscaler import WEIGHTS, OnnxUpscaler, open_shipped
from hkdsr.deploy.upscale import upscale
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.load import load

NETWORK, WIDTH, HEIGHT, SMALL = "tiny_x4", 640, 360, 160

Run = Callable[[np.ndarray], np.ndarray]
"""From float32 images (1, 3, h, w) to the enlarged ones."""


@contextmanager
def beside_runtimes(folder: Path) -> Iterator[list[Pair]]:
    """``hkdsr.upscale`` of 640x360 pixels by tiny_x4, and the same network run by others; all from uint8 to uint8."""
    network, image = load(NETWORK), photograph(WIDTH, HEIGHT)
    ours = {"PyTorch": lambda: upscale(network, image, "auto")}
    try:
        quick = open_shipped(WEIGHTS / f"{NETWORK}.onnx", "openvino")
        ours["OpenVINO"] = lambda: _filled(quick, image)
    except HkdsrError:
        pass  # the rows of OpenVINO say that it is missing
    theirs = {
        "PyTorch, eager": lambda: _eager(load(NETWORK)),
        "OpenVINO, f32": lambda: _openvino("f32"),
        "OpenVINO, bf16": lambda: _openvino("bf16"),
        "ncnn": lambda: _ncnn(network, folder),
        "ONNX Runtime": _onnxruntime,
    }
    forms = {name: _converting(make, image) for name, make in theirs.items()}
    yield [
        Pair(f"{NETWORK}, {WIDTH}x{HEIGHT}, by {runtime}", name, form, forms[name], None if "bf16" in name else 1.0)
        for runtime, form in ours.items()
        for name in forms
    ]


@contextmanager
def start(folder: Path) -> Iterator[list[Pair]]:
    """How soon the command line has done something small, beside the import of PyTorch alone."""
    path = folder / "small.png"
    Image.fromarray(photograph(SMALL, SMALL)).save(path)
    words = ("upscale", str(path), "-o", str(folder / "large.png"), "--overwrite", "-m", NETWORK)
    importing = _program("-c", "import torch")
    yield [
        Pair("hkdsr --help", "import torch", _program("-m", "hkdsr", "--help"), importing, goal_seconds=0.3),
        Pair(f"hkdsr upscale, {SMALL}x{SMALL}", "import torch", _program("-m", "hkdsr", *words), importing, None, 2.0),
    ]


def photograph(width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3), of one of the demo's photographs."""
    large = rgb(next(iter(demo_files()[1].values())))
    return np.ascontiguousarray(imresize(large, max(width / large.shape[1], height / large.shape[0]))[:height, :width])


def _filled(upscaler: OnnxUpscaler, image: np.ndarray) -> np.ndarray:
    enlarged = np.empty((upscaler.scale * image.shape[0], upscaler.scale * image.shape[1], 3), np.uint8)
    upscaler.fill(image, enlarged, NETWORK, "auto", False)
    return enlarged


def _converting(make: Callable[[], Run], image: np.ndarray) -> Form | Missing:
    """The runtime with what it needs around it, from uint8 to uint8; or why it does not run here."""
    try:
        run = make()
    except ImportError as error:
        return Missing(f"{error.name} is not installed")

    def form() -> np.ndarray:
        made = run(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255))
        return np.rint(255 * made[0].clip(0, 1).transpose(1, 2, 0)).astype(np.uint8)

    return form


def _eager(network: Network) -> Run:
    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return run


def _openvino(precision: str) -> Run:
    core: Any = import_module("openvino").Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(core.read_model(WEIGHTS / f"{NETWORK}.onnx"), "CPU", settings)
    return lambda images: compiled(images)[0]


def _ncnn(network: Network, folder: Path) -> Run:
    for package in ("ncnn", "pnnx"):
        import_module(package)
    target = folder / "network.param"
    export(network, target)
    session = ncnn_session.session(str(target), str(target.with_suffix(".bin")), torch.get_num_threads())
    return session


def _onnxruntime() -> Run:
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(WEIGHTS / f"{NETWORK}.onnx", options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda images: session.run(None, {given.name: images})[0]


def _program(*words: str) -> Form:
    return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True)
