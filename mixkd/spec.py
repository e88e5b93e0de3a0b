"""What one run is: frozen, validated, hashable specs.

A spec holds every field that changes the trained network, and none that says what it is asked afterwards or where it trains (no paths,
devices, precision, worker counts). It knows nothing of data, models or training; names that only those can judge are checked when the
run is prepared.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

T = TypeVar("T")
Optimizer = Literal["sgd", "adamw", "adam"]
Schedule = Literal["cosine", "step", "constant"]
Augmentation = Literal["none", "flip", "crop_flip", "resize_crop_flip", "resized_crop_flip"]

_LARGEST = 2**63 - 1
"""Of any integer: what the generators and tensors of torch take."""
_SHOWN = 80

_MIXING = frozenset({"alpha", "lam_per", "partial"})
_DISTILLING = frozenset({"teacher", "tau", "kd_weight", "ce_weight"})


@dataclass(frozen=True)
class Arm:
    """What a student is trained with; its loss is its case in :func:`mixkd.objectives.loss`.

    Attributes:
        name: in code and on the command line.
        label: on pages.
        uses: the spec fields that mean something to it.
        color: hex; at least 3:1 against the light and the dark page (WCAG 1.4.11), apart from every other arm's under deuteranopia and
            protanopia.
        dash: plotly line dash; arms of similar colour differ in it.
        symbol: plotly marker symbol, of no other arm.
    """

    name: str
    label: str
    uses: frozenset[str]
    color: str
    dash: str
    symbol: str

    @property
    def distils(self) -> bool:
        """Whether the arm has a teacher."""
        return "teacher" in self.uses

    @property
    def mixes(self) -> bool:
        """Whether the arm draws lam."""
        return "alpha" in self.uses


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("ce", "cross-entropy", frozenset(), "#64888f", "solid", "circle"),
        Arm("label_smoothing", "label smoothing", frozenset({"smoothing"}), "#885d04", "dot", "square"),
        Arm("mixup", "mixup", _MIXING, "#0e7361", "dash", "diamond"),
        Arm("kd", "distillation", _DISTILLING, "#fb610e", "solid", "triangle-up"),
        Arm("kd_mixup", "distillation on mixup", _DISTILLING | _MIXING, "#4159df", "solid", "star"),
        Arm("kd_mixed_targets", "distillation, mixed clean targets", _DISTILLING | _MIXING, "#0798f8", "dash", "triangle-down"),
        Arm("kd_clean_ce_mixed", "distillation clean, cross-entropy mixed", _DISTILLING | _MIXING, "#9245a4", "dashdot", "cross"),
        Arm("kd_noise", "distillation on noise", _DISTILLING | _MIXING, "#e35ec5", "dot", "x"),
        Arm("kd_shuffled_tail", "distillation on mixup, tail shuffled", _DISTILLING | _MIXING, "#08a85a", "dashdot", "hexagon"),
    )
}
"""The arms in the order of the book; an arm is one entry here and one case in :func:`mixkd.objectives.loss`."""
if TYPE_CHECKING:
    ArmName = str
else:
    ArmName = Literal[*ARMS]
_ARM_FIELDS = _MIXING | _DISTILLING | {"smoothing"}
_SCHEDULE_FIELDS: Mapping[str, frozenset[str]] = {
    "cosine": frozenset(),
    "constant": frozenset(),
    "step": frozenset({"milestones", "decay"}),
}


class SpecError(ValueError):
    """A spec that cannot be run. The message names each bad value, what is allowed and the nearest match."""


class UnknownName(KeyError, ValueError):
    """A name that a user gave and that is not there: a record's id, a split, a column. The message says what there is.

    A plain KeyError is a bug of ours, and the command line does not take one for the other.
    """

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show it in quotes


def shown(value: object) -> str:
    """Return the repr of a value for a message, of 80 characters at most."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"{type(value).__name__} of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."


