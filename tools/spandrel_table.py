"""Print which networks that spandrel loads can teach, as a Markdown table: ``python -m tools.spandrel_table``.

Each architecture that maps RGB to RGB at a larger size is built with few channels and random weights, saved, loaded by
``hkdsr.load`` and tried. The table in ``docs/spandrel.md`` is this output. With names of architectures after the
command, only their rows are printed.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

SIZES = ((32, 32), (37, 53), (16, 16))
HR_SIZES = ((96, 144), (132, 84))
HEADER = ("architecture", "loads", "trunk", "taps at 32x32, 37x53, 16x16", "exits", "fakd", "ONNX")


@dataclass(frozen=True)
class Case:
    """An architecture with small settings; ``kind`` is the class, by default named like the architecture."""

    architecture: str
    settings: Mapping[str, Any]
    kind: str = ""
    note: str = ""
    without_export: str = ""
    """Why it is not exported here: transformers take too long, and one network ends the process."""
    because: str = ""
    """What in spandrel is behind a no."""

    @property
    def label(self) -> str:
        """A name for the table."""
        return f"{self.architecture} {self.note}".strip()

    def made(self) -> nn.Module:
        """With random weights, always the same."""
        torch.manual_seed(0)
        module = importlib.import_module(f"spandrel.architectures.{self.architecture}")
        return getattr(module, self.kind or self.architecture)(**self.settings)


def _transformer(architecture: str, note: str = "", because: str = "", **settings: Any) -> Case:
    return Case(architecture, settings, note=note, without_export="not tried", because=because)


def _convolutional(architecture: str, note: str = "", kind: str = "", because: str = "", **settings: Any) -> Case:
    return Case(architecture, settings, kind, note, because=because)


_SWIN: dict[str, Any] = {"img_size": 16, "window_size": 8, "depths": (2, 2, 2), "num_heads": (2, 2, 2), "upscale": 2}
_AURA: dict[str, Any] = {
    "image_size": None,
    "input_image_size": None,
    "attn_depths": (2, 2, 2, 1, 1),
    "mid_attn_depth": 1,
}
_DEGRADATION: dict[str, Any] = {"num_feats": [8], "num_blocks": [1], "downscales": [1]}
_DIRECT: dict[str, Any] = {"upscale": 2, "upsampler": "pixelshuffledirect"}
_SPAN: dict[str, Any] = {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16, "upscale": 2}
_GRL: dict[str, Any] = {
    "num_heads_window": [2] * 3,
    "num_heads_stripe": [2] * 3,
    "stripe_size": [64, 64],
    "stripe_groups": [None, None],
}

CASES = (
    _transformer("ATD", **_SWIN, embed_dim=16, category_size=64, num_tokens=16, upsampler="pixelshuffle"),
    _convolutional("AuraSR", dim=8, style_network={"dim_in": 16, "dim_out": 64, "depth": 2}, **_AURA),
    _transformer("CRAFT", embed_dim=24, upscale=2),
    _convolutional("Compact", num_feat=8, num_conv=4, upscale=2),
    _transformer("DAT", embed_dim=16, depth=[2, 2, 2], num_heads=[2, 2, 2]),
    _transformer("DAT", "light", embed_dim=16, split_size=[8, 16], depth=[4], num_heads=[2], **_DIRECT),
    _transformer("DCTLSA", nf=15, upscale=2),
    _transformer(
        "DCTLSA", "of 16 channels", "spandrel takes every DCTLSA for one with 5 heads", nf=16, num_head=4, upscale=2
    ),
    _transformer("DITN", dim=16, ITL_blocks=2, SAL_blocks=3, upscale=2),
    _transformer("DRCT", **_SWIN, embed_dim=24, gc=8, upsampler="pixelshuffle"),
    _convolutional("ESRGAN", num_filters=8, num_blocks=3),
    _convolutional("ESRGAN", "x2", in_nc=12, num_filters=8, num_blocks=3, shuffle_factor=2),
    _convolutional("ESRGAN", "plus", num_filters=8, num_blocks=3, plus=True),
    _transformer("FDAT", scale=2, embed_dim=16, num_groups=3, depth_per_group=1, num_heads=2, mid_dim=8),
    _transformer("GRL", embed_dim=16, upscale=2, upsampler="pixelshuffle", depths=[2, 2, 2], window_size=32, **_GRL),
    _transformer("HAT", **_SWIN, embed_dim=16, squeeze_factor=4),
    _transformer("IPT", patch_size=12, n_feats=12, scale=[2], num_layers=2),
    _convolutional("MMRealSR", num_in_ch=3, num_out_ch=3, num_feat=16, **_DEGRADATION),
    _convolutional(
        "MMRealSR",
        "x2",
        because="spandrel leaves out its pixel unshuffle",
        num_in_ch=3,
        num_out_ch=3,
        scale=2,
        num_feat=8,
        **_DEGRADATION,
    ),
    _convolutional("MoESR", scale=2, dim=16, n_blocks=3, n_block=2),
    _convolutional("MoSR", upscale=2, n_block=3, dim=16),
    _transformer("OmniSR", num_feat=16, res_num=3, up_scale=2),
    _convolutional("PLKSR", dim=16, n_blocks=3, upscaling_factor=2),
    _convolutional("PLKSR", "(RealPLKSR)", "RealPLKSR", dim=16, n_blocks=3, upscaling_factor=2),
    _convolutional("RCAN", scale=2, n_resgroups=3, n_resblocks=2, n_feats=16, reduction=4),
    _convolutional("RCAN", "unshuffled", scale=2, n_resgroups=3, n_resblocks=2, n_feats=16, unshuffle_mod=True),
    _transformer("RGT", embed_dim=32, depth=[2, 2, 2], num_heads=[2, 2, 2]),
    _convolutional("RealCUGAN", "x2", "UpCunet2x"),
    _convolutional("RealCUGAN", "x3", "UpCunet3x"),
    _convolutional("RealCUGAN", "x4", "UpCunet4x"),
    _convolutional("RealCUGAN", "x2 fast", "UpCunet2x_fast"),
    _convolutional("SAFMN", dim=16, n_blocks=3, upscaling_factor=2),
    Case("SPAN", _SPAN, without_export="no: a segmentation fault in PyTorch"),
    _convolutional("SeemoRe", scale=2, num_experts=2, num_layers=3, embedding_dim=16),
    _convolutional("SwiftSRGAN", num_channels=8, num_blocks=3, upscale_factor=2),
    _transformer("Swin2SR", **_SWIN, embed_dim=16, upsampler="pixelshuffle"),
    _transformer("SwinIR", **_SWIN, embed_dim=16, upsampler="pixelshuffle"),
    _transformer("SwinIR", "nearest+conv", **_SWIN, embed_dim=16, upsampler="nearest+conv"),
)


def main() -> None:
    """Print the table, then the architectures that are not in it."""
    import spandrel

    warnings.simplefilter("ignore")
    print(f"| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}")
    chosen = sys.argv[1:]
    for case in CASES:
        if chosen and case.architecture not in chosen:
            continue
        print(f"| {' | '.join((case.label, *row(case)))} |", flush=True)
    if chosen:
        return
    tried = {case.architecture for case in CASES}
    others = sorted(entry.architecture.name for entry in spandrel.MAIN_REGISTRY if entry.architecture.id not in tried)
    print(f"\nNot in the table, as they do not upscale RGB images: {', '.join(others)}.")


def row(case: Case) -> Iterator[str]:
    """The cells of a case, each with the reason for a no."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "net.pth")
        torch.save(case.made().state_dict(), file)
        try:
            network = load(file)
        except (HkdsrError, RuntimeError) as error:
            reasons = filter(None, (_no(error, file), case.because))
            yield from ("; ".join(reasons), *["-"] * (len(HEADER) - 2))
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
