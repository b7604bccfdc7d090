"""The graph that ships: BatchNorm folded away, and uint8 NHWC pictures at its end."""

import copy
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.contract import INPUT_NAME, OUTPUT_NAME, PIXEL_OFFSET, PIXEL_SCALE
from models.dcgan import Generator

OPSET = 18
"""Old enough for every ONNX Runtime that the service accepts."""


class PictureGenerator(nn.Module):
    """A generator that ends in pixels, as one graph: latents in, pictures out.

    Args:
        generator: A trained generator; it is copied, in evaluation mode.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.z_dim = generator.spec.z_dim
        self.layers = nn.Sequential(*_fold_batch_norm(list(copy.deepcopy(generator).eval().layers)))
        self.eval()

    def forward(self, z: Tensor) -> Tensor:
        """Grows pictures: (N, z_dim) float32 → (N, H, W, C) uint8."""
        img = self.layers(z.reshape(-1, self.z_dim, 1, 1))  # (N, C, H, W) in [-1, 1]
        pixels: Tensor = (img * PIXEL_SCALE + PIXEL_OFFSET).clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1)


def _fold_batch_norm(layers: list[nn.Module]) -> list[nn.Module]:
    """Returns the layers with each BatchNorm merged into the convolution before it."""
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            before = folded[-1]
            assert isinstance(before, nn.ConvTranspose2d)  # as the generator is built
            folded[-1] = fuse_conv_bn_eval(before, layer, transpose=True)
        else:
            folded.append(layer)
    return folded


def build_graph(pictures: PictureGenerator, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Traces the module into an ONNX model with a dynamic batch.

    Args:
        pictures: The module.
        metadata: String pairs for the file, as ``ModelCard.to_metadata`` gives them.

    Returns:
        Model with input ``z`` (N, z_dim) float32 and output ``images`` (N, H, W, C) uint8.
    """
    program = torch.onnx.export(
        pictures,
        (torch.zeros(2, pictures.z_dim),),
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it is None only for the old exporter
    model = onnx.ModelProto()
    model.CopyFrom(program.model_proto)
    _strip(model)
    helper.set_model_props(model, dict(metadata))
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drops what the exporter notes about itself: paths of this machine among it."""
    model.producer_name, model.producer_version = "seedling", ""
    model.graph.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with float32 weights stored as float16 and widened when it is loaded.

    The arithmetic stays float32; only the weights are rounded, and the file is half as long.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    casts = []
    for weight in half.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < 1024:
            continue
        name = weight.name
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        half.graph.node.insert(0, node)
    return half
