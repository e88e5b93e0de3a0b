"""The experimental plan, as data: which specs a chapter needs under a profile.

A profile is a TOML file; a study is a function of it. Nothing here trains or reads a record, and nothing else decides what is
trained. Specs that several studies need are equal, so they are trained once.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from mixkd.spec import ARMS, RunSpec, SpecError, TeacherSpec, build_spec, nearest, shown

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
        taus: the distillation temperatures of the sweep, under the teacher as trained.
        map_taus, calibrations: the distillation temperatures and the tempered teachers of the map, see :data:`CALIBRATIONS`.
        shifted_taus: those under a teacher made twice too sharp or too soft; as ``map_taus`` where empty.
        minutes: about how long all of it takes where the profile is meant to run.
        recipe: RunSpec fields shared by all runs, none left to a default.
        teacher_recipe: TeacherSpec fields shared by all teachers.
        teacher_recipes: by model name, TeacherSpec fields of its teachers that differ, as of one fine-tuned from published weights.
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
    taus: tuple[float | Literal["std"], ...]
    minutes: float
    recipe: Mapping[str, Any]
    teacher_recipe: Mapping[str, Any]
    teacher_recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    map_taus: tuple[float, ...] = (1.0, 2.0, 4.0)
    calibrations: tuple[str, ...] = ("raw", "fitted", "half", "double")
    shifted_taus: tuple[float, ...] = ()
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
        """Return the seed of the teacher that a student of this seed learns from."""
        return self.first_teacher_seed + seed % self.teacher_seeds

    def teacher(self, seed: int, model: str | None = None, /, **fields: Any) -> TeacherSpec:
        """Return the teacher of a student seed. One that no library ships, such as one trained on mixup, is trained as its students are."""
        own: dict[str, Any] = {"model": model or self.default_teacher, "seed": self.teacher_seed(seed)}
        merged = {**self.teacher_recipe, **self.teacher_recipes.get(own["model"], {}), **own, **fields}
        if merged.get("arm", "ce") != "ce" and merged.get("epochs") is None:
            merged.pop("pretrained", None)
        return TeacherSpec(**merged)

    def spec(self, /, arm: str, seed: int, *, teacher: TeacherSpec | None = None, **fields: Any) -> RunSpec:
        """Return a run of this profile: its data, student and recipe; the default teacher if the arm distils and none is given."""
        defaults = {"data": self.data, "student": self.student, **self.recipe, "teacher": teacher or self.teacher(seed)}
        return build_spec(defaults, {"arm": arm, "seed": seed, **fields})

    @property
    def paper_cell(self) -> Cell:
        """The authors' setting: the default teacher as trained, tau 2."""
        return Cell(self.default_teacher, "raw", 2.0)


CALIBRATIONS: Mapping[str, Mapping[str, Any]] = {
    "raw": {},
    "fitted": {"temperature": "fitted"},
    "half": {"temperature": "fitted", "temperature_factor": 0.5},
    "double": {"temperature": "fitted", "temperature_factor": 2.0},
}
"""How a teacher's logits are tempered before its students see them: as trained, calibrated, twice too sharp, twice too soft."""


@dataclass(frozen=True)
class Cell:
    """One cell of the map of a profile: which teacher, how its logits are tempered, and the distillation temperature.

    Attributes:
        teacher: model name.
        calibration: a key of :data:`CALIBRATIONS`.
        tau: distillation temperature, or "std".
    """

    teacher: str
    calibration: str
    tau: float | Literal["std"]


def cells(profile: Profile, arm: str = "kd_mixup") -> list[Cell]:
    """Return the cells an arm is trained in: the default teacher in every calibration at the profile's ``map_taus``, and as trained over
    the sweep of tau; other teachers at tau 2 as trained and, for ``kd_mixup``, fitted."""
    model = profile.default_teacher
    taus = dict.fromkeys(("half", "double"), profile.shifted_taus or profile.map_taus)
    default = [Cell(model, name, tau) for name in profile.calibrations for tau in taus.get(name, profile.map_taus)]
    default += [cell for tau in profile.taus if (cell := Cell(model, "raw", tau)) not in default]
    fitted = ("raw", "fitted") if arm == "kd_mixup" else ("raw",)
    return default + [Cell(other, calibration, 2.0) for other in profile.teachers if other != model for calibration in fitted]


