"""An ONNX graph without PRelu, DepthToSpace and Clip, which the runtimes of phones or browsers lack.

WebGPU of ONNX Runtime has no PRelu, and would copy all features to the CPU and back for it. LiteRT (TensorFlow Lite) on
the GPU of a phone takes neither DepthToSpace nor the tensors of six axes that Reshape, Transpose, Reshape need in its
place. What replaces them is arithmetic and convolutions, which everything has, and gives the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hkdsr.errors import HkdsrError

if TYPE_CHECKING:
    from onnx_ir import Model

REPLACED = ("PRelu", "DepthToSpace", "Clip")


def make_plain(model: Model) -> None:
    """Replace these operations in ``model``.

    Raises HkdsrError where one stays: a Clip of whole numbers, for example.
    """
    from onnxscript.rewriter import RewriteRule, RewriteRuleSet

    rules = [
        RewriteRule(lambda op, x, slope: op.PRelu(x, slope), _prelu),
        RewriteRule(lambda op, x, side: op.DepthToSpace(x, blocksize=side, mode="CRD"), _pixel_shuffle),
        RewriteRule(lambda op, x, low, high: op.Clip(x, low, high), _clip, _floats),
        RewriteRule(lambda op, x, low: op.Clip(x, low), _clip, _floats),
    ]
    RewriteRuleSet(rules).apply_to_model(model)
    if left := sorted({node.op_type for node in model.graph} & {*REPLACED}):
        raise HkdsrError(
            f"the network has operations that a plain graph cannot have ({', '.join(left)}): export it as it is, "
            "without --plain-graph"
        )


def _prelu(op: Any, x: Any, slope: Any) -> Any:
    """Exact: of the two terms, one is 0."""
    above = op.Relu(x)
    return op.Add(above, op.Mul(op.Sub(x, above), slope))


def _clip(op: Any, x: Any, low: Any, high: Any = None) -> Any:
    """Exact for a lower bound of 0, else but for a rounding."""
    above = op.Relu(op.Sub(x, low))
    return op.Add(low, above if high is None else op.Sub(above, op.Relu(op.Sub(x, high))))


def _floats(_: object, x: Any, **bounds: object) -> bool:
    """Whether these are the network's numbers, not indices or sizes."""
    return x.dtype is not None and x.dtype.is_floating_point()


def _pixel_shuffle(op: Any, x: Any, side: Any) -> Any:
    """A transposed convolution whose weights are 1 where a channel goes, and else 0.

    One group, not one for every colour: LiteRT has no transposed convolutions of several.
    """
    import onnx_ir

    side, channels = side.as_int(), x.shape[1]
    made = channels // side**2
    weights = np.eye(channels, dtype=np.float32).reshape(channels, made, side, side)
    kernel = op.initializer(onnx_ir.tensor(weights), name=f"{x.name}_places")
    return op.ConvTranspose(x, kernel, kernel_shape=[side, side], strides=[side, side])
