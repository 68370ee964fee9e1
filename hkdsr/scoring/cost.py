"""What a network costs: parameters, multiply-adds at the usual output size, and milliseconds on this machine."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, parameter_count
from hkdsr.scoring.inference import evaluating, reference

WARM_UP = 3


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-adds of a network for one image.

    ``macs`` counts one multiplication with its addition, of convolutions and matrix products, as papers do; ``lr`` is
    the (height, width) of the LR image it is for. ``counted`` is False where the network could only be run on a
    quarter of that area and the count was multiplied by 4.
    """

    params: int
    macs: int
    lr: tuple[int, int]
    counted: bool

    def __str__(self) -> str:
        how = "" if self.counted else ", scaled from a quarter of the area"
        size = f"{self.lr[1]}x{self.lr[0]}"
        return f"{self.params / 1e3:,.1f} K parameters, {self.macs / 1e9:,.2f} G multiply-adds for LR {size}{how}"


def cost(network: Network, output: tuple[int, int] = (1280, 720)) -> Cost:
    """Count for the LR image that gives an ``output`` of (width, height) pixels, its sides rounded up.

    Runs on the meta device, in no time and memory; a network that cannot run there runs on its own device on a quarter
    of the area. Raises HkdsrError for an output of no pixels.
    """
    if min(output) < 1:
        raise HkdsrError(f"the output size is {output[0]}x{output[1]}: give at least 1x1")
    lr = (-(-output[1] // network.scale), -(-output[0] // network.scale))
    params = parameter_count(network)
    try:
        macs = _macs(copy.deepcopy(network).to("meta"), lr)
    except (NotImplementedError, RuntimeError):
        # Some operations have no meta form, or the network looks at values.
        quarter = (-(-lr[0] // 2), -(-lr[1] // 2))
        macs = round(_macs(network, quarter) * lr[0] * lr[1] / (quarter[0] * quarter[1]))
        return Cost(params, macs, lr, counted=False)
    return Cost(params, macs, lr, counted=True)


def milliseconds(network: Network, size: tuple[int, int], runs: int = 10) -> float:
    """Median time in ms for one LR image of ``size`` (height, width) on the network's device, after a warm-up.

    Raises HkdsrError for less than one run.
    """
    if runs < 1:
        raise HkdsrError(f"the number of timed runs is {runs}: set it to at least 1")
    like = reference(network)
    x = torch.rand(1, 3, *size, dtype=like.dtype, device=like.device)
    times = []
    with evaluating(network), torch.inference_mode():
        for _ in range(WARM_UP + runs):
            start = time.perf_counter()
            network(x)
            if like.device.type != "cpu":
                torch.accelerator.synchronize(like.device)
            times.append(time.perf_counter() - start)
    return 1e3 * median(times[WARM_UP:])


def _macs(network: Network, size: tuple[int, int]) -> int:
    like = reference(network)
    counter = FlopCounterMode(display=False)
    with evaluating(network), torch.no_grad(), counter:
        network(torch.zeros(1, 3, *size, dtype=like.dtype, device=like.device))
    return counter.get_total_flops() // 2
