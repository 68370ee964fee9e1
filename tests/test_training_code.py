"""Networks of users' own as teachers and students: they distil and continue, and their weights keep their names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import own
import pytest
import tiny
import torch
from safetensors.torch import load_file
from small import refusal
from torch import nn

from hkdsr.cli.main import main
from hkdsr.methods import FAKD, HKDSR, Logits, Method, Plain, compose
from hkdsr.nets.files import named
from hkdsr.nets.files.load import digest, load
from hkdsr.settings.recipe import DistillRecipe, TrainRecipe
from hkdsr.training.run import distill, train
from hkdsr.training.student import TrainingResult

METHODS = {"hkdsr": HKDSR(), "fakd": FAKD(), "logits": Logits()}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HKDSR_CACHE", str(tmp_path / "named"))


def recipe(folder: Path, student: object, method: Method | None = None, **training: object) -> DistillRecipe:
    """Three steps in which a network of a user's own teaches ``student``."""
    base = tiny.recipe(folder, method or Logits(), **{"steps": 3, "save_every": 1, **training})
    exits = dataclasses.replace(base.exits, stage1_steps=2)
    return dataclasses.replace(base, teacher=own.name("plain"), student=student, exits=exits)


def check(style: str, result: TrainingResult) -> None:
    """The weights are those of the user's own class, and have been trained."""
    state, fresh = load_file(result.weights), own.model(style)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    fresh.load_state_dict(state)  # strictly, under the names of the user's own class
    assert any(not torch.equal(value, before[name]) for name, value in state.items())
    again, x = load(result.weights), torch.rand(1, 3, 17, 20)
    torch.testing.assert_close(again(x), result.network(x), rtol=1e-4, atol=1e-5)
    assert digest(again.state_dict()) == digest(result.network.state_dict())