def cell_spec(profile: Profile, arm: str, seed: int, cell: Cell) -> RunSpec:
    """Return the run of an arm and a seed in a cell."""
    teacher = profile.teacher(seed, cell.teacher, **CALIBRATIONS[cell.calibration])
    return profile.spec(arm, seed, teacher=teacher, **({} if cell.tau == 2 else {"tau": cell.tau}))


def profiles() -> tuple[str, ...]:
    """Return the names of all profiles."""
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
    recipe, teacher = (table.pop(part, {}) for part in ("recipe", "teacher"))
    own = {model: teacher.pop(model) for model in table["teachers"] if model in teacher}
    table |= {key: tuple(table[key]) for key in ("teachers", "taus", "map_taus", "shifted_taus", "calibrations", "without") if key in table}
    return Profile(name=name, recipe=recipe, teacher_recipe=teacher, teacher_recipes=own, **table)


def profile_for(data: str) -> str | None:
    """Return the profile for a data set: of its name, or the first that names it; "imagenet" for a stream, "colab" for an image folder."""
    if data in profiles():
        return data
    if data.startswith("stream:"):
        return "imagenet"
    for name in profiles():
        if load_profile(name).data == data:
            return name
    return "colab" if data.startswith("folder:") else None


def one(profile: str, *, arm: str, seed: int | str | None = None, teacher: str | None = None, **fields: Any) -> RunSpec:
    """Return one run of a profile with some fields changed: the same words give the same spec as a study's.

    Args:
        profile: its name.
        arm, seed: of the student; the profile's first seed if not given. Text of digits is a number too, as in all fields.
        teacher: model name; None for the profile's own, and for arms that do not distil.
        fields: of the RunSpec, or of its teacher with ``teacher_`` in front; None means as in the profile. Data other than the profile's
            own keep the recipe, but not the numbers of training images.

    Raises:
        SpecError: for an unknown profile, or a field that the arm does not use.
    """
    loaded = load_profile(profile)
    seed = loaded.first_seed if seed is None else seed
    if not isinstance(seed, int) and not (isinstance(seed, str) and seed.isdecimal() and len(seed) < 20):
        raise SpecError(f"seed = {shown(seed)}: must be a whole number of 0 or more")
    given = {name: value for name, value in fields.items() if value is not None}
    asked = {name: given.pop(name) for name in list(given) if name.startswith("teacher_")}
    changed = {name.removeprefix("teacher_"): value for name, value in asked.items()}
    if shown(teacher).startswith("'python:") or shown(changed.get("pretrained")).startswith("'file:"):  # as it is, unless it gets epochs
        recipe_of_its_own = {k: v for k, v in loaded.teacher_recipe.items() if k != "pretrained"} if "epochs" in changed else {}
        loaded = replace(loaded, teacher_recipe=recipe_of_its_own, teacher_recipes={})
    if given.get("data", loaded.data) == loaded.data:
        given.pop("data", None)
    else:
        sizes = ("train_size", "train_skip")
        recipe, teaching = ({k: v for k, v in part.items() if k not in sizes} for part in (loaded.recipe, loaded.teacher_recipe))
        loaded = replace(loaded, recipe=recipe, teacher_recipe=teaching)
    known = isinstance(arm, str) and arm in ARMS  # an unknown arm is named by the spec
    distils = known and ARMS[arm].distils
    if distils:
        with naming_the_teacher():
            own = loaded.teacher(int(seed), teacher, **changed)
        spec = loaded.spec(arm, int(seed), teacher=own, **given)
        with naming_the_teacher():  # its own schedule may be impossible where the student's is not
            spec.teacher_run()
        return spec
    if known and (teacher is not None or changed):
        named = "teacher" if teacher is not None else next(iter(asked))
        users = ", ".join(name for name, known in ARMS.items() if known.distils)
        raise SpecError(f"{named}: arm {arm!r} has no teacher; leave it out, or choose one of {users}")
    return loaded.spec(arm, int(seed), **given)


@contextmanager
def naming_the_teacher() -> Iterator[None]:
    """Errors inside are about the teacher, and say so."""
    try:
        yield
    except SpecError as error:
        raise SpecError("\n".join(f"teacher: {line}" for line in str(error).splitlines())) from None


Study = Callable[[Profile], list[RunSpec]]


