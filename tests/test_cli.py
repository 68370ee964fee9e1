"""The command line as a user meets it: quick help, and one sentence with exit code 2 for every mistake."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hkdsr.cli import main as command_line
from hkdsr.nets.files.load import build, save

NAMES = ("distill", "train", "label", "compare", "evaluate", "upscale", "export", "report", "degrade", "strip", "info")


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hkdsr", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, check=False)


def refused(*arguments: str | Path, naming: str) -> str:
    """Run, and check that it ends in one clear sentence that matches ``naming``, with exit code 2."""
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("hkdsr")]
    assert len(lines) == 1, done.stderr
    assert re.search(naming, lines[0]), lines[0]
    return lines[0]


@pytest.fixture
def photo() -> np.ndarray:
    from hkdsr.data import rgb
    from hkdsr.data.embedded import demo_files

    return rgb(demo_files()[1]["coffee"])[100:148, 200:264]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save(build("compact:features=4,convs=1", 2), path)
    return path


def train_arguments(tmp_path: Path, *more: str) -> list[str | Path]:
    out, cache = tmp_path / "out", tmp_path / "cache"
    settings = ("--student", "compact:features=4,convs=2", "--training.steps", "2", "--training.batch", "2")
    folders = ("--out", out, "--data.cache", cache, "--data.train", tmp_path / "images")
    return ["train", *settings, *folders, "--data.patch", "12", *more]


@pytest.mark.parametrize("name", NAMES)
def test_help_names_settings_without_loading_torch(name: str) -> None:
    probe = (
        "import sys; sys.argv = ['hkdsr', sys.argv[1], '--help']\n"
        "from hkdsr.__main__ import main\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(f'torch loaded: {\"torch\" in sys.modules}')"
    )
    done = subprocess.run([sys.executable, "-c", probe, name], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr.endswith("torch loaded: False")
    assert f"usage: hkdsr {name}" in done.stdout


def test_help_of_the_whole() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in NAMES)


def test_unknown_command() -> None:
    refused("shrink", naming="unknown command 'shrink': choose one of")


def test_unreadable_images_are_named_and_nothing_is_written(tmp_path: Path, network: Path, photo: np.ndarray) -> None:
    whole = tmp_path / "photo.png"
    Image.fromarray(photo).save(whole)
    (tmp_path / "torn.png").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "empty.png").write_bytes(b"")
    target = tmp_path / "large.png"
    for name in ("torn.png", "text.jpg", "empty.png", "absent.png"):
        refused("upscale", tmp_path / name, "-o", target, "-m", network, naming=name)
        assert not target.exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16", "RGBA", "LA", "1"])
def test_every_kind_of_image_is_upscaled(mode: str, tmp_path: Path, network: Path, photo: np.ndarray) -> None:
    source, target = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png"), tmp_path / "large.png"
    if mode == "I;16":
        Image.fromarray(photo[..., 1].astype(np.uint16) * 257).save(source)
    else:
        Image.fromarray(photo).convert(mode).save(source)
    done = run("upscale", "-i", source, "-o", target, "-m", network)
    assert done.returncode == 0, done.stderr
    with Image.open(target) as large:
        assert large.size == (2 * photo.shape[1], 2 * photo.shape[0])
        assert large.mode.startswith("I;16") == (mode == "I;16")
        assert ("A" in large.getbands()) == ("A" in mode)


def test_one_pixel(tmp_path: Path, network: Path) -> None:
    Image.new("RGB", (1, 1), (200, 30, 90)).save(tmp_path / "dot.png")
    done = run("upscale", tmp_path / "dot.png", "-o", tmp_path / "large.png", "-m", network)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (2, 2)


def test_an_image_alone_is_enough(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=95)
    Image.fromarray(photo).save(tmp_path / "photos" / "one.png")
    for name, written in (("photo.jpg", "photo_x2.png"), ("photos", "photos_x2/one.png")):
        done = run("upscale", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / written.split("/")[0]) in done.stdout
        with Image.open(tmp_path / written) as large:
            enlarged = np.asarray(large.resize(photo.shape[1::-1], Image.Resampling.BOX), dtype=float)
        assert np.abs(enlarged - photo).mean() < 4  # the same image, not another or a grey one
    refused("upscale", tmp_path / "photo.jpg", naming=r"photo_x2\.png exists: .* --output")


def test_a_strip_of_networks(tmp_path: Path, network: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    target = tmp_path / "strip.png"
    done = run("strip", tmp_path / "photo.png", "bicubic", network, "--side", "32", "-o", target)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"written: {target}\n"
    with Image.open(target) as strip:
        assert strip.size == (256 + 3 * 200, 192 + 42)
    refused("strip", tmp_path / "absent.png", network, "-o", target, naming="absent.png")
    refused("strip", tmp_path / "photo.png", network, "-o", tmp_path / "photo.png", naming="is also the HR image")
    refused(
        "strip",
        tmp_path / "photo.png",
        "absent",
        "-o",
        tmp_path / "strip",
        naming="does not have the suffix of an image",
    )


def test_networks_that_cannot_be_read(tmp_path: Path, network: Path) -> None:
    state = torch.nn.Linear(2, 2).state_dict()
    torch.save({**state, "body.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(marker), "w")

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Payload()))
    torch.save({"state_dict": Payload()}, tmp_path / "evil2.pth")
    (tmp_path / "torn.safetensors").write_bytes(network.read_bytes()[:100])
    for name in ("other.pth", "evil.pth", "evil2.pth", "torn.safetensors", "absent.pth"):
        refused("info", tmp_path / name, naming=re.escape(name))
    assert not marker.exists()


def test_missing_and_unexpected_keys_are_named(tmp_path: Path, network: Path) -> None:
    with safe_open(network, framework="pt") as file:
        metadata, state = file.metadata(), {key: file.get_tensor(key) for key in sorted(file.keys())}
    state["body.99.weight"] = state.pop("body.0.weight")
    save_file(state, tmp_path / "odd.safetensors", metadata)
    sentence = refused("info", tmp_path / "odd.safetensors", naming="missing body.0.weight")
    assert "unexpected body.99.weight" in sentence


def test_training_mistakes(tmp_path: Path, photo: np.ndarray) -> None:
    arguments = train_arguments(tmp_path)
    refused(*arguments, naming="there is no folder .*images: set data.train")
    images = tmp_path / "images"
    images.mkdir()
    refused(*arguments, naming="has no images: set data.train")
    Image.fromarray(photo).save(images / "a.png")
    refused(*arguments, "--data.patch", "100", naming="data.patch is 100 LR pixels.*at most 24")
    refused(*arguments, "--student", "compact:width=3", naming="compact has no setting 'width'")
    for name in ("training.batch", "training.log-every", "training.threads", "data.patch"):
        refused(*arguments, f"--{name}", "0", naming=f"{name.replace('-', '_')} is 0: set it to 1 or more")
    refused(*arguments, "--training.device", "cuda:7", naming="training.device is 'cuda:7'")
    (images / "b.png").write_bytes((images / "a.png").read_bytes()[:500])
    refused(*arguments, naming=r"b\.png")
    assert not (tmp_path / "out").exists()


def test_a_recipe_with_a_mistake_names_the_setting(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    for text, naming in (
        ("steps = 3", "'steps', which is not a setting"),
        ("[training]\nsteps = 'many'", "training.steps is 'many'"),
        ("[training\n", "is not valid TOML"),
        ("[method]\nname = 'magic'", "method.name is 'magic'"),
    ):
        recipe.write_text(text)
        refused("distill", recipe, naming=naming)
    refused("distill", tmp_path / "absent.toml", naming=r"absent\.toml")


def test_evaluate_names_what_is_there(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "Set9").mkdir()
    refused("evaluate", "bicubic", "--scale", "2", "--root", tmp_path, "--sets", "Set5", naming="name one of Set9")
    refused("evaluate", "bicubic", "--root", tmp_path, "--sets", "Set9", naming="scale")
    Image.fromarray(photo).save(tmp_path / "Set9" / "a.png")
    done = run("evaluate", "bicubic", "--scale", "2", "--root", tmp_path, "--sets", "Set9", "Set5")
    assert (done.returncode, done.stdout) == (2, "")  # all sets are looked for before one is scored
    refused(
        "evaluate",
        "compact_x2",
        "--device",
        "cuda:99",
        "--root",
        tmp_path,
        "--sets",
        "Set9",
        naming="--device is 'cuda:99', which",
    )


def test_an_interruption_promises_no_checkpoint_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    for name, told in (
        ("distill", "hkdsr distill: interrupted; run the same command again to continue\n"),
        ("upscale", "hkdsr upscale: interrupted\n"),
    ):
        monkeypatch.setattr(import_module(f"hkdsr.cli.{name}"), "run", interrupted)
        monkeypatch.setattr(sys, "argv", ["hkdsr", name])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        assert ended.value.code == 130
        assert capsys.readouterr().err == told


def test_the_recipe_of_a_finished_run_is_not_trained_again(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(photo).save(tmp_path / "images" / "a.png")
    arguments = train_arguments(tmp_path)
    first = run(*arguments)
    assert first.returncode == 0, first.stderr
    weights = tmp_path / "out" / "student.safetensors"
    before = load_file(weights)
    assert run(*arguments).returncode == 0
    after = load_file(weights)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    log = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert len([line for line in log if '"losses"' in line]) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 200 kB, already mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk(tmp_path: Path, small_disk: Path, network: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (280, 280, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(noise).save(tmp_path / "images" / "a.png")
    source, target = tmp_path / "images" / "a.png", small_disk / "large.png"
    refused("upscale", source, "-o", target, "-m", network, naming=r"cannot write .*large\.png .*: free space")
    assert not list(small_disk.iterdir())
    cache = ("--data.cache", str(small_disk))
    refused(*train_arguments(tmp_path, *cache), naming="disk of .* free some space")
    assert not [path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size]
    wide = ("--student", "compact:features=64,convs=4", "--out", str(small_disk / "out"))
    refused(*train_arguments(tmp_path, *wide), naming=r"cannot write .*last\.pt .*: free space")
    assert not list(small_disk.rglob("*.part"))
    assert not list(small_disk.rglob("*.pt"))
