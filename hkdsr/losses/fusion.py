"""ACF, the adaptive channel fusion loss of HKDSR: a small gate mixes ground truth and teacher into the target.

Each gate ends in sigmoid, then softmax. It looks odd but keeps every weight of a pair inside
[1 / (1 + e), e / (1 + e)]; with softmax alone the gate, trained to minimise the same loss, drifts to whichever picture
is nearer to the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from hkdsr.choices import AcfBound, AcfGateTraining, AcfInputs, AcfPool, AcfSplit
from hkdsr.errors import HkdsrError

COLOURS = 3


class Gate(nn.Module):
    """Weights of the pictures to be mixed; one gate serves one exit.

    Args:
        sources: how many pictures are mixed (2 or 3).
        hidden: width of the middle layer.
        split: ``per_channel`` one small network per colour; ``joint`` one over all colours.
        pool: ``none`` a weight per pixel; ``global`` averages the input over the picture first; ``late`` averages
            between the layers, without the ReLU (the "directfuse" variant).
        bound: ``sigmoid`` before the softmax, or ``none``.

    The default (2, 32, per_channel, none, sigmoid) has 486 parameters; joint and pooled with 96 hidden has 866.
    Source: HKDSR specification, sections 3.1 to 3.3.
    """

    def __init__(
        self,
        sources: int = 2,
        hidden: int = 32,
        split: AcfSplit = "per_channel",
        pool: AcfPool = "none",
        bound: AcfBound = "sigmoid",
    ) -> None:
        super().__init__()
        self.split, self.pool, self.bound = split, pool, bound
        self.sources = sources
        copies, width = (COLOURS, sources) if split == "per_channel" else (1, sources * COLOURS)
        self.layers = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, sources, 1)]) for _ in range(copies)
        )

    def forward(self, pictures: Sequence[Tensor]) -> Tensor:
        """Pictures, each (B, 3, H, W) -> weights (sources, B, C, H, W) summing to one over sources.

        C is 3 per channel and 1 jointly; H and W are 1 where the gate pools.
        """
        if self.split == "joint":
            return self._weights(self.layers[0], torch.cat(list(pictures), 1)).permute(1, 0, 2, 3).unsqueeze(2)
        per_colour = [
            self._weights(layers, torch.stack([picture[:, colour] for picture in pictures], 1))
            for colour, layers in enumerate(self.layers)
        ]
        return torch.stack(per_colour, 2).transpose(0, 1)

    def _weights(self, layers: nn.Module, x: Tensor) -> Tensor:
        first, second = layers.children()
        if self.pool == "global":
            x = x.mean((2, 3), keepdim=True)
        x = first(x)
        x = x.mean((2, 3), keepdim=True) if self.pool == "late" else x.relu()
        x = second(x)
        if self.bound == "sigmoid":
            x = x.sigmoid()
        return x.softmax(1)


class Fusion(nn.Module):
    """The ACF term of one exit: mean |S - F| with F the gated mix.

    Args:
        inputs: what is mixed: ground truth and teacher (the paper), student and teacher, all three, or the ground truth
            alone (plain L1, no gate).
        average_gt: use (F + G) / 2 as target (a variant of November 2022).
        gate_training: ``joint`` trains the gate with the student; ``frozen`` mixes all pictures equally.

    Raises:
        HkdsrError: unknown ``inputs``.
    """

    def __init__(
        self,
        inputs: AcfInputs = "gt_t",
        *,
        hidden: int = 32,
        split: AcfSplit = "per_channel",
        pool: AcfPool = "none",
        bound: AcfBound = "sigmoid",
        average_gt: bool = False,
        gate_training: AcfGateTraining = "joint",
    ) -> None:
        super().__init__()
        if inputs not in get_args(AcfInputs):
            raise HkdsrError(f"acf_inputs is '{inputs}': choose one of {', '.join(get_args(AcfInputs))}")
        self.inputs, self.average_gt = inputs, average_gt
        sources = len(inputs.split("_"))
        self.gate = None
        if sources > 1 and gate_training == "joint":
            self.gate = Gate(sources, hidden, split, pool, bound)

    def target(self, student: Tensor, teacher: Tensor, hr: Tensor) -> Tensor:
        """The fused picture F (B, 3, H, W), in the pictures' own units."""
        known = {"gt": hr, "s": student, "t": teacher}
        pictures = [known[name] for name in self.inputs.split("_")]
        if self.gate is None:
            fused = torch.stack(pictures).mean(0)
        else:
            fused = (self.gate(pictures) * torch.stack(pictures)).sum(0)
        return (fused + hr) / 2 if self.average_gt else fused

    def forward(self, student: Tensor, teacher: Tensor, hr: Tensor) -> Tensor:
        """S, T, G, each (B, 3, H, W) in [0, 1] -> scalar mean |S - F|. T and G are constants."""
        return (student - self.target(student, teacher.detach(), hr.detach())).abs().mean()
