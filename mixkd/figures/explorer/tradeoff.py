"""The trade-off lab: accuracy against calibration along tau, a cloud of seeds, each point a way into a temperature lab.

Its script only draws: means, intervals and the Pareto set are computed here. It refuses to show a model that the lab it
opens does not have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixkd.figures import theme
from mixkd.figures.absent import absent
from mixkd.figures.explorer import TemperatureLab, block, word
from mixkd.figures.intervals import t_interval
from mixkd.figures.ledger import Html
from mixkd.figures.tradeoff import pareto

COSTS = ("gap", "ece", "oe", "nll")
"""Calibration columns a reader may choose, the first at first; better the closer to 0."""
_SHORT = {"gap": "gap", "ece": "ECE", "oe": "OE", "nll": "NLL"}


class TradeoffLab:
    """What `tradeoff_lab` returns: shows itself in a notebook and on the page.

    Attributes:
        opens: the lab its points open.
        points: a row for each model: its label, accuracy, and each calibration column with and without ``ts_``.
        means: a row for each setting: its label but the seed, and for each column mean, low and high.
    """

    def __init__(self, opens: TemperatureLab, name: str, columns: Sequence[str]) -> None:
        from mixkd.measure import calibration  # torch: only when a lab is drawn

        self.opens, self.name, self.costs = opens, name, tuple(columns)
        rows = []
        for model in opens.models:
            native = calibration.report(model.logits, model.labels, n_bins=opens.bins)
            scaled = calibration.report(model.logits, model.labels, n_bins=opens.bins, temperature=model.fitted_temperature)
            values = {f"ts_{cost}": getattr(scaled, cost) for cost in columns} | {cost: getattr(native, cost) for cost in columns}
            rows.append({**model.label, "accuracy": native.accuracy, **values})
        self.points = pd.DataFrame(rows)
        self.settings = [field for field in opens.models[0].label if field != "seed"]
        keys = [tuple(word(row[field]) for field in self.settings) for row in rows]
        self._groups = {key: [i for i, other in enumerate(keys) if other == key] for key in sorted(set(keys), key=self._rank)}
        measures = ["accuracy", *(prefix + cost for cost in columns for prefix in ("", "ts_"))]
        self.means = pd.DataFrame(
            [
                {**dict(zip(self.settings, key, strict=True)), "seeds": len(own), **self._interval(own, measures)}
                for key, own in self._groups.items()
            ]
        )

    def _rank(self, key: tuple[str, ...]) -> tuple[Any, ...]:
        """Arms in the order of the book, numbers in order, words last."""
        order = list(theme.COLORS)
        rank: list[Any] = []
        for field, value in zip(self.settings, key, strict=True):
            if field == "arm":
                rank.append((order.index(value) if value in order else len(order), value))
            else:
                rank.append((0, float(value), "") if _number(value) else (1, 0.0, value))
        return tuple(rank)

    def _interval(self, own: list[int], measures: Sequence[str]) -> dict[str, float]:
        found = {}
        for column in measures:
            found[column], found[f"{column} low"], found[f"{column} high"] = t_interval(self.points[column].iloc[own])
        return found

    def pareto(self, cost: str) -> list[int]:
        """Rows of ``means`` that no other row beats: closer to 0 in ``cost`` and more accurate."""
        return pareto([(abs(row[cost]), row["accuracy"]) for _, row in self.means.iterrows()])

    def _repr_html_(self) -> str:
        measures = ["accuracy", *(prefix + cost for cost in self.costs for prefix in ("", "ts_"))]
        points = [
            {"label": {f: word(v) for f, v in model.label.items()}, "values": [_short(self.points[m].iloc[i]) for m in measures]}
            for i, model in enumerate(self.opens.models)
        ]
        groups: list[dict[str, Any]] = []
        for at, (key, own) in enumerate(self._groups.items()):
            label = dict(zip(self.settings, key, strict=True))
            row = self.means.iloc[at]
            values = [[_short(row[m]), _short(row[f"{m} low"]), _short(row[f"{m} high"])] for m in measures]
            groups.append({"label": label, "seeds": own, "values": values, "line": [f for f in self.settings if f != "tau"]})
        arms = theme.order([group["label"]["arm"] for group in groups])
        meta = {
            "name": self.name,
            "opens": self.opens.name,
            "measures": measures,
            "costs": [[cost, _SHORT.get(cost, cost), theme.measure(cost)] for cost in self.costs],
            "points": points,
            "groups": groups,
            "pareto": {measure: self.pareto(measure) for measure in measures[1:]},
            "looks": {arm: _look(arm) for arm in arms},
            "repeated": [field for field in self.settings if field not in ("arm", "tau")],
        }
        return block("tradeoff", meta, self._fallback())

    def _fallback(self) -> str:
        cost = self.costs[0]
        columns = (*self.settings, "accuracy", _SHORT.get(cost, cost), "after scaling")
        head = "".join(f'<th scope="col">{theme.text(column)}</th>' for column in columns)
        body = ""
        for _, row in self.means.iterrows():
            cells = [theme.text(row[f]) for f in self.settings] + [_words(row, column) for column in ("accuracy", cost, f"ts_{cost}")]
            body += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        return (
            f'<figure class="mixkd-fallback"><div class="mixkd-scroll" tabindex="0"><table class="mixkd-numbers">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
            "<figcaption>Means over seeds with 95 % t intervals. With JavaScript each point opens its model.</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"<trade-off lab of {len(self.points)} models>"


def tradeoff_lab(opens: TemperatureLab | Html, *, name: str = "tradeoff", columns: Sequence[str] = COSTS) -> TradeoffLab | Html:
    """Accuracy against calibration for every model of a temperature lab; a point opens its model there.

    Args:
        opens: a lab whose models have the fields arm, tau and seed; it must stand on the same page to be opened.
        name: names the figure on its page.
        columns: calibration columns of ``calibration.report`` to choose from, better the closer to 0.

    Returns:
        The lab, or a sentence where the temperature lab is one.

    Raises:
        ValueError: for a lab without one of these fields, or without columns.
    """
    if isinstance(opens, Html):
        return absent("No figure: no record of these models is in this store.")
    fields = list(opens.models[0].label)
    missing = [field for field in ("arm", "tau", "seed") if field not in fields]
    if missing:
        raise ValueError(f"the lab has no field {', '.join(missing)}; its models are told apart by {', '.join(fields)}")
    if not columns:
        raise ValueError("columns is empty: name at least one calibration column, such as 'gap'")
    return TradeoffLab(opens, name, columns)


def _look(arm: str) -> Mapping[str, str]:
    look = theme.look(arm) if arm in theme.COLORS else theme.Look(arm, theme.NEUTRAL, "solid", "circle")
    return {"label": look.label, "color": look.color, "dash": look.dash, "symbol": look.symbol}


def _number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _short(value: float) -> float | None:
    """Six digits behind the point; None where there is no number (one seed has no interval)."""
    return round(float(value), 6) if math.isfinite(value) else None


def _words(row: pd.Series, column: str) -> str:
    bounds = "one seed" if np.isnan(row[f"{column} low"]) else f"{row[f'{column} low']:.4f} to {row[f'{column} high']:.4f}"
    return f"{row[column]:.4f} <small>{bounds}</small>"
