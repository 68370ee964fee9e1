"""The networks that the page offers: those of the package, those in a folder, and those that visitors bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from hkdsr.deploy.runtime import Runtime, choose_runtime, open_network
from hkdsr.deploy.upscaler import Upscaler
from hkdsr.nets.files.load import WEIGHTS
from hkdsr.paths import entries
from hkdsr.user_code import code_name

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx", ".xml", ".param")
BESIDE = (".bin",)
"""Files without which some of the others are nothing."""
KEPT = 4
"""Networks that stay in memory."""


def offered(folder: Path, brought: Mapping[str, Path] | None = None) -> dict[str, str | Path]:
    """What ``load`` takes for each network that may be chosen, by the name that it has on the page.

    Code is not offered: nothing that a request names is run. Raises HkdsrError if the folder cannot be listed.
    """
    shipped: dict[str, str | Path] = {file.stem: file.stem for file in sorted(WEIGHTS.glob("*.safetensors"))}
    files = {path.name: path for path in entries(folder) if is_network(path) and path.resolve().parent == folder}
    return shipped | files | dict(brought or {})


def opened(models: Sequence[str | Path], device: str, images: Sequence[Path]) -> list[Upscaler]:
    """What enlarges ``images`` by each network, run as ``hkdsr upscale`` runs it. Raises HkdsrError as that does."""
    names, found = [str(image) for image in images], list[Upscaler]()
    for model in models:
        changed = model.stat().st_mtime if isinstance(model, Path) else 0
        found.append(_opened(str(model), changed, device, choose_runtime(str(model), "auto", device, names)))
    return found


def is_network(path: Path) -> bool:
    """Whether a file may hold one, by its name."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and code_name(path) is None


@lru_cache(KEPT)
def _opened(model: str, changed: float, device: str, runtime: Runtime) -> Upscaler:
    return open_network(model, runtime, device, ())[0]
