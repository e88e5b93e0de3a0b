"""Compare fresh records with the committed ones of the same id: bit-identical, within seed noise, or different."""

from __future__ import annotations

import filecmp

import numpy as np
import pandas as pd

from mixkd.records import Record
from mixkd.store import RecordStore

SEED_DEVIATIONS = 3.0


def compare(fresh: RecordStore, committed: RecordStore) -> pd.DataFrame:
    """Compare each fresh record with the committed one of the same id.

    "identical": the recorded tensors agree bit for bit. "within seed noise": test accuracy differs by at most three
    standard deviations over the committed seeds of that arm (specs equal but for the seeds); where only one seed is
    committed, by at most three binomial standard errors. "different": neither.

    Returns:
        One row for each id both stores hold: id, arm, student, seed, accuracy, committed_accuracy, noise (one standard
        deviation), verdict, and the instruction sets that trained both (cpu, committed_cpu; bits agree within one only).
    """
    known = {record.id: record for record in committed.list()}
    families: dict[str, list[float]] = {}
    for record in known.values():
        families.setdefault(_family(record), []).append(_accuracy(record))
    rows = []
    for record in fresh.list():
        if record.id not in known:
            continue
        old, spec = known[record.id], record.spec
        accuracies = families[_family(old)]
        accuracy, before = _accuracy(record), _accuracy(old)
        binomial = float(np.sqrt(before * (1 - before) / (int(old.images().max()) + 1)))
        noise = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else binomial
        if filecmp.cmp(record.path / "tensors.safetensors", old.path / "tensors.safetensors", shallow=False):
            verdict = "identical"
        else:
            verdict = "within seed noise" if abs(accuracy - before) <= SEED_DEVIATIONS * noise else "different"
        rows.append((record.id, spec.arm, spec.student, spec.seed, accuracy, before, noise, verdict, _cpu(record), _cpu(old)))
    columns = ["id", "arm", "student", "seed", "accuracy", "committed_accuracy", "noise", "verdict", "cpu", "committed_cpu"]
    return pd.DataFrame(rows, columns=columns)


def summary(table: pd.DataFrame) -> str:
    """Return the comparison as a table for a terminal: a line for each arm, a count for each verdict."""
    if table.empty:
        return "no committed record has the id of a fresh one: nothing to compare"
    verdicts = ["identical", "within seed noise", "different"]
    counts = table.pivot_table(index=["arm", "student"], columns="verdict", values="id", aggfunc="count", fill_value=0)
    counts = counts.reindex(columns=verdicts, fill_value=0)
    counts["largest accuracy difference"] = (table.accuracy - table.committed_accuracy).abs().groupby([table.arm, table.student]).max()
    text: str = counts.to_string(float_format=lambda value: f"{value:.4f}")
    total = table.verdict.value_counts().reindex(verdicts, fill_value=0)
    totals = ", ".join(f"{total[verdict]} {verdict}" for verdict in verdicts)
    elsewhere = table[table.cpu != table.committed_cpu]
    why = "".join(
        f"; {count} committed under {theirs}, trained here under {ours}: bits differ"
        for (ours, theirs), count in elsewhere.groupby(["cpu", "committed_cpu"]).size().items()
    )
    return f"{text}\n\n{len(table)} records compared: {totals}{why}"


def _family(record: Record) -> str:
    """Return a key that specs share which differ only in seeds."""
    spec = record.spec
    teacher = spec.teacher.model_copy(update={"seed": 0}) if spec.teacher else None
    return spec.model_copy(update={"seed": 0, "teacher": teacher}).canonical()


def _cpu(record: Record) -> str:
    return str(record.provenance.get("cpu_capability", "an unknown CPU"))


def _accuracy(record: Record) -> float:
    return float((record.logits().argmax(-1) == record.labels()).double().mean())
