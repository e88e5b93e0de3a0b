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
from scipy import stats

from mixkd import claims, figures
from mixkd.figures import LabModel, temperature_lab
from mixkd.figures.ledger import Html, forest
from mixkd.measure import calibration
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
        assert isinstance(figures.tradeoff_lab(figures.lab_of([])), Html)


@pytest.fixture(scope="module")
def sweep():
    """Arms and temperatures by three seeds with numbers nobody would hard-code."""
    models = []
    for seed in (14, 15, 17):
        for arm, tau, scale in (("ce", None, 2.0), ("kd", 1.0, 1.6), ("kd", 8.0, 1.2), ("kd_mixup", 1.0, 0.9), ("kd_mixup", 8.0, 1.0)):
            logits, labels = _answers(scale=scale, seed=seed)
            models.append(LabModel({"arm": arm, "tau": tau, "seed": seed}, logits, labels, scale))
    return figures.tradeoff_lab(temperature_lab(models, name="tau"))


class TestTradeoff:
    def test_points_are_the_models_of_the_lab(self, sweep):
        for model, (_, point) in zip(sweep.opens.models, sweep.points.iterrows(), strict=True):
            native = calibration.report(model.logits, model.labels)
            scaled = calibration.report(model.logits, model.labels, temperature=model.fitted_temperature)
            assert point["accuracy"] == native.accuracy
            assert [point["gap"], point["ts_nll"]] == pytest.approx([native.gap, scaled.nll])

    def test_means_have_t_intervals_over_seeds(self, sweep):
        row = sweep.means[(sweep.means["arm"] == "kd") & (sweep.means["tau"] == "8")].iloc[0]
        sample = sweep.points[(sweep.points["arm"] == "kd") & (sweep.points["tau"] == 8.0)]["ece"]
        interval = stats.t.interval(0.95, 2, loc=sample.mean(), scale=stats.sem(sample))
        assert [row["ece low"], row["ece high"]] == pytest.approx(interval)

    def test_settings_stand_in_the_order_of_the_book_and_of_tau(self, sweep):
        assert list(zip(sweep.means["arm"], sweep.means["tau"], strict=True)) == [
            ("ce", "–"), ("kd", "1"), ("kd", "8"), ("kd_mixup", "1"), ("kd_mixup", "8"),
        ]  # fmt: skip

    def test_the_script_gets_each_model_once(self, sweep):
        meta = _meta(sweep._repr_html_())
        assert sorted(i for group in meta["groups"] for i in group["seeds"]) == list(range(15))
        assert [p["label"] for p in meta["points"]] == [
            {"arm": m.label["arm"], "tau": "–" if m.label["tau"] is None else f"{m.label['tau']:g}", "seed": str(m.label["seed"])}
            for m in sweep.opens.models
        ]

    def test_pareto_set(self, sweep):
        best = set(sweep.pareto("gap"))
        rows = [(abs(row["gap"]), row["accuracy"]) for _, row in sweep.means.iterrows()]
        for i, (cost, gain) in enumerate(rows):
            beaten = any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in rows)
            assert (i in best) != beaten

    def test_without_scripts_a_table_stands(self, sweep):
        still = sweep._repr_html_().partition('<script type="application/json"')[0]
        assert still.count("<tr>") == 6

    def test_one_seed_has_no_interval(self):
        logits, labels = _answers()
        lab = figures.tradeoff_lab(temperature_lab([LabModel({"arm": "ce", "tau": None, "seed": 3}, logits, labels, 1.0)]))
        assert "one seed" in lab._repr_html_()
        assert _meta(lab._repr_html_())["groups"][0]["values"][0][1:] == [None, None]

    def test_a_lab_without_tau_is_refused(self):
        logits, labels = _answers()
        with pytest.raises(ValueError, match="no field tau, seed"):
            figures.tradeoff_lab(temperature_lab([LabModel({"arm": "ce"}, logits, labels, 1.0)]))


