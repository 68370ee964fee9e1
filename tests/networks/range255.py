"""Works in 0..255, as EDSR's descendants do, shifts the mean in its input's own memory, and has BatchNorm."""

import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(n, n, 3, 1, 1), nn.BatchNorm2d(n), nn.ReLU(True), nn.Conv2d(n, n, 3, 1, 1))

    def forward(self, x):
        return self.body(x) + x


class Shifted(nn.Module):
    def __init__(self, upscale=2, n=6, depth=4):
        super().__init__()
        self.register_buffer("mean", torch.tensor([114.4, 111.5, 103.0]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, n, 3, 1, 1)
        self.body = nn.Sequential(*(Residual(n) for _ in range(depth)))
        self.up = nn.Sequential(nn.Conv2d(n, 3 * upscale**2, 3, 1, 1), nn.PixelShuffle(upscale))
        self.skip = nn.Upsample(scale_factor=upscale)

    def forward(self, x):
        x -= self.mean
        return self.up(self.body(self.head(x))) + self.skip(x) + self.mean
