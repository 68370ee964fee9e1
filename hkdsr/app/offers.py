"""The networks that the page offers: those of the package, those in a folder, and those that visitors bring."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hkdsr.app.sessions import Session
from hkdsr.deploy.card import Maker, describe
from hkdsr.deploy.runtime import Runtime, choose_runtime, open_network
from hkdsr.deploy.upscaler import Upscaler
from hkdsr.nets.files.licence import KEY
from hkdsr.nets.files.load import WEIGHTS, load, metadata
from hkdsr.paths import entries
from hkdsr.scoring import cost
from hkdsr.user_code import code_name

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx", ".xml", ".param")
BESIDE = (".bin",)
"""Files without which some of the others are nothing."""
KEPT = 4
"""Networks that stay in memory."""


def offered(folder: Path, session: Session) -> dict[str, str | Path]:
    """What ``load`` takes for each network that may be chosen, by the name that it has on the page.

    Code is not offered: nothing that a request names is run. Raises HkdsrError if the folder cannot be listed.
    """
    shipped: dict[str, str | Path] = {file.stem: file.stem for file in sorted(WEIGHTS.glob("*.safetensors"))}
    files = {path.name: path for path in entries(folder) if _is_network(path) and path.resolve().parent == folder}
    return shipped | files | session.networks


def bring(uploads: Sequence[str], session: Session) -> None:
    """Offer uploaded network files to the one who uploaded them. Raises HkdsrError as ``adopt`` does."""
    folder = session.new_folder()
    links = [session.adopt(upload, folder) for upload in uploads]
    session.networks |= {f"{link.name} (yours)": link for link in links if _is_network(link)}


def opened(models: Sequence[str | Path], device: str, images: Sequence[Path]) -> list[Upscaler]:
    """What enlarges ``images`` by each network, run as ``hkdsr upscale`` runs it. Raises HkdsrError as that does."""
    names = [str(image) for image in images]
    return [
        _opened(str(model), _changed(model), device, choose_runtime(str(model), "auto", device, names))
        for model in models
    ]


def card(name: str, model: str | Path) -> str:
    """What is known of a network, in Markdown: the card beside its file, or else what the file tells."""
    file = WEIGHTS / model if isinstance(model, str) else model
    text = file.with_name(f"{file.stem}.md")
    if text.is_file() and text.resolve().parent == file.resolve().parent:
        return text.read_text("utf-8", errors="replace")
    return _card(name, model, _changed(model))


@lru_cache(KEPT)
def _opened(model: str, changed: float, device: str, runtime: Runtime) -> Upscaler:
    return open_network(model, runtime, device, ())[0]


@lru_cache(16 * KEPT)
def _card(name: str, model: str | Path, changed: float) -> str:
    network, told = load(model), metadata(model)
    settings = ", ".join(f"{key} {value}" for key, value in network.settings.items() if key != "scale")
    size = f"\n\n{cost(network)}, for an output of 1280x720." if network.runs_in_pytorch else ""
    about, licence = describe(network, told, Maker("unknown")), told.get(KEY) or "not given"
    return f"# {name}\n\n{about}{size}\n\n- **Family**: {network.family} ({settings})\n- **Licence**: {licence}"


def _changed(model: str | Path) -> float:
    return model.stat().st_mtime if isinstance(model, Path) else 0


def _is_network(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and code_name(path) is None
