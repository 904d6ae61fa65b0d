"""From the trained net to the shipped file: its weights are rounded, BatchNorm's statistics measured with those, and its accuracy."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from paper_recipes.letters_start import packing, pictures, symbols
from paper_recipes.letters_start.network import StartNet, caffe_layers
from paper_recipes.letters_start.training import Settings, inputs
from ports import determinism
from ports.files import atomic_path, sha256


def finish(trained: StartNet, settings: Settings, seconds: float, out: Path) -> dict[str, Any]:
    """Write `symbols.npz` and `start.json` (settings, machine, time, accuracy) into `out`; what the latter says."""
    # With the port's BatchNorm, whose sums are right where a white page fills the map.
    net = StartNet(trained.classifier.out_features)
    net.load_state_dict(trained.state_dict())
    round_weights(net)
    measure_statistics(net, settings)
    file = out / packing.FILE.name
    packing.pack(file, caffe_layers(net))
    machine = determinism.environment()
    record = {
        "settings": asdict(settings),
        "classes": len(symbols.load_symbols()),
        "pictures": len(symbols.pictures(held_out=False)),
        "held_out_faces": symbols.HELD_OUT,
        "accuracy_on_held_out_faces": accuracy(net),
        "training_seconds": round(seconds),
        "machine": {key: machine[key] for key in ("processor", "threads", "torch")},
        "sha256": sha256(file),
        "bytes": file.stat().st_size,
    }
    with atomic_path(out / "start.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


@torch.no_grad()
def round_weights(net: StartNet) -> None:
    """What packing does to the convolutions and the auxiliary features, so that statistics and accuracy are the shipped net's."""
    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not name.endswith("classifier"):
            module.weight.copy_(torch.from_numpy(packing.restored(*packing.rounded(module.weight.numpy()))))


@torch.no_grad()
def measure_statistics(net: StartNet, settings: Settings, batches: int = 40) -> None:
    """BatchNorm's means and variances as plain averages over pictures of 227 pixels in float32: bfloat16 and smaller pictures have
    others.
    """
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative
    net.train()
    known, fonts = symbols.pictures(held_out=False), dict[Any, Any]()
    for index in range(batches):
        chosen = np.random.default_rng([settings.seed, 2, index]).integers(len(known), size=64)
        images, _ = pictures.batch([settings.seed, 3, index], [known[i] for i in chosen], 227, fonts)
        net(inputs(torch.from_numpy(images)))
    net.eval()


@torch.no_grad()
def accuracy(net: StartNet) -> dict[str, float]:
    """Share of the held-out faces' pictures that each classifier names rightly, of one picture each, 227 pixels."""
    net.eval()
    known, fonts = symbols.pictures(held_out=True), dict[Any, Any]()
    right: dict[str, int] = {}
    for begin in range(0, len(known), 50):
        part = known[begin : begin + 50]
        images = np.stack([pictures.test_picture(code, face, 227, fonts) for _, code, face in part])
        labels = torch.tensor([label for label, _, _ in part])
        for level, scores in net(inputs(torch.from_numpy(images))).items():
            right[level] = right.get(level, 0) + int((scores.argmax(1) == labels).sum())
    return {level: round(count / len(known), 4) for level, count in right.items()}
