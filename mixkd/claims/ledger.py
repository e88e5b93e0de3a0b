"""The claims, the verdicts on them and the map of where each holds; both as tables, text and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mixkd.claims import accuracy, geometry, imitation, linearity, overconfidence, propagation, teacher_signal, trade_off
from mixkd.claims.evidence import Claim, Evidence
from mixkd.claims.verdicts import Comparison, Outcome, Verdict, conclude, explain, in_unit
from mixkd.spec import SpecError, nearest
from mixkd.store import RecordStore
from mixkd.studies import Cell, cells, profiles, study

_ALL = (
    teacher_signal.CLAIM, linearity.CLAIM, imitation.CLAIM, accuracy.CLAIM, overconfidence.CLAIM, propagation.CLAIM, trade_off.TRADES,
    geometry.CLAIM, trade_off.STRONGER,
)  # fmt: skip
CLAIMS: Mapping[str, Claim] = {claim.letter: claim for claim in sorted(_ALL, key=lambda claim: claim.letter)}
_NOTHING = Comparison("", math.nan, math.nan, math.nan, math.nan, 0, "not run")


@dataclass(frozen=True)
class Row:
    """One row of the map: a claim in one cell of one profile.

    Attributes:
        profile, claim: names.
        teacher, calibration, tau: of the cell; tau is None where the claim is about a teacher or a column of all tau, and all three are
            where it is judged once a profile.
        as_stated, attributed: words.
        what, estimate, low, high, margin, kind, unit: of the primary comparison, with its 95 % interval; nan where there is none.
        n: its number of paired seeds (or teachers).
        note: see :class:`Verdict`.
        missing: how many runs that the row asks for are not there.
        command: what trains them; "" when none is missing.
    """

    profile: str
    claim: str
    teacher: str | None
    calibration: str | None
    tau: float | Literal["std"] | None
    as_stated: Outcome
    attributed: Outcome
    what: str
    estimate: float
    low: float
    high: float
    margin: float
    kind: str
    unit: str
    n: int
    note: str
    missing: int
    command: str


def evaluate(profile: str = "digits", store: str | Path | RecordStore = "committed", letters: Iterable[str] | None = None) -> list[Verdict]:
    """Judge the claims in the paper's cell (teacher as trained, tau 2) from the records of a profile.

    Nothing is trained: without records the outcome is "not run".

    Args:
        profile: name of a profile.
        store: where its records lie.
        letters: which claims; all by default.

    Raises:
        SpecError: for an unknown profile or claim.
        FileNotFoundError: for a store, given by its path, where no folder is.
    """
    evidence = Evidence.of(profile, store)
    return [judge(letter, evidence) for letter in _chosen(letters)]


def across(
    only: str | Iterable[str] | None = None, store: str | Path | RecordStore = "committed", letters: Iterable[str] | None = None
) -> list[Row]:
    """Judge every claim in every cell of the map.

    Args:
        only: name or names of profiles; by default every profile that has a record in the store.
        store: where records lie.
        letters: which claims; all by default.

    Returns:
        One row for each profile, claim and cell (or teacher, column of tau or profile: what the claim is about), in this order; cells
        without records are there too, "not run", with the command that fills them.

    Raises:
        SpecError: for an unknown profile or claim.
        FileNotFoundError: for a store, given by its path, where no folder is.
    """
    rows = []
    for evidence in evidence_of(only, store):
        for letter in _chosen(letters):
            rows += [_row(judge(letter, evidence, cell), cell) for cell in _cells(CLAIMS[letter], evidence)]
    return rows


def everywhere(store: str | Path | RecordStore = "committed", letters: Iterable[str] | None = None) -> dict[str, list[Verdict]]:
    """Return the verdicts in the paper's cell of every profile that has records in a store, by profile."""
    return {known.profile.name: [judge(letter, known) for letter in _chosen(letters)] for known in evidence_of(None, store)}


def elsewhere(letter: str, profile: str, store: str | Path | RecordStore = "committed") -> list[Verdict]:
    """Return the verdicts on a claim, in the paper's cell, of the other profiles that have records in a store."""
    return [judge(letter, known) for known in evidence_of(None, store) if known.profile.name != profile]


def evidence_of(only: str | Iterable[str] | None, store: str | Path | RecordStore) -> list[Evidence]:
    """Return the evidence of profiles, by name; by default of every profile that has a record in the store, photographs first."""
    store = RecordStore.existing(store)
    if only is None:
        there = set(store.ids())
        only = [name for name in profiles() if there and not there.isdisjoint(spec.id for spec in study("all", name))]
        only.sort(key=lambda name: name.startswith(("digits", "gaussians")))
    return [Evidence.of(name, store) for name in ([only] if isinstance(only, str) else only)]


def _chosen(letters: Iterable[str] | None) -> list[str]:
    chosen = list(letters) if letters is not None else list(CLAIMS)
    for letter in chosen:
        if letter not in CLAIMS:
            raise SpecError(f"claim = {letter!r}: must be one of {', '.join(CLAIMS)}{nearest(letter, CLAIMS)}")
    return chosen


