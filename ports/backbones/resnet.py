"""ResNet-50 as the classification baseline uses it (`metric_learning/modules/featurizer.py`)."""

from __future__ import annotations

from torch import Tensor, nn

from ports.backbones.heads import LayerNormHead
from ports.batch_norm import BatchNorm2d


class ResNet50Embedding(nn.Module):
    """ResNet-50 up to its last map, then `LayerNormHead`: (N, 3, H, W) -> (N, dim), unit rows.

    Inputs: RGB in [0, 1], ImageNet mean and standard deviation removed, 224x224. Without ImageNet weights unless
    `load_imagenet` is called: nothing is downloaded here.
    """

    def __init__(self, dim: int = 2048) -> None:
        super().__init__()
        from ports.torchvision_compat import torchvision  # and all of torch._dynamo with it, two seconds

        net = torchvision.models.resnet50(weights=None, norm_layer=BatchNorm2d)
        stem = [("conv1", net.conv1), ("bn1", net.bn1), ("relu", net.relu), ("maxpool", net.maxpool)]
        self.feature = nn.Sequential()
        for name, module in stem + [(f"layer{i}", getattr(net, f"layer{i}")) for i in range(1, 5)]:
            self.feature.add_module(name, module)
        self.head = LayerNormHead(2048, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.feature(x))

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Takes a torchvision (or Cadene) ResNet-50 state dict; its classifier is left out. Raises on any other gap."""
        kept = {name: value for name, value in state.items() if not name.startswith(("fc.", "last_linear."))}
        self.feature.load_state_dict(kept)


class XbmResNet50(nn.Module):
    """research-xbm's ResNet-50 (`modeling/backbone/resnet.py`): (N, 3, H, W) -> (N, 2048), global maximum.

    Two departures from the common net: the last stage keeps its resolution (stride 1), and the stem has no ReLU between
    its BatchNorm and its max pooling. Inputs as `ResNet50Embedding`.
    """

    def __init__(self) -> None:
        super().__init__()
        from ports.torchvision_compat import torchvision  # and all of torch._dynamo with it, two seconds

        net = torchvision.models.resnet50(weights=None, norm_layer=BatchNorm2d)
        last = net.layer4[0]
        last.conv2.stride = last.downsample[0].stride = (1, 1)
        self.feature = nn.Sequential()
        for name in ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.feature.add_module(name, getattr(net, name))

    def forward(self, x: Tensor) -> Tensor:
        return self.feature(x).amax(dim=(2, 3))

    load_imagenet = ResNet50Embedding.load_imagenet
