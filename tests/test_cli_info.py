"""``hkdsr info``: what it is, what it costs, where it can be tapped and how far it sees."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import SMALL, refusal

from hkdsr.cli import info
from hkdsr.deploy.tiles import Reach
from hkdsr.nets import FAMILIES
from hkdsr.nets.files.load import build


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    info.run(list(arguments))
    return capsys.readouterr().out.splitlines()


def test_a_described_network_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "edsr:features=8,blocks=2", "--scale", "3")
    assert lines[0] == "edsr: scale 3, features 8, blocks 2, res_scale 1.0"
    assert "K parameters" in lines[1]
    assert lines[2] == "2 blocks of 8 channels"
    assert [line.split() for line in lines[3:6]] == [
        ["depth", "module", "features", "at", "64x64"],
        ["0.50", "body.0", "8x64x64"],
        ["1.00", "body.1", "8x64x64"],
    ]
    # Seven 3x3 convolutions at LR size, of which the last in the network are at HR size.
    field = int(lines[6].removeprefix("receptive field, as measured: ").removesuffix(" LR pixels in each direction"))
    assert 5 <= field <= 8


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_line_for_each_block(
    family: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hkdsr.deploy.tiles.reach", lambda network: Reach(32, sees_all=True))
    network = build(SMALL[family], 2)
    lines = shown(capsys, SMALL[family])
    table, paths = lines[4 : 4 + len(network.blocks)], dict(network.named_modules()).keys()
    assert [line.split()[0] for line in table] == ["0.25", "0.50", "0.75", "1.00"]
    for line in table:
        path, shape = line[5:].strip().rsplit(maxsplit=1)
        assert shape == f"{network.channels}x64x64"
        assert set(path.split(" + ")) <= paths
    assert lines[-1] == "receptive field, as measured: more than 64 LR pixels in each direction, or the whole image"


def test_other_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spandrel")
    from spandrel.architectures.PLKSR import RealPLKSR
    from spandrel.architectures.RealCUGAN import UpCunet2x

    monkeypatch.setattr("hkdsr.deploy.tiles.reach", lambda network: Reach(7, sees_all=False))
    file = tmp_path / "net.pth"
    torch.save(RealPLKSR(dim=16, n_blocks=2, upscaling_factor=2).state_dict(), file)
    lines = shown(capsys, str(file))
    assert lines[0] == "spandrel: scale 2, architecture PLKSR"
    assert [line.split() for line in lines[4:6]] == [
        ["0.50", "model.feats.1", "16x64x64"],
        ["1.00", "model.feats.2", "16x64x64"],
    ]
    assert lines[6] == "receptive field, as measured: 7 LR pixels in each direction"
    torch.save(UpCunet2x().state_dict(), file)
    why, remedy = shown(capsys, str(file))[2:4]
    assert why.startswith("no taps, as it has no trunk, like a U-Net")
    assert "--taps" in remedy


def test_onnx_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    from hkdsr.deploy.formats.onnx import write

    monkeypatch.setattr("hkdsr.deploy.tiles.reach", lambda network: Reach(7, sees_all=False))
    (tmp_path / "net.onnx").write_bytes(write(build("compact:features=4,convs=1", 2))[".onnx"])
    first, found, kind, *others = shown(capsys, str(tmp_path / "net.onnx"))
    assert found == "found by probing: colours in 0..1; any size"
    assert kind.startswith("runs in a runtime of its own, on the CPU; its image")
    assert first.startswith("onnx: scale 2, architecture ONNX, ")
    assert "family compact" in first
    assert others == [
        "no taps, as it runs only as a whole: methods that compare features cannot use this network",
        "receptive field, as measured: 7 LR pixels in each direction",
    ]


def test_another_scale_is_refused() -> None:
    message = refusal(lambda: info.run(["compact_x2", "--scale", "4"]))
    assert message == "compact_x2 is a x2 network: leave scale out or set it to 2"
