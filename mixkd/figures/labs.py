"""Live labs over records: which models a lab offers, and under what labels. The labs themselves know only arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mixkd.figures.absent import absent
from mixkd.figures.explorer import LabModel, TemperatureLab, temperature_lab
from mixkd.figures.markup import Html

ROWS = 4000
"""Test rows of one model in a lab: whole views of the test set, as many as fit, at least one."""
VALUES = 200_000
"""Logits of one model in a lab: with many classes, fewer rows."""


def lab_of(records: Iterable[Any], *, name: str = "lab", first: str = "ce", second: str = "kd_mixup") -> TemperatureLab | Html:
    """The temperature lab over records: choose arm, tau and seed, and what else differs between them.

    Args:
        records: see :class:`mixkd.records.Record`; of one data set or of several.
        name: as in :func:`temperature_lab`.
        first, second: the arms that are shown, and compared with, at first (if they are there).

    Returns:
        The lab, or a sentence when there is no record.

    Raises:
        ValueError: when two records differ in nothing a reader could choose by.
    """
    found = sorted(records, key=lambda record: (_rank(record.spec.arm, first, second), record.spec.seed))
    if not found:
        return absent("No lab: no record of these models is in this store.")
    labels = [_label(record.spec) for record in found]
    always = ("arm", "tau", "seed")
    shown = [field for field in labels[0] if field in always or len({label[field] for label in labels} - {None}) > 1]
    rows = shared_rows(found)
    models = []
    for record, label in zip(found, labels, strict=True):
        n = rows[record.spec.data]
        repeats = max(1, n // (int(record.images().max()) + 1))
        fields = {field: label[field] for field in shown}
        models.append(LabModel(fields, record.logits()[:n], record.labels()[:n], record.temperature, repeats))
    return temperature_lab(models, name=name)


def _label(spec: Any) -> Mapping[str, Any]:
    """What a reader may choose a model by, in the order of the selects."""
    teacher = spec.teacher
    return {
        "data": spec.data.partition("@")[0].removeprefix("folder:"),
        "student": spec.student,
        "arm": spec.arm,
        "teacher": teacher and teacher.model,
        "teacher trained with": teacher and teacher.arm,
        "teacher's logits divided by": teacher and _divisor(teacher),
        "tau": spec.tau if teacher else None,
        "alpha": spec.alpha if "alpha" in spec.arm_fields else None,
        "partial": spec.partial if "partial" in spec.arm_fields else None,
        "epochs": spec.epochs,
        "seed": spec.seed,
    }


def _divisor(teacher: Any) -> Any:
    return "one for each image" if teacher.temperature_spread else teacher.temperature


def shared_rows(records: Iterable[Any]) -> dict[str, int]:
    """How many test rows are shown, by data set: rows that all its records have, so that models compare."""
    rows: dict[str, int] = {}
    for record in records:
        n, k = record.logits().shape
        draw = int(record.images().max()) + 1
        n = min(n, max(1, ROWS // draw) * draw, max(1, VALUES // k))
        rows[record.spec.data] = min(n, rows.get(record.spec.data, n))
    return rows


def _rank(arm: str, first: str, second: str) -> int:
    return {first: 0, second: 1}.get(arm, 2)
