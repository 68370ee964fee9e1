"""Re-parameterised: trained as 3x3, 1x1 and identity branches, deployed as one convolution."""

import torch
import torch.nn.functional as F
from torch import nn


class RepConv(nn.Module):
    def __init__(self, channels, deploy=False):
        super().__init__()
        self.channels = channels
        self.act = nn.PReLU(channels)
        if deploy:
            self.rep = nn.Conv2d(channels, channels, 3, padding=1)
        else:
            self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
            self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        if hasattr(self, "rep"):
            return self.act(self.rep(x))
        return self.act(self.conv3(x) + self.conv1(x) + x)

    def switch_to_deploy(self):
        if hasattr(self, "rep"):
            return
        wide, narrow = self.conv3.state_dict(), self.conv1.state_dict()
        identity = torch.eye(self.channels)[:, :, None, None]
        kernel = wide["weight"] + F.pad(narrow["weight"] + identity, (1, 1, 1, 1))
        self.rep = nn.Conv2d(self.channels, self.channels, 3, padding=1)
        self.rep.load_state_dict({"weight": kernel, "bias": wide["bias"] + narrow["bias"]})
        del self.conv3, self.conv1


class Switching(nn.Module):
    def __init__(self, channels=6, blocks=4, scale=2, deploy=False):
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.backbone = nn.Sequential(*[RepConv(channels, deploy) for _ in range(blocks)])
        self.last = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)

    def forward(self, x):
        y = self.last(self.backbone(self.first(x)))
        return F.pixel_shuffle(y + torch.repeat_interleave(x, self.scale**2, dim=1), self.scale)
