"""The dense network in ONNX Runtime, as one graph of MatMul, Add and SiLU."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lutkan.lab.arms.contender import Contender
from lutkan.lab.nets import Drawn

__all__ = ["dense", "perceptron_model"]

F32 = NDArray[np.float32]


def perceptron_model(state: Mapping[str, F32]) -> bytes:
    """Write a perceptron's tensors as an ONNX model with a dynamic batch: Gemm, and SiLU as x * Sigmoid(x)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, tensors, value = [], [], "x"
    for layer in range(len(state) // 2):
        if layer:
            nodes.append(helper.make_node("Sigmoid", [value], [f"gate{layer}"]))
            nodes.append(helper.make_node("Mul", [value, f"gate{layer}"], [f"active{layer}"]))
            value = f"active{layer}"
        for name in ("weight", "bias"):
            tensors.append(numpy_helper.from_array(state[f"layers.{layer}.{name}"], f"{name}{layer}"))
        nodes.append(helper.make_node("Gemm", [value, f"weight{layer}", f"bias{layer}"], [f"sum{layer}"], transB=1))
        value = f"sum{layer}"
    n_in = state["layers.0.weight"].shape[1]
    n_out = tensors[-1].dims[0]
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", n_in])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["rows", n_out])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


def dense(model: Drawn) -> Contender:
    """Run the dense network in ONNX Runtime, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    file = perceptron_model(model.state)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def prepare(x: F32) -> Callable[[], object]:
        feed = {"x": np.ascontiguousarray(x)}
        return lambda: session.run(names, feed)[0]

    return Contender(
        name="ONNX Runtime MLP",
        kind="dense",
        prepare=prepare,
        oracle=model.evaluate,
        edges=model.edges,
        nbytes=model.nbytes,
        bytes_a_row=8 * max(model.widths),
        file_bytes=len(file),
    )
