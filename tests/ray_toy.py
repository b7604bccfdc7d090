"""A model file of noise, for where there is no torch; it takes as long to grow as is asked for."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.contract import INPUT_NAME, OUTPUT_NAME, ModelCard, ModelSpec

SIDE, Z_DIM, WIDTH = 16, 8, 512


def make_toy(path: Path, depth: int = 1) -> Path:
    """Writes a model of 16×16 pictures.

    Args:
        path: Where.
        depth: Layers; some forty take a millisecond a picture.
    """
    rng = np.random.default_rng(0)
    weights = {
        "into": rng.normal(size=(Z_DIM, WIDTH)),
        "on": rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5,
        "out": rng.normal(size=(WIDTH, SIDE * SIDE * 3)),
    }
    nodes = [helper.make_node("MatMul", [INPUT_NAME, "into"], ["x0"])]
    for k in range(depth):
        nodes += [
            helper.make_node("MatMul", [f"x{k}", "on"], [f"y{k}"]),
            helper.make_node("Tanh", [f"y{k}"], [f"x{k + 1}"]),
        ]
    nodes += [
        helper.make_node("MatMul", [f"x{depth}", "out"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["shade"]),
        helper.make_node("Mul", ["shade", "most"], ["level"]),
        helper.make_node("Cast", ["level"], ["flat"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["flat", "shape"], [OUTPUT_NAME]),
    ]
    constants = {name: value.astype(np.float32) for name, value in weights.items()} | {
        "most": np.float32(255).reshape(1),
        "shape": np.array([-1, SIDE, SIDE, 3]),
    }
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["N", Z_DIM])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    card = ModelCard(
        name="toy",
        spec=ModelSpec(img_resolution=SIDE, z_dim=Z_DIM, ngf=4, ndf=4),
        weights_sha256=hashlib.sha256(b"".join(constants[name].tobytes() for name in weights)).hexdigest(),
        precision="float32",
    )
    helper.set_model_props(model, card.to_metadata())
    onnx.save(model, path)
    return path
