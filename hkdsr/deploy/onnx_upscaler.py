"""Shipped networks without PyTorch, whose import takes longer than a small image: by ONNX Runtime or OpenVINO.

Beside the weights of each shipped network lies the same network as ONNX, with the hash of these weights and how far it
sees. Its images are those of PyTorch within the gate of the export, a grey level.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hkdsr.deploy.grid import Tile, TileSize, cover, first_side, halved
from hkdsr.deploy.upscaler import Readable, Writable
from hkdsr.errors import HkdsrError
from hkdsr.memory import OutOfMemoryError, fits
from hkdsr.stop import run_onnx

logger = logging.getLogger(__name__)

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
SHA256, REACH = "weights_sha256", "reach"
"""What the file tells: the hash of the .safetensors file beside it, and how many LR pixels around a tile it needs."""
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}

Run = Callable[[np.ndarray], np.ndarray]
"""From a batch of images, float32 (1, 3, h, w), to the enlarged ones."""


class OnnxUpscaler:
    """A shipped network, run on the CPU by ``run``. It sees ``reach`` LR pixels around a tile. An ``Upscaler``."""

    on_gpu = False

    def __init__(self, run: Run, scale: int, reach: int, runtime: str) -> None:
        self._run, self.scale, self._reach, self.runtime = run, scale, reach, runtime

    def fill(self, image: Readable, enlarged: Writable, name: str, tile: TileSize, progress: bool) -> None:
        """As in ``Upscaler``."""
        whole = max(image.shape[:2])
        sides = halved(first_side(whole, lambda: self._reach)) if tile == "auto" else [tile or whole]
        for side in sides:
            if fits(lambda side=side: self._enlarge(image, enlarged, side, progress)):
                return
            logger.info("%s does not fit into memory in tiles of %d pixels", name, side)
        raise OutOfMemoryError(f"{name} does not fit into memory in tiles: use a smaller network, or free memory")

    def _enlarge(self, image: Readable, enlarged: Writable, side: int, progress: bool) -> None:
        size = (image.shape[0], image.shape[1])
        tiles = list(cover(size, side, self._reach if side < max(size) else 0, 1))
        for tile in tqdm(tiles, unit="tile", disable=None if progress and len(tiles) > 1 else True):
            enlarged[tile.kept_of_whole(self.scale)] = self._pixels(image, tile)

    def _pixels(self, image: Readable, tile: Tile) -> np.ndarray:
        """What is kept of a tile, in the image's type, uint8 or uint16."""
        largest, seen = np.iinfo(image.dtype).max, image[tile.seen].astype(np.float32)
        seen = np.broadcast_to(seen[..., None], (*seen.shape, 3)) if seen.ndim == 2 else seen
        (made,) = self._run(np.ascontiguousarray(seen.transpose(2, 0, 1)[None] / np.float32(largest)))
        made = made[:, *tile.kept_of_seen(self.scale)].clip(0, 1)
        pixels = made.mean(axis=0) if len(image.shape) == 2 else made.transpose(1, 2, 0)
        return np.rint(np.float32(largest) * pixels).astype(image.dtype)


def shipped_as_onnx(name: str) -> Path | None:
    """The ONNX file of the shipped network ``name``; None if there is none, or a file of this name is meant."""
    path = WEIGHTS / f"{name}.onnx"
    return path if os.sep not in name and path.is_file() and not Path(name).exists() else None


def is_installed(runtime: str) -> bool:
    """Whether ``onnx`` or ``openvino`` can be imported."""
    return find_spec(PACKAGES[runtime]) is not None


def open_shipped(path: Path, runtime: str) -> OnnxUpscaler:
    """A shipped network run by ``runtime``, ``onnx`` or ``openvino``.

    Raises HkdsrError if that is not installed, and if the file is not that of the weights beside it.
    """
    if not is_installed(runtime):
        raise HkdsrError(f"--runtime {runtime} needs a package that is missing: pip install 'hkdsr[{runtime}]'")
    run, told, version = (_by_openvino if runtime == "openvino" else _by_onnxruntime)(path)
    if told.get(SHA256) != hashlib.sha256(path.with_suffix(".safetensors").read_bytes()).hexdigest():
        raise HkdsrError(f"{path} is not made of the weights beside it: install the package again, or --runtime torch")
    return OnnxUpscaler(run, int(told["scale"]), int(told[REACH]), version)


def threads() -> int:
    """As many as PyTorch would take: OMP_NUM_THREADS, or one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else os.cpu_count() or 1


def _by_onnxruntime(path: Path) -> tuple[Run, dict[str, str], str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads(), 4
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    told, version = session.get_modelmeta().custom_metadata_map, f"ONNX Runtime {onnxruntime.__version__}"
    return lambda images: np.asarray(run_onnx(session, {name: images})[0]), told, version


def _by_openvino(path: Path) -> tuple[Run, dict[str, str], str]:
    from hkdsr.nets.files.openvino import DEVICE, runtime

    openvino = runtime()
    core = openvino.Core()
    model = core.read_model(path)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads()}
    compiled = core.compile_model(model, DEVICE, settings)
    told = {key: str(entry) for key, entry in model.get_rt_info("framework").value.items()}
    return lambda images: compiled(images)[0], told, f"OpenVINO {openvino.__version__.partition('-')[0]}"
