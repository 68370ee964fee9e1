"""Networks named as ``FILE.py:NAME:setting=value,...``: settings, weights, what may run, and bad code in a sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import own
import pytest
import torch
from own import NET
from safetensors.torch import save_file
from small import refusal

from hkdsr.nets.files import named
from hkdsr.nets.files.load import build, digest, load, save
from hkdsr.nets.files.named import recorded
from hkdsr.nets.wrapped import WrappedNetwork
from hkdsr.report.labels import labels
from hkdsr.user_code import CodeName, code_name, read_value


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own for what the user has named, and a process that has named nothing."""
    monkeypatch.setenv("HKDSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(named, "_named", {})
    return tmp_path / "cache"


def seen(name: str, scale: int | None = None) -> object:
    network = load(name, scale)
    assert isinstance(network, WrappedNetwork)
    return network.model.seen


def test_names_are_taken_apart() -> None:
    assert code_name("a/b.py:Net") == CodeName(Path("a/b.py"), "Net")
    assert code_name("a.py:f: x=1, y=b.py:c ") == CodeName(Path("a.py"), "f", "x=1, y=b.py:c")
    assert code_name("C:\\a.pyx\\b.py:Net") == CodeName(Path("C:\\a.pyx\\b.py"), "Net")
    assert str(code_name("a.py:f:x=1")) == "a.py:f:x=1"
    for other in ("net.pth", "compact:features=4", "net.py.pth", "small_x2", 3, None):
        assert code_name(other) is None
    assert "net.py is a Python file: name the function or class in it, as net.py:Net" in refusal(lambda: load("net.py"))


def test_values() -> None:
    texts = {"3": 3, "0.5": 0.5, "1e-3": 1e-3, "True": True, "false": False, "none": None, "gelu": "gelu", "": ""}
    assert {text: read_value(text) for text in texts} == texts


def test_settings_are_passed(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET)
    assert seen(f"{net}:Net") == (2, 4, False, "a")
    assert seen(f"{net}:Net:features=5,sharp=true,kind=b") == (2, 5, True, "b")
    assert "has no setting 'width': choose from features, kind, scale, sharp" in refusal(
        lambda: load(f"{net}:Net:width=3")
    )
    assert "has 'features' among its settings: write it as setting=value" in refusal(
        lambda: load(f"{net}:Net:features")
    )


def test_the_scale_is_passed_where_it_is_taken(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET + "def fixed(): return Net(4)\ndef other(upscale): return Net(upscale)\n")
    assert seen(f"{net}:Net", 3) == (3, 4, False, "a")
    assert seen(f"{net}:other", 3) == (3, 4, False, "a")
    assert seen(f"{net}:other:upscale=2", 3) == (2, 4, False, "a")
    assert seen(f"{net}:fixed", 3) == (4, 4, False, "a")
    assert build(f"{net}:Net", 3).scale == 3
    assert "fixed is a x4 network: set scale to 4" in refusal(lambda: build(f"{net}:fixed", 2))
    assert "needs a value for 'upscale': add it, as net.py:other:upscale=2" in refusal(lambda: load(f"{net}:other"))


def test_what_the_file_made_itself(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET + "model = Net()\n")
    first, second = load(f"{net}:model"), load(f"{net}:model")
    assert digest(first.state_dict()) == digest(second.state_dict())
    assert next(first.parameters()) is not next(second.parameters())


def test_files_are_named_relative_to_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = own.written(
        tmp_path, NET + "from pathlib import Path\ndef read(file): return Net(kind=Path(file).read_text())\n"
    )
    (tmp_path / "kind.txt").write_text("beside")
    monkeypatch.chdir(tmp_path.parent)
    assert seen(f"{net}:read:file=kind.txt") == (2, 4, False, "beside")
    first = load(f"{net}:read:file=kind.txt").identity
    (tmp_path / "kind.txt").write_text("another")
    assert load(f"{net}:read:file=kind.txt").identity != first


def test_a_class_and_a_file_of_weights(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET)
    trained = load(f"{net}:Net")
    assert isinstance(trained, WrappedNetwork)
    state = trained.model.state_dict()
    torch.save({"params_ema": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "net.pth")
    save_file(state, tmp_path / "net.safetensors")
    for name in ("net.pth", "net.safetensors", tmp_path / "net.pth"):
        found = load(f"{net}:Net:weights={name}")
        assert digest(found.state_dict()) != digest(load(f"{net}:Net").state_dict())
        assert digest(found.public_state()) == digest(state)
    assert "does not match" in refusal(lambda: load(f"{net}:Net:features=5,weights=net.pth"))
    assert "(of another shape a.weight, a.bias, b.weight): give" in refusal(
        lambda: load(f"{net}:Net:features=5,weights=net.pth")
    )
    assert "there is no file no.pth of weights" in refusal(lambda: load(f"{net}:Net:weights=no.pth"))


def test_code_that_takes_weights_loads_them_itself() -> None:
    assert isinstance(load(own.name("loads weights") + ":weights=loads_weights.pth"), WrappedNetwork)


def test_trained_weights_of_code_that_needs_weights(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET + "def make(weights): return Net(kind=weights[-3:])\n")
    (tmp_path / "start.pth").write_text("anything that it can read")
    trained = load(f"{net}:make:weights=start.pth")
    save(trained, tmp_path / "student.safetensors")
    assert digest(load(tmp_path / "student.safetensors").state_dict()) == digest(trained.state_dict())


def test_labels(tmp_path: Path) -> None:
    assert labels(["a/net.py:Net", "a/net.py:Net:features=4", "small_x2"]) == [
        "net.py:Net",
        "net.py:Net:features=4",
        "small_x2",
    ]


def test_how_it_is_run_may_be_set(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET)
    network = load(f"{net}:Net:colour_range=255,pad_multiple=4")
    assert isinstance(network, WrappedNetwork)
    assert (network.found.colour_range, network.pad_multiple) == (255, 4)
    assert "pad_multiple of" in refusal(lambda: load(f"{net}:Net:pad_multiple=none"))


def test_files_of_the_same_name_in_two_folders_are_kept_apart(tmp_path: Path) -> None:
    for index in (1, 2):
        folder = tmp_path / str(index)
        folder.mkdir()
        own.written(folder, f"VALUE = {index}", "beside.py")
        own.written(folder, NET + "from beside import VALUE\ndef make(): return Net(features=VALUE)\n")
    assert [seen(f"{tmp_path}/{index}/net.py:make") for index in (1, 2, 1)] == [
        (2, index, False, "a") for index in (1, 2, 1)
    ]
    assert "beside" not in sys.modules
    assert str(tmp_path / "1") not in sys.path
    before = load(f"{tmp_path}/1/net.py:make").identity
    own.written(tmp_path / "1", "VALUE = 7", "beside.py")
    assert seen(f"{tmp_path}/1/net.py:make") == (2, 7, False, "a")
    assert load(f"{tmp_path}/1/net.py:make").identity != before


def test_relative_imports_and_packages_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models"
    models.mkdir()
    own.written(models, "from .inner import VALUE", "beside.py")
    own.written(models, "VALUE = 3", "inner.py")
    own.written(models, NET + "from .beside import VALUE\ndef make(): return Net(features=VALUE)\n")
    own.written(models, NET + "from models.inner import VALUE\ndef make(): return Net(features=VALUE)\n", "two.py")
    monkeypatch.chdir(tmp_path)
    for file in ("net.py", "two.py"):
        assert seen(f"models/{file}:make") == (2, 3, False, "a")
    own.written(models, "VALUE = 5", "inner.py")
    for file in ("net.py", "two.py"):
        assert seen(f"models/{file}:make") == (2, 5, False, "a")
    assert not {"models", "models.inner", "beside"} & sys.modules.keys()
    own.written(models, NET + "from .beside import NOTHING\n")
    assert "cannot be run (ImportError: cannot import name 'NOTHING'" in refusal(lambda: load("models/net.py:Net"))


def test_settings_are_part_of_the_identity(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET)
    assert len({load(f"{net}:Net{more}").identity for more in ("", ":kind=b", ":kind=c")}) == 3


def trained(tmp_path: Path) -> Path:
    """Weights that are saved as at the end of a training."""
    net, file = own.written(tmp_path, NET), tmp_path / "student.safetensors"
    save(load(f"{net}:Net:features=5", 3), file)
    return file


def test_trained_weights_know_their_code(tmp_path: Path) -> None:
    file = trained(tmp_path)
    again = load(file)
    assert (again.scale, again.settings["code"]) == (3, "net.py:Net:features=5")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "net.py").rename(tmp_path / "elsewhere" / "net.py")
    assert "belongs to the code net.py:Net:features=5, which was not named here before" in refusal(lambda: load(file))
    named = load(f"{moved}:Net:features=5,weights={file}", 3)
    assert digest(named.public_state()) == digest(again.public_state())
    assert digest(load(file).state_dict()) == digest(again.state_dict())


def test_code_is_not_run_because_a_file_says_so(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = trained(tmp_path)
    (tmp_path / "net.py").write_text(NET + "raise RuntimeError('it ran')")
    assert "was not named here before or has changed: name it, as net.py:Net:features=5,weights=" in refusal(
        lambda: load(file)
    )
    (tmp_path / "net.py").write_text(NET)
    assert load(file).scale == 3
    monkeypatch.setattr(named, "_named", {})  # another process, which finds the notes
    assert load(file).scale == 3
    monkeypatch.setattr(named, "_named", {})
    for note in (cache / "code").iterdir():
        note.unlink()
    assert "was not named here before" in refusal(lambda: load(file))


def test_other_settings_of_named_code_are_not_run_either(tmp_path: Path) -> None:
    net, file = own.written(tmp_path, NET), tmp_path / "evil.safetensors"
    load(f"{net}:Net")
    sha256 = load(f"{net}:Net").settings["code_sha256"]
    for inside in ("Net:kind=b", "torch.hub.load", "nn"):
        settings = json.dumps({"scale": 2, "code": f"net.py:{inside}", "code_sha256": sha256})
        save_file({"a": torch.zeros(1)}, file, {"family": "code", "settings": settings})
        assert "was not named here before" in refusal(lambda: load(file))
    save_file({"a": torch.zeros(1)}, file, {"family": "code", "settings": "{}"})
    assert "holds the weights of a module that was wrapped in Python" in refusal(lambda: load(file))


def test_names_read_from_files_must_have_been_named(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET)
    assert "name it in hkdsr info first" in refusal(lambda: recorded(f"{net}:Net"))
    load(f"{net}:Net")
    assert recorded(f"{net}:Net") == f"{net}:Net"
    assert recorded("net.pth") == "net.pth"


def test_a_file_that_draws_random_numbers_leaves_those_of_the_network(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET + "torch.manual_seed(5); noise = torch.rand(3)")
    digests = []
    for _ in range(2):  # the file is run the first time only
        torch.manual_seed(1)
        digests.append(digest(build(f"{net}:Net", 2).state_dict()))
    assert digests[0] == digests[1]


def test_weights_that_the_code_draws_are_the_same_every_time(tmp_path: Path) -> None:
    net = own.written(tmp_path, NET)
    before = torch.get_rng_state()
    first = digest(load(f"{net}:Net").state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert digest(load(f"{net}:Net").state_dict()) == first
    # A student's depend on the seed, as those of every family.
    assert digest(build(f"{net}:Net", 2).state_dict()) != digest(build(f"{net}:Net", 2).state_dict())