def printable(text: str) -> str:
    """Return a text as one line, whatever files are called: line ends, control characters and bytes outside UTF-8 are escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def nearest(name: object, allowed: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest allowed name, or an empty string."""
    close = difflib.get_close_matches(name if isinstance(name, str) else shown(name), list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpecError("\n".join(_explain(type(self), error))) from None


def _explain(model: type[BaseModel], error: ValidationError) -> list[str]:
    """One line for each bad field; pydantic reports each branch of a union apart."""
    lines: dict[str, list[str]] = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        kind, value = problem["type"], problem["input"]
        if kind == "value_error":
            message = str(problem["ctx"]["error"])
            lines[f"{name}: {message}" if name else message] = []
        elif kind == "extra_forbidden":
            allowed = ", ".join(model.model_fields)
            lines[
                f"{name if len(name) <= _SHOWN else shown(name)}: no such field; fields are {allowed}{nearest(name, model.model_fields)}"
            ] = []
        elif kind == "missing":
            lines[f"{name}: required, but not given"] = []
        elif kind == "literal_error":
            allowed_names = _choices(model.model_fields[name].annotation)
            rule = f"one of {', '.join(allowed_names)}{nearest(value, allowed_names)}"
            lines.setdefault(f"{name} = {shown(value)}: must be ", []).append(rule)
        else:
            rule = problem["msg"].removeprefix("Input should be ")
            lines.setdefault(f"{name} = {shown(value)}: must be ", []).append(rule)
    return [head + ", or ".join(rules) for head, rules in lines.items()]


def _choices(annotation: Any) -> list[str]:
    """Return the strings that a (possibly nested) Literal admits."""
    if isinstance(annotation, str):
        return [annotation]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


class TeacherSpec(_Spec):
    """The frozen teacher: how it was trained, and how its logits are tempered before any student sees them.

    Attributes:
        model: a name :func:`mixkd.models.build` knows.
        pretrained: weights it starts from, by its library's name for them ("IMAGENET1K_V1" of torchvision, "a1_in1k" of timm), or
            "file:PATH". A record never keeps the path: it is replaced by "file:NAME@DIGEST". Without ``epochs`` the teacher is taken as it
            is and evaluated once; with them it is fine-tuned on the data first. The same holds for a "python:" model without any.
        mean, std: of each channel, on the scale 0 to 1, that such a network's inputs are normalised with; as its file says if not given.
        arm: what it was trained with: "ce", "label_smoothing" or "mixup".
        seed: of its own training, >= 0.
        alpha, smoothing: of its own arm.
        epochs, lr, milestones: of its training; as the student's where not given.
        train_size: training images, "all" that are left, or as the student's where not given.
        train_skip: training images passed over first, as the student's where not given. A teacher that skips the images of its students
            does not know them by heart.
        temperature: its logits are divided by this (> 0) before distillation. "fitted" is the temperature that minimises its NLL on
            validation data. The ranking of its classes, so its accuracy, stays.
        temperature_factor: multiplies the temperature (> 0): "fitted" with 0.5 is an overconfident teacher, with 2 an underconfident one.
        temperature_spread: s >= 0; makes that temperature depend on the input, proportional to exp(s h(x)) with h a fixed random
            projection of the pixels, rescaled so that the mean confidence on validation data stays. 0 switches it off.
    """

    model: str
    arm: Literal["ce", "label_smoothing", "mixup"] = "ce"
    seed: Annotated[int, Field(ge=0, le=_LARGEST)] = 0
    alpha: Annotated[float, Field(ge=0)] = 1.0
    smoothing: Annotated[float, Field(gt=0, lt=1)] = 0.1
    epochs: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    milestones: tuple[Annotated[int, Field(ge=1, le=_LARGEST)], ...] | None = None
    train_size: Annotated[int, Field(ge=1, le=_LARGEST)] | Literal["all"] | None = None
    train_skip: Annotated[int, Field(ge=0, le=_LARGEST)] | None = None
    temperature: Annotated[float, Field(gt=0)] | Literal["fitted"] = 1.0
    temperature_factor: Annotated[float, Field(gt=0)] = 1.0
    temperature_spread: Annotated[float, Field(ge=0)] = 0.0
    pretrained: Annotated[str, Field(min_length=1)] | None = None
    mean: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] | None = None
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] | None = None

    @property
    def as_it_is(self) -> bool:
        """Whether it is used as it was given, without any training here."""
        return (self.pretrained is not None or self.model.startswith("python:")) and self.epochs is None

    @model_validator(mode="after")
    def _only_what_the_arm_uses(self) -> Self:
        _reject_unused(self, ARMS[self.arm].uses, {"alpha", "smoothing"}, f"arm {self.arm!r}")
        if self.temperature_factor != 1 and self.temperature != "fitted":
            raise ValueError(
                f"temperature_factor = {self.temperature_factor:g}: multiplies a fitted temperature; "
                f"say temperature = {self.temperature * self.temperature_factor:g} instead"
            )
        _check_own(self.model, self.pretrained, self.mean, self.std)
        untrained = {"arm": "ce", "lr": None, "train_size": None, "train_skip": None, "milestones": None}
        for name, default in untrained.items() if self.as_it_is else ():
            if (value := getattr(self, name)) != default:
                raise ValueError(
                    f"{name} = {shown(value)}: a pretrained teacher without epochs is not trained; give epochs to fine-tune it"
                )
        return self


