"""The labs on the Python side: which models they offer, what their figures are, and evidence in the ledger."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from mixkd import claims, figures
from mixkd.figures.ledger import Html, forest
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.studies import profiles


def _answers(n=200, k=4, scale=1.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.5
    return torch.tensor(scale * logits, dtype=torch.float32), torch.tensor(labels)


class Fake:
    """What labs read of a record."""

    def __init__(self, spec, *, scale=1.0, n=200, k=4, draws=1, projection=None, temperature=1.5, logits=None):
        self.spec, self.projection, self.temperature, self._images = spec, projection, temperature, n // draws
        self._logits, self._labels = _answers(n, k, scale, seed=spec.seed)
        if logits is not None:
            self._logits = logits

    def logits(self, split="test"):
        return self._logits

    def labels(self, split="test"):
        return self._labels

    def images(self, split="test"):
        return torch.arange(len(self._labels)) % self._images


def _spec(arm="kd_mixup", seed=0, data="digits", tau=2.0, **teacher):
    distils = arm.startswith("kd")
    fields = {"tau": tau, "teacher": TeacherSpec(model="cnn16", **teacher)} if distils else {}
    return RunSpec(data=data, student="cnn8", arm=arm, seed=seed, **fields)


class TestWhichModels:
    def test_only_what_differs_is_asked_for(self):
        lab = figures.lab_of([Fake(_spec(seed=s)) for s in (12, 13)])
        assert list(lab.models[0].label) == ["arm", "tau", "seed"]

    def test_what_tells_models_apart_becomes_a_field(self):
        lab = figures.lab_of([Fake(_spec(temperature=t)) for t in (1.0, 2.0)])
        assert list(lab.models[0].label) == ["arm", "teacher's logits divided by", "tau", "seed"]

    def test_data_sets_of_different_size_stand_beside_each_other(self):
        lab = figures.lab_of([Fake(_spec(), n=200, k=4), Fake(_spec(data="cifar10"), n=300, k=10)])
        assert {(m.label["data"], *m.logits.shape) for m in lab.models} == {("digits", 200, 4), ("cifar10", 300, 10)}

    def test_models_of_one_data_set_show_the_same_rows(self):
        lab = figures.lab_of([Fake(_spec(seed=0), n=400, draws=4), Fake(_spec(seed=1), n=200, draws=2)])
        assert [len(m.labels) for m in lab.models] == [200, 200]
        assert [m.repeats for m in lab.models] == [2, 2]

    def test_many_classes_leave_fewer_rows(self):
        lab = figures.lab_of([Fake(_spec(), n=1000, k=400)])
        assert lab.models[0].logits.shape == (500, 400)

    def test_nothing_to_show_is_said(self):
        assert isinstance(figures.lab_of([]), Html)


def _compared(what="a - b", estimate=0.2, low=0.1, high=0.3, margin=0.0, outcome="supported"):
    return claims.Comparison(what, estimate, low, high, margin, 5, outcome)


def _verdict(profile="digits", claim="e", **fields):
    given = {
        "stated": (_compared(),),
        "rivals": (_compared("against <b>", -0.1, -0.2, 0.05, 0.0, "unresolved"),),
        "note": "Mind the <gap>.",
    }
    return claims.Verdict(
        claim, profile, None, "supported", "unresolved", records=("0123456789abcdef",), missing=2, title="Title", sentence="S.",
        chapter="07-overconfidence", **{**given, **fields},
    )  # fmt: skip


def _tree(markup):
    """The block as XML: well-formed, or this raises."""
    return ElementTree.fromstring(f"<root>{re.sub('<style>.*?</style>', '', markup)}</root>")


class TestVerdict:
    def test_what_failed_is_folded_under_its_number_and_said_in_words(self):
        unmet = _compared("c - <d>", 0.1, -0.1, 0.3, 0.2, "unresolved")
        shown = figures.verdict(_verdict(stated=(_compared(), _compared("met"), unmet)))
        root = _tree(shown.markup)
        folds = {fold.find("summary").text: [item.text for item in fold.findall("ul/li")] for fold in root.iter("details")}
        assert list(folds) == ["1 condition not met", "1 rival not cleared"]
        assert folds["1 condition not met"] == ["c - <d>: 0.1 (95 % interval -0.1 to 0.3, 5 seeds, margin 0.2), unresolved"]
        assert folds["1 rival not cleared"][0].startswith("against <b>: -0.1 ")
        for items in folds.values():
            assert items[0] in repr(shown)
        assert "Mind the <gap>." in repr(shown)

    def test_of_what_held_nothing_is_folded(self):
        whole = replace(_verdict(rivals=(_compared(),)), attributed="supported")
        assert "<details>" not in figures.verdict(whole).markup

    def test_several_are_counted_in_the_plural(self):
        weak = (_compared("x", outcome="not supported"), _compared("y", outcome="unresolved"))
        assert "<summary>2 rivals not cleared</summary>" in figures.verdict(_verdict(rivals=weak)).markup


class TestLedger:
    def test_each_cell_opens_its_own_evidence(self):
        verdicts = [_verdict(p, c) for p in ("digits", "gaussians") for c in ("e", "f")]
        root = _tree(figures.ledger(verdicts).markup)
        rows = root.findall("./div[1]/table/tbody/tr")
        assert len(rows) == 4
        for cells, opened in zip(rows[::2], rows[1::2], strict=True):
            links = [a.get("href") for a in cells.findall("./td/details/a")]
            assert links == [f"#{block.get('id')}" for block in opened.findall("./td/div")]
            assert len(links) == 2

    def test_evidence_holds_every_comparison_the_note_and_the_records(self):
        root = _tree(figures.ledger([_verdict()]).markup)
        block = root.find(".//*[@id='evidence-e-digits']")
        words = " ".join(" ".join(block.itertext()).split())
        for part in ("a - b", "against <b>", "0.2 0.1 to 0.3", "Mind the <gap>.", "0123456789abcdef", "2 more are planned"):
            assert part in words
        assert len(block.findall(".//svg")) == 2

    def test_the_page_s_profile_stands_first(self):
        markup = figures.ledger({p: [_verdict(p)] for p in ("digits", "gaussians")}, first="gaussians").markup
        assert markup.index(">gaussians<") < markup.index(">digits<")

    def test_profiles_without_records_say_how_to_get_them(self):
        markup = figures.ledger([_verdict()]).markup
        for name in profiles():
            assert (f"mixkd reproduce --profile {name}<" in markup) == (name != "digits")

    def test_on_a_short_page_they_are_left_out(self):
        assert "mixkd reproduce" not in figures.ledger([_verdict()], waiting=False).markup

    def test_a_claim_that_was_not_run_in_one_profile_keeps_its_column(self):
        verdicts = [_verdict("digits", "e"), _verdict("digits", "f"), _verdict("gaussians", "e")]
        rows = _tree(figures.ledger(verdicts).markup).findall("./div[1]/table/tbody/tr")
        assert [len(row.findall("./td")) for row in rows[::2]] == [2, 2]
        assert [len(row.findall("./td/div")) for row in rows[1::2]] == [2, 2]

    def test_nothing_was_run(self):
        shown = figures.ledger([replace(_verdict(stated=(), rivals=()), as_stated="not run", attributed="not run")])
        assert "No profile has records" in shown.markup
        assert "mixkd reproduce --profile digits" in shown.markup


def _ends(row):
    """x of zero, of the margins, of the bar's ends and of the dot."""
    root = ElementTree.fromstring(forest(row))
    zero = float(re.match(r"M([\d.-]+)", root.find("./path[@class='mixkd-zero']").get("d"))[1])
    margins = [float(re.match(r"M([\d.-]+)", p.get("d"))[1]) for p in root.findall("./path[@class='mixkd-margin']")]
    bar = root.find("./g/path")
    ends = [float(v) for v in re.match(r"M([\d.-]+) [\d.]+H([\d.-]+)", bar.get("d")).groups()] if bar is not None else []
    return zero, margins, ends, float(root.find("./g/circle").get("cx"))


