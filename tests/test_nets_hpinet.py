"""HPINet: the published weights load by name and score what was measured for them; patches, matches and attention."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import check_any_size, check_gradient
from torch import Tensor

from hkdsr.data import rgb
from hkdsr.errors import HkdsrError
from hkdsr.nets.families.hpinet import OVERLAP, PATCH_SIZES, HPINet, divide, merge, patch_positions
from hkdsr.nets.families.hpinet_attention import Attention, Match

M = {"dim": 56, "blocks": 8, "layers": 3, "qk_dim": 32, "mlp_dim": 100}
S = {"dim": 40, "blocks": 8, "layers": 3, "qk_dim": 24, "mlp_dim": 72}
FILES = {
    "HPINet/HPINet-M-x2.pth": {"scale": 2, **M},
    "HPINet/HPINet-M-x3.pth": {"scale": 3, **M},
    "HPINet/HPINet-M-x4.pth": {"scale": 4, **M},
    "HPINet/HPINet-S-x4.pth": {"scale": 4, **S},
}
SMALL = {"dim": 6, "blocks": 5, "layers": 2, "qk_dim": 4, "mlp_dim": 8}


def read_state(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix("module."): value for name, value in state.get("params", state).items()}


@lru_cache
def published(shared: Path, file: str) -> HPINet:
    net = HPINet(**FILES[file]).eval()
    net.load_state_dict(read_state(shared / "weights" / file), strict=True)
    return net


def small(scale: int = 2) -> HPINet:
    return HPINet(scale, **SMALL).double().eval()


def manifest(shared: Path) -> dict[str, dict]:
    return {entry["file"]: entry for entry in json.loads((shared / "weights" / "MANIFEST.json").read_text())}


def test_settings_are_read_off_the_files_and_no_others(shared: Path) -> None:
    entries = manifest(shared)
    assert FILES.keys() == {file for file in entries if file.startswith("HPINet/")}
    for file in entries:
        assert HPINet.recognise(read_state(shared / "weights" / file)) == FILES.get(file), file


@settings(max_examples=15)
@given(
    st.fixed_dictionaries(
        {
            "scale": st.sampled_from((2, 3, 4)),
            "dim": st.integers(1, 60),
            "blocks": st.integers(1, 11),
            "layers": st.integers(1, 4),
            "qk_dim": st.integers(1, 70),
            "mlp_dim": st.integers(1, 100),
        }
    )
)
def test_any_width_and_depth_is_rebuilt_from_its_state(setting: dict[str, int]) -> None:
    with torch.device("meta"):
        net = HPINet(**setting)
    assert HPINet.recognise(net.state_dict()) == net.settings == setting


@given(st.sampled_from(PATCH_SIZES), st.integers(0, 60))
def test_patches_reach_from_edge_to_edge_and_overlap(patch: int, more: int) -> None:
    positions = patch_positions(patch + more, patch)
    assert torch.equal(positions - positions[:, :1], torch.arange(patch).expand(len(positions), -1))
    assert positions[0, 0] == 0
    assert positions[-1, -1] == patch + more - 1
    steps = positions[:, 0].diff()
    assert (steps[:-1] == patch - OVERLAP).all()
    assert ((steps > 0) & (steps <= patch - OVERLAP)).all()


@given(st.sampled_from(PATCH_SIZES), st.integers(0, 40), st.integers(0, 40))
def test_merging_averages_what_patches_say_of_a_pixel(patch: int, taller: int, wider: int) -> None:
    h, w = patch + taller, patch + wider
    tops, lefts = (patch_positions(size, patch)[:, 0].tolist() for size in (h, w))
    corners = [(top, left) for top in tops for left in lefts]
    x = torch.randn(2, 3, h, w, dtype=torch.float64)
    tokens = divide(x, patch)
    torch.testing.assert_close(merge(tokens, patch, h, w), x)

    opinions = torch.randn_like(tokens)
    total, count = torch.zeros_like(x), torch.zeros(h, w)
    for index, (top, left) in enumerate(corners):
        here = (..., slice(top, top + patch), slice(left, left + patch))
        assert torch.equal(tokens[:, index].mT.unflatten(2, (patch, patch)), x[here])
        total[here] += opinions[:, index].mT.unflatten(2, (patch, patch))
        count[here] += 1
    torch.testing.assert_close(merge(opinions, patch, h, w), total / count)


def test_a_patch_is_matched_with_the_likest_other_of_its_image() -> None:
    directions = torch.tensor([[4.0, 0.0, -4.0], [3.0, 0.5, -4.0], [0.0, -4.0, 4.0], [0.0, -3.0, 3.5]])
    first = directions[:, None] + torch.tensor([1.0, -1.0])[:, None]
    tokens = torch.stack((first, 2 * first[[0, 2, 1, 3]]))
    matched = Match(3).eval()(tokens)
    assert torch.equal(matched[0], tokens[0, [1, 0, 3, 2]])
    assert torch.equal(matched[1], tokens[1, [2, 3, 0, 1]])


@pytest.mark.parametrize("training", [False, True])
def test_a_lone_patch_is_matched_with_itself(training: bool) -> None:
    tokens = torch.randn(2, 1, 9, 4)
    assert torch.equal(Match(4).train(training)(tokens), tokens)


def test_training_draws_whole_patches_by_softmax_of_their_likeness() -> None:
    means = torch.tensor([[2.0, 0.0, -1.0], [0.0, 2.0, 1.0], [2.0, 1.0, -3.0]])
    tokens = means[None, :, None].expand(1, 3, 4, 3)
    match = Match(3).train()
    with torch.no_grad():
        match.norm.weight.mul_(0.8)
        drawn = torch.stack([match(tokens)[0, 0] for _ in range(400)])
    normed = 0.8 * (means - means.mean(1, keepdim=True)) / means.std(1, correction=0, keepdim=True)
    chance = torch.softmax(normed[1:] @ normed[0] / 3**0.5, 0)[0].item()
    first, second = (torch.isclose(drawn, mean).all(2).all(1) for mean in means[1:])
    assert (first ^ second).all()
    assert first.sum().item() == pytest.approx(400 * chance, abs=3 * (400 * chance * (1 - chance)) ** 0.5)
    assert 0.05 < chance < 0.3


@pytest.mark.parametrize(("dim", "qk_dim"), [(6, 4), (5, 5), (4, 6)])
def test_attention_is_softmax_of_scaled_products(dim: int, qk_dim: int) -> None:
    attention = Attention(dim, qk_dim).double()
    x, source = torch.randn(2, 3, 7, dim, dtype=torch.float64)
    for given_source, keys in (((), x), ((source,), source)):
        scores = attention.to_q(x) @ attention.to_k(keys).mT / qk_dim**0.5
        expected = scores.softmax(-1) @ attention.to_v(keys)
        torch.testing.assert_close(attention(x, *given_source), expected)


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from((2, 3, 4)))
def test_any_size_gives_an_image_of_its_own(h: int, w: int, scale: int) -> None:
    net = small(scale)
    check_any_size(net, torch.rand(2, 3, h, w, dtype=torch.float64))


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (23, 29)])
def test_taps_are_the_block_outputs(shared: Path, size: tuple[int, int]) -> None:
    net = published(shared, "HPINet/HPINet-S-x4.pth")
    woman = rgb(next((shared / "benchmarks" / "Set5").rglob("woman.png")))[: size[0], : size[1]]
    lr = torch.from_numpy(woman.copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        traced = net.trace(lr, (4, 1, 7))
        features = shallow = net.shallow(lr)
        outputs = [features := block(features) for block in net.blocks]
        sr = net(lr)
    assert torch.equal(traced.shallow, shallow)
    assert len(outputs) == 8
    for tap, index in zip(traced.taps, (4, 1, 7), strict=True):
        assert tap.shape == (1, net.channels, *lr.shape[-2:])
        assert torch.equal(tap, outputs[index])
    assert torch.equal(traced.sr, sr)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_every_parameter_but_those_of_a_fixed_choice(training: bool) -> None:
    net = small().train(training)
    net(torch.rand(1, 3, 40, 30, dtype=torch.float64)).square().mean().backward()
    for name, parameter in net.named_parameters():
        if name.startswith("cross_match.") and not training:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_gradient_is_the_slope() -> None:
    net = small()
    check_gradient(net, 27, 31)


def test_a_copy_runs_on_parameters_of_its_own() -> None:
    """The blocks borrow the parameters of the lists that name them; a copy must borrow from the copied lists."""
    net = small()
    copied = deepcopy(net)
    own = {id(parameter) for parameter in copied.parameters()}
    assert {id(parameter) for block in copied.blocks for parameter in block.parameters()} < own
    x = torch.rand(1, 3, 14, 14, dtype=torch.float64)
    with torch.no_grad():
        before = net(x)
        for parameter in copied.parameters():
            parameter.zero_()
        assert torch.equal(net(x), before)
        assert not torch.equal(copied(x), before)


@pytest.mark.parametrize("setting", [{"scale": 5}, *({"scale": 2, name: 0} for name in M)])
def test_impossible_settings_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(HkdsrError, match="set "):
        HPINet(**setting)
