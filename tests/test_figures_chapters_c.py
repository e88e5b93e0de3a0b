"""Known truth and published tables: what is drawn and typed is what was given."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixkd import calibration, chapters
from mixkd.figures import against_truth, labelled_points, published, rows, truth_along

LAM = [0.0, 0.5, 1.0]
LOGS = pd.read_csv(chapters.ROOT / "book" / "authors-logs.csv", comment="#")


class TestTruth:
    def answers(self) -> dict[str, np.ndarray]:
        return {"exact": np.array([[0.1, 0.2], [0.5, 0.6], [0.9, 0.8]]), "teacher": np.full((3, 2), 0.5), "kd_mixup": np.eye(3)[:, :2]}

    def test_every_pair_has_a_frame_with_its_own_answers(self):
        figure = against_truth(self.answers(), LAM, ["0 → 1", "1 → 2"]).figure
        assert len(figure.frames) == 2
        for pair, frame in enumerate(figure.frames):
            for trace, p in zip(frame.data, self.answers().values(), strict=True):
                assert list(trace.y) == list(p[:, pair])
        assert [list(trace.y) for trace in figure.data] == [list(trace.y) for trace in figure.frames[0].data]
        assert figure.data[0].name == "exact posterior"

    def test_one_pair_needs_no_slider(self):
        figure = against_truth({name: p[:, :1] for name, p in self.answers().items()}, LAM, ["0 → 1"]).figure
        assert not figure.frames
        assert not figure.layout.sliders

    def test_shapes_must_fit(self):
        with pytest.raises(ValueError, match=r"must be \(3, 1\)"):
            against_truth(self.answers(), LAM, ["0 → 1"])
        with pytest.raises(ValueError, match="at least one pair"):
            against_truth({"exact": np.empty((3, 0))}, LAM, [])

    def test_along_draws_means_with_bands_over_seeds(self):
        seeds = np.array([[0.1, 0.2, 0.3], [0.3, 0.4, 0.5], [0.2, 0.3, 0.4]])
        plot = truth_along(LAM, {"exact": seeds[:1], "teacher": seeds, "ce": np.empty((0, 3))}, y="nats")
        named = {trace.name: trace for trace in plot.figure.data if trace.name}
        assert set(named) == {"exact posterior", "teacher"}
        assert list(named["teacher"].y) == pytest.approx(seeds.mean(0))
        edges = [trace for trace in plot.figure.data if trace.legendgroup == "teacher" and trace.name is None]
        assert all(low < high for low, high in zip(edges[0].y, edges[1].y, strict=True))
        assert set(plot.table["seeds"]) == {1, 3}

    def test_a_band_on_a_logarithmic_axis_stays_above_0(self):
        seeds = np.array([[0.01, 0.2, 0.3], [0.3, 0.4, 0.5]])
        figure = truth_along(LAM, {"teacher": seeds}, y="nats", log=True).figure
        assert figure.layout.yaxis.type == "log"
        assert all(value > 0 for trace in figure.data for value in trace.y)

    def test_one_seed_has_no_band(self):
        assert len(truth_along(LAM, {"teacher": np.ones((1, 3))}, y="nats").figure.data) == 1

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="nothing to draw"):
            truth_along(LAM, {"teacher": np.empty((0, 3))}, y="nats")


class TestPublished:
    def tables(self) -> dict[str, calibration.Reliability]:
        return {
            "one": calibration.Reliability.from_bins([10, 0, 30], [0.2, 0, 0.8], [0.1, 0, 0.9]),
            "two": calibration.Reliability.from_bins([5, 5, 5], [0.2, 0.4, 1.0], [0.2, 0.5, 0.9]),
        }

    def test_each_table_has_its_panel(self):
        plot = published(self.tables())
        markers = [trace for trace in plot.figure.data if trace.mode == "markers"]
        assert [list(trace.x) for trace in markers] == [[0.1, 0.9], [0.2, 0.5, 0.9]]
        assert list(markers[0].y) == [0.2, 0.8]
        assert len({trace.xaxis for trace in markers}) == 2
        assert len(plot.table) == 5

    def test_area_is_the_share(self):
        sizes = np.array(next(trace for trace in published(self.tables()).figure.data if trace.mode == "markers").marker.size)
        assert ((sizes - 6) ** 2 / ((sizes - 6) ** 2).sum()).tolist() == pytest.approx([0.25, 0.75])

    def test_points_are_named(self):
        frame = pd.DataFrame({"x": [0.0, 1.0], "y": [0.5, -1.0]}, index=["a", "b <i>"]).assign(whose="ours")
        [points] = labelled_points(frame, "x", "y", by="whose").figure.data
        assert list(points.text) == ["a", "b &lt;i&gt;"]
        assert [place.split()[1] for place in points.textposition] == ["right", "left"]  # away from the edge
        with pytest.raises(ValueError, match="empty"):
            labelled_points(frame.iloc[:0], "x", "y", by="whose")

    def test_rows_escape_and_say_what_is_not_there(self):
        markup = rows(pd.DataFrame({"<b>": [1.23456, float("nan"), float("inf")]}, index=["p", "q&", "r"]), "cap", digits=2)._repr_html_()
        assert re.findall("<td>(.*?)</td>", markup) == ["1.23", "–", "unbounded"]
        assert "&lt;b&gt;" in markup
        assert "q&amp;" in markup

    def test_nothing_published(self):
        with pytest.raises(ValueError, match="nothing to draw"):
            published({})


class TestAuthorsLogs:
    def test_whole_tables_of_fifteen_bins(self):
        bins = LOGS.dropna(subset="bin")
        for _, table in bins.groupby("teacher"):
            assert table["bin"].tolist() == list(range(1, 16))
            assert table["count"].sum() == 10000
            full = table[table["count"] > 0]
            assert (full["confidence"] > (full["bin"] - 1) / 15 - 1e-4).all()
            assert (full["confidence"] < full["bin"] / 15 + 1e-4).all()
        assert set(bins["teacher"]) == set(LOGS[LOGS["ece"].notna()]["model"])

    def test_no_net_gap_exceeds_its_ece(self):
        teachers = LOGS[LOGS["ece"].notna() & LOGS["confidence"].notna()]
        assert ((teachers["confidence"] - teachers["accuracy"]).abs() <= teachers["ece"] + 1e-4).all()

    def test_every_row_names_its_source(self):
        assert LOGS["source"].isin(["repo", "model card"]).all()


def test_the_page_of_the_authors_tables_types_no_result():
    """Numbers of the table stand in the table only: prose shows what cells computed."""
    text = Path(chapters.ROOT / "book" / "14-authors-logs.md").read_text(encoding="utf-8")
    prose = re.sub(r"```\{code-cell\}.*?```|\{math\}`.*?`", "", text, flags=re.DOTALL)
    assert not re.findall(r"\d?\.\d{2,}", prose)