def overconfidence(profile: Profile) -> list[RunSpec]:
    """Return the core arms under the default teacher, paired by seed."""
    return [profile.spec(arm, seed) for seed in profile.core_seeds for arm in CORE_ARMS]


def _core(profile: Profile, *arms: str) -> list[RunSpec]:
    """Return the core arms (or some of them) for the seeds that sweeps have."""
    return [spec for spec in overconfidence(profile) if spec.seed in profile.swept_seeds and spec.arm in (arms or CORE_ARMS)]


def accuracy(profile: Profile) -> list[RunSpec]:
    """Return the core arms, and both distilling arms under teachers of every capacity."""
    others = [model for model in profile.teachers if model != profile.default_teacher]
    return overconfidence(profile) + [
        cell_spec(profile, arm, seed, Cell(model, "raw", 2.0))
        for seed in profile.swept_seeds
        for model in others
        for arm in ("kd", "kd_mixup")
    ]


def temperature(profile: Profile) -> list[RunSpec]:
    """tau over its grid for distillation on clean and on mixed inputs; tau 2 is the core runs."""
    column = [Cell(profile.default_teacher, "raw", tau) for tau in profile.taus]
    return [cell_spec(profile, arm, seed, cell) for seed in profile.swept_seeds for arm in ("kd", "kd_mixup") for cell in column]


def the_map(profile: Profile) -> list[RunSpec]:
    """Every cell of the map, and what its claims are judged against: the core arms."""
    return _core(profile) + [
        cell_spec(profile, arm, seed, cell) for seed in profile.swept_seeds for arm in ("kd", "kd_mixup") for cell in cells(profile, arm)
    ]


def _runs_of_teachers(specs: list[RunSpec]) -> list[RunSpec]:
    runs = (spec.teacher_run() for spec in specs)
    return list(dict.fromkeys(run for run in runs if run is not None))


def teachers(profile: Profile) -> list[RunSpec]:
    """Return the teachers' own runs, of every capacity and seed."""
    return _runs_of_teachers(accuracy(profile))


def mixup_teachers(profile: Profile) -> list[RunSpec]:
    """Teachers that were trained on mixup and so have met mixed inputs, one for each plain teacher of that size."""
    return _runs_of_teachers([profile.spec("kd_mixup", seed, teacher=_blended(profile, seed)) for seed in profile.swept_seeds])


def _blended(profile: Profile, seed: int) -> TeacherSpec:
    return profile.teacher(seed, arm="mixup")


def linearity(profile: Profile) -> list[RunSpec]:
    """Return what else could make a student linear: a teacher that is its equal, a wider student, longer training, the plain rivals."""
    return _core(profile) + [
        spec
        for seed in profile.swept_seeds
        for spec in (
            profile.spec("kd_mixup", seed, teacher=profile.teacher(seed, profile.student)),
            profile.spec("kd", seed, student=profile.wider_student),
            _longer(profile, "kd", seed),
        )
    ]


LONGER = 2
"""How many times the recipe's steps the long schedule takes."""


def duration(profile: Profile) -> list[RunSpec]:
    """Return the plain arms at the recipe's length and at twice it; a student that learns for longer keeps its teacher."""
    arms = ("ce", "mixup", "kd", "kd_mixup")
    return _core(profile, *arms) + [_longer(profile, arm, seed) for seed in profile.swept_seeds for arm in arms]


def _longer(profile: Profile, arm: str, seed: int) -> RunSpec:
    """Return a run of twice the steps, on a schedule of the same shape."""
    plain = profile.spec("kd", seed)
    milestones = {"milestones": tuple(LONGER * epoch for epoch in plain.milestones)} if plain.milestones else {}
    own: dict[str, Any] = {}
    if not profile.teacher(seed).as_it_is:  # with epochs it would be fine-tuned, and so be another teacher
        own = {"epochs": plain.epochs, **({"milestones": plain.milestones} if plain.milestones else {})}
        own |= {name: profile.teacher_recipe[name] for name in own if name in profile.teacher_recipe}
    teacher = profile.teacher(seed, **own) if ARMS[arm].distils else None
    return profile.spec(arm, seed, teacher=teacher, epochs=LONGER * plain.epochs, **milestones)