def judge(letter: str, evidence: Evidence, cell: Cell | None = None) -> Verdict:
    """Return the verdict on a claim in a cell; without one, on the claim's own line in the ledger.

    Afterwards ``evidence.used`` and ``evidence.lacking`` are what this verdict asked for.
    """
    claim, at = CLAIMS[letter], cell or evidence.profile.paper_cell
    evidence.used, evidence.lacking = set(), set()
    case = claim.overall(evidence) if claim.overall and cell is None else claim.judge(evidence, at)
    as_stated, attributed = conclude(case.premises, case.stated, case.rivals)
    sentences = [explain(case.premises, case.stated, as_stated), case.note, evidence.shared_teacher if as_stated != "not run" else ""]
    return Verdict(
        letter, evidence.profile.name, None if claim.per == "profile" else at, as_stated, attributed,
        tuple(case.stated), tuple(case.rivals), tuple(case.premises), " ".join(sentence for sentence in sentences if sentence),
        records=tuple(sorted(evidence.used)), missing=len(evidence.lacking), command=command(letter, evidence, evidence.lacking),
        title=claim.title, sentence=claim.sentence, chapter=claim.chapter, shown=tuple(case.shown),
        statistic=claim.statistic, rule=claim.rule, alternatives=claim.rivals,
    )  # fmt: skip


def command(letter: str, evidence: Evidence, lacking: Collection[str]) -> str:
    """Return what trains some runs, by id: one study if one of the claim's own has them all; "" for none."""
    if not lacking:
        return ""
    profile = evidence.profile
    name = next((name for name in CLAIMS[letter].studies if set(lacking) <= evidence.planned(name)), None)
    elsewhere = profile.data.startswith(("folder:", "stream:")) or profile.data == "imagenet"
    parts = [f"mixkd reproduce --profile {profile.name}", f"--study {name}" if name else "", "--data-root DIR" if elsewhere else ""]
    return " ".join(part for part in parts if part)


def _cells(claim: Claim, evidence: Evidence) -> list[Cell]:
    """Return the cells a claim has a row for: all; the paper's; or one per teacher and calibration (for some, only with several tau)."""
    everything = cells(evidence.profile)
    if claim.per == "cell":
        return everything
    if claim.per == "profile":
        return [evidence.profile.paper_cell]
    columns: dict[tuple[str, str], list[Cell]] = {}
    for cell in everything:
        if not isinstance(cell.tau, str):
            columns.setdefault((cell.teacher, cell.calibration), []).append(cell)
    return [Cell(*column, 2.0) for column, found in columns.items() if len(found) > 1 or claim.per == "teacher"]


def _row(verdict: Verdict, cell: Cell) -> Row:
    primary, per = verdict.stated[0] if verdict.stated else _NOTHING, CLAIMS[verdict.claim].per
    here = per != "profile"
    return Row(
        profile=verdict.profile, claim=verdict.claim,
        teacher=cell.teacher if here else None, calibration=cell.calibration if here else None, tau=cell.tau if per == "cell" else None,
        as_stated=verdict.as_stated, attributed=verdict.attributed,
        what=primary.what, estimate=primary.estimate, low=primary.low, high=primary.high, margin=primary.margin,
        kind=primary.kind, unit=primary.unit, n=primary.seeds,
        note=verdict.note, missing=verdict.missing, command=verdict.command,
    )  # fmt: skip


def to_json(verdicts: Sequence[Verdict], rows: Sequence[Row] = ()) -> str:
    """Return verdicts and the map as JSON: ``{"verdicts": [...], "map": [...]}``. Later versions may add keys, and take none away.

    A verdict has ``claim`` (a to i), ``profile``, ``cell`` (``teacher``, ``calibration``, ``tau``; or null), ``as_stated`` and
    ``attributed`` ("supported", "not supported", "depends", "unresolved", "premise not met", "not run"), ``stated``, ``rivals`` and
    ``shown`` (lists of comparisons), ``premises``, ``note``, ``records`` (ids it was computed from, sorted), ``missing`` (how many runs
    it asks for are not there), ``command`` (what trains them), ``title``, ``sentence``, ``chapter``, ``statistic``, ``rule``,
    ``alternatives``. A comparison has ``what``, ``estimate``, ``low``, ``high`` (95 % interval), ``margin``, ``kind`` ("above",
    "equivalent"), ``unit``, ``p``, ``seeds``, ``half``, ``resolving`` and ``outcome``; a premise ``name``, ``what``,
    ``estimate``, ``low``, ``high``, ``bound``, ``kind``, ``unit`` and ``met`` (null:
    not resolved). A row of the map has the fields of :class:`Row`. Numbers that do not exist are null.
    """

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    found = {"verdicts": [asdict(verdict) for verdict in verdicts], "map": [asdict(row) for row in rows]}
    return json.dumps(finite(found), indent=1)


def to_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row for each verdict, with its primary interval."""
    rows = []
    for verdict in verdicts:
        primary = verdict.stated[0] if verdict.stated else _NOTHING
        said = {"claim": verdict.claim, "title": verdict.title, "profile": verdict.profile}
        said |= {"as stated": verdict.as_stated, "attributed": verdict.attributed}
        found = {name: getattr(primary, name) for name in ("estimate", "low", "high", "margin", "seeds")}
        rows.append(said | found | {"records": len(verdict.records), "missing": verdict.missing})
    return pd.DataFrame(rows)


def to_text(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as a table for a terminal, the premises of each with their numbers below it."""
    frame = to_frame(verdicts)
    table: str = frame.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")
    words = {True: "met", False: "not met", None: "not resolved"}
    premises = []
    for verdict in verdicts:
        for p in verdict.premises:
            estimate, low, high = (in_unit(value, p.unit) for value in (p.estimate, p.low, p.high))
            premises.append(f"({verdict.claim}) {p.name} {words[p.met]}: {p.what} = {estimate} [{low}, {high}]")
    return "\n".join([table, *([""] if premises else []), *premises])
