"""The architectures of spandrel in its table (``tools/spandrel_table.py``), with small settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


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


def _transformer(architecture: str, note: str = "", because: str = "", kind: str = "", **settings: Any) -> Case:
    return Case(architecture, settings, kind, note, without_export="not tried", because=because)


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

_NOISE: dict[str, Any] = {"nc": [8, 8, 16, 16], "nb": 4}
_JPEG: dict[str, Any] = {"nc": [8, 8, 16, 512], "nb": 4}
_GREY: dict[str, Any] = {"in_nc": 1, "out_nc": 1}
_COLOUR: dict[str, Any] = {"in_nc": 3, "out_nc": 3}

RUN_ONLY = (
    _convolutional("Compact", "x1", num_feat=8, num_conv=4, upscale=1),
    _convolutional("Compact", "x8", num_feat=8, num_conv=4, upscale=8),
    _convolutional("Compact", "x2, grey", num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=4, upscale=2),
    _convolutional("DRUNet", "grey", in_nc=2, out_nc=1, **_NOISE),
    _convolutional("DRUNet", in_nc=4, out_nc=3, **_NOISE),
    _convolutional("DnCNN", "grey", **_GREY, nc=8, nb=4),
    _convolutional("DnCNN", **_COLOUR, nc=8, nb=4),
    _convolutional("ESRGAN", "x1", num_filters=8, num_blocks=3, scale=1),
    _convolutional("ESRGAN", "x8", num_filters=8, num_blocks=3, scale=8),
    _convolutional("FBCNN", "grey", **_GREY, **_JPEG),
    _convolutional("FBCNN", **_COLOUR, **_JPEG),
    _transformer("FFTformer", dim=8, num_blocks=[1, 1, 1], num_refinement_blocks=1),
    _transformer("HVICIDNet", channels=[12, 12, 24, 48]),
    _transformer("KBNet", "small", kind="KBNet_s", width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    _convolutional("MixDehazeNet", embed_dims=[8, 16, 32, 16, 8]),
    _convolutional("NAFNet", width=8, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    _transformer("RetinexFormer", n_feat=8, stage=1),
    _convolutional("SAFMNBCIE", dim=8, n_blocks=2, num_layers=2),
    _transformer("SCUNet", config=[2] * 7, dim=64),
    _transformer("SwinIR", "x1", **{**_SWIN, "upscale": 1}, embed_dim=16),
    _transformer("SwinIR", "x1, grey", **{**_SWIN, "upscale": 1}, embed_dim=16, in_chans=1),
    _transformer("Uformer", img_size=128, embed_dim=8),
)
