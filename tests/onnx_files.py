"""Small ONNX files of every kind, right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

FLOAT = TensorProto.FLOAT
ANY = ["n", 3, "h", "w"]


def model(nodes: Sequence[Any], output: Any = None, **constants: object) -> ModelProto:
    """Of nodes (operation, "inputs", "outputs", attributes) from ``x`` to ``y``; ``constants`` are further inputs."""
    graph = helper.make_graph(
        [helper.make_node(name, ins.split(), outs.split(), **more) for name, ins, outs, more in nodes],  # pyright: ignore
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ANY)],
        [output or helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def enlarged(
    *more: tuple[str, str, str, Mapping[str, object]], scales: tuple[int, int] = (2, 2), **constants: object
) -> ModelProto:
    """Nearest-neighbour enlargement from ``x`` to ``e``, then the nodes ``more`` from ``e`` to ``y``."""
    factors = np.array([1, 1, *scales], np.float32)
    resize = ("Resize", "x  factors".replace("  ", " none "), "e", {"mode": "nearest", "nearest_mode": "floor"})
    resize[3]["coordinate_transformation_mode"] = "asymmetric"
    return model([resize, *more], factors=factors, none=np.zeros(0, np.float32), **constants)


def kinds() -> dict[str, ModelProto]:
    """What no network gives: other numbers of channels or axes, no tensors, sizes that do not fit."""
    text = helper.make_tensor_value_info("y", TensorProto.STRING, None)
    sequence = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    halves = np.array([1, 2])
    return {
        "1 channel": enlarged(("ReduceMean", "e", "y", {"axes": [1]})),
        "6 channels": enlarged(("Concat", "e e", "y", {"axis": 1})),
        "3 axes": enlarged(("ReduceMean", "e", "y", {"axes": [1], "keepdims": 0})),
        "scalar": enlarged(("ReduceMean", "e", "y", {"keepdims": 0})),
        "sequence": _with_output(enlarged(("SequenceConstruct", "e e", "y", {})), sequence),
        "text": _with_output(enlarged(("Cast", "e", "y", {"to": TensorProto.STRING})), text),
        "whole numbers": _with_output(
            enlarged(("Cast", "e", "y", {"to": TensorProto.INT64})),
            helper.make_tensor_value_info("y", TensorProto.INT64, None),
        ),
        "wide": enlarged(("Identity", "e", "y", {}), scales=(1, 2)),
        "high": enlarged(("Identity", "e", "y", {}), scales=(2, 1)),
        "transposed": enlarged(("Transpose", "e", "y", {"perm": [0, 1, 3, 2]})),
        "two images": enlarged(("Concat", "e e", "y", {"axis": 0})),
        "one channel taken": enlarged(("Split", "e split", "y z", {"axis": 1}), split=halves),
    }


def _with_output(made: ModelProto, output: object) -> ModelProto:
    del made.graph.output[:]
    made.graph.output.extend([output])  # pyright: ignore
    return made


def times(factor: float) -> ModelProto:
    """Enlargement whose values are multiplied: 255 gives what many exported networks give."""
    return enlarged(("Mul", "e factor", "y", {}), factor=np.float32(factor))


def written(folder: Path, made: ModelProto) -> Path:
    save(made, folder / "net.onnx")
    return folder / "net.onnx"
