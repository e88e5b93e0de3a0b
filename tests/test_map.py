"""The map on the Python side: its words, its table, its still picture, the sentences under it."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import surveys
from hypothesis import given
from hypothesis import strategies as st

from mixkd import claims, figures
from mixkd.figures import map as drawn
from mixkd.figures.markup import Html
from mixkd.studies import Cell


@pytest.fixture(scope="module")
def survey():
    return surveys.survey()


class TestWords:
    @given(st.floats(0.001, 1000))
    def test_a_rounded_ratio_never_crosses_ten(self, ratio):
        assert (float(drawn.times(ratio)) >= 10) == (ratio >= 10)

    def test_falls_intervals_and_points_have_a_direction(self):
        assert [drawn.fall(ratio)[:13] for ratio in (14.2, 1.44, 0.5)] == ["14 times less", "1.4 times les", "2.0 times mor"]
        assert drawn.bounds(11.0, 18.0, 14.0) == "11 to 18"
        assert drawn.bounds(0.4, 0.625, 0.5) == "1.6 to 2.5"
        assert drawn.bounds(0.5, 2.0, 1.3) == "2.0 times more to 2.0 times less"
        assert [drawn.points(value) for value in (0.1341, -0.02, 0.0, -0.0001)] == ["+13.4", "−2.0", "0.0", "0.0"]

    @pytest.mark.parametrize(
        ("fields", "sign", "words"),
        [
            ({"as_stated": "supported", "attributed": "supported"}, "✓", "and no simpler explanation"),
            ({"as_stated": "supported", "attributed": "not supported"}, "✓", "but a simpler explanation"),
            ({"as_stated": "not supported", "underconfident": True}, "✗", "underconfident instead"),
            ({"as_stated": "not supported"}, "✗", "Not tenfold"),
            ({"as_stated": "unresolved"}, "?", "Undecided"),
            ({"as_stated": "premise not met", "why": ("P3",)}, "○", drawn.PREMISES["P3"]),
            ({"as_stated": "not run"}, "–", "no verdict"),
        ],
    )
    def test_the_word_of_a_cell(self, fields, sign, words):
        said = drawn.words(surveys.reading("kd_mixup", Cell("cnn32", "raw", 2.0), 15.0, **fields))
        assert said["sign"] == sign
        assert words in said["verdict"]


class TestMap:
    def test_the_table_has_every_cell_that_was_run(self, survey):
        still = drawn.table(survey)
        ran = [reading for reading in survey.readings.values() if reading.model is not None]
        assert still.count("<tr>") == 1 + 1 + len(ran), "head, the rival, the cells"
        for reading in ran:
            for part in ("short", "verdict"):
                assert drawn.words(reading)[part] in still

    def test_other_teachers_stand_on_the_axis_by_their_gap(self, survey):
        places = dict(drawn.place(survey, {"half way": 0.03, "as ours": 0.06, "beyond": 0.5}))
        assert places == {"half way": 0.5, "as ours": 0.375, "beyond": 0.125}
        assert drawn.place(replace(survey, teachers={}), {"any": 0.0}) == []

    def test_nothing_to_show_is_said_and_an_unknown_question_named(self, survey):
        with pytest.raises(ValueError, match="must be one of overconfidence, propagation, trade-off"):
            figures.map_of([survey], question="tradeoff")
        assert isinstance(figures.map_of([]), Html)
        assert isinstance(figures.found([]), Html)


class TestFound:
    def test_three_sentences_from_the_map(self, survey):
        decides, holds, rival = repr(figures.found([survey])).splitlines()
        assert "The teacher’s calibration decides" in decides
        assert re.findall(r"[\d.]*\d", decides)[1:] == ["2", "4.0", "24", "0.0", "6.0", "1", "4.0", "2"]
        assert "holds where the teacher is calibrated (τ 1, 2, 4)" in holds
        assert re.findall(r"\d+", holds)[1:] == ["3", "13", "1", "2", "4", "10", "3"]
        assert "reaches tenfold" in rival
        assert "12 times less overconfident (10 to 15) but 5.0 points less accurate" in rival

    def test_tau_may_decide_instead(self):
        flat = {("kd_mixup", Cell("cnn32", "fitted", 2.0)): surveys.reading("kd_mixup", Cell("cnn32", "fitted", 2.0), 4.1)}
        assert "τ decides more than the teacher’s calibration." in repr(figures.found([surveys.survey(change=flat)]))

    def test_where_nothing_holds_the_nearest_is_named(self):
        cells = {("kd_mixup", Cell("cnn32", "fitted", tau)): tau for tau in (1.0, 2.0, 4.0)}
        weak = {place: surveys.reading(*place, 9.0 / tau) for place, tau in cells.items()}
        said = repr(figures.found([surveys.survey(change=weak)]))
        assert "holds in 0 of 13" in said
        assert "9.0 times less overconfident under a teacher that is calibrated (τ 1); tenfold fails in 13" in said

    def test_what_cannot_be_tested_decides_nothing(self):
        paper = ("kd_mixup", surveys.PROFILE.paper_cell)
        barred = surveys.survey(change={paper: surveys.reading(*paper, 4.0, as_stated="premise not met", why=("P3",))})
        assert "What decides" not in repr(figures.found([barred]))


class TestStanding:
    def test_each_row_of_the_map_is_in_one_column(self):
        def row(word, calibration="raw", tau=2.0, profile="digits", claim="e"):
            return SimpleNamespace(claim=claim, profile=profile, teacher="cnn32", calibration=calibration, tau=tau, as_stated=word)

        rows = [row("supported", "fitted"), row("supported", "fitted", 1.0), row("not supported"), row("premise not met", "half")]
        rows.append(row("not run", tau=8.0))
        table = figures.standing(rows, claims.CLAIMS)
        assert "(e) Overconfidence: holds 2, does not hold 1, open 1, not tried 1" in repr(table)
        assert "calibrated (τ 2, 1)" in table._repr_html_()
