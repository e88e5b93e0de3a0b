"""Live labs over records: which models a lab offers, and under what labels. The labs themselves know only arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mixkd.figures.explorer import LabModel, TemperatureLab, temperature_lab

ROWS = 4000
"""Test rows of one model in a lab: whole noise draws, as many as fit, or the first rows."""


def lab_of(records: Iterable[Any], *, name: str = "lab", first: str = "ce", second: str = "kd_mixup") -> TemperatureLab:
    """The temperature lab over records: choose arm, tau, seed, and teacher where several are there.

    Args:
        records: at least one, see :class:`mixkd.records.Record`.
        name: as in :func:`temperature_lab`.
        first, second: the arms that are shown, and compared with, at first (if they are there).
    """
    found = sorted(records, key=lambda record: (_rank(record.spec.arm, first, second), record.spec.seed))
    several = len({record.spec.teacher.model for record in found if record.spec.teacher}) > 1
    models = []
    for record in found:
        spec = record.spec
        label: dict[str, Any] = {"arm": spec.arm, "tau": spec.tau if spec.teacher else None, "seed": spec.seed}
        if several:
            label["teacher"] = spec.teacher and spec.teacher.model
        draw = int(record.images().max()) + 1
        rows = max(1, ROWS // draw) * draw
        models.append(LabModel(label, record.logits()[:rows], record.labels()[:rows], record.temperature))
    return temperature_lab(models, name=name)


def _rank(arm: str, first: str, second: str) -> int:
    return {first: 0, second: 1}.get(arm, 2)
