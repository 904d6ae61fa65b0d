"""Trained models into an engine: the authors' .caffemodel, our checkpoints, .pth, .safetensors, .onnx."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from caffe_compat.formats.caffemodel import read_caffemodel
from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.scale import in_words
from paper_recipes.runner.engines import checkpoint, networks
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.engine import Engine
from paper_recipes.runner.engines.onnx_engine import OnnxEngine
from paper_recipes.runner.engines.torch_engine import TorchEngine

_CAFFE = (".caffemodel", ".h5")
_TORCH = (".pth", ".pt", ".safetensors")


class ModelError(ValueError):
    """A model file that does not belong to the recipe: which file and why."""


def check(recipe: Recipe, path: Path) -> None:
    """Refuse what the file's name or head already tells. Raises ModelError."""
    if path.is_dir():
        return  # embeddings that an earlier evaluation saved
    if not path.is_file():
        raise ModelError(f"--model {path}: no such file")
    if path.suffix == ".onnx" or _is_own_checkpoint(path):
        return
    if recipe.torch is not None and path.suffix in _CAFFE:
        raise ModelError(
            f"{path}: {recipe.name} is a PyTorch recipe, no Caffe net; it takes {', '.join(_TORCH)}, .onnx or a checkpoint"
        )
    if recipe.torch is None and path.suffix in _TORCH:
        raise ModelError(
            f"{path}: {recipe.name} is a Caffe recipe, whose heads no PyTorch file holds; "
            "it takes a .caffemodel, .caffemodel.h5, .onnx or a checkpoint of ours"
        )
    if path.suffix not in (*_CAFFE, *_TORCH):
        raise ModelError(f"{path}: unknown suffix; models are {', '.join((*_CAFFE, *_TORCH, '.onnx'))}")


def onnx_engine(recipe: Recipe, path: Path, device: torch.device) -> tuple[OnnxEngine, str]:
    """The engine of an .onnx file, and a line that says what it is."""
    engine = OnnxEngine(recipe, path, device=device)
    return engine, engine.describe()


def load(engine: Engine, recipe: Recipe, path: Path) -> str:
    """Put the model into the engine of the recipe; says what was loaded.

    Raises ModelError, WeightsError, CheckpointError or CaffeFormatError.
    """
    check(recipe, path)
    if _is_own_checkpoint(path):
        saved = checkpoint.load(path)
        if saved.state["fingerprint"] != recipe.fingerprint():
            trained = {other.fingerprint(): name for name, other in registry.RECIPES.items()}
            whose = trained.get(
                saved.state["fingerprint"], "a derived recipe (its run.json has the name) or another version"
            )
            raise ModelError(f"{path}: a checkpoint of {whose}, not of {recipe.name} as it is now")
        engine.load_weights(saved.tensors)
        return f"checkpoint of iteration {saved.state['iteration']:,} ({in_words(saved.state['form'])} form)"
    if isinstance(engine, TorchEngine):
        line = networks.load_model(engine.net, path)
        engine.load_weights({f"net/{name}": value for name, value in engine.net.state_dict().items()})
        return line
    assert isinstance(engine, CaffeEngine)
    return _load_caffemodel(engine, recipe, path)


def _load_caffemodel(engine: CaffeEngine, recipe: Recipe, path: Path) -> str:
    found = {name for name, blobs in read_caffemodel(path).items() if len(blobs)}
    missing = [name for name in engine.test_net.params if name not in found]
    if missing:
        raise ModelError(
            f"{path}: {len(missing)} layers of the test net are not in it, {missing[0]!r} first; "
            f"it is no trained model of {recipe.name}"
        )
    # Nets that share trunk and middle head fit one another's test nets; what was trained beside them tells them apart.
    net = engine.solver.net.params
    lacks, strange = [name for name in net if name not in found], sorted(found - set(net))
    if lacks and strange:
        raise ModelError(
            f"{path}: it has no {lacks[0]!r}, which {recipe.name} trains, but {strange[0]!r}, which it does not know; "
            "it is a model of another net"
        )
    return str(engine.solver.net.load_caffemodel(path))


def _is_own_checkpoint(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            return checkpoint.is_ours(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot read it: {error}") from error
