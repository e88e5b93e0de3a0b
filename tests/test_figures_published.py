"""Published tables: what is drawn and typed is what was given."""

from __future__ import annotations

import re

import pandas as pd

from mixkd import calibration, chapters
from mixkd.figures import labelled_points, rows, side_by_side

LOGS = pd.read_csv(chapters.ROOT / "book" / "authors-logs.csv", comment="#")


class TestPublished:
    def tables(self) -> dict[str, calibration.Reliability]:
        return {
            "one": calibration.Reliability.from_bins([10, 0, 30], [0.2, 0, 0.8], [0.1, 0, 0.9]),
            "two": calibration.Reliability.from_bins([5, 5, 5], [0.2, 0.4, 1.0], [0.2, 0.5, 0.9]),
        }

    def test_each_table_has_its_panel(self):
        plot = side_by_side(self.tables())
        markers = [trace for trace in plot.figure.data if trace.mode == "markers"]
        assert [list(trace.x) for trace in markers] == [[0.1, 0.9], [0.2, 0.5, 0.9]]
        assert list(markers[0].y) == [0.2, 0.8]
        assert len({trace.xaxis for trace in markers}) == 2
        assert len(plot.table) == 5

    def test_points_are_named(self):
        frame = pd.DataFrame({"x": [0.0, 1.0], "y": [0.5, -1.0]}, index=["a", "b <i>"]).assign(whose="ours")
        [points] = labelled_points(frame, "x", "y", by="whose").figure.data
        assert list(points.text) == ["a", "b &lt;i&gt;"]

    def test_rows_escape_and_say_what_is_not_there(self):
        markup = rows(pd.DataFrame({"<b>": [1.23456, float("nan"), float("inf")]}, index=["p", "q&", "r"]), "cap", digits=2)._repr_html_()
        assert re.findall("<td>(.*?)</td>", markup) == ["1.23", "–", "unbounded"]
        assert "&lt;b&gt;" in markup
        assert "q&amp;" in markup


class TestAuthorsLogs:
    def test_whole_tables_of_fifteen_bins_and_no_net_gap_above_its_ece(self):
        bins = LOGS.dropna(subset="bin")
        for _, table in bins.groupby("teacher"):
            assert table["bin"].tolist() == list(range(1, 16))
            assert table["count"].sum() == 10000
            full = table[table["count"] > 0]
            assert (full["confidence"] > (full["bin"] - 1) / 15 - 1e-4).all()
            assert (full["confidence"] < full["bin"] / 15 + 1e-4).all()
        assert set(bins["teacher"]) == set(LOGS[LOGS["ece"].notna()]["model"])
        teachers = LOGS[LOGS["ece"].notna() & LOGS["confidence"].notna()]
        assert ((teachers["confidence"] - teachers["accuracy"]).abs() <= teachers["ece"] + 1e-4).all()
        assert LOGS["source"].isin(["repo", "model card"]).all()
