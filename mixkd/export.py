"""A trained network as one file that someone else can use: pixels in, logits out, with its normalisation and the names of its classes.

Three formats: safetensors (weights, for this library), torch.export (runs without this library), ONNX (runs without torch). Only
safetensors are read back: reading a torch.export archive unpickles, so it can run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mixkd.data import load_data
from mixkd.models import Model, build
from mixkd.records import Record
from mixkd.spec import nearest
from mixkd.store import RecordStore
from mixkd.weights import FUNCTION, Weights

Format = Literal["safetensors", "torch", "onnx"]
SUFFIX: Mapping[str, str] = {"safetensors": ".safetensors", "torch": ".pt2", "onnx": ".onnx"}
_KEY = "mixkd"  # of the description, in every format


class Classifier(nn.Module):
    """A network that takes pixels: normalisation, body, head, and one temperature.

    Args:
        model: trained.
        mean, std: of each channel, of pixels on the scale 0 to 1.
        temperature: the logits are divided by it; 1 leaves them as trained.
    """

    def __init__(self, model: Model, mean: tuple[float, ...], std: tuple[float, ...], temperature: float = 1.0) -> None:
        super().__init__()
        ones = (1, 1) if model.image_size else ()
        self.model, self.temperature = model.eval(), temperature
        self.register_buffer("mean", torch.tensor(mean).view(-1, *ones))
        self.register_buffer("std", torch.tensor(std).view(-1, *ones))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W) on the scale 0 to 1, or of vectors (N, d), float32."""
        features = self.model.features((pixels - self.mean) / self.std)  # type: ignore[operator]
        logits: Tensor = self.model.head(features)
        return logits if self.temperature == 1 else logits / self.temperature


def classifier(
    record: Record, store: RecordStore, *, scaled: bool = False, root: str | Path | None = None
) -> tuple[Classifier, dict[str, Any]]:
    """Return the network of a record, and its description.

    Args:
        record, store: which, and where its weights lie.
        scaled: divide the logits by the temperature fitted on validation data.
        root: where the data set lies; needed only for records that do not say what their network's inputs are.

    Returns:
        The network in eval mode on the CPU, and the description every exported file carries: record, model, classes, input (channels,
        image_size, mean, std, scale), temperature (fitted, post-hoc) and scaled (whether it is applied already).

    Raises:
        FileNotFoundError: if the weights were not kept.
        DamagedRecord: if they are not those written with the record.
    """
    weights = store.weights(record.id)
    if weights is None:
        raise FileNotFoundError(f"record {record.id}: its weights are not in {store.path}; train it again with `mixkd run`")
    inputs = record.inputs
    if inputs is None:
        data = load_data(record.spec.data, image_size=record.spec.image_size, root=root)
        inputs = {"channels": data.channels, "image_size": data.image_size, "mean": data.mean, "std": data.std}
    description = {
        "format": 1,
        "record": record.id,
        "model": record.spec.student,
        "spec": json.loads(record.spec.canonical()),
        "classes": list(record.classes),
        "input": {**inputs, "scale": "0 to 1" if inputs["image_size"] else "as generated"},
        "temperature": record.temperature,
        "scaled": scaled,
    }
    return _assemble(description, record.state(weights)), description


def _assemble(description: Mapping[str, Any], state: Mapping[str, Tensor]) -> Classifier:
    inputs, classes = description["input"], description["classes"]
    mean, std = tuple(inputs["mean"]), tuple(inputs["std"])
    adapted = Weights() if "body.0.scale" in state else None
    model = build(description["model"], len(classes), inputs["channels"], inputs["image_size"], statistics=(mean, std), weights=adapted)
    model.load_state_dict(state)
    return Classifier(model, mean, std, description["temperature"] if description["scaled"] else 1.0).eval()


def export(
    record: Record,
    store: RecordStore,
    path: str | Path,
    format: Format = "safetensors",
    *,
    scaled: bool = False,
    root: str | Path | None = None,
) -> Path:
    """Write a network to a file. The batch size stays free.

    Args:
        path: of the file; a folder gets ID.SUFFIX in it.
        format: "safetensors", "torch" (``torch.export``, .pt2) or "onnx".
        record, store, scaled, root: as for :func:`classifier`.

    Returns:
        Where it lies.

    Raises:
        ValueError: unknown format, or a file name that does not end as files of it do.
        ModuleNotFoundError: "onnx" without its packages; with the command.
    """
    if format not in get_args(Format):
        raise ValueError(f"format = {format!r}: must be one of {', '.join(get_args(Format))}{nearest(format, get_args(Format))}")
    if format == "onnx":
        _need_onnx()
    folder = str(path).endswith("/")  # though it may not be there yet
    path = Path(path)
    if folder or path.is_dir():
        path = path / f"{record.id}{SUFFIX[format]}"
    if path.suffix.lower() != SUFFIX[format]:
        raise ValueError(f"{path}: a file of format {format} must end in {SUFFIX[format]}, or it could not be read back; give it that name")
    network, description = classifier(record, store, scaled=scaled, root=root)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, text = path.with_name(f".{path.name}.part{path.suffix}"), json.dumps(description)
    try:
        if format == "safetensors":
            kept = {name: value.contiguous().clone() for name, value in network.model.state_dict().items()}
            save_file(kept, partial, metadata={_KEY: text})
        else:
            inputs = description["input"]
            shape = (inputs["channels"], inputs["image_size"], inputs["image_size"]) if inputs["image_size"] else (inputs["channels"],)
            example = (torch.rand(2, *shape),)
            batch = {"pixels": {0: torch.export.Dim("batch")}}
            if format == "torch":
                torch.export.save(torch.export.export(network, example, dynamic_shapes=batch), partial, extra_files={_KEY: text})
            else:
                program = torch.onnx.export(
                    network, example, dynamo=True, dynamic_shapes=batch, input_names=["pixels"], output_names=["logits"], verbose=False
                )
                assert program is not None
                program.model.metadata_props[_KEY] = text
                program.save(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a network that was exported as safetensors: from pixels to logits, with its description. No file can run code.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for another file, with what opens it.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        raise ValueError(f"{path}: open it with onnxruntime; its metadata hold the description under {_KEY!r}")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is not a regular file")
    with path.open("rb") as opened:
        archive = opened.read(4) == b"PK\x03\x04"
    if archive or path.suffix.lower() in (".pt2", ".pt", ".pth"):
        raise ValueError(
            f"{path}: an archive of torch can run code when it is read, so it is not read here. Export the record again with "
            "--format safetensors, or, if you trust the file, read it with torch.export.load"
        )
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads(file.metadata()[_KEY])
        if str(description["model"]).startswith(FUNCTION):
            raise ValueError(f"{path}: its network comes from {description['model']}, which is code, and is not called here")
        return _assemble(description, load_file(path)), description
    except (SafetensorError, AttributeError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a network that `mixkd export` wrote ({reason[:200]})") from error


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"format = 'onnx' needs {error.name}, which is not installed; run: python -m pip install onnx onnxscript "
            "(or install mixkd[onnx])"
        ) from error
