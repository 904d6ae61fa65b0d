"""Image reading and the image pipelines of the five papers.

A pipeline is a small frozen dataclass with `train(image, rng)` and `test(image)`. `image` is what `decode` returns,
uint8 RGB (H, W, 3); the result is float32 (3, height, width), ready for the network of that paper. `rng` is anything
whose `random()` gives a double in [0, 1): a NumPy generator, or `ports.matlab.RandStream`. All randomness of one
picture comes from that one object, in the order in which the original draws, so a generator per picture makes runs
independent of how many workers load them.
"""

from ports.images.decoding import ImageError, decode
from ports.images.draws import Rng
from ports.images.loading import Pipeline, load
from ports.images.osm import OsmResize, OsmTracklet
from ports.images.rll import RllSop, RllV03, RllV04
from ports.images.torchvision_like import Classification, DeepMetric, MultiSimilarity, Xbm

__all__ = [
    "Classification",
    "DeepMetric",
    "ImageError",
    "MultiSimilarity",
    "OsmResize",
    "OsmTracklet",
    "Pipeline",
    "RllSop",
    "RllV03",
    "RllV04",
    "Rng",
    "Xbm",
    "decode",
    "load",
]
