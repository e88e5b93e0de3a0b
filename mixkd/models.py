"""Students and teachers by name: the CIFAR ResNets and wide ResNets of the distillation literature, small CNNs, small MLPs, and
whatever torchvision or timm has. Nothing here trains, or runs a classifier head in anything but float32.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mixkd import library
from mixkd.spec import nearest, shown
from mixkd.weights import FILE, FUNCTION, Weights, load_into, published


class Model(nn.Module):
    """A body that yields penultimate features and a linear head on top.

    The head always runs in float32, under autocast too: a head in bfloat16 changes up to a tenth of the predictions.
    """

    def __init__(self, name: str, body: nn.Module, head: nn.Linear, in_channels: int, image_size: int, whole: bool = False) -> None:
        super().__init__()
        self.name, self.body, self.head = name, body, head
        self.in_channels, self.image_size = in_channels, image_size
        self.whole = whole  # pretrained to the last layer: it classifies without any training here

    @property
    def stochastic(self) -> bool:
        """Whether it draws random numbers while it trains: dropout, or blocks left out (stochastic depth)."""
        return any(type(module).__name__ in _DRAWING and getattr(module, "p", getattr(module, "drop_prob", 1)) for module in self.modules())

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features, (N, d), of normalised inputs (N, C, H, W) or (N, d_in); under autocast in its dtype."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, K) float32."""
        features = self.features(x)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    def flops(self) -> int:
        """Return the cost of a forward pass of one image: 2 per multiply-add, convolutions and matrix products only."""
        shape = (self.in_channels, self.image_size, self.image_size) if self.image_size else (self.in_channels,)
        ghost = copy.deepcopy(self).to("meta").eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            ghost.head(ghost.body(torch.empty(1, *shape, device="meta")))
        return counter.get_total_flops()


_DRAWING = {"Dropout", "Dropout1d", "Dropout2d", "StochasticDepth", "DropPath", "PatchDropout", "MultiheadAttention"}


def build(
    name: str,
    n_classes: int,
    in_channels: int = 3,
    image_size: int = 32,
    seed: int = 0,
    pretrained: str | None = None,
    statistics: library.Statistics | None = None,
    weights: Weights | None = None,
) -> Model:
    """Build a model by name, in float32 on the CPU, initialised from (seed, name); the global generator is left alone.

    Args:
        name: one of ours such as "resnet20", "cnn8" or "mlp16", a wide ResNet such as "wrn40-2", "torchvision:NAME", "timm:NAME" or
            "python:PACKAGE.MODULE:FUNCTION".
        n_classes: number of logits, at least 2.
        in_channels: channels of an image, or coordinates of a vector.
        image_size: side of a square image in pixels, or 0 for vectors.
        seed: of the initialisation.
        pretrained: weights to start from, by the library's name for them; see :func:`mixkd.library.load`.
        statistics: mean and deviation of each channel, on the scale 0 to 1, with which the inputs will have been normalised. A
            library's network brings its own and is given a layer that converts between the two; None takes inputs as they are.
        weights: the user's own, from :func:`mixkd.weights.read`. The network then gets such a layer, whatever its name. Empty weights
            give a network of the same architecture.

    Raises:
        ValueError: for an unknown name, a model that cannot take such inputs, or weights that do not fit it.
        ModuleNotFoundError, FileNotFoundError: if a library or its weights are not here; with the command that gets them.
    """
    of_library = name.startswith(library.PREFIXES)
    maker = _maker(name)
    if maker is None and not of_library:
        raise ValueError(
            f"unknown model {shown(name)}: must be one of {', '.join(_SPECS)}, torchvision:NAME, timm:NAME "
            f"or python:PACKAGE.MODULE:FUNCTION{nearest(name, _SPECS)}"
        )
    if pretrained is not None and (not of_library or name.startswith(FUNCTION)):
        raise ValueError(
            f"pretrained = {pretrained!r}: {name} has no published weights here; torchvision:NAME and timm:NAME have, or give {FILE}PATH"
        )
    least = {"n_classes": (n_classes, 2), "in_channels": (in_channels, 1), "image_size": (image_size, 0)}
    for what, (value, bound) in least.items():
        if value < bound:
            raise ValueError(f"{what} = {value}: must be at least {bound}")
    if of_library and not name.startswith(FUNCTION) and (in_channels != 3 or image_size == 0):
        shape = f"{in_channels} channel(s)" if image_size else "vectors"
        raise ValueError(f"{name} takes images of three channels, but the data are {shape}; models for them: {', '.join(_SPECS)}")
    make, images_only = maker or (None, True)
    if images_only and image_size == 0:
        raise ValueError(f"{name} takes images, but the data are vectors; models for vectors: {', '.join(_MLPS)}")
    if images_only and image_size < 8:
        raise ValueError(f"image_size = {image_size}: {name} needs 8 px or more")
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(key)  # torch.manual_seed would also reseed the GPUs
        if make is None:
            parts = library.load(name, n_classes, image_size, pretrained, weights, in_channels)
            body = _adapted(parts.body, statistics, parts.statistics, weights, in_channels, not image_size)
            return Model(name, body, parts.head, in_channels, image_size, whole=parts.whole)
        body, width = make(in_channels, image_size)
        for module in body.modules():  # He et al. 2015; the head keeps PyTorch's own
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        head = nn.Linear(width, n_classes)
        if weights is None:
            return Model(name, body, head, in_channels, image_size)
        own_classes = n_classes
        if weights.state:
            inner, outer = (weights.body(), weights.head()) if weights.exported else published(weights.state, body)
            load_into(body, inner, f"{weights.name} does not fit {name}")
            own_classes = len(outer["weight"]) if "weight" in outer else n_classes
            if own_classes == n_classes:
                load_into(head, outer, f"{weights.name} does not fit {name}")
        adapted = _adapted(body, statistics, None, weights, in_channels, not image_size)
        return Model(name, adapted, head, in_channels, image_size, whole=bool(weights.state) and own_classes == n_classes)


