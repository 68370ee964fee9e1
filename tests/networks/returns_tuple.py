"""Returns its features beside the image, and blocks that return two tensors."""

import torch.nn.functional as F
from torch import nn


class Distill(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.refine = nn.Conv2d(features, features, 3, padding=1)
        self.mix = nn.Conv2d(features, features, 1)

    def forward(self, x):
        kept = F.leaky_relu(self.refine(x), 0.05)
        return x + self.mix(kept), kept


class Pair(nn.Module):
    def __init__(self, scale, features=6, blocks=3):
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, features, 3, padding=1)
        for index in range(blocks):
            setattr(self, f"block{index + 1}", Distill(features))
        self.blocks = blocks
        self.tail = nn.Conv2d(features, 3 * scale**2, 3, padding=1)

    def forward(self, x):
        features = self.head(x)
        kept = []
        for index in range(self.blocks):
            features, one = getattr(self, f"block{index + 1}")(features)
            kept.append(one)
        image = F.pixel_shuffle(self.tail(features), self.scale) + F.interpolate(x, scale_factor=self.scale)
        return kept, image