@pytest.mark.parametrize("style", own.OWN)
def test_they_teach_and_learn_and_continue_after_a_kill(style: str, tmp_path: Path) -> None:
    """By exits, features and images at once."""
    method = compose(HKDSR(), FAKD(), Logits())
    settings = dataclasses.replace(recipe(tmp_path, own.name(style), method), teacher=own.name(style))
    whole = dataclasses.replace(settings, out=tmp_path / "whole")
    check(style, distill(whole))
    with pytest.raises(tiny.Killed):
        distill(settings, tiny.KilledAt(2))
    assert tiny.state(settings.out)["step"] == 2
    assert distill(settings).steps == 3
    assert tiny.equal(tiny.state(whole.out)["model"], tiny.state(settings.out)["model"])
    assert tiny.equal(load_file(whole.out / "student.safetensors"), load_file(settings.out / "student.safetensors"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_alone(method: str, tmp_path: Path) -> None:
    settings = recipe(tmp_path, own.name("0..255"), METHODS[method])
    check("0..255", distill(dataclasses.replace(settings, teacher=own.name("multiples of 8"))))


def test_a_changed_file_is_refused_by_the_settings_name(tmp_path: Path) -> None:
    student, teacher = own.copied(tmp_path), own.copied(tmp_path, "switches.py")
    settings = dataclasses.replace(recipe(tmp_path, f"{student}:Plain"), teacher=f"{teacher}:Switching")
    distill(settings)
    assert distill(settings).steps == 3
    for file, name in ((student, "content of student"), (teacher, "content of teacher")):
        text = file.read_text()
        file.write_text(text.replace("class ", "# a comment\nclass ", 1))
        assert f"begun with other settings ({name}): set them back" in refusal(lambda: distill(settings))
        file.write_text(text)
    other = dataclasses.replace(settings, student=f"{student}:Plain:bias=true")
    assert "begun with other settings (student, content of student)" in refusal(lambda: distill(other))


def test_a_changed_module_beside_the_file_is_refused_too(tmp_path: Path) -> None:
    for file in ("loads_weights.py", "blocks_beside.py", "loads_weights.pth"):
        own.copied(tmp_path, file)
    settings = recipe(tmp_path, f"{tmp_path}/loads_weights.py:pretrained")
    distill(settings)
    beside = tmp_path / "blocks_beside.py"
    beside.write_text(beside.read_text() + "\n")
    assert "begun with other settings (content of student)" in refusal(lambda: distill(settings))


def test_teachers_of_equal_weights_have_images_of_their_own(tmp_path: Path) -> None:
    """The images of a teacher are kept by hash: other code must not find them."""
    file = own.copied(tmp_path)
    settings = dataclasses.replace(recipe(tmp_path, tiny.STUDENT), teacher=f"{file}:Plain")
    first = digest(distill(settings).network.state_dict())
    file.write_text(file.read_text().replace("base +", "0.5 * base +"))
    assert digest(distill(dataclasses.replace(settings, out=tmp_path / "b")).network.state_dict()) != first


def test_modules_in_recipes(tmp_path: Path) -> None:
    student, teacher = own.model("plain"), own.model("0..255")
    before = {name: value.clone() for name, value in student.state_dict().items()}
    settings = dataclasses.replace(recipe(tmp_path, student, HKDSR()), teacher=teacher)
    result = distill(settings)
    assert tiny.equal(before, dict(student.state_dict()))
    student.load_state_dict(load_file(result.weights))
    metadata = tiny.metadata(result.weights)
    assert (metadata["teacher"], json.loads(json.loads(metadata["recipe"])["student"])) == ("Shifted", "Plain")
    assert distill(dataclasses.replace(settings, student=own.model("plain"))).steps == 3
    assert "wrapped in Python: load them into it" in refusal(lambda: load(result.weights))
    x4 = dataclasses.replace(settings, student=nn.Sequential(nn.Conv2d(3, 48, 1), nn.PixelShuffle(4)))
    assert "the student Sequential is a x4 network: set scale to 4" in refusal(lambda: distill(x4))


def test_train_alone_and_with_chains(tmp_path: Path) -> None:
    base = recipe(tmp_path, "")
    for chains in (False, True):
        training = dataclasses.replace(base.training, reparameterise=chains)
        out = tmp_path / f"chains {chains}"
        result = train(TrainRecipe(student=own.name("plain"), out=out, data=base.data, training=training))
        own.model("plain").load_state_dict(load_file(result.weights))
        x = torch.rand(1, 3, 12, 12)
        torch.testing.assert_close(load(result.weights)(x), result.network(x))


def test_what_cannot_learn_is_refused(tmp_path: Path) -> None:
    frozen = own.written(
        tmp_path, "from plain import Plain\ndef frozen(): return Plain().requires_grad_(False)\n", "frozen.py"
    )
    inplace = own.written(
        tmp_path,
        "from plain import Plain\nclass Broken(Plain):\n    def forward(self, x):\n"
        "        y = self.head(x).exp()\n        y += 1\n        return super().forward(x) + y.mean()\n",
        "inplace.py",
    )
    own.copied(tmp_path)
    for name, sentence in (
        (f"{frozen}:frozen", "no finite gradient reaches the weights of"),
        (f"{inplace}:Broken", "fails in training (RuntimeError: one of the variables needed for gradient"),
    ):
        assert sentence in refusal(lambda name=name: distill(recipe(tmp_path, name)))
        # As a teacher it is as good as any.
        taught = recipe(tmp_path, tiny.STUDENT, steps=1)
        out = tmp_path / name.rpartition(":")[2]
        assert distill(dataclasses.replace(taught, teacher=name, out=out)).steps == 1


def test_methods_that_run_parts_are_refused(tmp_path: Path) -> None:
    from hkdsr.methods.mipkd import MiPKD

    assert "mipkd runs the teacher block by block" in refusal(lambda: distill(recipe(tmp_path, tiny.STUDENT, MiPKD())))
    family = dataclasses.replace(
        recipe(tmp_path, own.name("plain"), MiPKD()), teacher=str(tmp_path / "teacher.safetensors")
    )
    assert "mipkd runs the student block by block" in refusal(lambda: distill(family))
    for init in ("slice", "drop", "prune"):
        cut = dataclasses.replace(recipe(tmp_path, own.name("plain"), Plain()), init=init)
        assert "run only as a whole: set init to 'scratch'" in refusal(lambda cut=cut: distill(cut))


def hkdsr_command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["hkdsr", *map(str, words)])
    main()


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    images = tiny.photographs(tmp_path / "images")
    own.copied(tmp_path)
    own.copied(tmp_path, "switches.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(
        'teacher = "switches.py:Switching"\nstudent = "plain.py:Plain:features=4"\nout = "run"\n'
        'data = { train = "images", val = "images", patch = 12, cache = "cache" }\n'
        'training = { steps = 2, batch = 2, device = "cpu" }\nmethod = { name = "fakd" }\n'
    )
    hkdsr_command(monkeypatch, "distill", "recipe.toml")
    monkeypatch.setattr(named, "_named", {})  # as in another process
    student = "run/student.safetensors"
    hkdsr_command(monkeypatch, "info", student)
    assert "code: scale 2, code plain.py:Plain:features=4, code_sha256 " in capsys.readouterr().out
    hkdsr_command(monkeypatch, "evaluate", student, "--root", tmp_path, "--sets", "images")
    hkdsr_command(monkeypatch, "evaluate", "plain.py:Plain", "--root", tmp_path, "--sets", "images", "--scale", "2")
    hkdsr_command(monkeypatch, "upscale", images / "00.png", "-m", student, "-o", "large.png")
    hkdsr_command(monkeypatch, "upscale", images / "00.png", "-m", "plain.py:Plain", "-o", "own.png", "--tile", "16")
    hkdsr_command(monkeypatch, "strip", images / "00.png", "bicubic", student, "switches.py:Switching", "--side", "32")
    hkdsr_command(monkeypatch, "report", "run", "--against", "plain.py:Plain")
    assert "teacher" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.png")} == {"large.png", "own.png", "strip.png"}
    # A report does not run code that nobody has named: the teacher is left out, the student asked for.
    monkeypatch.setattr(named, "_named", {})
    monkeypatch.setenv("HKDSR_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit):
        hkdsr_command(monkeypatch, "report", "run")
    assert "belongs to the code plain.py:Plain:features=4, which was not named here before" in capsys.readouterr().err
    hkdsr_command(monkeypatch, "info", "plain.py:Plain:features=4")
    hkdsr_command(monkeypatch, "report", "run")
    assert "without the teacher: switches.py:Switching is code that was not named" in capsys.readouterr().err


def test_the_report_of_an_unfinished_run(tmp_path: Path) -> None:
    from hkdsr.report.run import read_run

    settings = recipe(tmp_path, own.name("plain"), steps=4)
    with pytest.raises(tiny.Killed):
        distill(settings, tiny.KilledAt(2))
    assert read_run(settings.out).network.settings["code"] == "plain.py:Plain"
