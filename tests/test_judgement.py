"""A verdict on a page: what passes is shaded by the kind of a comparison, numbers are in a reader's unit, cells are counted by word."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from mixkd import claims, figures
from mixkd.claims import Comparison, Premise, Row, Verdict
from mixkd.claims.verdicts import explain
from mixkd.figures.markup import in_words, number, times
from mixkd.figures.panels import needs, region, said
from mixkd.studies import profiles

WORDS = ("supported", "not supported", "depends", "unresolved", "premise not met", "not run")


def compared(what="a - b", estimate=0.2, low=0.1, high=0.3, margin=0.0, outcome="supported", kind="above", unit="points", **fields):
    return Comparison(what, estimate, low, high, margin, 5, outcome, kind, unit, **fields)


def judged(profile="digits", claim="e", **fields):
    given = {
        "as_stated": "supported", "attributed": "unresolved", "stated": (compared(),),
        "rivals": (compared("against <b>", -0.1, -0.2, 0.05, outcome="unresolved", resolving="about 9 seeds would resolve it"),),
        "note": "Mind the <gap>.", "records": ("0123456789abcdef",), "missing": 2, "command": "mixkd reproduce --profile digits",
        "title": "Title", "sentence": "S.", "chapter": "07-overconfidence", "rule": "the rule",
    }  # fmt: skip
    return Verdict(claim, profile, None, **{**given, **fields})


def tree(markup):
    """The block as XML: well-formed, or this raises."""
    return ElementTree.fromstring(f"<root>{re.sub('<style>.*?</style>', '', markup)}</root>")


def spans(markup):
    """For each strip: the shaded span, the dot and the ends of the bar (None without interval), in per cent of the panel."""
    found = []
    for strip in tree(markup).iter("svg"):
        if "mixkd-strip" not in strip.get("class", ""):
            continue
        shade, [dot] = strip.find("rect"), strip.findall("circle")
        left = float(shade.get("x")[:-1])
        bar = next((line for line in strip.findall("line") if line.get("stroke-width") == "3"), None)
        ends = None if bar is None else (float(bar.get("x1")[:-1]), float(bar.get("x2")[:-1]))
        found.append(((left, left + float(shade.get("width")[:-1])), float(dot.get("cx")[:-1]), ends))
    return found


class TestWhatPasses:
    @pytest.mark.parametrize(("kind", "bounds"), [("above", (0.1, math.inf)), ("below", (-math.inf, 0.1)), ("equivalent", (-0.1, 0.1))])
    def test_the_region_is_that_of_the_kind_whatever_the_numbers(self, kind, bounds):
        for estimate in (-0.5, 0.0, 0.5):
            assert region(compared(estimate=estimate, low=estimate - 0.01, high=estimate + 0.01, margin=0.1, kind=kind)) == bounds

    @pytest.mark.parametrize("unit", ["points", "nat", "share", "log ratio", "log10 ratio", "log temperature", "unheard of"])
    @pytest.mark.parametrize("kind", ["above", "below", "equivalent"])
    def test_a_dot_lies_on_the_shade_exactly_when_the_estimate_passes(self, unit, kind):
        rows = tuple(compared(estimate=e, low=e - 0.1, high=e + 0.1, margin=0.3, kind=kind, unit=unit) for e in (-0.6, -0.2, 0.2, 0.6))
        passes = {"above": (False, False, False, True), "below": (True, True, True, False), "equivalent": (False, True, True, False)}
        drawn = spans(figures.judgement(judged(stated=rows, rivals=())).markup)
        assert [left < dot < right for (left, right), dot, _ in drawn] == list(passes[kind])
        assert all(0 <= low < dot < high <= 100 for _, dot, (low, high) in drawn)

    def test_rows_of_one_unit_share_an_axis_and_units_do_not_mix(self):
        rows = (compared(estimate=0.1), compared(estimate=0.3), compared(estimate=3.0, low=2.0, high=4.0, unit="nat"))
        markup = figures.judgement(judged(stated=rows, rivals=())).markup
        assert markup.count('class="mixkd-panel"') == 2
        (_, one, _), (_, other, _), _ = spans(markup)
        assert one < other

    def test_no_interval_no_bar_and_no_estimate_no_strip(self):
        nan = math.nan
        rows = (compared(low=nan, high=nan), compared("lost", estimate=nan, low=nan, high=nan, outcome="not run"))
        markup = figures.judgement(judged(stated=rows, rivals=())).markup
        [(_, _, ends)] = spans(markup)
        assert ends is None
        assert "Not run, or no estimate: lost." in markup

    def test_ten_stands_on_the_axis_of_an_order_of_magnitude(self):
        row = compared(estimate=0.28, low=0.2, high=0.34, margin=1.0, outcome="not supported", unit="log10 ratio")
        labels = [text.text for text in tree(figures.judgement(judged(stated=(row,), rivals=())).markup).iter("text")]
        assert {"1", "10"} <= set(labels)

    def test_data_sets_share_an_axis(self):
        other = judged(profile="cifar10-jpeg", stated=(compared(estimate=0.4),))
        alone, beside = (figures.judgement(judged(rivals=()), *others).markup for others in ((), (other,)))
        (_, own, _), (_, theirs, _), *rest = spans(beside)
        assert own < theirs
        assert rest == spans(alone)
        assert "photographs" in beside
        assert "photographs" not in alone


class TestNumbers:
    def test_a_reader_gets_ratios_points_and_per_cent(self):
        assert (
            said(compared(estimate=math.log10(1.92), low=math.log10(1.6), high=math.log10(2.2), unit="log10 ratio"))
            == "1.9 times (1.6 to 2.2)"
        )
        assert said(compared(estimate=-0.0451, low=-0.107, high=0.017)) == "−4.5 points (−10.7 to +1.7)"
        assert said(compared(estimate=0.906, low=0.86, high=0.95, unit="share")) == "91 % (86 to 95)"
        assert said(compared(estimate=math.nan)) == "no estimate"

    def test_what_a_claim_needs(self):
        assert needs(compared(margin=1.0, unit="log10 ratio")) == "more than 10 times"
        assert needs(compared(margin=0.02, kind="equivalent")) == "within ±2 points"
        assert needs(compared(margin=0.1, kind="equivalent", unit="log temperature")) == "between 0.90 and 1.11"
        assert needs(compared()) == "more than zero"
        assert needs(compared(unit="log ratio")) == "more than one"
        assert needs(compared(margin=2.0, kind="below", unit="ratio")) == "less than 2 times"

    def test_signs_and_zeros(self):
        assert (number(-0.0004, 2), number(0.1, 1, sign=True), number(-1.25, 2), number(math.nan)) == ("0.00", "+0.1", "−1.25", "–")
        assert [times(ratio) for ratio in (0.069, 1.03, 1.42, 9.97, 14.2)] == ["0.07", "1.03", "1.4", "9.9", "14"]

    def test_code_names_become_labels(self):
        assert (
            in_words("log10 of overconfidence error, ce over kd_mixup") == "overconfidence error, cross-entropy over distillation on mixup"
        )
        assert in_words("accuracy of the student, teacher half - raw") == "accuracy of the student, teacher twice too sharp − as trained"
        assert in_words("at tau 2, lam 0.5 it is -0.3") == "at τ 2, λ 0.5 it is −0.3"
        assert in_words("once, and nice") == "once, and nice"


class TestJudgement:
    def test_it_holds_what_a_verdict_holds(self):
        premise = Premise("P2", "accuracy, teacher big - ce (at least 0.03)", 0.1, 0.08, 0.12, 0.03, True, "above", "points")
        shown = figures.judgement(judged(premises=(premise,), shown=(compared("beside"),)))
        words = " ".join(" ".join(tree(shown.markup).itertext()).split())
        for part in (
            "against <b>", "Mind the <gap>.", "0123456789abcdef", "2 of the runs", "about 9 seeds would resolve it", "the rule", "beside",
            "accuracy, teacher big − cross-entropy", "+10.0 points (+8.0 to +12.0)", "more than 3 points",
        ):  # fmt: skip
            assert part in words, part
        for part in ("against <b>", "Mind the <gap>.", "P2", "beside"):
            assert part in repr(shown)

    @pytest.mark.parametrize("word", WORDS)
    def test_each_word_has_its_badge(self, word):
        assert f"mixkd-{word.replace(' ', '-')}" in figures.judgement(judged(as_stated=word, attributed=word)).markup

    def test_what_premises_and_panels_say_is_not_repeated_by_the_note(self):
        row = compared("x", outcome="unresolved", resolving="about 9 seeds would resolve it")
        premise = Premise("P2", "y (at least 3 points)", -0.1, -0.2, -0.05, 0.03, False, unit="points")
        note = f"{explain([premise], [], 'premise not met')} x: about 9 seeds would resolve it. Keep me."
        shown = repr(figures.judgement(judged(stated=(row,), rivals=(), premises=(premise,), note=note)))
        assert "attributed unresolved. Keep me." in shown

    def test_nothing_was_run(self, tmp_path):
        for verdict in claims.evaluate("gaussians", tmp_path):
            shown = figures.judgement(verdict)
            tree(shown.markup)
            assert verdict.command in shown.markup


def test_a_premise_that_several_claims_ask_for_stands_once_and_the_unmet_one_is_shown():
    met, unmet = (Premise("P2", f"accuracy, teacher {name} - ce (at least 0.03)", value, value, value, 0.03, ok, "above", "points")
                  for name, value, ok in (("good", 0.2, True), ("poor", 0.01, False)))  # fmt: skip
    own = Premise("Equal accuracy", "accuracy", 0.0, 0.0, 0.0, 0.02, True, "equivalent", "points")
    verdicts = [judged(claim="d", premises=(met, unmet)), judged(claim="g", premises=(met, own))]
    said = repr(figures.premises_of(verdicts))
    assert said.count("\n") == 0
    assert "teacher poor" in said
    assert "not met; claims (d), (g)" in said
    assert "teacher good" in repr(figures.premises_of(verdicts[1:]))


class TestFinding:
    def test_each_pair_of_words_has_its_own_answer(self):
        pairs = [("supported", word) for word in ("supported", "not supported", "unresolved", "not run")] + [
            (word, word) for word in WORDS[1:]
        ]
        said_ = {repr(figures.finding(judged(as_stated=one, attributed=two))) for one, two in pairs}
        assert len(said_) == len(pairs)

    def test_it_gives_the_number_and_what_it_needs(self):
        assert "20.0 points (10.0 to 30.0); the claim needs more than zero." in repr(figures.finding(judged()))
        below = repr(figures.finding(judged(stated=(compared(low=-0.1),))))
        assert "+20.0 points (−10.0 to +30.0)" in below

    def test_it_names_the_part_that_decides(self):
        parts = (compared("one"), compared("two", 0.0, -0.1, 0.1, outcome="unresolved"))
        words = repr(figures.finding(judged(as_stated="unresolved", attributed="unresolved", stated=parts)))
        assert "Another part decides: two: 0.0 points (−10.0 to +10.0)" in words

    def test_of_several_teachers_the_weakest_speaks(self):
        parts = tuple(compared(f"gain from {name}", gain, gain - 0.01, gain + 0.01, half=name) for name, gain in (("a", 0.3), ("b", 0.1)))
        words = repr(figures.finding(judged(claim="d", stated=parts)))
        assert "10.0 points (9.0 to 11.0), with the teacher that helps least" in words

    def test_a_premise_that_fails_is_the_answer(self):
        premise = Premise("P2", "accuracy, teacher - ce (at least 0.03)", 0.01, 0.0, 0.02, 0.03, False, "above", "points")
        words = repr(figures.finding(judged(as_stated="premise not met", attributed="premise not met", premises=(premise,))))
        assert "not met: accuracy, teacher − cross-entropy: +1.0 points (0.0 to +2.0); needed: more than 3 points." in words

    def test_without_records_it_gives_the_command(self, tmp_path):
        for verdict in claims.evaluate("gaussians", tmp_path):
            assert "mixkd reproduce --profile gaussians" in repr(figures.finding(verdict))

    def test_every_data_set_has_a_line(self):
        other = judged(profile="cifar10-jpeg", as_stated="not supported", attributed="not supported", stated=(compared(estimate=-0.1),))
        both = figures.finding(judged(), other)
        digits, photographs = repr(both).splitlines()
        assert digits == repr(figures.finding(judged()))
        assert photographs.startswith("On photographs: no.")
        assert "−10.0 points" in photographs
        assert tree(both.markup) is not None

    def test_it_escapes_what_it_is_given(self):
        assert "<b>" not in figures.finding(judged(profile="<b>")).markup


def cell(calibration="raw", tau=2.0, word="supported", profile="digits", teacher="cnn32", **fields):
    ran = word != "not run"
    given = {
        "what": "gain", "estimate": 0.1 if ran else math.nan, "low": 0.05 if ran else math.nan, "high": 0.15 if ran else math.nan,
        "margin": 0.0, "kind": "above", "unit": "points", "n": 6 if ran else 0, "note": "", "missing": 0 if ran else 3,
        "command": "" if ran else f"mixkd reproduce --profile {profile} --study map",
    }  # fmt: skip
    return Row(profile, "d", teacher, calibration, tau, word, word, **{**given, **fields})


class TestWhere:
    def test_the_sentence_counts_every_cell_once(self):
        rows = [cell(word="supported"), cell("fitted"), cell("half", word="not supported"), cell("double", word="not run")]
        assert figures.holds_in(rows) == "The claim holds in 2 of 4 settings of digits; it fails in 1 and is not run in 1."
        assert figures.holds_in([cell(word="unresolved", profile="gaussians")]) == "On Gaussian classes it is undecided."
        assert figures.holds_in([cell(word="not run"), cell("half", word="not run")]) == "Not run on digits."
        assert "none of 2" in figures.holds_in([cell(word="depends"), cell("half", word="premise not met")])

    def test_each_cell_stands_in_its_row_and_column_with_its_word(self):
        rows = [
            cell(calibration, tau, word)
            for calibration, tau, word in zip(("half", "raw", "fitted") * 2, (1.0,) * 3 + ("std",) * 3, WORDS, strict=True)
        ]
        table = tree(figures.where(rows).markup).find(".//table")
        assert [head.text for head in table.findall("./thead/tr/th")][1:] == ["twice too sharp", "as trained", "calibrated"]
        lines = table.findall("./tbody/tr")
        assert [line.find("th").text for line in lines] == ["cnn32, τ 1", "cnn32, τ std"]
        assert [td.get("class") for line in lines for td in line.findall("td")] == [f"mixkd-{word.replace(' ', '-')}" for word in WORDS]

    def test_a_profile_without_records_is_a_sentence_and_one_command(self):
        rows = [cell(), cell("fitted"), cell(profile="gaussians", word="not run"), cell("half", profile="gaussians", word="not run")]
        shown = figures.where(rows)
        assert shown.markup.count("<table") == 1
        assert re.findall(r"<code>(.*?)</code>", shown.markup) == ["mixkd reproduce --profile gaussians"]

    def test_single_missing_cells_name_their_study(self):
        assert "--study map" in figures.where([cell(), cell("half", word="not run")]).markup

    def test_nothing(self):
        assert "No profile has records" in repr(figures.where([]))


class TestLedger:
    def test_each_cell_opens_its_own_evidence(self):
        verdicts = [judged(p, c) for p in ("digits", "gaussians") for c in ("e", "f")]
        rows = tree(figures.ledger(verdicts).markup).findall("./div[1]/table/tbody/tr")
        assert len(rows) == 4
        for cells, opened in zip(rows[::2], rows[1::2], strict=True):
            links = [a.get("href") for a in cells.findall("./td/details/a")]
            assert links == [f"#{block.get('id')}" for block in opened.findall("./td/div")]
            assert len(links) == 2

    def test_evidence_holds_every_comparison_the_note_and_the_records(self):
        block = tree(figures.ledger([judged()]).markup).find(".//*[@id='evidence-e-digits']")
        words = " ".join(" ".join(block.itertext()).split())
        for part in ("a − b", "against <b>", "+20.0 points (+10.0 to +30.0)", "Mind the <gap>.", "0123456789abcdef", "2 more are planned"):
            assert part in words
        assert len(spans(ElementTree.tostring(block, encoding="unicode"))) == 2

    def test_the_page_s_profile_stands_first(self):
        markup = figures.ledger({p: [judged(p)] for p in ("digits", "gaussians")}, first="gaussians").markup
        assert markup.index(">gaussians<") < markup.index(">digits<")

    def test_profiles_without_records_say_how_to_get_them(self):
        markup = figures.ledger([judged()]).markup
        for name in profiles():
            assert (f"mixkd reproduce --profile {name}<" in markup) == (name != "digits")
        assert "mixkd reproduce" not in figures.ledger([judged()], waiting=False).markup

    def test_a_claim_that_was_not_run_in_one_profile_keeps_its_column(self):
        verdicts = [judged("digits", "e"), judged("digits", "f"), judged("gaussians", "e")]
        rows = tree(figures.ledger(verdicts).markup).findall("./div[1]/table/tbody/tr")
        assert [len(row.findall("./td")) for row in rows[::2]] == [2, 2]
        assert [len(row.findall("./td/div")) for row in rows[1::2]] == [2, 2]

    def test_nothing_was_run(self):
        shown = figures.ledger([replace(judged(stated=(), rivals=()), as_stated="not run", attributed="not run")])
        assert "No profile has records" in shown.markup
        assert "mixkd reproduce --profile digits" in shown.markup

    def test_rules_of_all_claims(self):
        shown = figures.rules(claims.CLAIMS)
        assert len(tree(shown.markup).findall("./div/details")) == len(claims.CLAIMS)
        for claim in claims.CLAIMS.values():
            assert claim.rule in repr(shown)
