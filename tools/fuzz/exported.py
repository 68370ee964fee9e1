"""ONNX files of a plain enlargement that are wrong in their types, sizes, values or last operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tools.fuzz.bytewise import NUMBERS, damaged, pick

TAILS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("Identity", {}), ("Relu", {}), ("Shape", {}), ("Exp", {}), ("Transpose", {"perm": [0, 1, 3, 2]})),
    *(("Concat", {"axis": axis}) for axis in range(4)),
    *(("ReduceMean", {"axes": [axis], "keepdims": axis % 2}) for axis in range(4)),
    *(("Cast", {"to": kind}) for kind in (TensorProto.STRING, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.BOOL)),
)
"""What an ONNX file does last, and its attributes."""


def damaged_model(random: np.random.Generator) -> bytes:
    """The bytes of such a file."""
    factors = (
        [float(random.choice([0, 0.5, 1, 1, 1, 2, 2, 2, 2, 4, 5])) for _ in "hw"] if random.random() < 0.3 else [2, 2]
    )
    model = enlargement(factors, TAILS[pick(random, len(TAILS))], float(random.choice([1, 1, 1, 0, -1, 255, np.nan])))
    match pick(random, 8):
        case 0:
            model.graph.input[0].type.tensor_type.elem_type = 1 + pick(random, 16)
        case 1:
            del model.graph.output[0].type.tensor_type.shape.dim[:]
        case 2:
            model.opset_import[0].version = pick(random, 40)
        case 3:
            side = model.graph.input[0].type.tensor_type.shape.dim[pick(random, 4)]
            side.dim_value = int(NUMBERS[pick(random, len(NUMBERS))])
        case 4:
            model.metadata_props.add(key="scale", value="9" * 10 ** pick(random, 5))
        case 5:
            return damaged(model.SerializeToString(), random)
    return model.SerializeToString()


def enlargement(
    factors: Sequence[float] = (2, 2), tail: tuple[str, dict[str, Any]] = ("Identity", {}), times: float = 1
) -> ModelProto:
    """Nearest-neighbour enlargement by ``factors`` (height, width), a product, and the operation ``tail``."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    made = helper.make_tensor_value_info("y", TensorProto.INT64 if tail[0] == "Shape" else tail[1].get("to", 1), None)
    operation, attributes = tail
    nodes = [
        helper.make_node("Resize", ["x", "", "factors"], ["e"], mode="nearest"),
        helper.make_node("Mul", ["e", "times"], ["m"]),
        helper.make_node(operation, ["m", "m"] if operation == "Concat" else ["m"], ["y"], **attributes),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 1, *factors], np.float32), "factors"),
        numpy_helper.from_array(np.array(times, np.float32), "times"),
    ]
    graph = helper.make_graph(nodes, "enlargement", [given], [made], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
