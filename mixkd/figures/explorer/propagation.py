"""The propagation lab: a teacher's logits are divided, teacher and student move together on stored logits, accuracy stays.

Temperatures and slopes are fitted here, what is drawn of logits is computed in the browser. It refuses students whose teacher
or whose sibling under the untouched teacher is not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixkd.figures import theme
from mixkd.figures.absent import absent
from mixkd.figures.explorer import LabModel, block, keep, kept
from mixkd.figures.labs import shared_rows
from mixkd.figures.ledger import Html
from mixkd.figures.propagation import propagation, with_teachers
from mixkd.measure import statistics
from mixkd.measure.selective import score

BINS = 15


@dataclass(frozen=True, eq=False)
class Control:
    """A student whose teacher had a temperature of its own for each image.

    Attributes:
        student: its answers.
        steeper: (N,) by how much the teacher was made steeper on each test image, -s h(x).
    """

    student: LabModel
    steeper: np.ndarray


@dataclass(frozen=True, eq=False)
class Pupil:
    """One seed: its teacher, its students by what the teacher's logits were divided by, and the control.

    Attributes:
        teacher: its answers as trained, and the temperature it needs.
        students: divisor -> student; 1 is among them.
        control: the student of the same teacher with a temperature of its own for each image, where there is one.
    """

    seed: int
    teacher: LabModel
    students: Mapping[float, LabModel]
    control: Control | None = None


class PropagationLab:
    """What `propagation_lab` returns: shows itself in a notebook and on the page.

    Attributes:
        pupils: one for each seed.
        slope: of log T* of the student over -log of the divisor, within each seed that has all divisors; interval over seeds.
        follows: slope of the control student's change in log-odds over ``steeper``; interval over seeds.
    """

    def __init__(self, pupils: Sequence[Pupil], name: str, margin: float, fallback: str) -> None:
        self.pupils, self.name, self.margin, self.fallback = tuple(pupils), name, margin, fallback
        self.divisors = sorted({divisor for pupil in pupils for divisor in pupil.students})
        self.slope = statistics.t_interval(np.array([slope for pupil in pupils if (slope := self._slope(pupil)) is not None]))
        self.follows = statistics.t_interval(np.array([_lean(p.control, p.students[1.0]) for p in pupils if p.control is not None]))

    def _slope(self, pupil: Pupil) -> float | None:
        if len(self.divisors) < 2 or set(pupil.students) != set(self.divisors):
            return None
        x = np.log(self.divisors)
        y = np.log([pupil.students[divisor].fitted_temperature for divisor in self.divisors])
        return float(-np.polyfit(x, y, 1)[0])

    def _repr_html_(self) -> str:
        store: dict[str, str] = {}
        entries = []
        for pupil in self.pupils:
            entry: dict[str, Any] = {"seed": str(pupil.seed), "teacher": _model(store, pupil.teacher), "students": {}}
            for divisor, student in sorted(pupil.students.items()):
                entry["students"][f"{divisor:g}"] = _model(store, student)
            if pupil.control is not None:
                steeper = keep(store, pupil.control.steeper.astype("<f2").tobytes())
                entry["control"] = {**_model(store, pupil.control.student), "steeper": steeper}
            entries.append(entry)
        shown = (entries[0]["teacher"], entries[0]["students"]["1"])
        now = {model[part] for model in shown for part in ("logits", "labels")}
        meta = {
            "name": self.name,
            "bins": BINS,
            "divisors": [f"{divisor:g}" for divisor in self.divisors],
            "pupils": entries,
            "slope": _bounds(self.slope),
            "follows": _bounds(self.follows),
            "margin": 100 * self.margin,
            "teacherColor": theme.NEUTRAL,
            "studentColor": theme.COLORS["kd_mixup"],
        }
        return block("propagation", meta, self.fallback, kept(store, now))

    def __repr__(self) -> str:
        return f"<propagation lab of {len(self.pupils)} seeds, teacher's logits divided by {', '.join(f'{d:g}' for d in self.divisors)}>"


def propagation_lab(
    records: Iterable[Any], teacher_of: Callable[[Any], Any], model: str, *, margin: float = 0.0, name: str = "propagation"
) -> PropagationLab | Html:
    """Drag the temperature of a teacher among recorded values; see teacher and student follow.

    Args:
        records: students, see :class:`mixkd.records.Record`; those of other teachers are left aside.
        teacher_of: the record of a student's teacher, or None.
        model: the teacher whose logits were divided.
        margin: accuracy differences within it count as none.
        name: names the figure on its page.

    Returns:
        The lab, or a sentence when no seed has its teacher and its student of the untouched teacher.
    """
    found = [record for record in records if _plain(record.spec.teacher, model)]
    teachers = {record.spec.seed: teacher for record in found if (teacher := teacher_of(record)) is not None}
    if not found or not teachers:
        return absent("No figure: the students of tempered teachers, or their teachers, are not in this store.")
    rows = min(shared_rows([*found, *teachers.values()]).values())
    pupils = []
    for seed in sorted(teachers):
        own = [record for record in found if record.spec.seed == seed]
        students = {float(r.spec.teacher.temperature): _of(r, rows) for r in own if not r.spec.teacher.temperature_spread}
        if 1.0 not in students:
            continue
        control = next((_control(r, rows) for r in own if r.spec.teacher.temperature_spread and r.projection is not None), None)
        pupils.append(Pupil(seed, _of(teachers[seed], rows), students, control))
    if not pupils:
        return absent("No figure: the students of the untouched teacher are not in this store.")
    picture = propagation(with_teachers(found, teacher_of), model, margin=margin)
    still = picture.markup if isinstance(picture, Html) else picture.numbers()
    words = "The temperature a student needs against the one its teacher needs. With JavaScript the teacher's temperature moves."
    fallback = (
        f'<figure class="mixkd-fallback"><div class="mixkd-scroll" tabindex="0">{still}</div><figcaption>{words}</figcaption></figure>'
    )
    return PropagationLab(pupils, name, margin, fallback)


def _plain(teacher: Any, model: str) -> bool:
    """A teacher of this model, trained plainly, its logits divided by a number or by one for each image."""
    return teacher is not None and teacher.model == model and teacher.arm == "ce" and not isinstance(teacher.temperature, str)


def _of(record: Any, rows: int) -> LabModel:
    repeats = max(1, rows // (int(record.images().max()) + 1))
    return LabModel({"seed": record.spec.seed}, record.logits()[:rows], record.labels()[:rows], record.temperature, repeats)


def _control(record: Any, rows: int) -> Control:
    return Control(_of(record, rows), -record.spec.teacher.temperature_spread * np.asarray(record.projection[:rows], dtype=float))


def _model(store: dict[str, str], model: LabModel) -> dict[str, Any]:
    z = model.rounded
    return {
        "n": z.shape[0],
        "k": z.shape[1],
        "temperature": float(model.fitted_temperature),
        "accuracy": float((z.argmax(1) == np.asarray(model.labels)).mean()),
        "logits": keep(store, z.astype("<f2").tobytes()),
        "labels": keep(store, np.asarray(model.labels).astype("<u2").tobytes()),
    }


def _lean(control: Control, sibling: LabModel) -> float:
    """Least-squares slope of the change in log-odds against the sibling over how much steeper the teacher was made."""
    change = (score(control.student.logits) - score(sibling.logits)).numpy()
    return float(np.polyfit(control.steeper, change, 1)[0])


def _bounds(interval: Any) -> list[float | None]:
    """Estimate, low, high, number of seeds; None where there is no number."""
    numbers = (interval.estimate, interval.low, interval.high)
    return [*(round(float(value), 6) if math.isfinite(value) else None for value in numbers), interval.n]
