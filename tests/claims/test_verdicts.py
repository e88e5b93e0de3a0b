"""The six words: what turns intervals into comparisons, and comparisons and premises into verdicts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mixkd.claims.verdicts import Premise, compare, conclude, explain, premise, refuted
from mixkd.measure.statistics import Interval

NAN = math.nan


def at(low: float, high: float, n: int = 6, level: float = 0.95) -> Interval:
    """A t interval with these bounds."""
    centre, half = (low + high) / 2, (high - low) / 2
    return Interval(centre, low, high, n, half / float(stats.t.ppf((1 + level) / 2, n - 1)) if n > 1 else NAN, n - 1)


def part(low: float, high: float, margin: float = 0.0, **fields):
    return compare("it", at(low, high, fields.pop("n", 6)), margin, **fields)


def holding(name: str = "P1", met: bool | None = True) -> Premise:
    return Premise(name, "a world", 0.1, 0.0, 0.2, 0.05, met)


class TestCompare:
    def test_above(self):
        assert part(0.1, 0.2).outcome == "supported"
        assert part(-0.2, 0.0).outcome == "not supported"  # the margin itself is not beyond it
        assert part(0.0, 0.2).outcome == part(-0.1, 0.2).outcome == "unresolved"
        assert part(0.1, 0.2, 0.15).outcome == "unresolved"
        assert part(0.1, 0.2, 0.2).outcome == "not supported"  # inside the margin

    def test_equivalent_is_tost(self):
        found = part(-0.105, 0.06, 0.1, kind="equivalent")  # its 90 % interval lies inside
        assert found.outcome == "supported"
        assert part(0.12, 0.3, 0.1, kind="equivalent").outcome == part(-0.3, -0.12, 0.1, kind="equivalent").outcome == "not supported"
        assert part(0.05, 0.2, 0.1, kind="equivalent").outcome == part(-0.3, 0.3, 0.1, kind="equivalent").outcome == "unresolved"

    @pytest.mark.parametrize("kind", ["above", "equivalent"])
    def test_fewer_than_two_seeds_are_no_run(self, kind):
        for n in (0, 1):
            assert compare("it", Interval(0.1, NAN, NAN, n), 0.1, kind=kind).outcome == "not run"
        assert compare("it", Interval(NAN, NAN, NAN, 3), 0.1, kind=kind).outcome == "unresolved"

    @given(st.floats(-1, 1), st.floats(0.001, 1), st.floats(-1, 1))
    def test_p_agrees_with_the_interval(self, centre, half, margin):
        found = part(centre - half, centre + half, margin)
        assert (found.p < 0.05) == (found.low > margin or found.high < margin) or found.p == pytest.approx(0.05)

    @given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1))
    def test_monotone_in_the_margin(self, centre, half, margin, more):
        rank = {"supported": 2, "unresolved": 1, "not supported": 0}
        easy, hard = (part(centre - half, centre + half, m) for m in (margin, margin + more))
        assert rank[hard.outcome] <= rank[easy.outcome]

    def test_what_would_resolve_it(self):
        assert "seeds would resolve it" in part(-0.01, 0.05).resolving
        few_images = Interval(0.02, -0.02, 0.06, 6, 0.02, 100.0, 0.001)
        assert "4 times as many test images" not in compare("it", few_images).resolving
        assert "times as many test images would resolve it" in compare("it", few_images).resolving
        assert part(0.1, 0.2).resolving == ""
        few, many = (int(part(-w, 0.05).resolving.split()[1]) for w in (0.01, 0.03))
        assert few < many


class TestPremise:
    def test_beyond_the_bound_on_either_side(self):
        assert premise("P", "", at(0.1, 0.2), 0.05).met is True
        assert premise("P", "", at(0.1, 0.2), 0.3).met is False
        assert premise("P", "", at(0.1, 0.2), 0.15).met is None
        assert premise("P", "", at(0.1, 0.2), 0.3, below=True).met is True
        assert premise("P", "", at(0.1, 0.2), 0.05, below=True).met is False
        assert premise("P", "", Interval(0.1, NAN, NAN, 1), 0.05).met is None


class TestConclude:
    yes, no, open_ = part(0.1, 0.2), part(-0.2, -0.1), part(-0.1, 0.2)
    none = compare("it", Interval(NAN, NAN, NAN, 0))

    def test_stated_and_attributed(self):
        assert conclude([holding()], [self.yes, self.yes], [self.yes]) == ("supported", "supported")
        assert conclude([holding()], [self.yes, self.no], [self.yes]) == ("not supported", "not supported")
        assert conclude([], [self.yes, self.open_], [self.yes]) == ("unresolved", "unresolved")
        assert conclude([], [self.yes, self.none], [self.yes]) == ("unresolved", "unresolved")
        assert conclude([], [self.yes], [self.yes, self.no]) == ("supported", "not supported")
        assert conclude([], [self.yes], [self.yes, self.open_]) == ("supported", "unresolved")
        assert conclude([], [self.yes], [self.none, self.none]) == ("supported", "not run")
        assert conclude([], [self.yes], [self.yes, self.none]) == ("supported", "unresolved")
        assert conclude([], [self.no], [self.yes]) == ("not supported", "not supported")

    def test_premises(self):
        assert conclude([holding(met=False)], [self.yes], [self.yes]) == ("premise not met", "premise not met")
        for stated in (self.yes, self.no):
            assert conclude([holding(met=None)], [stated], [self.yes])[0] == "unresolved"
        assert conclude([holding(met=None), holding(met=False)], [self.yes], [])[0] == "premise not met"
        # not run comes first
        assert conclude([holding(met=False)], [self.none], []) == ("not run", "not run")
        assert conclude([holding(met=None)], [self.none, compare("", Interval(0.1, NAN, NAN, 1))], [])[0] == "not run"
        assert conclude([], [], [])[0] == "not run"

    def test_depends_needs_halves(self):
        def halves(*outcomes):
            bounds = {"yes": (0.1, 0.2), "no": (-0.2, -0.1), "open": (-0.1, 0.2)}
            return [part(*bounds[outcome], half=half) for outcome, half in outcomes]

        assert conclude([], halves(("yes", "A"), ("no", "B")), [])[0] == "depends"
        assert conclude([], halves(("yes", ""), ("no", "B")), [])[0] == "not supported"  # a condition is no half
        assert conclude([], halves(("yes", "A"), ("no", "")), [])[0] == "not supported"
        assert conclude([], halves(("yes", "A"), ("no", "B"), ("no", "")), [])[0] == "not supported"
        assert conclude([], halves(("open", "A"), ("no", "B")), [])[0] == "not supported"  # nothing contradicts it
        assert conclude([], halves(("yes", "A"), ("open", "A"), ("no", "B")), [])[0] == "not supported"  # half a half
        assert conclude([holding(met=None)], halves(("yes", "A"), ("no", "B")), [])[0] == "unresolved"

    def test_holm(self):
        """One part of seven just beyond its margin on the wrong side is what chance does."""
        weak = part(-0.2, -0.001)
        assert weak.outcome == "not supported"
        assert conclude([], [weak], [])[0] == "not supported"
        seven = [weak] + [self.open_] * 6
        assert refuted(seven) == []
        assert conclude([], seven, [])[0] == "unresolved"
        assert "Against the claim, but not once 7 parts are counted" in explain([], seven, "unresolved")
        assert conclude([], [self.no] + [self.open_] * 6, [])[0] == ("not supported" if self.no.p * 7 < 0.05 else "unresolved")

    def test_false_not_supported_is_rare(self):
        """Seven claims that hold by nothing (truth on the margin): at most 5 % of verdicts are 'not supported'."""
        rng, wrong = np.random.default_rng(0), 0
        for _ in range(400):
            draws = rng.normal(size=(7, 6))
            parts = []
            for row in draws:
                error = row.std(ddof=1) / math.sqrt(6)
                half = float(stats.t.ppf(0.975, 5)) * error
                parts.append(compare("", Interval(row.mean(), row.mean() - half, row.mean() + half, 6, error, 5)))
            wrong += conclude([], parts, [])[0] == "not supported"
        assert wrong / 400 < 0.06


class TestExplain:
    def test_names_what_a_reader_needs(self):
        assert "P4 fails: a world is 0.1, the bound 0.05." in explain([holding("P4", False)], [], "premise not met")
        assert "P4 is not resolved: a world is 0.1 (0 to 0.2)" in explain([holding("P4", None)], [], "unresolved")
        halves = [part(0.1, 0.2, half="the large one"), part(-0.2, -0.1, half="the small one")]
        assert explain([], halves, "depends") == "It holds for the large one and fails for the small one."
        assert explain([], halves, "supported") == ""
        assert "Not run: it" in explain([], [part(0.1, 0.2), compare("it", Interval(NAN, NAN, NAN, 0))], "unresolved")
