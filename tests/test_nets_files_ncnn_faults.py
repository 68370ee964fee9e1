"""Damaged and hostile pairs of ncnn files end in one sentence, before memory is taken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import ncnn_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import refusal

from hkdsr.errors import HkdsrError
from hkdsr.nets.files.load import load
from hkdsr.nets.files.ncnn.graph import read_graph
from hkdsr.nets.files.ncnn.repeats import Row, find_row

GOOD = ncnn_files.residual()


def edited(old: str, new: str) -> bytes:
    assert old in GOOD.text
    return GOOD.text.replace(old, new, 1).encode()


def lines(*added: str) -> bytes:
    return "\n".join(["7767517", f"{len(added)} 9", *added]).encode()


DOUBLED = [f"Concat c{i} 2 1 {f'x{i}' if i else 'data'} {f'x{i}' if i else 'data'} x{i + 1}" for i in range(40)]
DESCRIPTIONS = {
    "no description": (b"<html>", "net.param is no network description of ncnn"),
    "binary": (bytes(range(256)), "is no network description of ncnn"),
    "no counts": (b"7767517\nInput in 0 1 data", "does not say how many layers it has"),
    "negative count": (b"7767517\n-1 9\nInput in 0 1 data", "does not say how many layers it has"),
    "no layers": (b"7767517\n0 0\n", "does not say how many layers it has"),
    "cut off": ("\n".join(GOOD.text.splitlines()[:-3]).encode(), "announces 19 layers and has 16: copy it again"),
    "half a line": (lines("Input in 0 1 data", "Convolution c 1"), "cannot be read, in line 4"),
    "negative inputs": (edited("Split split_1 1 2", "Split split_1 -1 2"), "cannot be read, in line 4"),
    "huge number of inputs": (edited("Split split_1 1 2", "Split split_1 9999999 2"), "cannot be read, in line 4"),
    "no number": (edited("0=4 1=3", "0=four 1=3"), "cannot be read, in line 5"),
    "not finite": (edited("1=2.0 2=2.0", "1=nan 2=2.0"), "cannot be read, in line"),
    "wrong list": (edited("-23301=2,", "-23301=3,"), "cannot be read, in line"),
    "unknown kind": (edited("PixelShuffle", "Softmax"), "('Softmax') that is of a kind that is not known here: choose"),
    "huge kernel": (edited("6=108", "6=999999999 11=900"), "that has the setting 11=900"),
    "huge weights": (
        edited("0=4 1=3 11=3 5=1 6=108", "0=4 1=3 11=3 5=1 6=1000000008"),
        "net.param takes more weights than net.bin has: copy both files again",
    ),
    "negative weights": (edited("6=108", "6=-108"), "that has the setting 6=-108"),
    "no multiple": (edited("6=108", "6=107"), "has 107 weights, which is no multiple of 4x3x3"),
    "more weights than taken": (
        edited("0=4 1=3 11=3 5=1 6=108", "0=4 1=3 11=3 5=0 6=108"),
        "has weights in net.bin that are no",
    ),
    "8 bits": (edited("6=108", "6=108 8=2"), "has weights of 8 bits: export it in float"),
    "missing blob": (edited(" d0 b0 ", " elsewhere b0 "), "takes the blob 'elsewhere', which no layer before it gives"),
    "a circle": (lines("Input in 0 1 data", "ReLU a 1 1 y x", "ReLU b 1 1 x y", "Noop c 1 1 data z"), "the blob 'y'"),
    "given again": (
        lines("Input in 0 1 data", "ReLU a 1 1 data x", "ReLU b 1 1 x x", "Noop c 1 1 x z"),
        "gives no blob, or one that is",
    ),
    "no input": (lines("MemoryData m 0 1 data 0=1 1=1 2=3"), "has 0 inputs: give a network"),
    "two outputs": (
        lines("Input in 0 1 data", "ReLU a 1 1 data x", "ReLU b 1 1 data y"),
        "has 2 outputs: give a network",
    ),
    "no output": (lines("Input in 0 1 data"), "has 0 outputs: give a network"),
    "huge enlargement": (edited("1=2.0 2=2.0", "1=2e9 2=2e9"), "resizes in a way that is not known"),
    "huge size": (edited("1=2.0 2=2.0", "3=900000 4=900000"), "gives far more values than any network"),
    "doubled forty times": (lines("Input in 0 1 data", *DOUBLED), "gives far more values than any network"),
    "shapes that do not fit": (edited("0=1 1=2.0 2=2.0", "0=1 1=2.0 2=3.0"), "cannot run on an image of 48x48"),
    "wrong channels": (edited("PixelShuffle", "Noop"), "cannot run on an image of 48x48"),
    "features for an image": (lines("Input in 0 1 data", "Concat a 2 1 data data x"), "for an image of (1, 3, 64, 64)"),
}


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_faults_of_the_description_are_named(fault: str, tmp_path: Path) -> None:
    content, told = DESCRIPTIONS[fault]
    path = GOOD.written(tmp_path)
    path.write_bytes(content)
    if content.startswith(b"7767517") and b"Convolution" not in content:
        path.with_suffix(".bin").write_bytes(b"")
    message = refusal(lambda: load(path))
    assert told in message
    assert str(path) in message


WEIGHTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda content: content[:-5], "net.param takes more weights than net.bin has: copy both files again"),
    "empty": (lambda content: b"", "net.param takes more weights than net.bin has: copy both files again"),
    "too long": (lambda content: content + bytes(8), "net.param takes 8 bytes fewer than net.bin has"),
    "8 bits": (
        lambda content: b"\x38\x4b\x0d\x00" + content[4:],
        "has weights in net.bin that are no numbers of 16 or 32 bits",
    ),
    "not finite": (lambda content: content[:4] + b"\x00\x00\xc0\x7f" + content[8:], "values that are not finite"),
}


@pytest.mark.parametrize("fault", WEIGHTS)
def test_faults_of_the_weights_are_named(fault: str, tmp_path: Path) -> None:
    change, told = WEIGHTS[fault]
    path = GOOD.written(tmp_path)
    path.with_suffix(".bin").write_bytes(change(bytes(GOOD.weights)))
    assert told in refusal(lambda: load(path))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = GOOD.written(tmp_path)
    path.with_suffix(".bin").unlink()
    assert "has no net.bin beside it, which holds its weights: copy both files" in refusal(lambda: load(path))


WORDS = [*dict.fromkeys(GOOD.text.split()), "-1", "0", "0=-1", "0=99999999", "1=1e30", "-23300=1,1", "-233", "é"]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from(WORDS)), min_size=1, max_size=3), st.integers(0, 40))
def test_no_change_of_words_ends_otherwise(changes: list[tuple[int, str]], cut: int) -> None:
    rows = [line.split() for line in GOOD.text.splitlines()]
    places = [(row, column) for row, words in enumerate(rows) for column in range(len(words))]
    for place, word in changes:
        row, column = places[place % len(places)]
        rows[row][column] = word
    text = "\n".join(map(" ".join, rows)).encode()
    with suppress(HkdsrError):
        read_graph(text, bytes(GOOD.weights[: len(GOOD.weights) - cut]), "net.param", "net.bin")


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(2, 9), st.integers(0, 7), st.integers(0, 7))
def test_a_row_of_blocks_is_found(length: int, blocks: int, before: int, after: int) -> None:
    kinds = [
        *(f"before {i}" for i in range(before)),
        *list(range(length)) * blocks,
        *(f"after {i}" for i in range(after)),
    ]
    weights = [5 if kind == 0 else 1 for kind in kinds]
    assert find_row(kinds, weights) == Row(before, length, blocks)


def test_what_has_no_weights_is_no_block() -> None:
    assert find_row("aaaa", [0, 0, 0, 0]) is None
    assert find_row("abcd", [1, 1, 1, 1]) is None
    assert find_row("xabababyab", [9, 3, 1, 3, 1, 3, 1, 9, 3, 1]) == Row(1, 2, 3)
    assert find_row("cacacac", [4, 1, 4, 1, 4, 1, 4]) == Row(0, 2, 3)


def test_a_pair_is_told_by_both_files(tmp_path: Path) -> None:
    one, other = (load(ncnn_files.residual().written(tmp_path, name)) for name in ("a", "b"))
    assert bytes(one.state_dict()["sha256"].tolist()) != bytes(other.state_dict()["sha256"].tolist())
