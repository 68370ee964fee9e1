"""Write the ONNX files of shipped networks, for ``hkdsr upscale`` without PyTorch: ``python -m tools.ship_onnx``.

To be run after ``tools.ship``. A file is written only if it passes the gate of ``hkdsr export``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from safetensors import safe_open

from hkdsr.deploy.export import export
from hkdsr.deploy.onnx_upscaler import REACH, SHA256
from hkdsr.deploy.tiles import reach
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets.files.load import WEIGHTS, load


def main() -> None:
    """Write one file beside the weights of every shipped network."""
    for weights in sorted(WEIGHTS.glob("*.safetensors")):
        try:
            print(f"{weights.with_suffix('.onnx')}: {ship_onnx(weights)}")
        except HkdsrError as error:
            print(f"ship_onnx: {error}", file=sys.stderr)
            sys.exit(2)


def ship_onnx(weights: Path) -> str:
    """Write the ONNX file beside ``weights``; returns how much its images differ.

    Raises HkdsrError as ``export`` does, and for a network whose tiles need more than their surroundings.
    """
    network = load(weights)
    seen = reach(network)
    if seen.sees_all or network.pad_multiple != 1:
        raise HkdsrError(f"{weights} does not run in tiles of any size: ship it without an ONNX file")
    with TemporaryDirectory() as folder:
        target = Path(folder, "network.onnx")
        parity = export(network, target, allow_weak=_changes_images(weights))
        model = onnx.load(target)
    told = {SHA256: hashlib.sha256(weights.read_bytes()).hexdigest(), REACH: str(seen.pixels)}
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value)
    write_atomically(weights.with_suffix(".onnx"), model.SerializeToString())
    return parity.sentence("ONNX Runtime")


def _changes_images(weights: Path) -> bool:
    """Whether the network was taught without HR: it is then not made for PSNR."""
    with safe_open(weights, "pt") as file:
        recipe = json.loads(file.metadata().get("recipe", "{}"))
    return recipe.get("data.lr_only") == "true"


if __name__ == "__main__":
    main()
