"""Links of PyTorch recipes: images, network, loss, solver."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

import golden
from golden.checker import check
from paper_recipes.recipe import Recipe, Torch
from paper_recipes.runner.engines.networks import EmbeddingNet
from paper_recipes.runner.engines.torch_engine import build_loss
from paper_recipes.runner.evidence.row import Row, recorded, rule_checked, unverified
from ports import images as pipelines


def the_torch(recipe: Recipe) -> Torch:
    if recipe.torch is None:
        raise ValueError(f"{recipe.name} is a Caffe recipe")
    return recipe.torch


def images(recipe: Recipe) -> Row:
    """The test picture against torchvision's own transforms, put together as the release does; equal to the last bit.

    Training crops need torchvision's generator fed with our random numbers: the test suite does that.
    """
    from ports.torchvision_compat import torchvision  # torchvision, seconds

    fields = {key: value for key, value in recipe.images.items() if key != "pipeline"}
    name = recipe.images["pipeline"]
    pipeline = getattr(pipelines, name)(**fields)
    transforms = torchvision.transforms
    imagenet = name in ("Xbm", "Classification")
    statistics = (
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        if imagenet
        else ([104 / 255, 117 / 255, 128 / 255], [1 / 255] * 3)
    )
    theirs = transforms.Compose(
        [
            transforms.Resize((256, 256) if name == "Classification" else 256),
            transforms.CenterCrop(pipeline.crop),
            transforms.ToTensor(),
            transforms.Normalize(*statistics),
        ]
    )
    shapes = ((400, 500), (500, 333), (70, 600), (41, 33))
    worst = 0.0
    for height, width in shapes:
        picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        given = picture if imagenet else np.ascontiguousarray(picture[..., ::-1])  # B, G, R comes first in the others
        worst = max(worst, float(np.abs(pipeline.test(picture) - theirs(Image.fromarray(given)).numpy()).max()))
    compared = f"{name}: test pictures of {len(shapes)} shapes, values; training crops are in tests/ports"
    return rule_checked("images", "torchvision, composed as the release does", compared, worst, 0.0)


def network(recipe: Recipe) -> Row:
    """BN-Inception with seeded weights, float64: pooled features and embedding of two pictures."""
    description, facts = the_torch(recipe), recipe.records.forward
    name = description.backbone["class"]
    if name == "ResNet50Map":
        return unverified("network", "torchvision's resnet50", "nothing ported: torchvision's own modules")
    reference = f"authors' {name} in PyTorch"
    if name != "BNInception" or facts is None:
        return unverified(
            "network", reference, f"no recording: bring features of {recipe.source.repository.split('/')[-1]}'s own net"
        )
    net = EmbeddingNet(description).double().eval()
    net.load_state_dict({key: _seeded(key, facts[1], value) for key, value in net.state_dict().items()})
    pictures = torch.from_numpy((np.random.RandomState(7).randn(2, 3, 224, 224) * 40).astype(np.float32)).double()
    with np.load(golden.DATA / "metrics" / "python" / "bninception" / f"{facts[0]}.npz") as z, torch.no_grad():
        features = net.backbone(pictures)
        pairs = [(features.numpy(), z["global_max_pool"]), (net.head(features).numpy(), z["output"])]
    worst = max(float(np.abs(got - want).max() / np.sqrt((want**2).mean())) for got, want in pairs)
    compared = "pooled features and embedding, seeded weights, float64, relative to RMS"
    return recorded("network", reference, compared, worst, 1e-9)


def _seeded(key: str, head: str, value: torch.Tensor) -> torch.Tensor:
    """The recording's weights: one stream per parameter, by the name it has in the release."""
    if key.endswith("num_batches_tracked"):
        return value
    key = key.removeprefix("backbone.").replace("head.fc.", head)
    draws = np.random.RandomState(zlib.crc32(key.encode())).randn(*value.shape)
    if key.endswith(("running_mean", "bias")):
        draws = 0.1 * draws
    elif key.endswith("running_var"):
        draws = 1 + 0.1 * np.abs(draws)
    elif value.ndim == 1:
        draws = 1 + 0.1 * draws
    else:
        draws = draws * np.sqrt(2 / np.prod(value.shape[1:]))
    return torch.from_numpy(draws.astype(np.float32)).double()


def loss(recipe: Recipe) -> Row:
    """Value and gradient on the recorded batches of the release's own loss file, float64."""
    description, reference = the_torch(recipe).loss, "authors' loss file in PyTorch"
    name = recipe.records.loss_set
    if recipe.records.loss_like is not None:
        name, other = recipe.records.loss_like
        worst, batches = _errors(replace(the_torch(recipe), loss={**description, **other}), name)
        differs = ", ".join(f"{key} {value} (here {description[key]})" for key, value in other.items())
        return rule_checked(
            "loss", reference, f"{name}: {batches} batches at {differs}, in units of the tolerance", worst, 1.0
        )
    if not name:
        missing = recipe.records.loss_missing or f"no recording of {description['class']} with these arguments"
        return unverified("loss", reference, missing)
    worst, batches = _errors(the_torch(recipe), name)
    compared = f"{name}: {batches} batches, value and gradient, float64, in units of the tolerance"
    return recorded("loss", reference, compared, worst, 1.0)


def _errors(description: Torch, name: str) -> tuple[float, int]:
    """Largest error of the loss on a golden set in units of its tolerance, and the number of batches."""
    report = check(build_loss(description, classes=2), name, properties=False, diagnosis=False)
    return max(max(row.loss_error, row.gradient_error) for row in report.rows), len(report.rows)


def solver(recipe: Recipe) -> Row:
    name = the_torch(recipe).optimizer["class"]
    return unverified("solver", f"torch.optim.{name}", "nothing ported: the release calls the same optimiser")
