"""Small ONNX files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_onnx(
    path: Path, width: int, *, batch: int | str = "batch", side: int | str = 227, outputs=("embedding",), cells: int = 1
) -> np.ndarray:
    """Mean colours of cells x cells parts of the picture times a matrix; returns the matrix (3 * cells^2, width).

    One cell is the mean colour alone: on black and white letters its embeddings tie but for their rounding.
    """
    matrix = np.random.default_rng(width).normal(size=(3 * cells**2, width)).astype(np.float32)
    part = [227 // cells] * 2
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"])
        if cells == 1
        else helper.make_node("AveragePool", ["data"], ["mean"], kernel_shape=part, strides=part),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        *(helper.make_node("MatMul", ["flat", "matrix"], [name]) for name in outputs),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]) for name in outputs],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return matrix
