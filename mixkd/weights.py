"""Networks of the user's own: weights in a file that is known by its content, or a function that returns a network.

Reads only what cannot carry code: safetensors, and state dicts of torch without unpickling anything but tensors.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from mixkd.files import first_line, sha256, split_digest

FILE, FUNCTION = "file:", "python:"
_DESCRIPTION = "mixkd"  # where `mixkd export` puts its description
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile


@dataclass(frozen=True)
class Weights:
    """What a file or a function says about a network. An empty one stands for weights that are loaded later.

    Attributes:
        name: for messages.
        state: tensors by name; empty for a function, which brings a network that has them.
        mean, std: of each channel, on the scale 0 to 1, that its inputs are normalised with; None where nobody says.
        classes: their names in the order of the logits; empty where nobody says.
    """

    name: str = ""
    state: Mapping[str, Tensor] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()

    @property
    def exported(self) -> bool:
        """Whether the tensors are named as in a Model of this library."""
        return bool(self.state) and all(key.startswith(("body.", "head.")) for key in self.state)

    def body(self) -> dict[str, Tensor]:
        """Of an exported network: the tensors of its body, without the layer that converts normalised inputs."""
        inner = "body.1." if self.affine() else "body."
        return {key.removeprefix(inner): value for key, value in self.state.items() if key.startswith(inner)}

    def head(self) -> dict[str, Tensor]:
        """Of an exported network: weight and bias of its head."""
        return {key.removeprefix("head."): value for key, value in self.state.items() if key.startswith("head.")}

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Of an exported network: the scale and shift of the layer that converts normalised inputs, where it has one."""
        adapted = self.exported and "body.0.scale" in self.state
        return (self.state["body.0.scale"], self.state["body.0.shift"]) if adapted else None


def own(name: str | None) -> bool:
    """Whether that is the name of a file or function of the user's."""
    return name is not None and name.startswith((FILE, FUNCTION))


def find(name: str, root: str | Path | None = None) -> Path:
    """Return the file of "file:PATH" or "file:NAME@DIGEST", whose content fits the digest.

    Args:
        root: where a relative path begins; the working directory if not given.

    Raises:
        FileNotFoundError: nothing lies there.
        ValueError: it is no file, or not the one of the digest.
    """
    place, digest = split_digest(name.removeprefix(FILE))
    if not place:
        raise ValueError(f"pretrained = {name!r}: say which, as in 'file:PATH'")
    path = Path(root or "").expanduser() / Path(place).expanduser()
    if not path.exists():
        hint = "name the folder that holds it by --data-root" if root is None else "is the data root right?"
        raise FileNotFoundError(f"pretrained = {name!r}: {path.absolute()} does not exist; {hint}")
    if not path.is_file():
        raise ValueError(f"pretrained = {name!r}: {path} is no regular file")
    if digest and (found := sha256(path)[:16]) != digest:
        raise ValueError(f"pretrained = {name!r}: {path} is another file now ({found}); nothing is trained from other weights")
    return path


def identity(name: str, root: str | Path | None = None) -> str:
    """Return what a spec stores for the user's file or function: its name and a digest of its content, never a path."""
    if name.startswith(FUNCTION):
        wanted, digest = split_digest(name)
        found = _function_digest(wanted)
        if digest not in ("", found):
            raise ValueError(f"{name}: returns another network now ({found}); nothing is trained with another")
        return f"{wanted}@{found}"
    path = find(name, root)
    return f"{FILE}{path.name}@{sha256(path)[:16]}"


def located(name: str, root: str | Path | None = None) -> str:
    """Return the same name with the full path of its file, for processes that start elsewhere."""
    path = find(name, root)
    return f"{FILE}{path.resolve()}@{sha256(path)[:16]}"