def _adapted(
    body: nn.Module, given: library.Statistics | None, own: library.Statistics | None, weights: Weights | None, channels: int, vectors: bool
) -> nn.Module:
    """Put a body behind a layer that converts from the data's normalisation to the body's: what its weights say, else its library's."""
    if weights is not None and weights.mean is not None and weights.std is not None:
        own = (weights.mean, weights.std)
    given = given or own or ((0.0,) * channels, (1.0,) * channels)
    return nn.Sequential(library.Renormalise(given, own or given, weights.affine() if weights else None, vectors), body)


class ConvBN(nn.Module):
    """Convolution without bias, same padding, then batch norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.bn(self.conv(x))
        return normalised


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes (He et al. 2016, option B)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.first = ConvBN(c_in, c_out, stride=stride)
        self.second = ConvBN(c_out, c_out)
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else ConvBN(c_in, c_out, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        # In place, for batch norm needs its input to go backward, not its output; the shortcut of a block is never written to.
        out: Tensor = self.second(torch.relu_(self.first(x)))
        out += self.shortcut(x)
        return torch.relu_(out)


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions (Zagoruyko and Komodakis 2016), as RepDistiller has it."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(c_in)
        self.first = ConvBN(c_in, c_out, stride=stride)
        self.second = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.shortcut = None if c_in == c_out else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.bn(x))
        residual: Tensor = self.second(torch.relu(self.first(active)))
        return residual + (x if self.shortcut is None else self.shortcut(active))


class GlobalMean(nn.Module):
    """Mean over the pixels of each channel: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


Maker = Callable[[int, int], tuple[nn.Module, int]]  # (in_channels, image_size) -> body and its number of features


