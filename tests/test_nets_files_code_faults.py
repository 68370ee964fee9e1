"""Code that cannot be used gets one sentence, whether it fails at once or later."""

from __future__ import annotations

from pathlib import Path

import own
import pytest
import torch
from own import NET
from small import refusal

import hkdsr
from hkdsr.nets.files.load import load


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HKDSR_CACHE", str(tmp_path / "cache"))


BAD = {
    "no such name": ("Nett", "", "which is not there: choose one of Net"),
    "not callable": ("x", "x = 3", "which is not a function or class: choose one of Net"),
    "raises at import": ("Net", "1 / 0", "cannot be run (ZeroDivisionError: division by zero): correct the file"),
    "syntax": ("Net", "def f(:", "cannot be run (SyntaxError: invalid syntax"),
    "no such import": ("Net", "import nothing_here", "No module named 'nothing_here'): install what is missing, "),
    "a file that is missing": ("Net", "open('no.pth')", "cannot be run (FileNotFoundError: [Errno 2] No such file"),
    "ends the process": ("Net", "import sys; sys.exit(3)", "it ends the process; put what runs as a script under if"),
    "parses arguments": ("Net", "import argparse; argparse.ArgumentParser().parse_args(['-z'])", "ends the process"),
    "raises when made": (
        "f",
        "def f(): raise KeyError('a')",
        "fails when it is made (KeyError: 'a'): correct its code",
    ),
    "ends when made": ("f", "def f(): raise SystemExit", "fails when it is made (it ends the process"),
    "no module": ("f", "def f(): return {}", "makes an object of the type dict: let it return a torch.nn.Module"),
    "needs CUDA at import": ("Net", "torch.zeros(1).cuda()", "cannot be run ("),
    "needs CUDA when made": ("f", "def f(): return Net().cuda()", "without a GPU"),
    "weights on a GPU": (
        "f",
        "def f(): raise RuntimeError('Attempting to deserialize object on a CUDA device')",
        "fails when it is made without a GPU (RuntimeError: Attempting to deserialize object on a CUDA device): take",
    ),
    "raises when called": (
        "F",
        "def forward(s, x): raise OSError('two\\nlines')",
        "image of 64x64 (OSError: two lines)",
    ),
    "needs CUDA when called": ("F", "def forward(s, x): return x.cuda()", "on an image of 64x64 without a GPU ("),
    "wrong scale": ("F", "def forward(s, x): return x[..., ::2, ::2]", "gives (1, 3, 32, 32) for an image of"),
    "grey": ("F", "def forward(s, x): return s.up(s.b(s.a(x)))[:, :1]", "gives (1, 1, 128, 128) for an image"),
    "no image": ("F", "def forward(s, x): return 'no'", "gives an object of the type str for an image of"),
    "not finite": ("F", "def forward(s, x): return s.up(s.b(s.a(x))) / 0", "(NaN or infinite): check its weights"),
    "far from an image": ("F", "def forward(s, x): return 1e6 + s.up(s.b(s.a(x)))", "gives values up to 1e+06"),
    "cannot be copied": (
        "f",
        "def f():\n    net = Net()\n    net.cached = net.a.weight * 2\n    return net",
        "fails when it is copied (RuntimeError: Only Tensors created explicitly by the user",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_code_gets_a_sentence(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, text, sentence = BAD[fault]
    if name == "F":
        text = "class F(Net):\n    " + text
    net = own.written(tmp_path, NET + text)
    message = refusal(lambda: load(f"{net}:{name}"))
    assert sentence in message
    assert str(net) in message


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "cannot read" in refusal(lambda: load(f"{tmp_path}/no.py:Net"))
    assert "(No such file or directory): check the path" in refusal(lambda: load(f"{tmp_path}/no.py:Net"))
    (tmp_path / "folder.py").mkdir()
    assert "(Is a directory): check the path" in refusal(lambda: load(f"{tmp_path}/folder.py:Net"))


def test_code_that_changes_its_input_gets_a_copy(tmp_path: Path) -> None:
    net = own.written(
        tmp_path, NET + "class F(Net):\n    def forward(self, x):\n        return super().forward(x.mul_(2))"
    )
    network, x = load(f"{net}:F"), torch.rand(1, 3, 8, 8)
    before = x.clone()
    network(x)
    assert torch.equal(x, before)
    assert "gets a copy of its input, which it changes" in network.notes[0]


def test_code_that_fails_later_is_named(tmp_path: Path) -> None:
    text = (
        "class F(Net):\n    def forward(self, x):\n        assert x.shape[-1] != 37\n        return super().forward(x)"
    )
    net = own.written(tmp_path, NET + text)
    network = load(f"{net}:F")
    assert hkdsr.upscale(network, torch.rand(9, 9, 3).numpy()).shape == (18, 18, 3)
    assert "fails on images of 37x9 (AssertionError): correct its code" in refusal(
        lambda: hkdsr.upscale(network, torch.rand(9, 37, 3).numpy())
    )