def _copies(b=1.0, seeds=(12, 13, 15), divisors=(0.5, 1.0, 2.0), lean=None):
    """Students whose T* is their teacher's to the power of -b, and teachers; perhaps controls that lean by a known slope."""
    records = []
    for seed in seeds:
        for divisor in divisors:
            records.append(Fake(_spec(seed=seed, temperature=divisor), temperature=1.7 * divisor**-b, k=2))
        if lean is not None:
            sibling, _ = _answers(k=2, seed=seed)
            h = torch.linspace(-1, 1, 200)[torch.randperm(200, generator=torch.Generator().manual_seed(seed))]
            # Two classes: the log-odds of the top one are the difference of its logits.
            order = sibling.sort(-1, descending=True).values
            margin = (order[:, 0] - order[:, 1]) + lean * (-0.5 * h) + 50
            top = sibling.argmax(-1)
            logits = torch.zeros(200, 2)
            logits[torch.arange(200), top] = margin
            spec = _spec(seed=seed, temperature_spread=0.5)
            records.append(Fake(spec, logits=logits, projection=h, k=2))
    return records


def _teacher(record):
    return Fake(_spec("ce", seed=record.spec.seed), temperature=2.0, scale=1.3, k=2)


class TestPropagation:
    @pytest.mark.parametrize("b", [0.0, 0.6, 1.0])
    def test_slope_is_what_was_passed_on(self, b):
        lab = figures.propagation_lab(_copies(b), _teacher, "cnn16")
        assert [lab.slope.estimate, lab.slope.low, lab.slope.high] == pytest.approx([b] * 3, abs=1e-6)
        assert lab.slope.n == 3

    def test_a_seed_without_all_divisors_has_no_slope(self):
        records = [r for r in _copies(1.0) if (r.spec.seed, r.spec.teacher.temperature) != (13, 2.0)]
        assert figures.propagation_lab(records, _teacher, "cnn16").slope.n == 2

    def test_the_control_is_held_against_its_sibling(self):
        lab = figures.propagation_lab(_copies(lean=3.0), _teacher, "cnn16")
        assert lab.follows.estimate == pytest.approx(3.0, abs=1e-3)

    def test_other_teachers_are_left_aside(self):
        others = [Fake(_spec(seed=12, arm="kd_mixup", temperature="fitted")), Fake(_spec("ce", seed=12))]
        lab = figures.propagation_lab([*_copies(), *others], _teacher, "cnn16")
        assert lab.divisors == [0.5, 1.0, 2.0]

    def test_only_the_first_view_is_needed_at_once(self):
        markup = figures.propagation_lab(_copies(lean=1.0), _teacher, "cnn16")._repr_html_()
        assert markup.count(" data-now>") == 3  # teacher, student, labels
        assert "<table" in markup.partition("<script")[0]

    @pytest.mark.parametrize(
        ("records", "teacher"),
        [([], _teacher), (_copies(), lambda record: None), ([r for r in _copies() if r.spec.teacher.temperature != 1], _teacher)],
        ids=["no student", "no teacher", "none untouched"],
    )
    def test_what_is_missing_is_said(self, records, teacher):
        assert isinstance(figures.propagation_lab(records, teacher, "cnn16"), Html)


def _compared(what="a - b", estimate=0.2, low=0.1, high=0.3, margin=0.0, outcome="supported"):
    return claims.Comparison(what, estimate, low, high, margin, 5, outcome)


def _verdict(profile="digits", claim="e", **fields):
    given = {
        "stated": (_compared(),),
        "rivals": (_compared("against <b>", -0.1, -0.2, 0.05, 0.0, "unresolved"),),
        "note": "Mind the <gap>.",
    }
    return claims.Verdict(
        claim, profile, "supported", "unresolved", records=("0123456789abcdef",), missing=2, title="Title", sentence="S.",
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
