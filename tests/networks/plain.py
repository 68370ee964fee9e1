"""A class with defaults, as in most repositories: residual blocks, RGB in 0..1, any size."""

import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))


class Plain(nn.Module):
    def __init__(self, scale=2, features=6, blocks=4, bias=True):
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*[Block(features) for _ in range(blocks)])
        self.tail = nn.Conv2d(features, 3 * scale**2, 3, padding=1, bias=bias)

    def forward(self, x):
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return base + F.pixel_shuffle(self.tail(self.body(self.head(x))), self.scale)
