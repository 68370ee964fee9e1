"""Files that are torn, harmful or hold something else: each ends in one sentence, and none is run."""

from __future__ import annotations

import io
import pickle
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from small import pth, refusal, small

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import load, save
from hkdsr.nets.files.state_dict import read_checkpoint


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_torn_empty_and_missing_files_are_told(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    assert f"there is no checkpoint {file}" in refusal(lambda: load(file))
    file.mkdir()
    assert f"there is no checkpoint {file}" in refusal(lambda: load(file))
    file.rmdir()
    if name == "net.pth":
        torch.save(small("compact").state_dict(), file)
    else:
        save(small("compact"), file)
    whole = file.read_bytes()
    for content in (b"", whole[:7], whole[: len(whole) // 2], whole[:-9], b"<html>not found</html>", bytes(100)):
        file.write_bytes(content)
        message = refusal(lambda: load(file))
        assert str(file) in message
        assert "readable" in message or "is damaged" in message
    assert "or a shipped network (" in refusal(lambda: load("no_such_network"))


@cache
def saved(legacy: bool) -> bytes:
    """One file for all examples: torch's older format holds addresses in memory, so its length varies."""
    file = io.BytesIO()
    torch.save(small("compact").state_dict(), file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")  # torch warns of some of what it then refuses
@settings(max_examples=100)
@given(data=st.data(), legacy=st.booleans())
def test_damaged_files_never_end_in_a_traceback(
    data: st.DataObject, legacy: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / f"damaged_{legacy}.pth"
    content = bytearray(saved(legacy))
    start = data.draw(st.integers(2, 20_000)) % len(content)
    content[start : start + 8] = data.draw(st.binary(max_size=8))
    file.write_bytes(content)
    message = ""
    try:
        load(file)
    except HkdsrError as error:
        message = str(error)
    assert "\n" not in message


class Harmful:
    """Unpickling it writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (f"open({str(self.trace)!r}, 'w').close()",)


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "net.pth"
    harmful = {"params": small("compact").state_dict(), "extra": Harmful(trace)}
    for legacy in (False, True):
        torch.save(harmful, file, _use_new_zipfile_serialization=not legacy)
        assert load(file).family == "compact"
    file.write_bytes(pickle.dumps(Harmful(trace), protocol=2))
    assert str(file) in refusal(lambda: load(file))
    assert not trace.exists()
    pickle.loads(pickle.dumps(Harmful(trace), protocol=2))
    assert trace.exists()  # the pickle is what it is said to be


@pytest.mark.parametrize(
    "content",
    [
        *({}, [], 3, torch.ones(3)),
        *({"epoch": 3}, {"params": {}}, {0: torch.ones(1)}, {"a": {"b": torch.ones(1)}}),
        {**small("compact").state_dict(), "two\nlines": torch.ones(1)},
    ],
)
def test_a_file_without_a_state_dict_is_told(content: object, tmp_path: Path) -> None:
    assert "net.pth has no state dict (it holds " in refusal(lambda: load(pth(tmp_path, content)))


def test_settings_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    cases = {
        ("imdn", '{"scale": 2, "features": 16, "blocks": 2}'): "does not match the network imdn (missing ",
        ("compact", '{"scale": 2, "features": "four"}'): "compact's setting 'features' is 'four'",
        ("compact", '{"features": 4, "convs": 2}'): "the scale of compact is missing: set it",
        ("compact", '{"scale": 5, "features": 4, "convs": 2}'): "scale is 5: set it to 2, 3 or 4",
        ("vdsr", '{"scale": 2}'): "network family 'vdsr' is unknown",
        ("compact", "not json"): "cannot be read: copy it again",
        ("compact", "[2, 4]"): "cannot be read: copy it again",
    }
    for (family, told), expected in cases.items():
        save_file(small("compact").state_dict(), file, {"family": family, "settings": told})
        message = refusal(lambda: load(file))
        assert str(file) in message
        assert expected in message


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("net.bin", bytes(64), "weights of ncnn or OpenVINO"),
        ("NET.ENGINE", b"ftrt" + bytes(9), "a TensorRT engine"),
        ("net.pth", b"<html>not found</html>", "not a readable checkpoint of PyTorch"),
    ],
)
def test_files_of_other_tools_are_named(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(lambda: load(tmp_path / name))
    others = ".param or .xml" if name == "net.bin" else ".pth, .safetensors or .onnx"
    assert message == f"{tmp_path / name} is {kind}: give the network's {others} file instead"


def test_a_bin_file_of_pytorch_loads(tmp_path: Path) -> None:
    pth(tmp_path, small("compact").state_dict()).rename(tmp_path / "pytorch_model.bin")
    assert load(tmp_path / "pytorch_model.bin").family == "compact"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch.jit is deprecated
def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    program = torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4))
    torch.jit.save(program, tmp_path / "net.pt")
    assert "net.pt is a program of TorchScript, which may do what any program may: if you trust it, name it as " in (
        refusal(lambda: load(tmp_path / "net.pt"))
    )


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (torch.zeros(7, dtype=torch.uint8), True),  # FDAT and MoESR describe themselves so
        (torch.zeros(17, dtype=torch.uint8), False),
        (torch.zeros(2, 2, dtype=torch.uint8), False),
        (torch.zeros(7, dtype=torch.int8), False),
    ],
)
def test_bytes_are_no_weights_but_a_few_may_describe_a_network(value: torch.Tensor, fits: bool, tmp_path: Path) -> None:
    file = pth(tmp_path, {**small("compact").state_dict(), "about": value})
    if fits:
        assert read_checkpoint(file)[0]["about"].tolist() == value.tolist()
    else:
        kind = str(value.dtype).removeprefix("torch.")
        assert f"has a weight 'about' that is of the type {kind}" in refusal(lambda: read_checkpoint(file))
