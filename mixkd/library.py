"""Networks of torchvision, timm or the user by name, taken apart into a body that yields penultimate features and its linear head.

Weights are downloaded only where a pretrained name asks for them. Networks without one linear head are an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixkd.files import first_line
from mixkd.spec import nearest
from mixkd.weights import FUNCTION, Weights, call, load_into

PREFIXES = ("torchvision:", "timm:", FUNCTION)
_SIZED = {"vit_": "image_size", "maxvit": "input_size"}  # torchvision's networks that must know the size of their images
_REFUSED = ("googlenet", "inception", "mnasnet")  # several heads while they train; weights that need more than their values


Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std


class UnknownWeights(ValueError):
    """No weights of that name exist for a network; the message lists those that do."""


@dataclass(frozen=True)
class Parts:
    """A network taken apart: ``head(body(x))`` are its logits.

    Attributes:
        body: normalised images (N, 3, H, W) -> (N, d); its own normalisation, not the data's.
        head: (N, d) -> (N, K).
        statistics: mean and std per channel, of pixels on the scale 0 to 1, that the network expects; None where nobody says.
        whole: whether the head is pretrained too.
    """

    body: nn.Module
    head: nn.Linear
    statistics: Statistics | None
    whole: bool


class Renormalise(nn.Module):
    """From images normalised with the statistics of the data to those a network expects: one multiply-add per value.

    Affine, so it commutes with mixing, and with such a layer after it (``then``, its scale and shift). The two numbers of each channel are
    buffers: they travel with the weights.
    """

    def __init__(self, given: Statistics, own: Statistics, then: tuple[Tensor, Tensor] | None = None, vectors: bool = False) -> None:
        super().__init__()
        if len(given[0]) != len(own[0]):
            raise ValueError(f"a network normalised by {len(own[0])} means cannot take inputs of {len(given[0])} channels")
        (mean, std), (own_mean, own_std) = (torch.tensor(pair, dtype=torch.float64) for pair in (given, own))
        scale, shift = std / own_std, (mean - own_mean) / own_std
        if then is not None:
            after, plus = (value.double().flatten() for value in then)
            scale, shift = scale * after, shift * after + plus
        shape = (-1,) if vectors else (-1, 1, 1)
        self.register_buffer("scale", scale.float().view(shape))
        self.register_buffer("shift", shift.float().view(shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)  # type: ignore[arg-type]


def load(
    name: str, n_classes: int, image_size: int, pretrained: str | None = None, weights: Weights | None = None, channels: int = 3
) -> Parts:
    """Load a network by name, initialised by its library from the global generator, or with pretrained weights.

    Args:
        name: "torchvision:NAME", "timm:NAME" or "python:PACKAGE.MODULE:FUNCTION".
        n_classes: number of logits. A pretrained head is kept where it has as many, else replaced by a fresh one.
        image_size: side of the images in pixels.
        pretrained: name of a set of weights: torchvision's ("IMAGENET1K_V1") or timm's tag ("a1_in1k"); None for a random start.
        weights: the user's own, to start from instead.
        channels: of an image, or coordinates of a vector (``image_size`` 0), for a function's network.

    Raises:
        ValueError: for an unknown name or weights (with the nearest), a network that cannot take such images or has no linear head, or
            weights that do not fit it. A function's network needs no linear head: without one, its features are its logits.
        ModuleNotFoundError: if timm is not installed; with the command.
        FileNotFoundError: if the weights are not here and cannot be downloaded; with the file, where it belongs and the command.
    """
    prefix, _, plain = name.partition(":")
    x = torch.zeros(1, channels, *[image_size] * 2) if image_size else torch.zeros(1, channels)
    if prefix == "python":
        network, mean, std, own_classes = call(name), None, None, 0
    else:
        make = _torchvision if prefix == "torchvision" else _timm
        network, mean, std, own_classes = make(plain, n_classes, image_size, pretrained)
        if weights is not None and weights.state and (rows := _rows(network, weights, own_classes)) != own_classes:
            network, mean, std, own_classes = make(plain, rows, image_size, None)
    if weights is not None and weights.state and not weights.exported:
        load_into(network, weights.state, f"{weights.name} does not fit {name}")
    try:
        with torch.no_grad():
            expected = network.eval()(x)
    except Exception as error:  # of a function's network, anything
        shape = f"images of {image_size} px" if image_size else "vectors"
        raise ValueError(f"{name} cannot take {shape} ({first_line(error)}); try its own size, often 224") from error
    if not isinstance(expected, Tensor) or expected.ndim != 2 or len(expected) != 1:
        kind = f"shape {tuple(expected.shape)}" if isinstance(expected, Tensor) else type(expected).__name__
        raise ValueError(f"{name}: answers one image with {kind}, not with one row of logits; choose a network with one linear head")
    own_classes = own_classes or expected.shape[1]
    try:
        head = _behead(network, name, own_classes, x, expected)
    except ValueError:
        if prefix != "python" or own_classes != n_classes:
            raise
        head = nn.Linear(n_classes, n_classes).requires_grad_(False)
        with torch.no_grad():
            head.weight.copy_(torch.eye(n_classes))
            head.bias.zero_()
    if weights is not None and weights.exported:
        load_into(network, weights.body(), f"{weights.name} does not fit {name}")
        load_into(head, weights.head(), f"{weights.name} does not fit {name}")
    if own_classes != n_classes:
        head = nn.Linear(head.in_features, n_classes)
    given = pretrained is not None or prefix == "python" or weights is not None
    statistics = (tuple(mean), tuple(std)) if mean is not None and std is not None else None
    return Parts(network.train(), head, statistics, whole=given and own_classes == n_classes)


def _rows(network: nn.Module, weights: Weights, own_classes: int) -> int:
    """How many classes weights are for, by the shape of what they have for the last layer of a network."""
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear) and module.out_features == own_classes]
    found = weights.state.get("head.weight" if weights.exported else f"{linear[-1]}.weight") if linear else None
    return own_classes if found is None else len(found)


def _behead(network: nn.Module, name: str, n_classes: int, x: Tensor, expected: Tensor) -> nn.Linear:
    """Put an identity in the place of the last linear layer that has an output for each class, and return that layer.

    A network whose logits are not that layer's answer is left as it was, with an error.
    """
    linear = [
        (path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear) and module.out_features == n_classes
    ]
    if not linear or not linear[-1][0]:
        raise ValueError(f"{name} has no linear layer of {n_classes} outputs at its end; choose a network with one linear head")
    path, head = linear[-1]
    parent, _, child = path.rpartition(".")
    owner = network.get_submodule(parent)
    setattr(owner, child, nn.Identity())
    try:
        with torch.no_grad():
            features = network(x)
            alike = features.shape == (1, head.in_features) and torch.allclose(head(features), expected, rtol=1e-4, atol=1e-5)
    except Exception:  # two heads whose answers are added, or an attribute of the layer that is used
        alike = False
    if not alike:
        setattr(owner, child, head)
        raise ValueError(f"{name}: its logits are not a linear function of one feature vector; choose a network with one linear head")
    return head


Made = tuple[nn.Module, Iterable[float], Iterable[float], int]  # network, mean, std, number of its classes


def _torchvision(name: str, n_classes: int, image_size: int, pretrained: str | None) -> Made:
    from torchvision import models

    known = [model for model in models.list_models(module=models) if not model.startswith(_REFUSED)]
    if name not in known:
        raise ValueError(f"unknown model 'torchvision:{name}': must be one of {', '.join(known)}{nearest(name, known)}")
    sized: dict[str, Any] = {}
    for beginning, argument in _SIZED.items():
        if name.startswith(beginning):
            sized[argument] = image_size if argument == "image_size" else (image_size, image_size)
    kinds = models.get_model_weights(name)
    preset = next(iter(kinds)).transforms()
    try:
        if pretrained is None:
            return models.get_model(name, weights=None, num_classes=n_classes, **sized), preset.mean, preset.std, n_classes
        chosen = {weights.name: weights for weights in kinds}  # aliases, such as DEFAULT, are not in it: what they mean changes
        if pretrained not in chosen:
            raise UnknownWeights(
                f"pretrained = {pretrained!r}: torchvision:{name} has {', '.join(chosen) or 'none'}{nearest(pretrained, chosen)}"
            )
        weights = chosen[pretrained]
        own_classes = len(weights.meta["categories"])
        network = models.get_model(name, weights=None, num_classes=own_classes, **sized)
    except (RuntimeError, AssertionError, ValueError) as error:
        if isinstance(error, UnknownWeights):
            raise
        raise ValueError(f"torchvision:{name} cannot take images of {image_size} px ({first_line(error)})") from error
    state = _downloaded(weights, f"{type(weights).__name__}.{weights.name}")
    if name.startswith("densenet"):  # their keys are older than its code
        state = {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key): value for key, value in state.items()}
    load_into(network, state, f"the weights {pretrained} do not fit torchvision:{name} at {image_size} px")
    preset = weights.transforms()
    return network, preset.mean, preset.std, own_classes


def _downloaded(weights: Any, full_name: str) -> Mapping[str, Tensor]:
    place = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    there = place.exists()
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # a network or a damaged file fails in many ways
        if there:
            kind = type(error).__name__  # its text would advise to unpickle
            raise FileNotFoundError(f"{place} is no whole weights file ({kind}); remove it, or replace it by {weights.url}") from error
        raise FileNotFoundError(
            f"{full_name}: {place} does not exist, and {weights.url} could not be downloaded ({error}). Where there is a network, run: "
            f"curl --create-dirs -Lo {place} {weights.url} (TORCH_HOME moves that folder)"
        ) from error
    return state


def _timm(name: str, n_classes: int, image_size: int, pretrained: str | None) -> Made:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"timm:{name} needs timm, which is not installed; run: python -m pip install 'timm>=1.0' (or install mixkd[imagenet])"
        ) from error
    if not timm.is_model(name) or "." in name:
        plain, _, tag = name.partition(".")
        hint = f"; weights go into the field pretrained: {plain!r} with pretrained={tag!r}" if tag and timm.is_model(plain) else ""
        known = timm.list_models()
        raise ValueError(f"unknown model 'timm:{name}': timm {timm.__version__} has {len(known)}{hint or nearest(name, known)}")
    if pretrained is None:
        network = _sized(partial(timm.create_model, name, pretrained=False, num_classes=n_classes), image_size)
        return network, network.default_cfg["mean"], network.default_cfg["std"], n_classes
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if pretrained not in tags:
        raise UnknownWeights(f"pretrained = {pretrained!r}: timm:{name} has {', '.join(tags) or 'none'}{nearest(pretrained, tags)}")
    full = f"{name}.{pretrained}"
    try:
        network = _sized(partial(timm.create_model, full, pretrained=True), image_size)
    except Exception as error:  # the hub's client has a dozen kinds of failure
        from huggingface_hub.constants import HF_HUB_CACHE

        repository = getattr(timm.get_pretrained_cfg(full), "hf_hub_id", None) or f"timm/{full}"
        repository = f"{repository}{full}" if repository.endswith("/") else repository
        raise FileNotFoundError(
            f"timm:{name} {pretrained}: {repository}/model.safetensors is not in {HF_HUB_CACHE} and could not be downloaded "
            f"({first_line(error)}). Where there is a network, run: hf download {repository} (HF_HOME moves that folder)"
        ) from error
    return network, network.default_cfg["mean"], network.default_cfg["std"], network.num_classes


def _sized(create: Callable[..., nn.Module], image_size: int) -> Any:
    """Vision transformers must know the size of their images; other networks refuse to be told."""
    try:
        return create(img_size=image_size)
    except TypeError:
        return create()
