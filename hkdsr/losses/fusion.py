"""ACF, the adaptive channel fusion loss of HKDSR: a small gate mixes ground truth and teacher into the target.

Each gate ends in sigmoid, then softmax. It looks odd but keeps every weight of a pair inside
[1 / (1 + e), e / (1 + e)]; with softmax alone the gate, trained to minimise the same loss, drifts to whichever image
is nearer to the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

import torch
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.losses.by_sample import mean_by_sample
from hkdsr.losses.compiled import kernels
from hkdsr.losses.gated_distance import gated_distance
from hkdsr.settings.choices import AcfBound, AcfGateTraining, AcfInputs, AcfPool, AcfSplit

COLOURS = 3


class Gate(nn.Module):
    """Weights of the images to be mixed; one gate serves one exit.

    Args:
        sources: how many images are mixed (2 or 3).
        hidden: width of the middle layer.
        split: ``per_channel`` one small network per colour; ``joint`` one over all colours.
        pool: ``none`` a weight per pixel; ``global`` averages the input over the image first; ``late`` averages
            between the layers, without the ReLU (the "directfuse" variant).
        bound: ``sigmoid`` before the softmax, or ``none``.

    The default (2, 32, per_channel, none, sigmoid) has 486 parameters; joint and pooled with 96 hidden has 866.
    Source: docs/method.md, "ACF: adaptive channel fusion".
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
        # First and second layer of the red gate, then of the green one, then of the blue one.
        self.layers = nn.ModuleList(
            layer for _ in range(copies) for layer in (nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, sources, 1))
        )

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """Images, each (B, 3, H, W) -> weights (sources, B, C, H, W) summing to one over sources.

        C is 3 per channel and 1 jointly; H and W are 1 where the gate pools.
        """
        batch, _, height, width = images[0].shape
        # (copies, inputs, B * H * W): matrix products here are far cheaper than 1x1 convolutions with 2 channels.
        x = torch.stack(list(images), 1).permute(2, 1, 0, 3, 4)
        if self.split == "joint":
            x = x.transpose(0, 1).flatten(0, 1).unsqueeze(0)
        x = x.flatten(3)
        if self.pool == "global":
            x = x.mean(3, keepdim=True)
        x = self._layer(0, x.flatten(2))
        x = x.unflatten(2, (batch, -1)).mean(3) if self.pool == "late" else x.relu()
        x = self._layer(1, x)
        if self.bound == "sigmoid":
            x = x.sigmoid()
        size = (height, width) if self.pool == "none" else (1, 1)
        return x.softmax(1).unflatten(2, (batch, *size)).permute(1, 2, 0, 3, 4)

    def stacked(self, index: int) -> tuple[Tensor, Tensor]:
        """Layer ``index`` of every copy: weights (copies, outputs, inputs) and biases (copies, outputs)."""
        weight = torch.stack([cast(nn.Conv2d, conv).weight.flatten(1) for conv in self.layers[index::2]])
        return weight, torch.stack([cast(Tensor, conv.bias) for conv in self.layers[index::2]])

    def _layer(self, index: int, x: Tensor) -> Tensor:
        """(copies, inputs, N) -> (copies, outputs, N)."""
        weight, bias = self.stacked(index)
        return torch.baddbmm(bias.unsqueeze(2), weight, x)


class Fusion(nn.Module):
    """The ACF term of one exit: mean |S - F| with F the gated mix.

    Args:
        inputs: what is mixed: ground truth and teacher (the paper), student and teacher, all three, or the ground truth
            alone (plain L1, no gate).
        average_gt: use (F + G) / 2 as target (a variant of November 2022).
        gate_training: ``joint`` trains the gate with the student; ``frozen`` mixes all images equally.

    Raises:
        HkdsrError: an unknown name, or ``hidden`` below 1.
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
        for name, value, kinds in (
            ("inputs", inputs, AcfInputs),
            ("split", split, AcfSplit),
            ("pool", pool, AcfPool),
            ("bound", bound, AcfBound),
            ("gate_training", gate_training, AcfGateTraining),
        ):
            if value not in get_args(kinds):
                raise HkdsrError(f"acf_{name} is '{value}': choose one of {', '.join(get_args(kinds))}")
        if hidden < 1:
            raise HkdsrError(f"acf_hidden is {hidden}: set it to 1 or more")
        self.inputs, self.average_gt = inputs, average_gt
        sources = len(inputs.split("_"))
        self.gate = None
        if sources > 1 and gate_training == "joint":
            self.gate = Gate(sources, hidden, split, pool, bound)

    def target(self, student: Tensor, teacher: Tensor, hr: Tensor) -> Tensor:
        """The fused image F (B, 3, H, W), in the images' own units."""
        known = {"gt": hr, "s": student, "t": teacher}
        images = [known[name] for name in self.inputs.split("_")]
        stacked = torch.stack(images)
        fused = stacked.mean(0) if self.gate is None else (self.gate(images) * stacked).sum(0)
        return (fused + hr) / 2 if self.average_gt else fused

    def forward(self, student: Tensor, teacher: Tensor, hr: Tensor) -> Tensor:
        """S, T, G, each (B, 3, H, W) in [0, 1] -> scalar mean |S - F|. T and G are constants."""
        loops = kernels(student) if self._compilable() else None
        if loops is not None:
            assert self.gate is not None
            weights = (*self.gate.stacked(0), *self.gate.stacked(1))
            return gated_distance(loops, student, teacher.detach(), hr.detach(), weights)
        return self.in_tensors(student, teacher, hr)

    def in_tensors(self, student: Tensor, teacher: Tensor, hr: Tensor) -> Tensor:
        """The same for every setting and device."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return mean_by_sample(self._distance, student, (teacher.detach(), hr.detach()), trained)

    def _compilable(self) -> bool:
        """Whether this is the paper's gate, which the compiled loop knows."""
        gate = self.gate
        return gate is not None and (self.inputs, self.average_gt, gate.split, gate.pool, gate.bound) == (
            "gt_t",
            False,
            "per_channel",
            "none",
            "sigmoid",
        )

    def _distance(self, student: Tensor, teacher: Tensor, hr: Tensor) -> Tensor:
        return (student - self.target(student, teacher, hr)).abs().mean()
