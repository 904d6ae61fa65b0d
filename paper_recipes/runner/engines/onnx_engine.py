"""`OnnxEngine` embeds with an .onnx file through onnxruntime: what `python -m caffe_compat export` writes, or any other.

It takes the recipe's own images. A file says which images it was made for where the exporter kept that; what differs is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import caffe_compat
from caffe_compat.preprocessing import METADATA_KEY
from paper_recipes.nets.messages import to_message
from paper_recipes.recipe import Recipe
from paper_recipes.runner.engines.caffe_engine import columns


class OnnxError(ValueError):
    """An .onnx file that a recipe cannot be scored with: which file and why."""


class OnnxEngine:
    """An ONNX file with one image input (N, 3, H, W) float32, to be scored (`engine.Model`).

    Args:
        recipe: says how its embeddings are called, and which columns of the headline net's are whose
        path: the file. Of several outputs the one with the recipe's blob name is taken
    """

    def __init__(self, recipe: Recipe, path: Path, *, device: torch.device) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise OnnxError(f"{path}: ONNX files need onnxruntime: pip install 'dml-ports[onnx]'") from error
        self.path = path
        wanted = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            wanted.insert(0, "CUDAExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # onnxruntime has a dozen kinds of its own
            raise OnnxError(f"{path}: onnxruntime cannot read it: {str(error).splitlines()[0]}") from error
        images = [node for node in self.session.get_inputs() if len(node.shape) == 4]
        if len(self.session.get_inputs()) != 1 or not images or images[0].type != "tensor(float)":
            found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in self.session.get_inputs())
            raise OnnxError(f"{path}: expected one input of images (N, 3, H, W) float32, found {found}")
        self.input = images[0]
        blob = recipe.torch.embedding if recipe.torch is not None else recipe.the_caffe().embedding_blob
        names = [node.name for node in self.session.get_outputs()]
        if len(names) > 1 and blob not in names:
            raise OnnxError(f"{path}: which output is the embedding? None is called {blob!r}: {', '.join(names)}")
        self.output = blob if blob in names else names[0]
        self.headline, self._columns = _columns(recipe)
        self.width = _width(recipe)
        self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)

    def describe(self) -> str:
        """One line: who made the file, and for which images as far as it says."""
        producer = self.session.get_modelmeta().producer_name or "an unnamed program"
        line = f"ONNX file of {producer}, output {self.output!r}, run by {self.session.get_providers()[0]}"
        if METADATA_KEY not in self.metadata:
            return f"{line}; the recipe's own images (the file does not say which it takes)"
        facts = json.loads(self.metadata[METADATA_KEY])
        return f"{line}; the recipe's own images (the file was made for those of: {facts.get('source', '?')})"

    def begin_embedding(self, calibration: Iterable[Any] = ()) -> None:
        """Nothing to do: a file's weights and statistics are final."""

    def embed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw embeddings by name, (N, D) float32. Raises OnnxError where images or embeddings have another size."""
        for axis, (given, taken) in enumerate(zip(images.shape, self.input.shape)):
            if axis and isinstance(taken, int) and given != taken:
                raise OnnxError(
                    f"{self.path} takes images {_sizes(self.input.shape[1:])}; the recipe's are {_sizes(images.shape[1:])}"
                )
        batch = self.input.shape[0]
        parts = images.split(batch) if isinstance(batch, int) else (images,)
        found = []
        for part in parts:
            count = len(part)
            if isinstance(batch, int) and count < batch:  # a file of fixed batch gets the last one filled up
                part = torch.cat([part, part[-1:].expand(batch - count, -1, -1, -1)])
            output = self.session.run([self.output], {self.input.name: part.contiguous().numpy()})[0]
            found.append(torch.from_numpy(output).flatten(1).float()[:count])
        embeddings = torch.cat(found)
        if embeddings.shape[1] != self.width:
            raise OnnxError(
                f"{self.path}: embeddings of {embeddings.shape[1]} values; those of {self.headline!r} have {self.width}"
            )
        return {name: embeddings[:, columns] for name, columns in self._columns.items()}


def _sizes(shape: Any) -> str:
    return " x ".join(map(str, shape))


def _columns(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    if recipe.torch is not None:
        return recipe.torch.embedding, {recipe.torch.embedding: slice(None)}

    found = columns(recipe.the_caffe())
    return next(iter(found)), found


def _width(recipe: Recipe) -> int:
    """Values of the headline embedding."""
    if recipe.torch is not None:
        return int(recipe.torch.head["out_dim"])

    caffe = recipe.the_caffe()
    message = to_message(next(iter(caffe.test_nets.values())), "NetParameter", caffe.dialect)
    with torch.device("meta"):
        net = caffe_compat.load_net(message, phase="TEST", dialect=caffe.dialect)
    return int(net.plan.shapes[caffe.embedding_blob][1])
