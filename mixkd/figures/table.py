"""Tables of measures by arm, mean with 95 % t interval over seeds. Reads a frame, computes no measure."""

from __future__ import annotations

import html
from collections.abc import Sequence

import pandas as pd

from mixkd.figures import theme
from mixkd.figures.intervals import once, t_interval
from mixkd.figures.markup import Html

_SHORT = {"ece": "ECE", "oe": "OE", "ue": "UE", "nll": "NLL", "mce": "MCE"}


def table(frame: pd.DataFrame, columns: Sequence[str], *, also_scaled: Sequence[str] = ()) -> Html:
    """One row for each arm: mean and interval of each column.

    Args:
        frame: ``Records.frame()``, one row for each (arm, seed).
        columns: measures.
        also_scaled: arms that get a second row, after post-hoc temperature scaling.
    """
    once(frame, ["arm", "seed"])
    rows = []
    for arm in theme.order(list(frame["arm"])):
        own = frame[frame["arm"] == arm]
        rows.append((theme.look(arm).label, own, list(columns)))
        if arm in also_scaled:
            rows.append((f"{theme.look(arm).label} + temperature scaling", own, [f"ts_{column}" for column in columns]))
    head = "".join(
        f'<th scope="col"><abbr title="{html.escape(theme.measure(c))}">{html.escape(_SHORT.get(c, c))}</abbr></th>' for c in columns
    )
    body, text = "", []
    for label, own, names in rows:
        cells = []
        for name in names:
            mean, low, high = t_interval(own[name])
            bounds = f"<small>{_shown(low)} to {_shown(high)}</small>" if low == low else "<small>one seed</small>"
            cells.append(f"<td>{_shown(mean)} {bounds}</td>")
        body += f'<tr><th scope="row">{html.escape(label)}</th>{"".join(cells)}</tr>'
        text.append(f"{label}: " + ", ".join(f"{name} {own[name].mean():.4f}" for name in names))
    seeds = frame.groupby("arm")["seed"].nunique()
    markup = (
        '<div class="mixkd-table" tabindex="0" role="region" aria-label="measures by arm"><table>'
        f"<caption>Mean over {seeds.min()} to {seeds.max()} seeds with its 95 % t interval.</caption>"
        f'<thead><tr><th scope="col">trained with</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    if seeds.min() == seeds.max():
        markup = markup.replace(f"{seeds.min()} to {seeds.max()} seeds", f"{seeds.min()} seeds")
    return Html(markup, "\n".join(text))


def _shown(value: float) -> str:
    """Four decimals, a true minus sign, and none before a zero."""
    words = f"{value:.4f}"
    return words.lstrip("-") if float(words) == 0 else words.replace("-", "−")
