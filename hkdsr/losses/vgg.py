"""VGG19's features of images, from a file with torchvision's ImageNet weights; nothing is ever fetched.

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. Layers are
named as in torchvision, so that its files load.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.state_dict import read_checkpoint

POOL = 0
PLAN = (64, 64, POOL, 128, 128, POOL, *[256] * 4, POOL, *[512] * 4, POOL, 512)
"""Channels of the convolutions, each with a ReLU, up to the last one that is looked at."""
KEPT = (1, 6, 11, 20, 29)
"""The first ReLU of each of the five stages."""
SMALLEST = 16
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue in [0, 1]."""


class VGG19(nn.Module):
    """The first convolution with its ReLU of every stage."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for channels in PLAN:
            if channels == POOL:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                width = channels
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """RGB (B, 3, H, W) in [0, 1] -> five maps of 64, 128, 256, 512 and 512 channels, each half as high and wide.

        Raises HkdsrError for images of less than 16 pixels a side.
        """
        if min(images.shape[-2:]) < SMALLEST:
            raise HkdsrError(
                f"VGG19 was given images of {images.shape[-2]}x{images.shape[-1]} pixels and needs {SMALLEST} a "
                "side: set data.patch higher"
            )
        mean, deviation = (images.new_tensor(colour)[:, None, None] for colour in (MEAN, DEVIATION))
        kept, features = [], (images - mean) / deviation
        for index, layer in enumerate(self.features):
            features = layer(features)
            if index in KEPT:
                kept.append(features)
        return tuple(kept)


@lru_cache(maxsize=2)
def vgg19(path: str, device: torch.device, dtype: torch.dtype) -> VGG19:
    """The frozen network of a file, which is read once; other layers in it, such as its classifier, do not matter.

    Raises HkdsrError for a file that is not there, cannot be read or holds something else.
    """
    if not Path(path).expanduser().is_file():
        raise HkdsrError(
            f"method.features is '{path}', which is no file: give that of torchvision's VGG19, or set it to 'teacher'"
        )
    state, _ = read_checkpoint(Path(path).expanduser())
    with torch.device("meta"):
        network = VGG19()
    try:
        network.load_state_dict({name: state[name] for name in network.state_dict()}, assign=True)
    except (LookupError, RuntimeError) as error:
        raise HkdsrError(
            f"{path} does not hold torchvision's VGG19: give its file, or set method.features to 'teacher'"
        ) from error
    return network.to(device, dtype).eval().requires_grad_(False)
