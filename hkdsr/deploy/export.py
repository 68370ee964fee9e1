"""Export to the formats of other runtimes, with a gate: what does not give the same images is not written."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hkdsr.deploy.calibration import calibration_crops
from hkdsr.deploy.formats import FORMATS, Files, Format
from hkdsr.deploy.formats.onnx import in_form
from hkdsr.deploy.formats.onnx_form import OnnxForm
from hkdsr.deploy.gate import INT8, Gate, Parity, compare, photographs
from hkdsr.errors import HkdsrError
from hkdsr.files import write_atomically
from hkdsr.nets.base import Network
from hkdsr.nets.files.file_network import FileNetwork
from hkdsr.nets.reparam import fused
from hkdsr.paths import entries, exists
from hkdsr.scoring.cost import milliseconds_in_turn
from hkdsr.settings.fields import as_tuple

MOST_FLOAT = 3
"""Of the last convolutions of a network in 8 bits, so many may stay in float."""
TIMED, ROUNDS = (180, 320), 7
"""LR height and width of the image that is timed, and how often."""


def export(
    network: Network,
    target: str | Path,
    images: str | Path | Sequence[str | Path] = (),
    *,
    format: str | None = None,
    int8: bool = False,
    calibration: Sequence[str | Path] = (),
    allow_weak: bool = False,
    form: OnnxForm | None = None,
) -> Parity:
    """Write ``network`` as the file ``target``, with its weights beside it in some formats, if it gives the same there.

    ``format`` is ``onnx``, ``openvino``, ``ncnn``, ``safetensors`` or ``pth``, by default that of the target's suffix,
    or ``web``, whose target is a folder.
    ``images`` are HR files to compare on, by default the demo's photographs; of each the whole image and a cut of odd
    sides are reduced and enlarged by both. With ``int8``, numbers have 8 bits, in ranges found on crops of
    ``calibration``, HR images or folders of them, by default the demo's photographs for training; then the time is
    measured too. ``allow_weak`` lets a network pass whose images are worse than those of bicubic enlargement. ``form``
    is that of an ONNX file: a plain graph, other images, or one size, on which it is then compared.

    Raises HkdsrError if the packages or the images for it are missing, the network cannot be exported, its images
    are others than the network's own (the format's gate; with ``int8``, 0.15 dB lost on average) or have a lower
    PSNR-Y than bicubic enlargement on average, or a file cannot be written.
    """
    target = Path(target)
    chosen = chosen_format(target, format, int8=int8, form=form)
    cuts = photographs(network.scale, as_tuple(images), chosen.size)
    own = copy.deepcopy(fused(network)).cpu().float().eval().requires_grad_(False)
    if chosen.quantise and int8:
        files, parity = _in_8_bits(own, chosen, target, cuts, calibration_crops(network.scale, calibration))
        parity = replace(parity, time=_time(chosen, files, chosen.write(own)))
    else:
        files = chosen.write(own)
        parity = _compared(network, files, chosen, target, cuts, chosen.gate)
    if parity.gain < 0 and not allow_weak:
        raise HkdsrError(
            f"{target} is not written, as bicubic enlargement gives {-parity.gain:.2f} dB more PSNR-Y than it "
            "does: train it longer, or set allow_weak, as for networks that are not made for PSNR"
        )
    _require_own_weights(target, chosen)
    _require_own_folder(target, chosen, files)
    for part, content in reversed(files.items()):  # the file that names the others last
        write_atomically(chosen.place(target, part), content)
    return parity


def _in_8_bits(
    network: Network, chosen: Format, target: Path, cuts: Sequence[np.ndarray], crops: Sequence[np.ndarray]
) -> tuple[Files, Parity]:
    """The files in 8 bits, with as few of the last layers in float as the gate asks for, and what they lose.

    Raises HkdsrError if they lose too much even with ``MOST_FLOAT`` of them.
    """
    assert chosen.quantise
    lost = []
    for layers in range(1, MOST_FLOAT + 1):
        files = chosen.quantise(network, crops, layers)
        parity = _compared(network, files, chosen, target, cuts, Gate())
        if INT8.passes(parity):
            return files, parity
        lost.append(parity.lost)
    raise HkdsrError(
        f"{target} is not written, as 8 bits lose {min(lost):.3f} dB of PSNR-Y on average, more than {INT8.lost} dB: "
        "find their ranges on more images like yours (--calibration), or export without int8"
    )


def chosen_format(target: Path, name: str | None = None, *, int8: bool = False, form: OnnxForm | None = None) -> Format:
    """The format called ``name``, or that of the target's suffix; ONNX in ``form``.

    Raises HkdsrError for another name or suffix, and if the format has no ``int8`` or no ``form``.
    """
    if name is not None and name not in FORMATS:
        raise HkdsrError(f"there is no format {name!r}: choose one of {', '.join(FORMATS)}")
    suffixes = {entry.suffix: entry for entry in FORMATS.values() if not entry.folder}
    if name is None and target.suffix not in suffixes:
        raise HkdsrError(f"{target} has no suffix of a format: let it end in {', '.join(suffixes)}")
    chosen = FORMATS[name] if name else suffixes[target.suffix]
    if target.suffix != chosen.suffix and not chosen.folder:
        raise HkdsrError(f"{target} does not end in {chosen.suffix}, as {chosen.label} files must: name another target")
    if int8 and chosen.quantise is None:
        able = ", ".join(entry.name for entry in FORMATS.values() if entry.quantise)
        raise HkdsrError(f"there is no int8 in {chosen.label}: choose the format {able}")
    if form in (None, OnnxForm()):
        return chosen
    if chosen.name != "onnx":
        raise HkdsrError(f"{chosen.label} has one form only: choose the format onnx")
    return in_form(form)


@contextmanager
def _opened(files: Files, chosen: Format, name: str) -> Iterator[Network]:
    """The network that was written, from a temporary folder."""
    with TemporaryDirectory() as folder:
        for part, content in files.items():
            write_atomically(chosen.place(Path(folder, name), part), content)
        yield chosen.open(Path(folder, name))


def _compared(
    network: Network, files: Files, chosen: Format, target: Path, cuts: Sequence[np.ndarray], gate: Gate
) -> Parity:
    """The parity of the written files. Raises HkdsrError if they do not pass the gate."""
    try:
        with _opened(files, chosen, target.name) as exported:
            if isinstance(exported, FileNetwork) and not (exported.takes_any_size or chosen.size):
                raise HkdsrError(f"{exported.name} takes {exported.sizes_told} only: export it with open sizes")
            parity = compare(network, exported, cuts)
    except HkdsrError as error:
        if isinstance(error.__cause__, ImportError):
            raise  # the runtime is missing
        raise HkdsrError(
            f"{target} is not written, as {chosen.runtime} fails on images that PyTorch enlarges: {network.family} "
            f"does not leave their size open in {chosen.label}, so choose another network"
        ) from error
    if not gate.passes(parity):
        raise HkdsrError(
            f"{target} is not written, as it would give other images ({parity.sentence(chosen.runtime)}): "
            f"networks of the family {network.family} change in {chosen.label}, so choose another one"
        )
    return parity


def _time(chosen: Format, files: Files, plain: Files) -> float:
    """The time of an image by ``files`` as a share of that by ``plain``, measured in turn."""
    name = f"network{chosen.suffix}"
    with _opened(files, chosen, name) as network, _opened(plain, chosen, name) as other:
        taken, whole = milliseconds_in_turn((network, other), (TIMED, TIMED), ROUNDS)
    return taken / whole


def _require_own_weights(target: Path, chosen: Format) -> None:
    """Raises HkdsrError where the file of weights would replace that of another format."""
    for other in FORMATS.values():
        beside = target.with_suffix(other.suffix)
        if chosen.weights and other.weights == chosen.weights and other is not chosen and exists(beside):
            raise HkdsrError(f"{target} is not written, as its weights would replace those of {beside}: name another")


def _require_own_folder(target: Path, chosen: Format, files: Files) -> None:
    """Raises HkdsrError where files would mix with others than those of an earlier export."""
    own = not exists(target) or all(exists(chosen.place(target, part)) for part in files)
    if chosen.folder and not own and entries(target):
        raise HkdsrError(f"{target} is not written, as it holds other files: name a new folder")
