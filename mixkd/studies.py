"""The experimental plan, as data: which specs a chapter needs under a profile.

A profile is a TOML file; a study is a function of it. Nothing here trains or reads a record, and nothing else decides what is
trained. Specs that several studies need are equal, so they are trained once.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from mixkd.spec import ARMS, RunSpec, SpecError, TeacherSpec, build_spec, nearest

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
        seeds: how many student seeds the core arms have.
        sweep_seeds: how many of them sweeps and controls have.
        teacher_seeds: how many teachers of each kind there are; as many as seeds, and no two students share one.
        taus: the distillation temperatures of the sweep.
        minutes: about how long all of it takes where the profile is meant to run.
        recipe: RunSpec fields shared by all runs.
        teacher_recipe: TeacherSpec fields shared by all teachers.
        core: RunSpec fields of the core arms only.
        first_seed, first_teacher_seed: where the seeds of students and of teachers begin. A rule that was changed after its verdict
            was seen is judged anew on seeds that it has not met.
        without: studies that this scale leaves out; their specs are an empty list.
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
    first_seed: int = 0
    first_teacher_seed: int = 0
    without: tuple[str, ...] = ()

    @property
    def default_teacher(self) -> str:
        """The teacher of every study that does not vary it."""
        return self.teachers[len(self.teachers) // 2]

    @property
    def core_seeds(self) -> range:
        """The student seeds of the core arms."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def swept_seeds(self) -> range:
        """The student seeds of sweeps and controls."""
        return self.core_seeds[: self.sweep_seeds]

    def teacher_seed(self, seed: int) -> int:
        """The seed of the teacher that a student of this seed learns from."""
        return self.first_teacher_seed + seed % self.teacher_seeds

    def teacher(self, seed: int, model: str | None = None, **fields: Any) -> TeacherSpec:
        """The teacher of a student seed. All records of the default one are read whole; of the others, their answers to the probe.

        One that no library ships, as those trained on mixup, is trained as its students are.
        """
        own: dict[str, Any] = {"model": model or self.default_teacher, "seed": self.teacher_seed(seed)}
        if model not in (None, self.default_teacher):
            own["extras"] = "probe"
        merged = {**self.teacher_recipe, **own, **fields}
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
    table |= {key: tuple(table[key]) for key in ("teachers", "taus", "without") if key in table}
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


def one(profile: str, *, arm: str, seed: int | None = None, teacher: str | None = None, **fields: Any) -> RunSpec:
    """One run of a profile with some fields changed.

    Args:
        profile: its name.
        arm, seed: of the student; the profile's first seed if not given.
        teacher: model name; None for the profile's own. It is left out where the arm does not distil.
        fields: of the RunSpec, or of its teacher with ``teacher_`` in front; None means as in the profile.

    Raises:
        SpecError: for an unknown profile, or a field that the arm does not use.
    """
    loaded = load_profile(profile)
    seed = loaded.first_seed if seed is None else seed
    given = {name: value for name, value in fields.items() if value is not None}
    asked = {name: given.pop(name) for name in list(given) if name.startswith("teacher_")}
    changed = {name.removeprefix("teacher_"): value for name, value in asked.items()}
    if given.get("data") == loaded.data:
        del given["data"]
    distils = arm in ARMS and ARMS[arm].distils  # an unknown arm is named by the spec
    return loaded.spec(arm, seed, teacher=loaded.teacher(seed, teacher, **changed) if distils else None, **given)


Study = Callable[[Profile], list[RunSpec]]

EXAMINED: Mapping[str, Any] = {"extras": "probe"}
"""Runs beyond the core whose answers to mixed inputs are read."""
COUNTED: Mapping[str, Any] = {"extras": False}
"""Runs of a sweep, of which accuracy and calibration are read and nothing else."""


def overconfidence(profile: Profile) -> list[RunSpec]:
    """The core arms under the default teacher, paired by seed."""
    return [profile.spec(arm, seed) for seed in profile.core_seeds for arm in CORE_ARMS]


def _core(profile: Profile, *arms: str) -> list[RunSpec]:
    """The core arms (or some of them) for the seeds that sweeps have."""
    return [spec for spec in overconfidence(profile) if spec.seed in profile.swept_seeds and spec.arm in (arms or CORE_ARMS)]


