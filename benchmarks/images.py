"""Image pipelines per core: JPEG file to a padded 256-pixel picture, and to the network's input, against its peers."""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks._paired import paired
from ports.allocator import keep_freed_memory
from ports.images import RllSop, decode, load
from ports.images.rll import CAFFE_MEAN
from ports.torchvision_compat import torchvision

SIZE = (500, 400)  # width, height, the common size of SOP-like product photographs


def photograph(seed: int) -> Image.Image:
    """A smooth coloured picture with a little noise: about 45 kB as a JPEG of quality 90, as a real one has."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    waves = [127 + 70 * np.sin(x / rng.uniform(15, 60) + y / rng.uniform(15, 60) + c) for c in range(3)]
    noisy = np.stack(waves, axis=2) + rng.normal(0, 5, (SIZE[1], SIZE[0], 3))
    return Image.fromarray(np.clip(noisy, 0, 239).astype(np.uint8))


def pillow_square(path: Path) -> np.ndarray:
    """Pillow's uint8 bicubic (antialiased) and white padding."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    scale = 256 / max(picture.size)
    width, height = round(picture.width * scale), round(picture.height * scale)
    canvas = Image.new("RGB", (256, 256), (255, 255, 255))
    canvas.paste(picture.resize((width, height), Image.Resampling.BICUBIC), ((256 - width) // 2, (256 - height) // 2))
    return np.asarray(canvas)


def torchvision_square() -> Callable[[Path], Any]:
    import torch
    from torch.nn.functional import pad

    v2 = importlib.import_module(f"{torchvision.__name__}.transforms.v2.functional")
    bicubic = torchvision.transforms.InterpolationMode.BICUBIC

    def run(path: Path) -> Any:
        with Image.open(path) as opened:
            pixels = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        small = v2.resize(pixels, [205, 256], bicubic, antialias=True)
        return pad(small, [0, 0, 25, 26], value=255)

    return run


def to_input(pixels: np.ndarray) -> np.ndarray:
    """A peer's crop of 227, BGR and mean, written as users write it."""
    cut = pixels[14:241, 14:241, ::-1].astype(np.float32) - np.array(CAFFE_MEAN, np.float32)
    return np.ascontiguousarray(cut.transpose(2, 0, 1))


def seconds(functions: dict[str, Callable[[Path], Any]], paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Processor time of this one process for a picture, of each round; the functions take turns."""
    for function in functions.values():
        function(paths[0])
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            for path in paths:
                function(path)
            times[name].append((time.process_time() - start) / len(paths))
    return times


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for `python -m benchmarks`; ratios above 1 mean that ours is faster."""
    import torch

    keep_freed_memory()  # as a run does; for all of them
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rll = RllSop()
    try:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{i}.jpg" for i in range(2 if quick else 8)]
            for i, path in enumerate(paths):
                photograph(i).save(path, quality=90)
            rng = np.random.default_rng(0)
            measured = seconds(
                {
                    "ours": lambda p: rll.squared(decode(p, writeable=False)),
                    "pillow": pillow_square,
                    "torchvision": torchvision_square(),
                    "ours to input": lambda p: load(p, rll, rng),
                    "pillow to input": lambda p: to_input(pillow_square(p)),
                    "decode only": lambda p: decode(p, writeable=False),
                },
                paths,
                rounds=2 if quick else 45,
            )
    finally:
        torch.set_num_threads(threads)
    rates = {name: [1 / t for t in times] for name, times in measured.items()}
    note = f"500x400 JPEG, one core; decoding alone {statistics.median(rates['decode only']):.0f}/s"
    rows = [
        ("decode, crop, MATLAB resize, pad", "ours", "pillow", ">= 0.7", f"peer: Pillow uint8 bicubic; {note}"),
        (
            "decode, crop, MATLAB resize, pad",
            "ours",
            "torchvision",
            ">= 0.9",
            f"peer: torchvision v2 uint8 bicubic; {note}",
        ),
        ("RLL SOP training input", "ours to input", "pillow to input", ">= 0.7", f"peer: Pillow and NumPy; {note}"),
    ]
    return [
        {"name": name, **paired(rates[ours], rates[peer]), "target": target, "unit": "images/s", "note": text}
        for name, ours, peer, target, text in rows
    ]
