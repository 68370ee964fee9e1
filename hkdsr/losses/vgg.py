"""Features of images by VGG19, from a file with torchvision's ImageNet weights; nothing is downloaded.

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. Layers have
the names of torchvision's, so that its files load.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.state_dict import read_checkpoint
from hkdsr.paths import is_file, user_path

POOL = 0
PLAN = (64, 64, POOL, 128, 128, POOL, *[256] * 4, POOL, *[512] * 4, POOL, 512)
"""Channels of the convolutions, each followed by a ReLU, up to the last one in use; 0 is a pooling layer."""
KEPT = (1, 6, 11, 20, 29)
"""Indices of the layers whose outputs are the features: the first ReLU of each of the five stages."""
SMALLEST = 16
"""Least side of the images in pixels: four pooling layers halve it to 1."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the images of ImageNet, for red, green and blue in [0, 1]."""


class VGG19(nn.Module):
    """The layers of VGG19 up to the first ReLU of the fifth stage."""

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
                f"VGG19 needs images of at least {SMALLEST}x{SMALLEST} pixels, and these have "
                f"{images.shape[-2]}x{images.shape[-1]}: raise data.patch"
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
    """The frozen network from a file, which is read once; further layers in the file, as the classifier, are ignored.

    Raises HkdsrError for a file that is missing, cannot be read, or has other content.
    """
    if not is_file(user_path(path)):
        raise HkdsrError(
            f"method.features is '{path}', which is not a file: set it to torchvision's file of VGG19, or to 'teacher'"
        )
    state, _ = read_checkpoint(user_path(path))
    with torch.device("meta"):
        network = VGG19()
    try:
        network.load_state_dict({name: state[name] for name in network.state_dict()}, assign=True)
    except (LookupError, RuntimeError) as error:
        raise HkdsrError(
            f"{path} is not torchvision's VGG19: set method.features to torchvision's file, or to 'teacher'"
        ) from error
    return network.to(device, dtype).eval().requires_grad_(False)
