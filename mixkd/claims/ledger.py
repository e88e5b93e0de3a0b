"""The nine claims, and the verdicts on them: judged, kept for the other pages of a build, written as table and JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mixkd.claims import accuracy, geometry, imitation, linearity, overconfidence, propagation, teacher_signal, trade_off
from mixkd.claims.evidence import Claim, Evidence
from mixkd.claims.verdicts import Comparison, Verdict
from mixkd.records import RecordStore
from mixkd.spec import RunSpec, SpecError, nearest
from mixkd.studies import profiles, study

KEPT = "MIXKD_VERDICTS"
"""Environment variable: a folder that keeps verdicts, so that no page judges again what another page of the same build has judged."""


CLAIMS: Mapping[str, Claim] = {
    claim.letter: claim
    for claim in (
        teacher_signal.CLAIM,
        linearity.CLAIM,
        imitation.CLAIM,
        accuracy.CLAIM,
        overconfidence.CLAIM,
        propagation.CLAIM,
        trade_off.TRADES,
        geometry.CLAIM,
        trade_off.STRONGER,
    )
}


def evaluate(profile: str = "digits", store: str | Path | RecordStore = "committed", letters: Iterable[str] | None = None) -> list[Verdict]:
    """Judge the claims from the records of a profile. Nothing is trained: without records the outcome is "not run".

    Args:
        profile: name of a profile.
        store: where its records lie.
        letters: which claims; all by default.

    Raises:
        SpecError: for an unknown profile or claim.
    """
    chosen = list(letters) if letters is not None else list(CLAIMS)
    for letter in chosen:
        if letter not in CLAIMS:
            raise SpecError(f"claim = {letter!r}: must be one of {', '.join(CLAIMS)}{nearest(letter, CLAIMS)}")
    evidence = Evidence.of(profile, store)
    return [_evaluate(CLAIMS[letter], evidence) for letter in chosen]


def across(store: str | Path | RecordStore = "committed", letters: Iterable[str] | None = None) -> dict[str, list[Verdict]]:
    """The verdicts of every profile that has records in a store, by profile: what a page shows beside its own."""
    store = store if isinstance(store, RecordStore) else RecordStore(store)
    there = set(store.ids())
    found = [name for name in profiles() if any(spec.id in there for spec in study("all", name))]
    return {name: evaluate(name, store, letters) for name in found}


def _evaluate(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict, perhaps as another process of the same build left it: see :data:`KEPT`."""
    if not (folder := os.environ.get(KEPT)):
        return _judge(claim, evidence)
    store = hashlib.blake2b(str(evidence.store.path.resolve()).encode(), digest_size=8).hexdigest()
    path = Path(folder, f"{claim.letter}-{evidence.profile.name}-{store}.json")
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        for name in ("stated", "rivals", "shown"):
            found[name] = tuple(Comparison(**comparison) for comparison in found[name])
        return Verdict(**{**found, "records": tuple(found["records"])})
    verdict = _judge(claim, evidence)
    partial = path.with_suffix(f".{uuid.uuid4().hex}")
    partial.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
    partial.replace(path)
    return verdict


def _judge(claim: Claim, evidence: Evidence) -> Verdict:
    profile = evidence.profile
    specs: list[RunSpec] = list(dict.fromkeys(spec for name in claim.studies for spec in study(name, profile.name)))
    found = len(evidence.store.find(specs))
    evidence.used = set()
    if found:
        if claim.asks_teachers:
            specs += [run for run in dict.fromkeys(spec.teacher_run() for spec in specs) if run is not None and run not in specs]
            found = len(evidence.store.find(specs))
        verdict = claim.judge(evidence)
    else:
        cost = f"`mixkd reproduce --profile {profile.name}` trains them, in about {profile.minutes:.0f} minutes where it is meant to run."
        verdict = Verdict(claim.letter, profile.name, "not run", "not run", note=f"No record of this profile is here; {cost}")
    used, missing = tuple(sorted(evidence.used)), len(specs) - found
    return replace(verdict, records=used, missing=missing, title=claim.title, sentence=claim.sentence, chapter=claim.chapter)


def to_json(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as JSON, the same keys for every claim and profile; later versions may add keys, and take none away.

    A list of objects with ``claim`` (a to i), ``profile``, ``as_stated`` and ``attributed`` ("supported", "not supported",
    "unresolved", "not run"), ``stated``, ``rivals`` and ``shown`` (lists of comparisons), ``note``, ``records`` (ids the verdict was
    computed from, sorted), ``missing`` (how many runs of its studies are not there), ``title``, ``sentence``, ``chapter``. A
    comparison has ``what``, ``estimate``, ``low``, ``high`` (95 % interval), ``margin``, ``seeds`` and ``outcome``. Numbers that do
    not exist are null.
    """

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps([finite(asdict(verdict)) for verdict in verdicts], indent=1)


def to_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row for each verdict, with its primary interval."""
    rows = []
    for verdict in verdicts:
        claim = CLAIMS[verdict.claim]
        primary = verdict.stated[0] if verdict.stated else Comparison("", math.nan, math.nan, math.nan, math.nan, 0, "not run")
        rows.append(
            {
                "claim": claim.letter,
                "title": claim.title,
                "profile": verdict.profile,
                "as stated": verdict.as_stated,
                "attributed": verdict.attributed,
                "estimate": primary.estimate,
                "low": primary.low,
                "high": primary.high,
                "margin": primary.margin,
                "seeds": primary.seeds,
                "records": len(verdict.records),
                "missing": verdict.missing,
            }
        )
    return pd.DataFrame(rows)


def to_text(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as a table for a terminal."""
    frame = to_frame(verdicts)
    text: str = frame.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")
    return text
