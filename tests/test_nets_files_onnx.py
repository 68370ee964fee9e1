"""ONNX files of other ranges, types and sizes: run by scaling, padding and tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import refusal
from torch import Tensor

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnx_files
from onnx import ModelProto, TensorProto, helper
from onnx_files import enlarged, written

from hkdsr.nets.files.load import load
from hkdsr.nets.wrapped import WrappedNetwork


def taking(made: ModelProto, shape: list[Any], kind: int = TensorProto.FLOAT) -> ModelProto:
    """The same with an input of this shape and type, and an output of this type."""
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", kind, shape))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", kind, None))
    return made


def images(*size: int) -> Tensor:
    """In 256 levels."""
    return torch.randint(0, 256, size) / 255


def large(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def loaded(folder: Path, made: ModelProto) -> WrappedNetwork:
    network = load(written(folder, made))
    assert isinstance(network, WrappedNetwork)
    return network


@pytest.mark.parametrize("factor", [255, 1])
def test_the_range_of_the_output_is_found(factor: int, tmp_path: Path) -> None:
    network, x = loaded(tmp_path, onnx_files.times(factor)), images(2, 3, 13, 20)
    assert (network.found.colour_range, network.found.output_range) == (1, factor)
    torch.testing.assert_close(network(x), large(x))


def test_the_range_of_the_input_is_found(tmp_path: Path) -> None:
    """As in files that divide by 255 themselves."""
    network, x = loaded(tmp_path, onnx_files.times(1 / 255)), images(1, 3, 13, 20)
    assert (network.found.colour_range, network.found.output_range) == (255, 1)
    torch.testing.assert_close(network(x), large(x))


def test_whole_numbers_of_8_bits(tmp_path: Path) -> None:
    back = enlarged(("Cast", "e", "y", {"to": TensorProto.UINT8}))
    front = taking(onnx_files.model([("Cast", "x", "f", {"to": TensorProto.FLOAT})]), onnx_files.ANY, TensorProto.UINT8)
    back.graph.node.insert(0, front.graph.node[0])
    back.graph.node[1].input[0] = "f"
    network, x = loaded(tmp_path, taking(back, onnx_files.ANY, TensorProto.UINT8)), images(1, 3, 20, 13)
    assert network.found.colour_range == network.found.output_range == 255
    torch.testing.assert_close(network(x), large(x))


@pytest.mark.parametrize("shape", [[1, 3, 24, 40], ["n", 3, 24, 40], [1, 3, 32, "w"]])
def test_images_of_one_size_are_tiles(shape: list[Any], tmp_path: Path) -> None:
    network = loaded(tmp_path, taking(enlarged(("Identity", "e", "y", {})), shape))
    for size in ((24, 40), (70, 101), (5, 33)):
        x = torch.rand(2, 3, *size)
        torch.testing.assert_close(network(x), large(x))


def test_sides_that_must_be_multiples_are_padded(tmp_path: Path) -> None:
    nodes = (("SpaceToDepth", "e", "d", {"blocksize": 16}), ("DepthToSpace", "d", "y", {"blocksize": 16}))
    network, x = loaded(tmp_path, enlarged(*nodes)), torch.rand(1, 3, 13, 21)
    assert network.pad_multiple == 8
    torch.testing.assert_close(network(x), large(x))


def test_one_image_at_a_time(tmp_path: Path) -> None:
    network, x = (
        loaded(tmp_path, taking(enlarged(("Identity", "e", "y", {})), [1, 3, "h", "w"])),
        torch.rand(3, 3, 8, 9),
    )
    assert "one image at a time" in network.notes[0]
    torch.testing.assert_close(network(x), large(x))


def test_the_image_is_found_among_several_outputs(tmp_path: Path) -> None:
    made = enlarged(("Identity", "e", "y", {}), ("Identity", "x", "first", {}))
    made.graph.output.insert(0, helper.make_tensor_value_info("first", TensorProto.FLOAT, None))
    x = torch.rand(1, 3, 8, 9)
    torch.testing.assert_close(loaded(tmp_path, made)(x), large(x))


WRONG = {
    "height, width, colours": (
        [1, "h", "w", 3],
        "are (1, any, any, 3), not one batch of images (batch, 3, height, width)",
    ),
    "grey": (["n", 1, "h", "w"], "are (any, 1, any, any), not one batch of images"),
    "batches of four": ([4, 3, "h", "w"], "takes batches of 4 images only: export it for one image, or for any number"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_image_is_named(kind: str, tmp_path: Path) -> None:
    shape, told = WRONG[kind]
    path = written(tmp_path, taking(enlarged(("Identity", "e", "y", {})), shape))
    assert told in refusal(lambda: load(path))


def test_other_types_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, taking(onnx_files.model([("Identity", "x", "y", {})]), onnx_files.ANY, TensorProto.INT64))
    assert "takes images of the type tensor(int64): export it with a float32 input" in refusal(lambda: load(path))
