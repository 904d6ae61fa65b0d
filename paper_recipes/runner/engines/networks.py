"""The networks of PyTorch recipes, by the class names that the recipes write down, and their starting weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from caffe_compat import load_bn_inception
from caffe_compat.errors import CaffeFormatError
from caffe_compat.pth import read_pth
from paper_recipes.recipe import Torch
from paper_recipes.runner.engines.starting_weights import IMAGENET, NARROW, Loaded, WeightsError, in_words
from ports.backbones import heads
from ports.backbones.bn_inception import BNInception
from ports.backbones.resnet import ResNet50Embedding, XbmResNet50


class ResNet50Map(nn.Module):
    """The classification baseline's ResNet-50 up to its last map, for `LayerNormHead`."""

    def __init__(self) -> None:
        super().__init__()
        self.feature = ResNet50Embedding().feature

    def forward(self, x: Tensor) -> Tensor:
        return self.feature(x)

    load_imagenet = ResNet50Embedding.load_imagenet


BACKBONES: dict[str, type[nn.Module]] = {
    "BNInception": BNInception,
    "ResNet50Map": ResNet50Map,
    "XbmResNet50": XbmResNet50,
}


class EmbeddingNet(nn.Module):
    """backbone, then head: (N, 3, H, W) -> (N, D). Parameter names are those of research-ms-loss ("backbone.", "head.")."""

    def __init__(self, torch_recipe: Torch) -> None:
        super().__init__()
        self.backbone = build(BACKBONES, torch_recipe.backbone)
        self.head = build(vars(heads), torch_recipe.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def build(classes: dict[str, Any], description: dict[str, Any]) -> nn.Module:
    """{"class": name, **arguments} as an object."""
    arguments = {key: value for key, value in description.items() if key != "class"}
    return classes[description["class"]](**arguments)


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a .pth (read without unpickling objects) or .safetensors file, a wrapping {"model": ...} of any name taken off.

    Raises WeightsError for files that hold anything else.
    """
    try:
        content = load_file(str(path)) if path.suffix == ".safetensors" else read_pth(path)
    except CaffeFormatError as error:
        raise WeightsError(str(error)) from error
    except Exception as error:  # safetensors and struct have their own kinds
        raise WeightsError(
            f"{path}: not a safetensors file ({(str(error) or type(error).__name__).splitlines()[0]})"
        ) from error
    if isinstance(content, dict) and not _is_state(content):
        keys = ", ".join(map(repr, list(content)[:8]))
        # An optimiser's state is a dictionary, too, but none of tensors alone.
        found = [key for key, value in content.items() if isinstance(value, dict) and value and _is_state(value)]
        found = [key for key in ("model", "state_dict") if key in found][:1] or found
        if len(found) != 1:
            raise WeightsError(
                f"{path}: {len(found) or 'no'} state dicts (names to tensors) under its keys, one is expected: {keys}"
            )
        content = content[found[0]]
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a state dict (names to tensors)")
    return {name.removeprefix("module."): value for name, value in content.items()}


def _is_state(content: dict[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def load_imagenet(net: EmbeddingNet, path: Path) -> Loaded:
    """Starting weights for the backbone; says what was taken, for the record.

    BN-Inception: bn_inception-52deb4733.pth or -239d2248.pth, safetensors or a .caffemodel of the same widths. ResNet-50:
    torchvision's or Cadene's .pth. Raises WeightsError that names the first tensor that does not fit.
    """
    backbone = net.backbone
    if isinstance(backbone, BNInception):
        state, belongs = _bn_inception(path)
    else:
        state, belongs = _resnet50(path), IMAGENET
    _fit(backbone, state, path)
    return Loaded(f"{len(state)} tensors into the backbone; the head starts from its seeded initialisation", belongs)


def _bn_inception(path: Path) -> tuple[dict[str, Tensor], str]:

    try:
        module = load_bn_inception(path)
    except CaffeFormatError as error:
        raise WeightsError(str(error)) from error
    state = {k: v for k, v in module.state_dict().items() if not k.startswith("last_linear.")}
    return state, in_words(module.preprocessing)


def _resnet50(path: Path) -> dict[str, Tensor]:
    state = read_state(path)
    if "layer1.0.conv1.weight" not in state:
        kind = (
            "a BN-Inception" if "conv1_7x7_s2.weight" in state else f"a file of {next(iter(state), 'nothing')!r}, ..."
        )
        raise WeightsError(f"{path}: this recipe starts from a ResNet-50 (resnet50-19c8e357.pth); it is {kind}")
    return {f"feature.{k}": v for k, v in state.items() if not k.startswith(("fc.", "last_linear."))}


def load_model(net: EmbeddingNet, path: Path) -> str:
    """A whole trained model (backbone and head) under our names or research-ms-loss's."""
    state = read_state(path)
    _fit(net, state, path)
    return f"{len(state)} tensors into backbone and head"


def _fit(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    unnecessary = ("num_batches_tracked",)
    missing = [name for name in own if name not in state and not name.endswith(unnecessary)]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        part = f"{missing[0]} is missing" if missing else f"{unknown[0]} has no place"
        raise WeightsError(
            f"{path}: does not fit this network: {part} ({len(missing)} missing, {len(unknown)} unknown)"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            hint = f"; {NARROW.format('bn_inception-52deb4733.pth')}" if "pool_proj" in name else ""
            raise WeightsError(
                f"{path}: {name} is {tuple(value.shape)}, this network has {tuple(own[name].shape)}{hint}"
            )
    module.load_state_dict(state, strict=False)
