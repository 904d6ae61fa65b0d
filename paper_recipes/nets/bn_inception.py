"""GoogLeNet with BatchNorm (BN-Inception) up to `inception_5b/output`, as the RLL and OSM+CAA releases train it.

Source: the authors' train.prototxt files. Every convolution has no bias and is followed by BatchNorm, Scale and ReLU;
average pooling inside the modules except 5b (max), stride-2 modules 3c and 4e pass their max pooling through.
"""

from __future__ import annotations

from functools import cache

from paper_recipes.nets.parts import Layer, bn_scale_relu, concat, conv_block, inner_product, pool

# name: (1x1, 3x3 reduce, 3x3, double3x3 reduce, double3x3 (both), pooling kind, pooling projection).
# None = branch absent: stride 2 without 1x1 and projection.
MODULES: dict[str, tuple[int | None, int, int, int, int, str, int | None]] = {
    "inception_3a": (64, 64, 64, 64, 96, "AVE", 32),
    "inception_3b": (64, 64, 96, 64, 96, "AVE", 64),
    "inception_3c": (None, 128, 160, 64, 96, "MAX", None),
    "inception_4a": (224, 64, 96, 96, 128, "AVE", 128),
    "inception_4b": (192, 96, 128, 96, 128, "AVE", 128),
    "inception_4c": (160, 128, 160, 128, 160, "AVE", 96),
    "inception_4d": (96, 128, 192, 160, 192, "AVE", 96),
    "inception_4e": (None, 128, 192, 192, 256, "MAX", None),
    "inception_5a": (352, 192, 320, 160, 224, "AVE", 128),
    "inception_5b": (352, 192, 320, 192, 224, "MAX", 128),
}


@cache  # nets share the layers: nobody changes a frozen description
def stem(data: str = "data") -> tuple[tuple[Layer, ...], str]:
    """conv1 to pool2: (N, 3, H, W) -> (N, 192, H/8, W/8), and the name of the output blob."""
    conv1, x = conv_block("conv1/7x7_s2", data, 64, 7, stride=2, pad=3)
    pool1 = pool("pool1/3x3_s2", x, "MAX", 3, 2)
    reduce, x = conv_block("conv2/3x3_reduce", "pool1/3x3_s2", 64, 1)
    conv2, x = conv_block("conv2/3x3", x, 192, 3, pad=1)
    return (*conv1, pool1, *reduce, *conv2, pool("pool2/3x3_s2", x, "MAX", 3, 2)), "pool2/3x3_s2"


@cache
def module(name: str, bottom: str) -> tuple[tuple[Layer, ...], str]:
    """One inception module of MODULES and the name of its output blob."""
    ones, reduce3, out3, reduce33, out33, kind, proj = MODULES[name]
    stride = 2 if ones is None else 1
    layers: list[Layer] = []
    branches: list[str] = []

    def chain(*steps: tuple[str, int, int, int, int]) -> None:
        """Convolution blocks one after the other, from the module's input; the last one is a branch of the output."""
        x = bottom
        for suffix, channels, kernel, step_stride, pad in steps:
            block, x = conv_block(f"{name}/{suffix}", x, channels, kernel, stride=step_stride, pad=pad)
            layers.extend(block)
        branches.append(x)

    if ones is not None:
        chain(("1x1", ones, 1, 1, 0))
    chain(("3x3_reduce", reduce3, 1, 1, 0), ("3x3", out3, 3, stride, 1))
    chain(("double3x3_reduce", reduce33, 1, 1, 0), ("double3x3a", out33, 3, 1, 1), ("double3x3b", out33, 3, stride, 1))
    layers.append(pool(f"{name}/pool", bottom, kind, 3, stride, pad=1 if stride == 1 else None))
    if proj is None:
        branches.append(f"{name}/pool")
    else:
        block, x = conv_block(f"{name}/pool_proj", f"{name}/pool", proj, 1)
        layers.extend(block)
        branches.append(x)
    layers.append(concat(f"{name}/output", branches))
    return tuple(layers), f"{name}/output"


def trunk(after: dict[str, list[Layer]] | None = None, last: str = "inception_5b") -> list[Layer]:
    """The trunk up to and with module `last`; `after` maps a module's name to layers that the authors' file has right
    behind it.
    """
    first, x = stem()
    layers = [*first]
    for name in MODULES:
        block, x = module(name, x)
        layers += [*block, *(after or {}).get(name, [])]
        if name == last:
            break
    return layers


# GoogLeNet's auxiliary classifiers up to their 1024 features. name: (module, pooling layer, prefix of the layers)
AUXILIARY = {
    "L": ("inception_3c", "pool3/5x5_s3", "loss1"),
    "M": ("inception_4e", "pool4/5x5_s3", "loss2"),
}


def auxiliary(level: str) -> tuple[list[Layer], str]:
    """Layers from the trunk to the 1024 features (after ReLU) of level L or M, and the name of their blob."""
    source, pooling, prefix = AUXILIARY[level]
    conv, x = conv_block(f"{prefix}/conv", pooling, 128, 1)
    fc = inner_product(f"{prefix}/fc", x, 1024)
    pooled = pool(pooling, f"{source}/output", "AVE", 5, 3)
    return [pooled, *conv, fc, *bn_scale_relu(f"{prefix}/fc")], f"{prefix}/fc/bn/sc"