def accuracy(profile: Profile) -> list[RunSpec]:
    """The core arms, and both distilling arms under teachers of every capacity."""
    return overconfidence(profile) + [
        profile.spec(
            arm, seed, teacher=profile.teacher(seed, model), **(EXAMINED if (arm, model) == ("kd_mixup", profile.student) else COUNTED)
        )
        for seed in profile.swept_seeds
        for model in profile.teachers
        if model != profile.default_teacher
        for arm in ("kd", "kd_mixup")
    ]


def temperature(profile: Profile) -> list[RunSpec]:
    """tau over its grid for distillation on clean and on mixed inputs; tau 2 is the core runs."""
    return [
        profile.spec(arm, seed) if tau == 2 else profile.spec(arm, seed, tau=tau, **COUNTED)
        for seed in profile.swept_seeds
        for arm in ("kd", "kd_mixup")
        for tau in profile.taus
    ]


def _runs_of_teachers(specs: list[RunSpec]) -> list[RunSpec]:
    runs = (spec.teacher_run() for spec in specs)
    return list(dict.fromkeys(run for run in runs if run is not None))


def teachers(profile: Profile) -> list[RunSpec]:
    """The teachers themselves, of every capacity and seed."""
    return _runs_of_teachers(accuracy(profile))


def mixup_teachers(profile: Profile) -> list[RunSpec]:
    """Teachers that were trained on mixup and so have met mixed inputs, one for each plain teacher of that size."""
    return _runs_of_teachers([profile.spec("kd_mixup", seed, teacher=_blended(profile, seed)) for seed in profile.swept_seeds])


def _blended(profile: Profile, seed: int) -> TeacherSpec:
    return profile.teacher(seed, arm="mixup", **EXAMINED)


def linearity(profile: Profile) -> list[RunSpec]:
    """What else could make a student linear: its teacher being its equal, a wider student, a longer training, and the plain rivals."""
    return _core(profile) + [
        spec
        for seed in profile.swept_seeds
        for spec in (
            profile.spec("kd_mixup", seed, teacher=_equal(profile, seed), **EXAMINED),
            profile.spec("kd", seed, student=profile.wider_student, **EXAMINED),
            _longer(profile, "kd", seed, 2),
        )
    ]


def _equal(profile: Profile, seed: int) -> TeacherSpec:
    """A teacher of the student's own size: one that other studies have too, or else one of which nothing more is read."""
    if profile.student in profile.teachers:
        return profile.teacher(seed, profile.student)
    whole = profile.teacher(seed, profile.student, extras=True)
    run = profile.spec("kd_mixup", seed, teacher=whole).teacher_run()
    return whole if run in overconfidence(profile) else profile.teacher(seed, profile.student, **COUNTED)


LENGTHS = (2, 4)
"""How many times the recipe's steps the long schedules take."""


def duration(profile: Profile) -> list[RunSpec]:
    """The plain arms at the recipe's length and at multiples of it; a student that learns for longer keeps its teacher."""
    return _core(profile, "ce", "mixup", "kd", "kd_mixup") + [
        _longer(profile, arm, seed, times) for seed in profile.swept_seeds for times in LENGTHS for arm in ("ce", "mixup", "kd", "kd_mixup")
    ]


def _longer(profile: Profile, arm: str, seed: int, times: int) -> RunSpec:
    """A run of so many times the steps, on a schedule of the same shape. Those that distil are asked how linear they became."""
    plain = profile.spec("kd", seed)
    milestones = {"milestones": tuple(times * epoch for epoch in plain.milestones)} if plain.milestones else {}
    own: dict[str, Any] = {}
    if not profile.teacher(seed).as_it_is:  # else epochs would have it fine-tuned, and so be another teacher
        own = {"epochs": plain.epochs, **({"milestones": plain.milestones} if plain.milestones else {})}
        own |= {name: profile.teacher_recipe[name] for name in own if name in profile.teacher_recipe}
    distils = arm in ("kd", "kd_mixup")
    fields = {"epochs": times * plain.epochs, **milestones, **(EXAMINED if distils else COUNTED)}
    return profile.spec(arm, seed, teacher=profile.teacher(seed, **own) if distils else None, **fields)


