"""Export to the formats of other runtimes, with a gate: what does not draw the same images is not written."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hkdsr.deploy.formats import FORMATS, Files, Format
from hkdsr.deploy.gate import Parity, compare, photographs
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network
from hkdsr.nets.reparam import fused
from hkdsr.paths import exists


def export(
    network: Network, target: str | Path, images: Sequence[str | Path] = (), *, format: str | None = None
) -> Parity:
    """Write ``network`` as the file ``target``, with its weights beside it in some formats, if it draws the same there.

    ``format`` is ``onnx``, ``openvino``, ``ncnn``, ``safetensors`` or ``pth``, by default that of the target's suffix.
    ``images`` are HR files to compare on, by default the demo's photographs; of each the whole image and a cut of odd
    sides are reduced and enlarged by both.

    Raises HkdsrError if the packages or the images for it are missing, the network cannot be exported, its images
    are others than the network's own (the format's gate), or a file cannot be written.
    """
    target = Path(target)
    chosen = chosen_format(target, format)
    cuts = photographs(network.scale, images)
    files = chosen.write(copy.deepcopy(fused(network)).cpu().float().eval().requires_grad_(False))
    parity = _compared(network, files, chosen, target, cuts)
    _require_own_weights(target, chosen)
    for suffix, content in reversed(files.items()):  # the file that names the others last
        write_atomically(target.with_suffix(suffix), content)
    return parity


def chosen_format(target: Path, name: str | None = None) -> Format:
    """The format called ``name``, or that of the target's suffix. Raises HkdsrError for another name or suffix."""
    if name is not None and name not in FORMATS:
        raise HkdsrError(f"there is no format {name!r}: choose one of {', '.join(FORMATS)}")
    suffixes = {entry.suffix: entry for entry in FORMATS.values()}
    if name is None and target.suffix not in suffixes:
        raise HkdsrError(f"{target} has no suffix of a format: let it end in {', '.join(suffixes)}")
    chosen = FORMATS[name] if name else suffixes[target.suffix]
    if target.suffix != chosen.suffix:
        raise HkdsrError(f"{target} would hold {chosen.name} under another name: let it end in {chosen.suffix}")
    return chosen


def _compared(network: Network, files: Files, chosen: Format, target: Path, cuts: Sequence[np.ndarray]) -> Parity:
    """The parity of the written files. Raises HkdsrError if they do not pass the gate."""
    with TemporaryDirectory() as folder:
        for suffix, content in files.items():
            Path(folder, target.name).with_suffix(suffix).write_bytes(content)
        exported = chosen.open(Path(folder, target.name))
        try:
            parity = compare(network, exported, cuts)
        except HkdsrError as error:
            raise HkdsrError(
                f"{target} is not written, as {chosen.runtime} fails on images that PyTorch enlarges: {network.family} "
                f"does not leave their size open in {chosen.name}, so choose another network"
            ) from error
    if not chosen.gate.passes(parity):
        raise HkdsrError(
            f"{target} is not written, as it would draw other images ({parity.sentence(chosen.runtime)}): "
            f"{network.family} loses something in {chosen.name}, so choose another network"
        )
    return parity


def _require_own_weights(target: Path, chosen: Format) -> None:
    """Raises HkdsrError where the file of weights would replace that of another format."""
    for other in FORMATS.values():
        beside = target.with_suffix(other.suffix)
        if chosen.weights and other.weights == chosen.weights and other is not chosen and exists(beside):
            raise HkdsrError(f"{target} is not written, as its weights would replace those of {beside}: name another")
