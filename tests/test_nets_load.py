"""Checkpoints and descriptions of networks: what loads, what comes back, and the error messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small import SMALL, pth, refusal, small
from torch import Tensor

from hkdsr.nets import FAMILIES, parameter_count
from hkdsr.nets.files.load import WEIGHTS, build, digest, load, save
from hkdsr.nets.files.spandrel import SpandrelNetwork

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def test_every_family_is_tried() -> None:
    assert FAMILIES.keys() <= SMALL.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_our_files_give_back_settings_and_weights(family: str, tmp_path: Path) -> None:
    net = build(SMALL[family], 3)
    save(net, tmp_path / "net.safetensors", {"step": "7"})
    again = load(str(tmp_path / "net.safetensors"))
    assert type(again) is type(net)
    assert again.settings == net.settings
    assert not again.training
    assert digest(again.state_dict()) == digest(net.state_dict())
    with safe_open(tmp_path / "net.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {"step": "7", "family": family, "settings": json.dumps(net.settings)}


@pytest.mark.parametrize("family", FAMILIES)
def test_published_forms_of_a_file_all_load(family: str, tmp_path: Path) -> None:
    net = small(family)
    state = net.state_dict()
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    for content in (state, wrapped, {"params": state}, {"params": other, "params_ema": state}, {"state_dict": wrapped}):
        again = load(pth(tmp_path, content))
        # A state dict does not tell EDSR's res_scale.
        expected = net.settings | ({"res_scale": 1.0} if family == "edsr" else {})
        assert (again.family, again.settings) == (family, expected)
        assert digest(again.state_dict()) == digest(state)
    save_file(wrapped, tmp_path / "other.safetensors")
    assert digest(load(tmp_path / "other.safetensors").state_dict()) == digest(state)


def test_half_precision_files_are_half_as_big_and_load_as_floats(tmp_path: Path) -> None:
    net = build("compact:features=32,convs=4", 2)
    save(net, tmp_path / "full.safetensors")
    save(net, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    for own, read in zip(net.parameters(), load(tmp_path / "half.safetensors").parameters(), strict=True):
        assert read.dtype == torch.float32
        assert torch.equal(read, own.half().float())


def test_published_swinir_files_load_whatever_their_masks(tmp_path: Path) -> None:
    """They hold the masks of their training size, or none; ours serve any size."""
    net = small("swinir")
    masks = [name for name in net.state_dict() if name.endswith("attn_mask")]
    assert masks
    x = torch.rand(1, 3, 9, 17)
    for mask in (torch.ones(9, 64, 64), None):
        state = {name: value for name, value in net.state_dict().items() if name not in masks}
        if mask is not None:
            state |= dict.fromkeys(masks, mask)
        with torch.no_grad():
            assert torch.equal(load(pth(tmp_path, state))(x), net(x))


def test_saving_makes_folders_replaces_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "net.safetensors"
    save(small("compact"), file)
    save(small("imdn"), str(file))
    assert load(file).family == "imdn"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "net.safetensors", tmp_path / "folder.safetensors"):
        (tmp_path / "folder.safetensors").mkdir(exist_ok=True)
        assert f"cannot write {path}" in refusal(lambda path=path: save(small("compact"), path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.safetensors"]
    assert "does not end in .safetensors, as weight" in refusal(lambda: save(small("compact"), tmp_path / "net.pth"))


def test_descriptions_set_what_they_say() -> None:
    assert build("compact", 4).settings == {"scale": 4, "features": 32, "convs": 8}
    assert build("compact: features = 8 , convs=3", 3).settings == {"scale": 3, "features": 8, "convs": 3}
    net = build("swinir:features=12,groups=1,blocks=1,heads=2,mlp_ratio=3,upsampler=pixelshuffledirect", 2)
    assert net.settings["mlp_ratio"] == 3
    assert net.settings["upsampler"] == "pixelshuffledirect"


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("compact:features=abc", "compact's setting 'features' is 'abc': give a whole number"),
        ("compact:features", "compact's setting 'features' is '': give a whole number"),
        ("compact:features=8.5", "compact's setting 'features' is 8.5: give a whole number"),
        ("compact:features=0", "features is 0: set it to 1 or more"),
        ("compact:features=-1", "features is -1: set it to 1 or more"),
        ("compact:features=100000000000000000", "cannot be built with"),
        ("compact:width=8", "compact has no setting 'width': choose one of features, convs"),
        ("compact:scale=4", "contains a scale, which has a setting of its own: remove it"),
        ("edsr:res_scale=nan", "edsr's setting 'res_scale' is nan: give a finite number"),
        ("smfanet:ffn_scale=inf", "smfanet's setting 'ffn_scale' is inf: give a finite number"),
        ("swinir:mlp_ratio=-1", "swinir cannot be built with"),
        ("swinir:upsampler=3", "swinir's setting 'upsampler' is 3: give a name"),
        ("swinir:heads=7", "heads is 7: set it to a divisor"),
        ("vdsr", f"network family 'vdsr' is unknown: choose one of {', '.join(FAMILIES)}, or give a file"),
        ("vdsr:features=8", "network family 'vdsr' is unknown"),
        ("", "network family '' is unknown"),
        ("none.pth", "there is no checkpoint none.pth: give a file, or a shipped network"),
    ],
)
def test_a_wrong_description_is_told_in_one_sentence(description: str, told: str) -> None:
    assert told in refusal(lambda: build(description, 2))


def test_a_checkpoint_of_another_scale_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save(small("compact", 3), file)
    assert build(str(file), 3).scale == 3
    assert f"{file} is a x3 network: set scale to 3" in refusal(lambda: build(str(file), 2))


def test_files_need_no_suffix(tmp_path: Path) -> None:
    file = pth(tmp_path, small("compact").state_dict()).rename(tmp_path / "net")
    assert build(str(file), 2).family == load(file).family == "compact"


def change(state: dict[str, Tensor], name: str, how: str) -> dict[str, Tensor]:
    state = {key: value.clone() for key, value in state.items()}
    value = state.pop(name)
    if how == "extra":
        return state | {name: value, f"{name}.extra": value}
    if how == "shape":
        return state | {name: value[..., None].expand(*value.shape, 2).clone()}
    return state


@pytest.mark.parametrize(
    ("how", "told"), [("missing", "missing"), ("extra", "unexpected"), ("shape", "of another shape")]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_do_not_match_are_named(family: str, how: str, told: str, tmp_path: Path) -> None:
    state = small(family).state_dict()
    name = next(name for name in reversed(state) if name.endswith("bias") and state[name].ndim == 1)
    message = refusal(lambda: load(pth(tmp_path, change(state, name, how))))
    assert f"net.pth does not match the network {family} ({told} {name}" in message


def test_many_wrong_keys_are_counted(tmp_path: Path) -> None:
    net = small("compact")
    state = net.state_dict() | {f"extra.{index}": torch.ones(1) for index in range(9)}
    message = refusal(lambda: load(pth(tmp_path, state)))
    assert "(unexpected extra.0, extra.1, extra.2 and 6 more): give" in message


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_any_shapes_loads_or_is_refused_in_one_sentence(family: str, tmp_path: Path) -> None:
    state = small(family).state_dict()
    for name in list(state)[:: max(1, len(state) // 12)] + list(state)[-2:]:
        for value in (None, torch.tensor(1.0), torch.ones(1), torch.ones(2, 2, 2, 2, 2)):
            changed = {**state, name: value} if value is not None else change(state, name, "missing")
            same = value is not None and value.shape == state[name].shape
            if not (same or name.endswith("attn_mask")):
                assert "net.pth" in refusal(lambda changed=changed: load(pth(tmp_path, changed)))


def test_a_file_of_an_unknown_network_is_told(tmp_path: Path) -> None:
    message = refusal(lambda: load(pth(tmp_path, {"classifier.weight": torch.ones(3, 4)})))
    assert "net.pth holds the weights of a network that neither hkdsr nor spandrel knows: choose" in message


def test_a_spandrel_network_cannot_be_saved(shared: Path, tmp_path: Path) -> None:
    net = load(shared / "weights" / "CRAFT" / "CRAFT_x4.pth")
    assert isinstance(net, SpandrelNetwork)
    assert "use their original file" in refusal(lambda: save(net, tmp_path / "net.safetensors"))


def test_equal_weights_have_equal_digests() -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3.0), "c": torch.ones(2, dtype=torch.bfloat16)}
    known = digest(state)
    assert known == digest(dict(reversed(state.items())))
    assert known == digest(state | {"a": torch.arange(6.0).reshape(2, 3).T.contiguous().T})
    assert known != digest(state | {"a": state["a"].double()})
    assert known != digest(state | {"a": state["a"].reshape(3, 2)})
    assert known != digest(state | {"b": torch.tensor(3.5)})
    assert known != digest({"z" + name: value for name, value in state.items()})
    image = torch.rand(2, 3, 4, 5)
    assert digest({"x": image}) == digest({"x": image.to(memory_format=torch.channels_last)})
    # Caches of teacher's images are found by digest: this one must never change.
    assert digest({"w": torch.arange(3.0)}).startswith("9aa9a816c15297e0e3e8b717")


def test_every_public_checkpoint_loads_or_is_named_unknown(shared: Path) -> None:
    loaded = set()
    for entry in json.loads((shared / "weights" / "MANIFEST.json").read_text()):
        path = shared / "weights" / entry["file"]
        folder = path.parent.name
        family = "spandrel" if folder == "CRAFT" else folder.lower().replace("-", "")
        if family not in (*FAMILIES, "spandrel"):
            assert f"{path} holds the weights of a network that neither" in refusal(lambda path=path: load(path))
            continue
        net = load(path)
        assert (net.family, net.scale, net.training) == (family, entry["scale"], False)
        assert parameter_count(net) == entry["params"]
        loaded.add(family)
    assert loaded >= {"hpinet", "smfanet", "imdn", "rlfn", "spandrel"}


def test_every_shipped_network_loads_by_name() -> None:
    for file in WEIGHTS.glob("*.safetensors"):
        net = load(file.stem)
        assert f"_x{net.scale}" in file.stem
        assert build(file.stem, net.scale).settings == net.settings