def read(name: str, root: str | Path | None = None) -> Weights:
    """Read a file of weights.

    Args:
        name: "file:PATH" of safetensors, or of a state dict that torch.save wrote. It may lie under "state_dict" or the like, and its names
            may begin with "module.".
        root: as for :func:`find`.

    Raises:
        FileNotFoundError, ValueError: as :func:`find`, and for a file without tensors, damaged, with other objects in it, or not finite.
    """
    path = find(name, root)
    with path.open("rb") as file:
        safe = file.read(9)[8:] == b"{"
    metadata: Mapping[str, str] = {}
    try:
        if safe:
            with safe_open(path, framework="pt") as opened:
                metadata = opened.metadata() or {}
            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways; torch's own text advises to unpickle
        raise ValueError(f"{path}: holds no weights that can be read without running code ({type(error).__name__})") from error
    state = _state(loaded)
    if not state:
        raise ValueError(f"{path}: holds no tensors by name; save model.state_dict(), or use safetensors")
    try:
        found = _described(path.name, state, metadata)
        if not all(0 < value < math.inf for value in found.std or ()):
            raise ValueError("std must be above 0")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: its metadata cannot be read ({str(error) or type(error).__name__})") from error
    tensors = found.state or {}
    bad = next((key for key, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())), None)
    if bad is not None:
        raise ValueError(f"{path}: tensor {bad} holds values that are not finite")
    return found


