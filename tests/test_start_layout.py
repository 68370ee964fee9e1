"""Which channels belong together: a network cut out of a wider one that reads no more channels gives its images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import scattered
from torch import Tensor

from hkdsr.nets import FAMILIES, Network
from hkdsr.nets.files.load import build, digest
from hkdsr.nets.start.initialise import initialise
from hkdsr.nets.start.layout import evenly

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def embedded(narrow: Tensor, wide: Tensor, places: dict[int, list[int]], repeat: bool) -> None:
    """Put ``narrow`` at ``places`` of the axes of ``wide`` (by default the leading ones).

    No other input is read; the other outputs are zero, or, where layers normalise over all channels, the same again.
    """
    rows, *others = (places.get(axis, list(range(size))) for axis, size in enumerate(narrow.shape))
    wide.zero_()
    wide[torch.meshgrid(*map(torch.tensor, (rows, *others)), indexing="ij")] = narrow
    if repeat and wide.shape[0] == 2 * narrow.shape[0]:
        again = [row for row in range(wide.shape[0]) if row not in rows]
        wide[torch.meshgrid(*map(torch.tensor, (again, *others)), indexing="ij")] = narrow


IMDN_SPLIT = [*range(4), *range(8, 20)]
IMDN_JOINED = [*range(4), *range(8, 12), *range(16, 20), *range(24, 28)]
BSRN_JOINED = [*range(8), *range(16, 24), *range(32, 40), *range(48, 56)]
SPAN_JOINED = [*range(4), *range(6, 10), *range(12, 16), *range(18, 22)]
SWIN_QKV = [*range(4), *range(8, 12), *range(16, 20)]
# By family: a narrow and a wide network, and for layers (by the end of their names) and axes where the narrow one's
# channels are not the leading ones of the wide one's, which they are.
WIDER: dict[str, tuple[str, str, dict[str, dict[int, list[int]]]]] = {
    "compact": ("features=3,convs=2", "features=5,convs=2", {}),
    "edsr": ("features=3,blocks=2", "features=4,blocks=2", {}),
    "msrresnet": ("features=3,blocks=2", "features=4,blocks=2", {}),
    "rcan": ("groups=2,blocks=2,features=4,reduction=2", "groups=2,blocks=2,features=6,reduction=2", {}),
    "rlfn": ("features=4,blocks=2,esa_channels=3", "features=6,blocks=2,esa_channels=4", {}),
    "smfanet": (
        "dim=4,blocks=2,ffn_scale=2",
        "dim=8,blocks=2,ffn_scale=2",
        {
            "linear_0": {0: [*range(4), *range(8, 12)]},
            "pcfn.conv_0": {0: [*range(2), *range(4, 10)]},
            "pcfn.conv_2": {1: [*range(2), *range(4, 10)]},
        },
    ),
    "imdn": (
        "features=16,blocks=2",
        "features=32,blocks=2",
        {
            **{name: {0: IMDN_SPLIT} for name in (".c1", ".c2", ".c3")},
            "conv_du.0": {1: IMDN_JOINED},
            "conv_du.2": {0: IMDN_JOINED},
            "c5": {1: IMDN_JOINED},
            "c.0": {1: [*range(16), *range(32, 48)]},
        },
    ),
    "bsrn": (
        "features=16,blocks=2",
        "features=32,blocks=2",
        {"c5": {1: BSRN_JOINED}, "c1": {1: [*range(16), *range(32, 48)]}},
    ),
    "span": ("features=4,blocks=2", "features=6,blocks=2", {"conv_cat": {1: SPAN_JOINED}}),
    "swinir": ("features=4,groups=2,blocks=2,heads=2", "features=8,groups=2,blocks=2,heads=4", {"qkv": {0: SWIN_QKV}}),
    "hpinet": ("dim=4,blocks=2,layers=2,qk_dim=3,mlp_dim=5", "dim=8,blocks=2,layers=2,qk_dim=3,mlp_dim=7", {}),
    "hitsrf": (
        "features=32,groups=2,blocks=2,heads=2,mlp_dim=16",
        "features=64,groups=2,blocks=2,heads=4,mlp_dim=20",
        {
            "qv.conv.4": {0: [*range(16), *range(32, 48)]},
            "qv.linear": {0: [*range(16), *range(32, 48)]},
            "correlation.proj": {1: [*range(16), *range(32, 48)]},
        },
    ),
}


def wider(family: str, scale: int) -> tuple[Network, Network]:
    """A network and a wider one that gives the same images."""
    narrow, wide, special = WIDER[family]
    ours, theirs = scattered(f"{family}:{narrow}", scale), scattered(f"{family}:{wide}", scale)
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            places = next((p for end, p in special.items() if name.rpartition(".")[0].endswith(end)), {})
            places = {axis: place for axis, place in places.items() if axis == 0 or name.endswith("weight")}
            embedded(parameter, parameters[name], places, family in ("swinir", "hpinet", "hitsrf"))
            if name.endswith(("qv.linear.weight", "qv.linear.bias")):
                # Channel correlation sums over every channel of the values, so those of more must be zero.
                parameters[name][48:] = 0
    return ours, theirs


def test_every_family_is_widened() -> None:
    assert WIDER.keys() == FAMILIES.keys()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_slice_of_a_teacher_that_uses_no_more_gives_its_images(family: str, scale: int) -> None:
    ours, theirs = wider(family, scale)
    student = build(f"{family}:{WIDER[family][0]}", scale).double().eval()
    start = initialise(student, "slice", theirs)
    image = torch.rand(1, 3, 9, 10, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(image)
        assert expected.std() > 1e-3
        torch.testing.assert_close(student(image), expected, rtol=1e-9, atol=1e-9)
    assert digest(student.state_dict()) == digest(ours.state_dict())
    assert (start.copied, start.fresh) == (start.total, ())


@given(st.integers(1, 12), st.integers(1, 40))
def test_evenly_spaced_blocks_are_those_that_taps_find(count: int, length: int) -> None:
    if count > length:
        count, length = length, count
    chosen = evenly(count, length)
    assert chosen[-1] == length - 1
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    assert chosen[0] >= 0
    network = build(f"compact:features=1,convs={length}", 2)
    assert chosen == [network.tap_index(number / count) for number in range(1, count + 1)]


def test_evenly_spaced_by_hand() -> None:
    assert evenly(3, 6) == [1, 3, 5]
    assert evenly(4, 4) == [0, 1, 2, 3]
    assert evenly(1, 7) == [6]
    assert evenly(3, 10) == [2, 6, 9]
    assert evenly(6, 20) == [2, 6, 9, 12, 16, 19]
