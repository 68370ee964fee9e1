"""Parameters and multiply-adds against published tables and sums by hand; milliseconds against a clock of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest
import torch
from small import small
from torch import Tensor, nn

from hkdsr.errors import HkdsrError
from hkdsr.nets import FAMILIES
from hkdsr.nets.base import Network
from hkdsr.nets.families.rcan import RCAN
from hkdsr.nets.families.swinir import SwinIR
from hkdsr.scoring import cost, milliseconds


class OneConvolution(Network):
    """A 3x3 convolution and pixel shuffle; ``looks`` makes it read a value, which the meta device cannot give."""

    family: ClassVar[str] = "one"

    def __init__(self, scale: int, looks: bool = False) -> None:
        super().__init__(scale)
        self.looks = looks
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        self.seen: list[tuple[tuple[int, ...], bool]] = []

    @property
    def channels(self) -> int:
        return 3

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return ()

    @property
    def settings(self) -> dict[str, int | float | str]:
        return {}

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> None:
        return None

    def shallow(self, x: Tensor) -> Tensor:
        self.seen.append((tuple(x.shape), self.training))
        if self.looks and x.sum().item() < 0:
            return -x
        return x

    def reconstruct(self, deep: Tensor, shallow: Tensor, x: Tensor) -> Tensor:
        return self.shuffle(self.conv(deep))


@pytest.mark.parametrize(
    ("groups", "blocks", "scale", "params", "giga_macs"),
    [
        (10, 20, 4, 15_592_355, 916.9),
        (10, 6, 3, 5_208_243, 530.3),
        (10, 5, 2, 4_279_243, 978.8),
        (5, 5, 2, 2_233_703, 511.6),
        (5, 5, 3, 2_418_343, 247.2),
        (5, 5, 4, 2_381_415, 163.1),
    ],
)
def test_rcan_costs_what_papers_say(groups: int, blocks: int, scale: int, params: int, giga_macs: float) -> None:
    with torch.device("meta"):
        network = RCAN(scale, groups=groups, blocks=blocks)
    counted = cost(network)
    assert counted.params == params
    assert counted.counted
    # At x3 the tables take 1280/3 = 426.67 LR columns; an image has 427.
    columns = 427 / (1280 / 3) if scale == 3 else 1
    assert counted.macs / 1e9 == pytest.approx(giga_macs * columns, abs=0.06)


@pytest.mark.parametrize(("scale", "lr"), [(2, (360, 640)), (3, (240, 427)), (4, (180, 320))])
def test_multiply_adds_by_hand(scale: int, lr: tuple[int, int]) -> None:
    counted = cost(OneConvolution(scale))
    assert counted.lr == lr
    assert counted.macs == lr[0] * lr[1] * 3 * (3 * scale**2) * 9
    assert counted.params == 3 * (3 * scale**2) * 9 + 3 * scale**2


def test_networks_that_look_at_values_are_scaled_and_say_so() -> None:
    looking, blind = (cost(OneConvolution(4, looks), output=(130, 70)) for looks in (True, False))
    assert not looking.counted
    assert looking.macs == pytest.approx(blind.macs, rel=1e-9)
    assert "scaled from a quarter" in str(looking)
    assert "scaled" not in str(blind)


def test_cost_in_words() -> None:
    assert str(cost(OneConvolution(2))) == "0.3 K parameters, 0.07 G multiply-adds for LR 640x360"


def test_counting_leaves_the_network_as_it_was() -> None:
    network = SwinIR(2).eval()
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = network(x)
        cost(network, output=(32, 32))
        assert torch.equal(network(x), before)
    assert all(p.device.type == "cpu" for p in network.parameters())


def test_counting_and_timing_run_in_eval_mode_and_give_it_back() -> None:
    network = OneConvolution(2, looks=True).train()
    cost(network, output=(8, 8))
    milliseconds(network, (5, 6), runs=1)
    assert {training for _, training in network.seen} == {False}
    assert network.training


def test_milliseconds_is_the_median_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    durations = [9.0, 9.0, 9.0, 0.004, 0.001, 0.002]
    ticks = iter([tick for duration in durations for tick in (0.0, duration)])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    network = OneConvolution(2)
    assert milliseconds(network, (5, 6), runs=3) == pytest.approx(2.0)
    assert [shape for shape, _ in network.seen] == [(1, 3, 5, 6)] * 6


def test_unfit_settings() -> None:
    with pytest.raises(HkdsrError, match="at least 1"):
        milliseconds(OneConvolution(2), (5, 6), runs=0)
    with pytest.raises(HkdsrError, match="output size is 0x720"):
        cost(OneConvolution(2), output=(0, 720))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_counted_without_being_run(family: str) -> None:
    assert cost(small(family), (64, 32)).counted