class RunSpec(_Spec):
    """One training run: data, student, arm, recipe, seed.

    The defaults are the recipe of the embedded data set, ``digits``; profiles hold those of the others. The default objective
    follows the authors' public code: KL only, tau 2, lam ~ Beta(1, 1) for each sample.

    Attributes:
        data: "digits", "gaussians", "gaussians16", "cifar10", "cifar100", "imagenet", "folder:PATH", or "stream:PATH" for a folder too
            big for memory. A record never keeps the path: it is replaced by "folder:NAME@DIGEST" when the run is prepared.
        arm: what the student is trained with, see :data:`ARMS`.
        student: a name :func:`mixkd.models.build` knows.
        pretrained, mean, std: weights the student starts from, as in a TeacherSpec; None for a random start.
        teacher: for arms that distil.
        tau: distillation temperature > 0, or "std": each row of logits divided by its own standard deviation, without the factor
            tau^2 (Choi et al. 2023).
        alpha: Beta parameter of lam, >= 0; 0 means no mixing.
        lam_per: one lam per "sample" or per "batch".
        partial: fraction of each batch that is mixed, in [0, 1].
        smoothing: label smoothing, in (0, 1).
        kd_weight, ce_weight: weights of the two terms, >= 0, not both 0. The classic recipe is tau 4, .9 and .1; the usual one on
            ImageNet tau 1, .5 and .5. "kd_clean_ce_mixed" needs both.
        train_size: number of training images (a fixed, stratified subset; smaller ones lie in larger ones), all of them if not given.
        train_skip: training images passed over before those are taken.
        image_size: side in pixels; the data set's own if not given.
        augment: "none", "flip", "crop_flip" (out of images padded by 4), "resize_crop_flip" (out of images enlarged by 236/224) or
            "resized_crop_flip" (a random part of the image, enlarged).
        epochs, batch_size: the last incomplete batch of an epoch is dropped. No epochs leave a pretrained network as it is.
        optimizer, lr, momentum, nesterov, weight_decay: momentum and nesterov belong to "sgd".
        schedule: "cosine" to zero, "step" or "constant", after a linear warm-up of ``warmup`` epochs.
        milestones, decay: of "step": epochs after which the rate is multiplied by decay.
        seed: of initialisation, data order, augmentation and mixing.

    Raises:
        SpecError: for unknown fields, fields the arm, optimiser or schedule does not use, values out of range, impossible
            combinations.
    """

    data: str
    arm: ArmName
    student: str
    teacher: TeacherSpec | None = None
    tau: Annotated[float, Field(gt=0)] | Literal["std"] = 2.0
    alpha: Annotated[float, Field(ge=0)] = 1.0
    lam_per: Literal["sample", "batch"] = "sample"
    partial: Annotated[float, Field(ge=0, le=1)] = 1.0
    smoothing: Annotated[float, Field(gt=0, lt=1)] = 0.1
    kd_weight: Annotated[float, Field(ge=0)] = 1.0
    ce_weight: Annotated[float, Field(ge=0)] = 0.0
    train_size: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None
    train_skip: Annotated[int, Field(ge=0, le=_LARGEST)] = 0
    image_size: Annotated[int, Field(ge=8, le=_LARGEST)] | None = None
    augment: Augmentation = "none"
    epochs: Annotated[int, Field(ge=0, le=_LARGEST)] = 40
    batch_size: Annotated[int, Field(ge=1, le=_LARGEST)] = 100
    optimizer: Optimizer = "adamw"
    lr: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Schedule = "cosine"
    warmup: Annotated[float, Field(ge=0)] = 0.0
    milestones: tuple[Annotated[int, Field(ge=1, le=_LARGEST)], ...] = ()
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.1
    pretrained: Annotated[str, Field(min_length=1)] | None = None
    mean: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] | None = None
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=_LARGEST)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        arm = ARMS[self.arm]
        _reject_unused(self, arm.uses, _ARM_FIELDS, f"arm {self.arm!r}")
        _reject_unused(self, _SCHEDULE_FIELDS[self.schedule], {"milestones", "decay"}, f"schedule {self.schedule!r}")
        sgd = {"momentum", "nesterov"}
        _reject_unused(self, sgd if self.optimizer == "sgd" else set(), sgd, f"optimizer {self.optimizer!r}")
        if arm.distils and self.teacher is None:
            raise ValueError(f"teacher: arm {self.arm!r} needs a teacher, for instance TeacherSpec(model='cnn32')")
        if self.teacher is not None and self.teacher.milestones is not None and self.schedule != "step":
            raise ValueError(f"teacher.milestones = {self.teacher.milestones}: schedule {self.schedule!r}, the teacher's too, has none")
        if arm.distils and self.kd_weight == 0:
            raise ValueError(f"kd_weight = 0: arm {self.arm!r} distils; for none of it use arm 'ce' or 'mixup'")
        if self.arm == "kd_clean_ce_mixed" and self.ce_weight == 0:
            raise ValueError("ce_weight = 0.0: arm 'kd_clean_ce_mixed' needs its cross-entropy term, for instance ce_weight=1.0")
        if self.schedule == "step" and not self.milestones:
            raise ValueError("milestones: schedule 'step' needs at least one epoch, for instance (150, 180, 210)")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones = {shown(self.milestones)}: must grow")
        _check_own(self.student, self.pretrained, self.mean, self.std)
        if arm.mixes and self.batch_size == 1:
            raise ValueError(f"batch_size = 1: arm {self.arm!r} mixes each image with another of its batch; give 2 or more")
        if self.epochs == 0 and self.pretrained is None and not self.student.startswith("python:"):
            raise ValueError("epochs = 0: must be at least 1; only a pretrained network is taken as it is")
        if self.epochs and self.warmup >= self.epochs:
            raise ValueError(f"warmup = {self.warmup}: must be shorter than epochs = {self.epochs}")
        kind, _, place = self.data.partition(":")
        if kind in ("folder", "stream") and ":" in self.data and not place:
            raise ValueError(f"data = {self.data!r}: say which, as in '{kind}:PATH' or '{kind}:NAME@DIGEST'")
        return self

    def canonical(self) -> str:
        """Return the spec as JSON with sorted keys, without the fields that hold their default: what the id is a hash of."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, the same in every process and on every machine."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    @property
    def arm_fields(self) -> frozenset[str]:
        """The fields its arm uses beyond those every arm does."""
        return ARMS[self.arm].uses

    def replace(self, /, **changes: Any) -> RunSpec:
        """Return a spec with some fields changed. Fields that a changed arm, schedule or optimiser no longer uses are dropped."""
        kept = {name: getattr(self, name) for name in self.model_fields_set if name not in changes}
        return build_spec(kept, changes)

    def teacher_run(self) -> RunSpec | None:
        """Return the spec of the teacher's own training, or None. Specs that differ only in the tempering of logits share it."""
        if self.teacher is None:
            return None
        teacher = self.teacher
        if teacher.as_it_is:  # one record, whatever its students' recipe is
            given: dict[str, Any] = {name: getattr(self, name) for name in ("data", "image_size") if name in self.model_fields_set}
            given |= {name: value for name in ("pretrained", "mean", "std") if (value := getattr(teacher, name)) is not None}
            return RunSpec(arm="ce", student=teacher.model, epochs=0, **given)
        recipe = (
            "data",
            "image_size",
            "augment",
            "batch_size",
            "optimizer",
            "momentum",
            "nesterov",
            "weight_decay",
            "schedule",
            "warmup",
            "milestones",
            "decay",
            "epochs",
            "lr",
            "train_size",
            "train_skip",
        )
        fields = {name: getattr(self, name) for name in recipe if name in self.model_fields_set}
        own = {
            name: getattr(teacher, name)
            for name in (
                *("arm", "seed", "alpha", "smoothing", "epochs", "lr", "milestones", "train_size", "train_skip"),
                *("pretrained", "mean", "std"),
            )
        }
        fields |= {name: value for name, value in own.items() if value is not None} | {"student": teacher.model}
        if fields.get("train_size") == "all":
            del fields["train_size"]
        return build_spec(fields, {})

    def cohort(self) -> str:
        """Two specs with the same answer may be trained in one pass: same data, order and length. (Teachers are compared apart.)"""
        shared = self.model_dump(include={"data", "train_size", "train_skip", "image_size", "augment", "epochs", "batch_size", "seed"})
        return json.dumps(shared, sort_keys=True)