def controls(profile: Profile) -> list[RunSpec]:
    """Return the controls: each changes one part of the objective, in what the teacher is asked or what is kept of its answer."""
    arms: dict[str, dict[str, Any]] = {
        "kd_mixed_targets": {},
        "kd_clean_ce_mixed": {"ce_weight": 1.0},
        "kd_noise": {},
        "kd_shuffled_tail": {},
    }
    return _core(profile) + [profile.spec(arm, seed, **fields) for seed in profile.swept_seeds for arm, fields in arms.items()]


TEACHER_SPREAD = 0.5
STOPPED_EARLY = 8
"""The less accurate teacher of the default size trains for one epoch in so many."""


def propagation(profile: Profile) -> list[RunSpec]:
    """Teachers of many accuracies and one calibration, one calibrated input by input, one smoothed, one trained on mixup.

    The accuracies are made to differ by capacity and, since capacities may not do it, by stopping one teacher early. Teachers of one
    accuracy and many calibrations are the map's.
    """
    specs = []
    for seed in profile.swept_seeds:
        schools = [
            profile.teacher(seed, temperature_spread=TEACHER_SPREAD),
            profile.teacher(seed, arm="label_smoothing"),
            _blended(profile, seed),
            stopped_early(profile, seed),
            *(profile.teacher(seed, model, temperature="fitted") for model in profile.teachers),
        ]
        specs += [profile.spec("kd_mixup", seed), *(profile.spec("kd_mixup", seed, teacher=school) for school in schools)]
    return specs


def stopped_early(profile: Profile, seed: int) -> TeacherSpec:
    """Return a teacher of the default size that trained for a fraction of the epochs, scaled by its own temperature."""
    plain = profile.spec("kd", seed)
    shortest = math.floor(plain.warmup) + 1  # a schedule is longer than its warm-up
    epochs = max(2, shortest, round(profile.teacher_recipe.get("epochs", plain.epochs) / STOPPED_EARLY))
    milestones = profile.teacher_recipe.get("milestones", plain.milestones)
    shorter: dict[str, Any] = (
        {"milestones": tuple(sorted({max(1, round(epoch / STOPPED_EARLY)) for epoch in milestones}))} if milestones else {}
    )
    if profile.teacher(seed).as_it_is:  # one that its library trained to the end cannot be stopped early; one of its kind can
        shorter["pretrained"] = None
    return profile.teacher(seed, epochs=epochs, temperature="fitted", **shorter)


ALPHAS = (0.2,)
PARTS = (0.5,)


def mixing(profile: Profile) -> list[RunSpec]:
    """How much is mixed: alpha, and the fraction of each batch."""
    settings: list[dict[str, Any]] = [{"alpha": alpha} for alpha in ALPHAS] + [{"partial": fraction} for fraction in PARTS]
    return _core(profile, "kd", "kd_mixup") + [
        profile.spec("kd_mixup", seed, **setting) for seed in profile.swept_seeds for setting in settings
    ]


STUDIES: Mapping[str, Study] = {
    "overconfidence": overconfidence,
    "accuracy": accuracy,
    "temperature": temperature,
    "map": the_map,
    "linearity": linearity,
    "duration": duration,
    "controls": controls,
    "propagation": propagation,
    "mixing": mixing,
    "teachers": teachers,
    "mixup_teachers": mixup_teachers,
}


def of_first_seeds(specs: Iterable[RunSpec], profile: str, seeds: int) -> list[RunSpec]:
    """Return the specs of a profile's first student seeds and of their teachers: a reduced grid.

    Raises:
        ValueError: if none is left.
    """
    plan = load_profile(profile)
    chosen = set(plan.core_seeds[: max(0, seeds)])
    chosen |= {plan.teacher_seed(seed) for seed in chosen}
    kept = [spec for spec in specs if spec.seed in chosen]
    if not kept:
        raise ValueError(f"--seeds {seeds}: leaves no run; at least 1")
    return kept


def study(name: str, profile: str = "digits") -> list[RunSpec]:
    """Return the specs of one study ("all" for every study), without duplicates; empty if the profile leaves it out.

    Raises:
        SpecError: for an unknown study or profile, with the nearest name.
    """
    known = ("all", *STUDIES)
    if name not in known:
        raise SpecError(f"study = {name!r}: must be one of {', '.join(known)}{nearest(name, known)}")
    loaded = load_profile(profile)
    chosen = [make for known, make in STUDIES.items() if name in ("all", known) and known not in loaded.without]
    return list(dict.fromkeys(spec for make in chosen for spec in make(loaded)))