def _resnet(depth: int, width: int, in_channels: int, image_size: int) -> tuple[nn.Module, int]:
    """RepDistiller's family (Tian et al. 2020): 6n + 2 layers in three stages of 16, 32, 64 channels times `width`."""
    stem = max(16, 8 * width)  # a widened net has a stem of half its first stage there
    first = ConvBN(in_channels, stem)
    return nn.Sequential(first, nn.ReLU(inplace=True), *_stages(BasicBlock, (depth - 2) // 6, stem, width), GlobalMean()), 64 * width


def _wrn(depth: int, width: int, in_channels: int, image_size: int) -> tuple[nn.Module, int]:
    """Wide ResNets: 6n + 4 layers in three stages of 16, 32, 64 channels times `width`; a stem of 16."""
    first = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
    last = nn.BatchNorm2d(64 * width), nn.ReLU(), GlobalMean()
    return nn.Sequential(first, *_stages(WideBlock, (depth - 4) // 6, 16, width), *last), 64 * width


def _stages(block: Callable[[int, int, int], nn.Module], n: int, c_in: int, width: int) -> Iterator[nn.Module]:
    """n blocks each of 16, 32 and 64 channels times `width`; the resolution halves at the second and the third stage."""
    for stage in range(3):
        for i in range(n):
            yield block(c_in, c_out := 16 * width * 2**stage, 2 if stage and not i else 1)
            c_in = c_out


def _cnn(width: int, in_channels: int, image_size: int) -> tuple[nn.Module, int]:
    """Three convolutions at full, half and quarter resolution, then the means of the four quadrants.

    Keeping the quadrants apart lets even the narrowest fit all its training data, so that it is overconfident where one
    global mean leaves it calibrated (ECE .057 against .027 on digits after 240 steps).
    """
    layers: list[nn.Module] = []
    c_in = in_channels
    for c_out, stride in ((width, 1), (width, 2), (2 * width, 2)):
        layers += [ConvBN(c_in, c_out, stride=stride), nn.ReLU(inplace=True)]
        c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()), 4 * c_in


def _mlp(width: int, in_channels: int, image_size: int) -> tuple[nn.Module, int]:
    """Two hidden layers of `width` units; an image is read as one long vector."""
    n_in = in_channels * max(1, image_size) ** 2
    return nn.Sequential(nn.Flatten(), nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()), width


class LastCoordinate(nn.Module):
    """Keep the last coordinate of a vector: (N, d) -> (N, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1:]


def _marginal(width: int, in_channels: int, image_size: int) -> tuple[nn.Module, int]:
    """Build an MLP that sees only the last coordinate of a vector: a much less accurate teacher, however long it learns."""
    if image_size:
        raise ValueError(f"mlp{width}-marginal takes vectors, but the data are images")
    body, n_features = _mlp(width, 1, 0)
    return nn.Sequential(LastCoordinate(), body), n_features


_RESNETS = [(8, 1), (14, 1), (20, 1), (32, 1), (44, 1), (56, 1), (110, 1), (8, 2), (20, 2), (8, 4), (8, 8), (32, 4)]
_WRNS = [(16, 1), (16, 2), (40, 1), (40, 2), (40, 4), (16, 8), (28, 10)]
_MLPS: dict[str, tuple[Maker, bool]] = {f"mlp{width}": (partial(_mlp, width), False) for width in (16, 64, 256)}
_MLPS["mlp64-marginal"] = (partial(_marginal, 64), False)
_SPECS: dict[str, tuple[Maker, bool]] = {  # name -> how to make the body, whether it needs images
    **{f"resnet{d}" + (f"x{w}" if w > 1 else ""): (partial(_resnet, d, w), True) for d, w in _RESNETS},
    **{f"wrn{d}-{k}": (partial(_wrn, d, k), True) for d, k in _WRNS},
    **{f"cnn{width}": (partial(_cnn, width), True) for width in (8, 16, 32, 64)},
    **_MLPS,
}


def _maker(name: str) -> tuple[Maker, bool] | None:
    """How to make the body of a name, and whether it needs images; wide ResNets have names without end."""
    wide = re.fullmatch(r"wrn(\d+)-(\d+)", name)
    if wide is None or name in _SPECS:
        return _SPECS.get(name)
    depth, width = int(wide[1]), int(wide[2])
    if depth < 10 or depth % 6 != 4 or width < 1:
        raise ValueError(f"unknown model {name!r}: a wide ResNet wrnD-K has D = 10, 16, 22, 28, 34, 40, ... and K at least 1")
    return partial(_wrn, depth, width), True
