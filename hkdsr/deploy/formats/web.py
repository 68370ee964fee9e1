"""A folder with a web page that enlarges images in the browser, by ONNX Runtime Web, and asks nothing of other servers.

The runtime is not in this package. Its files come out of its npm package, after a look at their hashes.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

from hkdsr.deploy.formats import onnx
from hkdsr.deploy.formats.base import Files, Format
from hkdsr.deploy.formats.onnx_form import OnnxForm
from hkdsr.deploy.tiles import reach
from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.paths import is_file

PAGE = ("index.html", "style.css", "upscale.js")
MODEL, ABOUT = "model.onnx", "model.json"

VERSION = "1.30.0"
"""The version of onnxruntime-web that the page is tested with."""
RUNTIME = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""SHA-256 of the files that the page loads: the first two without WebGPU, the others with it."""
INSTALL = (
    f"run 'npm install onnxruntime-web@{VERSION}', then export again with '--runtime node_modules/onnxruntime-web'"
)


def write(network: Network) -> Files:
    """The page, the network as a plain ONNX graph, and what the page has to know of it."""
    model = onnx.write(network, OnnxForm(plain=True))[onnx.ONNX.suffix]
    found = reach(network)
    about = {
        "scale": network.scale,
        "reach": found.pixels,
        "sees_all": found.sees_all,
        "multiple": network.pad_multiple,
        "install": INSTALL,
        "sha256": {MODEL: _sha256(model), **{f"runtime/{name}": sha256 for name, sha256 in RUNTIME.items()}},
    }
    page = {name: files("hkdsr.deploy").joinpath("web", name).read_bytes() for name in PAGE}
    return {**page, ABOUT: json.dumps(about, indent=1).encode(), MODEL: model}


def runtime_files(package: Path) -> Files:
    """What the page needs of the npm package in the folder ``package``, by path in the page's folder.

    Raises HkdsrError for files that are missing or are not those of the tested version.
    """
    found: Files = {}
    for name, sha256 in RUNTIME.items():
        file = package / "dist" / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise HkdsrError(f"cannot read {file} ({error.strerror}): {INSTALL}") from error
        if _sha256(content) != sha256:
            raise HkdsrError(f"{file} is not that of onnxruntime-web {VERSION}: {INSTALL}")
        found[f"runtime/{name}"] = content
    return found


def has_runtime(folder: Path) -> bool:
    """Whether the runtime is in the page's folder."""
    return all(is_file(folder / "runtime" / name) for name in RUNTIME)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _open(folder: Path) -> Network:
    return OnnxNetwork.from_file(folder / MODEL)


WEB = Format("web", "a web page", "", None, "ONNX Runtime", write, _open, folder=True)
