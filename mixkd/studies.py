"""The experimental plan, as data: which specs a chapter needs under a profile.

A profile is a TOML file; a study is a function of it. Nothing here trains or reads a record, and nothing else decides what is
trained. Specs that several studies need are equal, so they are trained once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from mixkd.spec import RunSpec, SpecError, TeacherSpec, build_spec, nearest

CORE_ARMS = ("ce", "label_smoothing", "mixup", "kd", "kd_mixup")


@dataclass(frozen=True)
class Profile:
    """A scale at which the paper is reproduced.

    Attributes:
        name: of the TOML file.
        title: one line for a page.
        data: data set, as in a RunSpec.
        student: model name.
        wider_student: a model of the same family with about twice its width, a rival explanation.
        teachers: model names, by capacity; the middle one is the default teacher.
        seeds: student seeds of the core arms, 0 ... seeds - 1.
        sweep_seeds: student seeds of sweeps and controls.
        teacher_seeds: a student of seed s learns from the teacher of seed s mod teacher_seeds.
        taus: the distillation temperatures of the sweep.
        minutes: about how long all of it takes where the profile is meant to run.
        recipe: RunSpec fields shared by all runs.
        teacher_recipe: TeacherSpec fields shared by all teachers.
        core: RunSpec fields of the core arms only.
    """

    name: str
    title: str
    data: str
    student: str
    wider_student: str
    teachers: tuple[str, ...]
    seeds: int
    sweep_seeds: int
    teacher_seeds: int
    taus: tuple[float, ...]
    minutes: float
    recipe: Mapping[str, Any]
    teacher_recipe: Mapping[str, Any]
    core: Mapping[str, Any]

    @property
    def default_teacher(self) -> str:
        """The teacher of every study that does not vary it."""
        return self.teachers[len(self.teachers) // 2]

    def teacher(self, seed: int, model: str | None = None, **fields: Any) -> TeacherSpec:
        """The teacher of a student seed. One that no library ships, as those trained on mixup, is trained as its students are."""
        merged = {**self.teacher_recipe, "model": model or self.default_teacher, "seed": seed % self.teacher_seeds, **fields}
        if merged.get("arm", "ce") != "ce" and merged.get("epochs") is None:
            merged.pop("pretrained", None)
        return TeacherSpec(**merged)

    def spec(self, arm: str, seed: int, *, teacher: TeacherSpec | None = None, **fields: Any) -> RunSpec:
        """A run of this profile: its data, student and recipe; the default teacher where the arm distils and none is given."""
        defaults = {"data": self.data, "student": self.student, **self.recipe, "teacher": teacher or self.teacher(seed)}
        if arm in CORE_ARMS and not fields and (teacher is None or teacher == self.teacher(seed)):
            defaults |= self.core
        return build_spec(defaults, {"arm": arm, "seed": seed, **fields})


def profiles() -> tuple[str, ...]:
    """The names of all profiles."""
    return tuple(sorted(path.name.removesuffix(".toml") for path in files("mixkd.profiles").iterdir() if path.name.endswith(".toml")))


@cache
def load_profile(name: str) -> Profile:
    """Read a profile.

    Raises:
        SpecError: for an unknown name, with the nearest one.
    """
    if name not in profiles():
        raise SpecError(f"profile = {name!r}: must be one of {', '.join(profiles())}{nearest(name, profiles())}")
    table = tomllib.loads(files("mixkd.profiles").joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    recipe, teacher, core = (table.pop(part, {}) for part in ("recipe", "teacher", "core"))
    table |= {key: tuple(table[key]) for key in ("teachers", "taus")}
    return Profile(name=name, recipe=recipe, teacher_recipe=teacher, core=core, **table)


def profile_for(data: str) -> str | None:
    """The profile that fits a data set: the one of its name, or that names it, or for a folder of images the small CPU recipe."""
    if data in profiles():
        return data
    if data.startswith("stream:"):
        return "imagenet"
    for name in profiles():
        if load_profile(name).data == data:
            return name
    return "cifar10-cpu" if data.startswith("folder:") else None


Study = Callable[[Profile], list[RunSpec]]


def overconfidence(profile: Profile) -> list[RunSpec]:
    """The core arms under the default teacher, paired by seed."""
    return [profile.spec(arm, seed) for seed in range(profile.seeds) for arm in CORE_ARMS]


def accuracy(profile: Profile) -> list[RunSpec]:
    """The core arms, and both distilling arms under teachers of every capacity."""
    return overconfidence(profile) + [
        profile.spec(arm, seed, teacher=profile.teacher(seed, model))
        for seed in range(profile.sweep_seeds)
        for model in profile.teachers
        for arm in ("kd", "kd_mixup")
    ]


def temperature(profile: Profile) -> list[RunSpec]:
    """tau over its grid for distillation on clean and on mixed inputs; tau 2 is the core runs."""
    return [
        profile.spec(arm, seed) if tau == 2 else profile.spec(arm, seed, tau=tau)
        for seed in range(profile.sweep_seeds)
        for arm in ("kd", "kd_mixup")
        for tau in profile.taus
    ]


def teachers(profile: Profile) -> list[RunSpec]:
    """The teachers themselves, of every capacity and seed that other studies use."""
    runs = [spec.teacher_run() for spec in accuracy(profile) + temperature(profile)]
    return list(dict.fromkeys(run for run in runs if run is not None))


def linearity(profile: Profile) -> list[RunSpec]:
    """What else could make a student linear: its teacher being its equal, a wider student, a longer training, and the plain rivals."""
    seeds = range(profile.sweep_seeds)
    longer = 2 * profile.spec("kd", 0).epochs
    return [spec for spec in overconfidence(profile) if spec.seed < profile.sweep_seeds] + [
        spec
        for seed in seeds
        for spec in (
            profile.spec("kd_mixup", seed, teacher=profile.teacher(seed, profile.student)),
            profile.spec("kd", seed, student=profile.wider_student),
            profile.spec("kd", seed, **_stretched(profile, longer)),
        )
    ]


def controls(profile: Profile) -> list[RunSpec]:
    """The objective taken apart: each control changes one thing about what the teacher is asked, or what its answer keeps."""
    return [spec for spec in overconfidence(profile) if spec.seed < profile.sweep_seeds] + [
        spec
        for seed in range(profile.sweep_seeds)
        for spec in (
            profile.spec("kd_mixed_targets", seed),
            profile.spec("kd_clean_ce_mixed", seed, ce_weight=1.0),
            profile.spec("kd_noise", seed),
            profile.spec("kd_shuffled_tail", seed),
        )
    ]


TEACHER_TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
TEACHER_SPREAD = 0.5


def propagation(profile: Profile) -> list[RunSpec]:
    """Teachers of one accuracy and many calibrations, of many accuracies and one calibration, and one calibrated by input."""
    specs = []
    for seed in range(profile.sweep_seeds):
        tempered: list[dict[str, Any]] = [{"temperature": temperature} for temperature in TEACHER_TEMPERATURES]
        others: list[dict[str, Any]] = [{"temperature_spread": TEACHER_SPREAD}, {"arm": "label_smoothing"}, {"arm": "mixup"}]
        specs += [profile.spec("kd_mixup", seed, teacher=profile.teacher(seed, **fields)) for fields in tempered + others]
        specs += [profile.spec("kd_mixup", seed, teacher=profile.teacher(seed, model, temperature="fitted")) for model in profile.teachers]
    return specs


def mixing(profile: Profile) -> list[RunSpec]:
    """How much is mixed: alpha, and the fraction of each batch."""
    settings: list[dict[str, Any]] = [{"alpha": alpha} for alpha in (0.2, 4.0)] + [{"partial": fraction} for fraction in (0.25, 0.5)]
    core = [spec for spec in overconfidence(profile) if spec.arm in ("kd", "kd_mixup") and spec.seed < profile.sweep_seeds]
    return core + [profile.spec("kd_mixup", seed, **setting) for seed in range(profile.sweep_seeds) for setting in settings]


def _stretched(profile: Profile, epochs: int) -> dict[str, Any]:
    """A longer schedule of the same shape."""
    milestones = profile.recipe.get("milestones")
    factor = epochs / profile.spec("kd", 0).epochs
    return {"epochs": epochs, **({"milestones": tuple(round(m * factor) for m in milestones)} if milestones else {})}


STUDIES: Mapping[str, Study] = {
    "overconfidence": overconfidence,
    "accuracy": accuracy,
    "temperature": temperature,
    "linearity": linearity,
    "controls": controls,
    "propagation": propagation,
    "mixing": mixing,
    "teachers": teachers,
}


def study(name: str, profile: str = "digits") -> list[RunSpec]:
    """The specs of one study ("all" for every study), without duplicates.

    Raises:
        SpecError: for an unknown study or profile, with the nearest name.
    """
    known = ("all", *STUDIES)
    if name not in known:
        raise SpecError(f"study = {name!r}: must be one of {', '.join(known)}{nearest(name, known)}")
    chosen = STUDIES.values() if name == "all" else [STUDIES[name]]
    loaded = load_profile(profile)
    return list(dict.fromkeys(spec for make in chosen for spec in make(loaded)))
