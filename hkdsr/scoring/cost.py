"""What a network costs: parameters, multiply-adds at the usual output size, and milliseconds on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from hkdsr.errors import HkdsrError
from hkdsr.nets.base import Network, parameter_count
from hkdsr.scoring.inference import evaluation_mode, example_tensor

WARM_UP = 3


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-adds of a network for one image.

    ``macs`` counts one multiplication with its addition, of convolutions and matrix products, as papers do; ``lr`` is
    the (height, width) of the LR image. ``exact`` is False where the network could only run on a quarter of that area
    and the count was multiplied by 4.
    """

    params: int
    macs: int
    lr: tuple[int, int]
    exact: bool

    def __str__(self) -> str:
        how = "" if self.exact else ", scaled from a quarter of the area"
        size = f"{self.lr[1]}x{self.lr[0]}"
        return f"{self.params / 1e3:,.1f} K parameters, {self.macs / 1e9:,.2f} G multiply-adds for LR {size}{how}"


def cost(network: Network, output: tuple[int, int] = (1280, 720)) -> Cost:
    """The cost for the LR image whose SR has ``output`` (width, height) pixels; the sides of LR are rounded up.

    The network runs on the meta device, which computes nothing and takes no memory; one that cannot run there runs on
    its own device on a quarter of the area. Raises HkdsrError for an output without pixels.
    """
    if min(output) < 1:
        raise HkdsrError(f"the output size is {output[0]}x{output[1]}: give at least 1x1")
    lr = (-(-output[1] // network.scale), -(-output[0] // network.scale))
    params = parameter_count(network)
    try:
        macs = _macs(copy.deepcopy(network).to("meta"), lr)
    except (HkdsrError, RuntimeError):
        # Some operations do not exist for the meta device, and some networks read values of their tensors.
        quarter = (-(-lr[0] // 2), -(-lr[1] // 2))
        macs = round(_macs(network, quarter) * lr[0] * lr[1] / (quarter[0] * quarter[1]))
        return Cost(params, macs, lr, exact=False)
    return Cost(params, macs, lr, exact=True)


def milliseconds(network: Network, size: tuple[int, int], runs: int = 10) -> float:
    """Median time in ms for one LR image of ``size`` (height, width) on the network's device, after a warm-up.

    Raises HkdsrError for fewer than one run.
    """
    if runs < 1:
        raise HkdsrError(f"the number of timed runs is {runs}: set it to at least 1")
    like = example_tensor(network)
    x = torch.rand(1, 3, *size, dtype=like.dtype, device=like.device)
    times = []
    with evaluation_mode(network), torch.inference_mode():
        for _ in range(WARM_UP + runs):
            start = time.perf_counter()
            network(x)
            if like.device.type != "cpu":
                torch.accelerator.synchronize(like.device)
            times.append(time.perf_counter() - start)
    return 1e3 * median(times[WARM_UP:])


def milliseconds_in_turn(networks: Sequence[Network], sizes: Sequence[tuple[int, int]], rounds: int) -> list[float]:
    """Median time in ms of each network for its LR size (height, width), over ``rounds`` that time one after another.

    Other work of the machine thus slows all networks alike, and the ratios of their times can be trusted.
    """
    taken = [
        [milliseconds(network, size, 1) for network, size in zip(networks, sizes, strict=True)] for _ in range(rounds)
    ]
    return [median(times) for times in zip(*taken, strict=True)]


def _macs(network: Network, size: tuple[int, int]) -> int:
    like = example_tensor(network)
    counter = FlopCounterMode(display=False)
    with evaluation_mode(network), torch.no_grad(), counter:
        network(torch.zeros(1, 3, *size, dtype=like.dtype, device=like.device))
    return counter.get_total_flops() // 2