def _state(loaded: Any) -> dict[str, Tensor]:
    while isinstance(loaded, Mapping) and not any(isinstance(value, Tensor) for value in loaded.values()):
        loaded = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
    if not isinstance(loaded, Mapping):
        return {}
    state = {str(key): value.detach() for key, value in loaded.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES * 2:  # in either order
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _described(name: str, state: dict[str, Tensor], metadata: Mapping[str, str]) -> Weights:
    if _DESCRIPTION in metadata:
        said = json.loads(metadata[_DESCRIPTION])
        if said["scaled"]:
            state |= {key: state[key] / float(said["temperature"]) for key in ("head.weight", "head.bias")}
        mean, std = (tuple(float(value) for value in said["input"][part]) for part in ("mean", "std"))
        return Weights(name, state, mean, std, tuple(str(label) for label in said["classes"]))
    numbers = {
        part: tuple(float(value) for value in re.findall(r"[-+.\deE]+", metadata[part])) for part in ("mean", "std") if part in metadata
    }
    classes = json.loads(metadata["classes"]) if "classes" in metadata else ()
    if not isinstance(classes, (list, tuple)):
        raise ValueError("classes is no list")
    return Weights(name, state, numbers.get("mean"), numbers.get("std"), tuple(str(label) for label in classes))


# --- a function that returns a network ----------------------------------------------------------------------------------


def call(name: str) -> nn.Module:
    """Return the network that "python:PACKAGE.MODULE:FUNCTION" returns.

    Raises:
        ValueError: there is no such function, it fails, or returns something else.
    """
    module_name, _, function_name = split_digest(name)[0].removeprefix(FUNCTION).partition(":")
    if not module_name or not function_name:
        raise ValueError(f"{name}: say which, as in 'python:PACKAGE.MODULE:FUNCTION'")
    try:
        made = getattr(importlib.import_module(module_name), function_name)()
    except ModuleNotFoundError as error:
        raise ValueError(f"{name}: {error}; run with PYTHONPATH=FOLDER, the folder that holds it") from error
    except Exception as error:  # the user's own code
        raise ValueError(f"{name}: failed with {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name}: returns {type(made).__name__}; it must return a torch.nn.Module")
    return made


def _function_digest(name: str) -> str:
    """Of the source of the function's module and of the values it returns: other code or other weights are another teacher."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = call(name)
    content = hashlib.sha256()
    module = importlib.import_module(split_digest(name)[0].removeprefix(FUNCTION).partition(":")[0])
    try:
        content.update(inspect.getsource(module).encode())
    except (OSError, TypeError):  # a module without a source file
        content.update(name.encode())
    for key, value in network.state_dict().items():
        content.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        content.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:16]


# --- into a network ---------------------------------------------------------------------------------------------------


def load_into(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict into a module.

    Args:
        what: who does not fit whom, for the message.

    Raises:
        ValueError: names or shapes differ; with the first of each.
    """
    target = module.state_dict()
    lacking = [key for key in target if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in target]
    other = [f"{key} {tuple(state[key].shape)}, not {tuple(target[key].shape)}" for key in target if key in state
             and state[key].shape != target[key].shape]  # fmt: skip
    problems = [f"{word} {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
                for word, keys in (("it lacks", lacking), ("the network has no", unknown), ("shapes differ:", other)) if keys]  # fmt: skip
    if problems:
        raise ValueError(f"{what}: {'; '.join(problems)}")
    module.load_state_dict(dict(state), strict=False)


def published(state: Mapping[str, Tensor], body: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Rename the tensors of a CIFAR ResNet from their published names to ours; return those of the body and of the head.

    Shortcuts without parameters (every second pixel, new channels zero on both sides of the old ones) become the projection that does the
    same: a 1 x 1 convolution that copies, and a batch norm that changes nothing.
    """
    rules = [
        (r"conv1\.", "0.conv."), (r"bn1\.", "0.bn."), (r"(?:linear|fc)\.", "head."),
        (r"layer(\d+)\.(\d+)\.(?:shortcut|downsample)\.0\.", "{}.shortcut.conv."),
        (r"layer(\d+)\.(\d+)\.(?:shortcut|downsample)\.1\.", "{}.shortcut.bn."),
        (r"layer(\d+)\.(\d+)\.conv1\.", "{}.first.conv."), (r"layer(\d+)\.(\d+)\.bn1\.", "{}.first.bn."),
        (r"layer(\d+)\.(\d+)\.conv2\.", "{}.second.conv."), (r"layer(\d+)\.(\d+)\.bn2\.", "{}.second.bn."),
    ]  # fmt: skip
    blocks = 1 + max((int(found[1]) for key in state if (found := re.match(r"layer\d+\.(\d+)\.", key))), default=0)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, place in rules:
            if match := re.match(pattern, key):
                index = 2 + (int(match[1]) - 1) * blocks + int(match[2]) if match.groups() else 0
                key = place.format(index) + key[match.end() :]
                break
        renamed[key] = value
    if not any(".shortcut." in key for key in renamed):
        for key, like in body.state_dict().items():
            if key.endswith("shortcut.conv.weight"):
                out, into = like.shape[:2]
                kernel = torch.zeros_like(like)
                kernel[torch.arange(into) + (out - into) // 2, torch.arange(into)] = 1
                norm = body.get_submodule(key.replace("conv.weight", "bn"))
                assert isinstance(norm, nn.BatchNorm2d)
                values = {"weight": math.sqrt(1 + norm.eps), "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
                renamed[key] = kernel
                renamed |= {key.replace("conv.weight", f"bn.{name}"): torch.full((out,), value) for name, value in values.items()}
    head = {key.removeprefix("head."): value for key, value in renamed.items() if key.startswith("head.")}
    return {key: value for key, value in renamed.items() if not key.startswith("head.")}, head


def class_order(weights: Weights, classes: tuple[str, ...], data: str, quiet: bool = False) -> list[int] | None:
    """Which of its logits belongs to each class of the data, by name; None where they cannot be compared (with a warning) or do not agree.

    Args:
        weights: of as many classes as the data have.
        classes: names of the classes of the data.
        data: its name.
        quiet: without the warning, for a network that is trained further.
    """
    if not weights.classes and quiet:
        return list(range(len(classes)))
    if not weights.classes:
        listed = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
        warnings.warn(
            f"{weights.name} does not name its classes; its logits are taken in the order of {data}: {listed}. Folders sort as text: 0, 1, "
            "10, 2",
            stacklevel=2,
        )
        return list(range(len(classes)))
    if sorted(weights.classes) != sorted(classes) or len(set(classes)) < len(classes):
        return None
    return [weights.classes.index(label) for label in classes]