class TestForest:
    def test_what_lies_left_is_less(self):
        zero, [margin], [low, high], dot = _ends(_compared(margin=0.15, outcome="unresolved"))
        assert zero < low < margin < dot < high
        assert (dot - low) == pytest.approx(high - dot, abs=0.2)

    def test_everything_is_inside_the_picture(self):
        zero, margins, ends, dot = _ends(_compared(estimate=-30.0, low=-45.0, high=-15.0, margin=2.0, outcome="not supported"))
        assert all(0 < x < 180 for x in (zero, *margins, *ends, dot))

    @pytest.mark.parametrize(("low", "high", "outcome"), [(-0.1, 0.1, "supported"), (0.3, 0.5, "not supported"), (-0.4, 0.1, "unresolved")])
    def test_an_equivalence_has_margins_on_both_sides(self, low, high, outcome):
        assert len(_ends(_compared(estimate=(low + high) / 2, low=low, high=high, margin=0.2, outcome=outcome))[1]) == 2

    def test_no_interval_no_bar(self):
        assert _ends(_compared(low=float("nan"), high=float("nan"), outcome="unresolved"))[2] == []

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_no_estimate_no_picture(self, value):
        assert forest(_compared(estimate=value)) == ""


def _meta(markup):
    return json.loads(re.search(r'class="mixkd-meta">(.*?)</script>', markup, re.DOTALL)[1])


def test_names_from_specs_cannot_become_markup():
    spec = SimpleNamespace(
        **{f: getattr(_spec("ce"), f) for f in ("arm", "student", "seed", "epochs", "arm_fields")},
        data="</script><b>",
        teacher=None,
        tau=None,
    )
    markup = figures.lab_of([Fake(spec), Fake(_spec("ce"))])._repr_html_()
    assert "</script><b>" not in markup