def controls(profile: Profile) -> list[RunSpec]:
    """The objective taken apart: each control changes one thing about what the teacher is asked, or what its answer keeps."""
    return _core(profile) + [
        spec
        for seed in profile.swept_seeds
        for spec in (
            profile.spec("kd_mixed_targets", seed, **EXAMINED),
            profile.spec("kd_clean_ce_mixed", seed, ce_weight=1.0, **COUNTED),
            profile.spec("kd_noise", seed, **COUNTED),
            profile.spec("kd_shuffled_tail", seed, **COUNTED),
        )
    ]


TEACHER_TEMPERATURES = (0.5, 1.0, 2.0, 3.0)
TEACHER_SPREAD = 0.5
STOPPED_EARLY = 8
"""The less accurate teacher of the default size trains for a so-manieth of the epochs."""


def propagation(profile: Profile) -> list[RunSpec]:
    """Teachers of one accuracy and many calibrations, of many accuracies and one calibration, and one calibrated by input.

    The accuracies are made to differ by capacity and, since capacities may not do it, by stopping one teacher early.
    """
    specs = []
    for seed in profile.swept_seeds:
        tempered: list[dict[str, Any]] = [{"temperature": temperature} for temperature in TEACHER_TEMPERATURES if temperature != 1]
        schools: list[TeacherSpec] = [profile.teacher(seed, **fields) for fields in tempered]
        schools += [
            profile.teacher(seed, temperature_spread=TEACHER_SPREAD),
            profile.teacher(seed, arm="label_smoothing", **COUNTED),
            _blended(profile, seed),
            stopped_early(profile, seed),
        ]
        schools += [profile.teacher(seed, model, temperature="fitted") for model in profile.teachers]
        specs += [profile.spec("kd_mixup", seed), *(profile.spec("kd_mixup", seed, teacher=school, **COUNTED) for school in schools)]
    return specs


def stopped_early(profile: Profile, seed: int) -> TeacherSpec:
    """A teacher of the default size that trained for a fraction of the epochs, scaled by its own temperature."""
    plain = profile.spec("kd", seed)
    shortest = math.floor(plain.warmup) + 1  # a schedule is longer than its warm-up
    epochs = max(2, shortest, round(profile.teacher_recipe.get("epochs", plain.epochs) / STOPPED_EARLY))
    milestones = profile.teacher_recipe.get("milestones", plain.milestones)
    shorter: dict[str, Any] = (
        {"milestones": tuple(sorted({max(1, round(epoch / STOPPED_EARLY)) for epoch in milestones}))} if milestones else {}
    )
    if profile.teacher(seed).as_it_is:  # one that its library trained to the end cannot be stopped early; one of its kind can
        shorter["pretrained"] = None
    return profile.teacher(seed, epochs=epochs, temperature="fitted", **shorter, **COUNTED)


ALPHAS = (0.2, 4.0)
PARTS = (0.25, 0.5)


def mixing(profile: Profile) -> list[RunSpec]:
    """How much is mixed: alpha, and the fraction of each batch."""
    settings: list[dict[str, Any]] = [{"alpha": alpha} for alpha in ALPHAS] + [{"partial": fraction} for fraction in PARTS]
    return _core(profile, "kd", "kd_mixup") + [
        profile.spec("kd_mixup", seed, **setting, **COUNTED) for seed in profile.swept_seeds for setting in settings
    ]


STUDIES: Mapping[str, Study] = {
    "overconfidence": overconfidence,
    "accuracy": accuracy,
    "temperature": temperature,
    "linearity": linearity,
    "duration": duration,
    "controls": controls,
    "propagation": propagation,
    "mixing": mixing,
    "teachers": teachers,
    "mixup_teachers": mixup_teachers,
}


def study(name: str, profile: str = "digits") -> list[RunSpec]:
    """The specs of one study ("all" for every study), without duplicates; none of a study that the profile leaves out.

    Raises:
        SpecError: for an unknown study or profile, with the nearest name.
    """
    known = ("all", *STUDIES)
    if name not in known:
        raise SpecError(f"study = {name!r}: must be one of {', '.join(known)}{nearest(name, known)}")
    loaded = load_profile(profile)
    chosen = [make for known, make in STUDIES.items() if name in ("all", known) and known not in loaded.without]
    return list(dict.fromkeys(spec for make in chosen for spec in make(loaded)))