def _check_own(model: str, pretrained: str | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    if model.startswith("file:"):
        raise ValueError(f"model = {shown(model)}: name the architecture here, such as resnet56, and the file as pretrained = file:PATH")
    if (pretrained or "").startswith("python:"):
        raise ValueError(f"pretrained = {shown(pretrained)}: a function returns a model; name it there, and leave pretrained out")
    if mean is None and std is None:
        return
    name = "mean" if mean is not None else "std"
    if not model.startswith("python:") and not (pretrained or "").startswith("file:"):
        raise ValueError(f"{name}: only a network of your own (pretrained = file:PATH, or a model python:...) has a normalisation to name")
    if mean is None or std is None or len(mean) != len(std):
        raise ValueError(f"{name}: give mean and std together, as many numbers of each as the images have channels")


def build_spec(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> RunSpec:
    """Build a spec from defaults (a profile, an older spec) overridden by what was given.

    Defaults that the resulting arm, schedule, optimiser or data set does not use are dropped; an unused *given* field is an error.
    """
    used = _used_fields({**defaults, **given})
    return RunSpec(**{name: value for name, value in defaults.items() if name in used} | dict(given))


def _used_fields(fields: Mapping[str, Any]) -> set[str]:
    arm = _known(ARMS, fields.get("arm"))
    unused: set[str] = set()
    if arm is not None:
        unused |= _ARM_FIELDS - arm.uses
    unused |= {"milestones", "decay"} - (_known(_SCHEDULE_FIELDS, fields.get("schedule", "cosine")) or frozenset())
    if fields.get("optimizer", "adamw") != "sgd":
        unused |= {"momentum", "nesterov"}
    return set(RunSpec.model_fields) - unused


def _known(names: Mapping[str, T], name: object) -> T | None:
    """Look up a name; None if it is unknown or not a string, which may be unhashable."""
    return names.get(name) if isinstance(name, str) else None


def _reject_unused(spec: BaseModel, used: Iterable[str], candidates: Iterable[str], what: str) -> None:
    given = spec.model_fields_set
    for name in sorted((set(candidates) - set(used)) & given):
        default = type(spec).model_fields[name].default
        value = getattr(spec, name)
        if name == "teacher" and value is None:
            continue
        users = ""
        if name in _ARM_FIELDS and isinstance(spec, RunSpec):
            users = f" (used by {', '.join(arm.name for arm in ARMS.values() if name in arm.uses)})"
        raise ValueError(f"{name} = {shown(value)}: {what} does not use it{users}; leave it out (its default is {default!r})")
