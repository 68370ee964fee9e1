"""Print which networks that spandrel loads can teach, as a Markdown table: ``python -m tools.spandrel_table``.

Each architecture that maps RGB to RGB at a larger size is built with few channels and random weights, saved, loaded by
``hkdsr.load`` and tried. A second table has networks of scale 1 and 8, and grey ones, which upscale and are scored. The
tables in ``docs/spandrel.md`` are this output. With names of architectures after the command, only their rows are
printed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hkdsr import load
from hkdsr.cli.info import module_paths
from hkdsr.deploy.formats.onnx import write
from hkdsr.deploy.gate import compare
from hkdsr.errors import HkdsrError
from hkdsr.methods import FAKD
from hkdsr.nets import Network
from hkdsr.nets.exits import Exits
from hkdsr.nets.files.load import build
from hkdsr.nets.files.onnx import OnnxNetwork
from hkdsr.training.distiller import Distiller, feature_taps, traced_outputs
from tools.spandrel_cases import CASES, RUN_ONLY, Case

SIZES = ((32, 32), (37, 53), (16, 16))
HR_SIZES = ((96, 144), (132, 84))
RUN_HEADER = ("architecture", "loads", "runs at 32x32, 37x53, 16x16")
HEADER = ("architecture", "loads", "trunk", "taps at 32x32, 37x53, 16x16", "exits", "fakd", "ONNX")


def main() -> None:
    """Print both tables, then the architectures that are not in it."""
    import spandrel

    warnings.simplefilter("ignore")
    print(f"| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}")
    chosen = sys.argv[1:]
    for case in CASES:
        if chosen and case.architecture not in chosen:
            continue
        print(f"| {' | '.join((case.label, *row(case)))} |", flush=True)
    print(f"\n| {' | '.join(RUN_HEADER)} |\n|{' --- |' * len(RUN_HEADER)}")
    for case in RUN_ONLY:
        if not chosen or case.architecture in chosen:
            print(f"| {' | '.join((case.label, *run_row(case)))} |", flush=True)
    if chosen:
        return
    tried = {case.architecture for case in (*CASES, *RUN_ONLY)}
    others = sorted(entry.architecture.name for entry in spandrel.MAIN_REGISTRY if entry.architecture.id not in tried)
    print(f"\nIn neither table, as they take faces, masks or one size of image: {', '.join(others)}.")


def run_row(case: Case) -> Iterator[str]:
    """The cells of a case of the second table, each with the reason for a no."""
    network, file = loaded(case)
    if isinstance(network, str):
        yield from (network, "-")
        return
    yield f"yes, x{network.scale}"
    yield _tried(run, network, file)


@torch.inference_mode()
def run(network: Network) -> None:
    """Run it on two images of all sizes."""
    for height, width in SIZES:
        image = network(torch.rand(2, 3, height, width))
        assert image.shape == (2, 3, network.scale * height, network.scale * width)
        assert image.isfinite().all()


def loaded(case: Case) -> tuple[Network | str, Path]:
    """The network, or the reason why it does not load, and the file that it was in."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "net.pth")
        torch.save(case.made().state_dict(), file)
        try:
            return load(file), file
        except (HkdsrError, RuntimeError) as error:
            return "; ".join(filter(None, (_no(error, file), case.because))), file


def row(case: Case) -> Iterator[str]:
    """The cells of a case, each with the reason for a no."""
    network, file = loaded(case)
    if isinstance(network, str):
        yield from (network, *["-"] * (len(HEADER) - 2))
        return
    yield "yes" if network.family == "spandrel" else f"as `{network.family}` of this package"
    if network.blocks:
        paths = list(module_paths(network))
        yield f"`{paths[0].removeprefix('model.')}`, {len(paths)} blocks"
        for action in (tap, add_exits, teach):
            yield _tried(action, network, file)
    else:
        yield from (_tried(tap, network, file), "-", "-", "-")
    yield case.without_export or _tried(export, network, file)


def tap(network: Network) -> None:
    """Trace every block at all sizes. Raises HkdsrError if there is none."""
    network.tap_index(1.0)
    for size in SIZES:
        traced = network.trace(torch.rand(2, 3, *size), range(len(network.blocks)))
        taps = [features[..., : size[0], : size[1]] for features in traced.taps]
        assert traced.sr.shape == (2, 3, network.scale * size[0], network.scale * size[1])
        assert {features.shape for features in taps} == {(2, network.channels, *size)}


def add_exits(network: Network) -> None:
    """Run a separate head after half of the blocks."""
    exits, x = Exits(network, (0.5,)), torch.rand(1, 3, 17, 20)
    (image,) = exits(x, network.trace(x, exits.taps), network.scale)
    assert image.shape == (1, 3, network.scale * 17, network.scale * 20)


def teach(network: Network, steps: int = 2) -> None:
    """Train a student by FAKD, with finite gradients."""
    method, x = FAKD(), torch.rand(2, 3, 16, 16)
    student = build("compact:features=8,convs=3", network.scale)
    module = Distiller(student, None, method, (network,))
    with torch.no_grad():
        outputs = traced_outputs(network, x, None, feature_taps(network, method.feature_depths), method.strides)
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.stack(list(module(x, outputs.final, outputs).values())).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
        optimiser.step()


def export(network: Network) -> None:
    """Write it as ONNX and compare the images. Raises HkdsrError if they differ."""
    images = [_photograph(*(side * network.scale // 2 for side in size)) for size in HR_SIZES]
    parity = compare(network, OnnxNetwork(write(network)[".onnx"], "the ONNX file"), images)
    if not parity.kept:
        raise HkdsrError(f"other images, by up to {parity.step} of 255: choose another network")


def _photograph(height: int, width: int) -> np.ndarray:
    coarse: Tensor = torch.rand(1, 3, height // 12, width // 12, generator=torch.Generator().manual_seed(0))
    image = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (255 * image[0]).round().byte().permute(1, 2, 0).numpy()


def _tried(action: Callable[[Network], None], network: Network, file: Path) -> str:
    try:
        action(network)
    except (HkdsrError, AssertionError, RuntimeError, IndexError, TypeError, ValueError) as error:
        return _no(error, file)
    return "yes"


def _no(error: Exception, file: Path) -> str:
    text = " ".join(str(error).split()).replace(f"{file} ", "").replace("has no trunk, ", "")
    reason = text.rpartition(": ")[0] if isinstance(error, HkdsrError) else text[:80]
    return f"no: {reason or type(error).__name__}"


if __name__ == "__main__":
    main()
