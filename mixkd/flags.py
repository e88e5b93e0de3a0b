"""The flags of `mixkd run`: what each field of a spec means, and the spec that flags describe."""

from __future__ import annotations

import argparse
from typing import Any

from mixkd.data import data_identity
from mixkd.spec import ARMS, RunSpec, TeacherSpec
from mixkd.studies import load_profile, naming_the_teacher, one, profile_for


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser one flag for each field of a RunSpec and of its TeacherSpec."""
    digits = load_profile("digits")
    usual = digits.spec("kd_mixup", digits.first_seed)
    fields = parser.add_argument_group("the run", "what is not given comes from the profile that fits the data")
    teacher = parser.add_argument_group("its teacher", "frozen while the student learns; trained first unless its weights are given")
    for name, field in RunSpec.model_fields.items():
        if name == "teacher":
            continue
        form: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if field.annotation is bool else {"metavar": "X"}
        fields.add_argument(_flag(name), dest=f"run.{name}", help=_explained(_RUN_HELP[name], getattr(usual, name)), **form)
    for name in TeacherSpec.model_fields:
        flag = "--teacher" if name == "model" else _flag(f"teacher_{name}")
        text = _explained(_TEACHER_HELP[name], getattr(usual.teacher, name))
        teacher.add_argument(flag, dest=f"teacher.{name}", metavar="MODEL" if name == "model" else "X", help=text)


def _explained(text: str, value: Any) -> str:
    """Add the default to the help of a flag: its value in the profile of digits, the default data."""
    if value is None or "default" in text:
        return text
    shown = {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else value
    return f"{text} (default on digits: {'none' if shown == () else shown})"


_MODELS = "such as resnet20, wrn16-2, cnn8, mlp64, torchvision:NAME, timm:NAME or python:PACKAGE.MODULE:FUNCTION (your own function)"
_WEIGHTS = "initial weights: file:PATH (safetensors or a PyTorch state dict), or their name in torchvision or timm, such as IMAGENET1K_V1"
_CHANNELS = "of each input channel of your own network, on the scale 0 to 1: 0.49,0.48,0.45 (default: what its file says)"
_RUN_HELP = {
    "data": "data set: digits, gaussians, gaussians16, cifar10, cifar100, imagenet, folder:PATH (a folder or zip of images) or stream:PATH "
    "(a folder too big for memory) (default: digits)",
    "arm": f"what the student is trained with: {', '.join(ARMS)} (default: kd_mixup)",
    "student": f"student network, {_MODELS} (default: the profile's)",
    "pretrained": f"{_WEIGHTS} (default: random)",
    "mean": f"mean {_CHANNELS}",
    "std": f"standard deviation {_CHANNELS}",
    "tau": "distillation temperature: the loss divides the logits of teacher and student by it; above 0, or std for each row's own "
    "standard deviation",
    "alpha": "mixing strength: the weight of the first image is drawn from Beta(alpha, alpha); 0 mixes nothing, 1 draws uniformly",
    "lam_per": "draw one mixing weight for each sample, or one for each batch",
    "partial": "fraction of each batch that is mixed, 0 to 1",
    "smoothing": "probability mass that label smoothing moves from the label to all classes, 0 to 1; used by label_smoothing",
    "kd_weight": "weight of the distillation term of the loss, 0 or more",
    "ce_weight": "weight of the cross-entropy term of the loss, 0 or more",
    "train_size": "number of training images (default: all, or the profile's)",
    "train_skip": "number of training images to leave out before those, for instance the teacher's",
    "image_size": "side length in pixels to which images are resized and cropped (default: their own)",
    "augment": "augmentation of training images: none, flip, crop_flip, resize_crop_flip or resized_crop_flip",
    "epochs": "passes over the training images; 0 keeps a pretrained network as it is",
    "batch_size": "images per step",
    "optimizer": "sgd, adamw or adam",
    "lr": "peak learning rate",
    "momentum": "momentum of sgd, 0 to 1",
    "nesterov": "use Nesterov momentum in sgd",
    "weight_decay": "weight decay, 0 or more",
    "schedule": "learning rate schedule: cosine (down to zero), step or constant",
    "warmup": "epochs over which the learning rate rises from zero",
    "milestones": "epochs after which the step schedule lowers the learning rate: 150,180,210",
    "decay": "factor by which the step schedule multiplies the learning rate",
    "seed": "seed of initial weights, image order, augmentation and mixing: 0, 1, 2, ... (default: the profile's first)",
}
_TEACHER_HELP = {
    "model": f"teacher network, {_MODELS} (default: the profile's)",
    "pretrained": f"{_WEIGHTS}; used as it is unless --teacher-epochs is given (default: trained here)",
    "mean": _RUN_HELP["mean"],
    "std": _RUN_HELP["std"],
    "arm": "what the teacher is trained with: ce, label_smoothing or mixup",
    "seed": "seed of the teacher's training: 0, 1, 2, ... (default: the profile's)",
    "alpha": "mixing strength, as --alpha; used by teachers of arm mixup",
    "smoothing": "probability mass, as --smoothing; used by teachers of arm label_smoothing",
    "epochs": "passes over the teacher's training images, or of fine-tuning (default: as the student)",
    "lr": "peak learning rate of the teacher (default: as the student)",
    "milestones": "epochs, as --milestones (default: as the student)",
    "train_size": "number of the teacher's training images, or all (default: as the student)",
    "train_skip": "number of training images to leave out before those (default: as the student)",
    "temperature": "divides the teacher's logits before any student sees them: above 0, or fitted (on validation data)",
    "temperature_factor": "multiplies a fitted temperature: 0.5 gives an overconfident teacher, 2 an underconfident one",
    "temperature_spread": "lets the temperature differ between images: standard deviation of its natural logarithm",
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def spec_of(options: argparse.Namespace) -> RunSpec:
    """Return the run that flags describe; what is not given comes from the profile, that of its data where none is named.

    Raises:
        SpecError: naming the flag, what it allows, and the nearest.
    """
    given: dict[str, Any] = {}
    teacher: dict[str, Any] = {}
    for name, value in vars(options).items():
        part, _, field = name.partition(".")
        if not field or value is None:
            continue
        if field in ("milestones", "mean", "std"):
            value = tuple(value.split(","))
        (given if part == "run" else teacher)[field] = value
    given.setdefault("arm", "kd_mixup")
    if options.profile is None:
        data = given.setdefault("data", "digits")
        if not data.startswith(("folder:", "stream:")):
            data_identity(data)  # an unknown name has no profile, and would be told that a student is missing
        options.profile = profile_for(data)
    if options.profile is not None:
        load_profile(options.profile)
        return one(
            options.profile, teacher=teacher.pop("model", None), **given, **{f"teacher_{name}": value for name, value in teacher.items()}
        )
    fields = {name: value for name, value in given.items() if value is not None}
    if not teacher:
        return RunSpec(**fields)
    with naming_the_teacher():
        fields["teacher"] = TeacherSpec(**teacher)
    spec = RunSpec(**fields)
    with naming_the_teacher():
        spec.teacher_run()
    return spec
