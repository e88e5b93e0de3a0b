"""One blended pair along lam as several models answer it, each beside the straight line it is held against.

It draws recorded answers; it refuses to choose the pairs, and to query a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from mixkd import vicinal
from mixkd.figures import theme
from mixkd.figures.plot import Plot

_ROLES = (
    ("first image's class", "#2f74c0", "circle"),
    ("second image's class", "#9a7400", "square"),
    ("all others", theme.NEUTRAL, "x"),
)

READING = (
    "Solid, what a model answers on the blend; dotted, the straight line between its answers to the two images "
    "alone. Below, the distance between the two in nats, the non-linearity L_NL, of both models. The slider goes "
    "through pairs, from the one the teacher answers most linearly to the one it answers least so."
)


def paths(
    models: Mapping[str, np.ndarray],
    lam: Sequence[float],
    labels: np.ndarray,
    classes: Sequence[str],
    pairs: Sequence[int],
    reading: str = READING,
) -> Plot:
    """Draw pairs along lam, one at a time, for two models side by side.

    Args:
        models: arm or "teacher" -> (L, P, K) probabilities along lam; two of them.
        lam: (L,) weights of the first image, from 0 to 1.
        labels: (P, 2) classes of the two images, of two classes each.
        classes: (K,) names.
        pairs: which of the P pairs, in the order of the slider.
        reading: how to read it; the default says that pairs are sorted by the teacher's non-linearity.

    Raises:
        ValueError: for another number of models, no pair, or a pair within one class.
    """
    if len(models) != 2 or not len(pairs):
        raise ValueError(f"paths draws two models and at least one pair, not {len(models)} and {len(pairs)}")
    if same := [int(pair) for pair in pairs if labels[pair][0] == labels[pair][1]]:
        raise ValueError(f"pairs {same} are within one class: there is no way from one to the other")
    grid = np.asarray(lam, dtype=float)
    looks = [theme.look(name) for name in models]
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=[[{}, {}], [{"colspan": 2}, None]],
        row_heights=[0.64, 0.36],
        vertical_spacing=0.16,
        horizontal_spacing=0.05,
        shared_yaxes=True,
        subplot_titles=[*(theme.text(look.label) for look in looks), "non-linearity of this pair"],
    )
    distances = {name: _distance(p, grid) for name, p in models.items()}
    table = []

    def traces(pair: int) -> list[go.Scatter]:
        made = []
        for number, p in enumerate(models.values(), start=1):
            axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"} if number > 1 else {"xaxis": "x", "yaxis": "y"}
            for (role, color, symbol), answer in zip(_ROLES, _three(p[:, pair], labels[pair]), strict=True):
                straight = grid * answer[-1] + (1 - grid) * answer[0]
                made.append(
                    go.Scatter(
                        x=grid,
                        y=answer,
                        mode="lines+markers",
                        name=role,
                        legendgroup=role,
                        showlegend=number == 1,
                        line={"color": color, "width": 2.2},
                        marker={"color": color, "symbol": symbol, "size": 6},
                        hovertemplate=f"{role}<br>λ %{{x:.1f}}: %{{y:.3f}}<extra></extra>",
                        **axes,
                    )
                )
                line = {"color": color, "width": 1.4, "dash": "dot"}
                made.append(
                    go.Scatter(
                        x=grid,
                        y=straight,
                        mode="lines",
                        line=line,
                        showlegend=False,
                        legendgroup=role,
                        hoverinfo="skip",
                        **axes,
                    )
                )
        for look, distance in zip(looks, distances.values(), strict=True):
            made.append(
                go.Scatter(
                    x=grid,
                    y=distance[:, pair],
                    mode="lines+markers",
                    name=theme.text(look.label),
                    line={"color": look.color, "dash": look.dash, "width": 2.2},
                    marker={"color": look.color, "symbol": look.symbol, "size": 7},
                    hovertemplate="λ %{x:.1f}: %{y:.3f} nats<extra></extra>",
                    xaxis="x3",
                    yaxis="y3",
                )
            )
        return made

    names = [f"{classes[labels[pair][1]]} → {classes[labels[pair][0]]}" for pair in pairs]
    start = len(pairs) // 2
    figure.add_traces(traces(pairs[start]))
    if len(pairs) > 1:
        figure.frames = [go.Frame(name=str(i), data=traces(pair)) for i, pair in enumerate(pairs)]
        steps = [
            {
                "label": theme.text(name),
                "method": "animate",
                "args": [
                    [str(i)],
                    {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}},
                ],
            }
            for i, name in enumerate(names)
        ]
        slider = {
            "active": start,
            "currentvalue": {"prefix": "classes of the pair: "},
            "pad": {"t": 44},
            "steps": steps,
        }
        figure.update_layout(sliders=[slider])
    figure.update_layout(theme.layout(height=620, legend={"y": 1.08}, margin={"l": 50, "r": 12, "t": 110, "b": 48}))
    figure.update_annotations(font={"size": 12})
    figure.update_xaxes(range=[-0.02, 1.02], tickvals=[0, 0.5, 1])
    figure.update_xaxes(title={"text": "λ"}, row=2, col=1)
    figure.update_yaxes(range=[-0.03, 1.05], row=1)
    figure.update_yaxes(title={"text": "probability"}, row=1, col=1)
    highest = max(float(distance[:, list(pairs)].max()) for distance in distances.values())
    figure.update_yaxes(range=[0, 1.08 * highest or 1.0], title={"text": "nats"}, row=2, col=1)
    for name, pair in zip(names, pairs, strict=True):
        for look, distance in zip(looks, distances.values(), strict=True):
            table.append({"pair": name, "model": look.label, "largest non-linearity (nats)": float(distance[:, pair].max())})
    title = " and ".join(look.label for look in looks)
    return Plot(
        figure,
        label=f"Answers of {title} along lambda, and their non-linearity",
        reading=reading,
        table=pd.DataFrame(table),
    )


def _three(p: np.ndarray, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(L, K) answers as the mass on the first class, on the second, and on all others."""
    first, second = p[:, int(pair[0])], p[:, int(pair[1])]
    return first, second, np.clip(1 - first - second, 0, 1)


def _distance(p: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """(L, P) non-linearity along lam, nats."""
    answers = torch.as_tensor(np.array(p, dtype=float))
    return np.stack([vicinal.nonlinearity(answers[-1], answers[0], answers[i], float(at)).numpy() for i, at in enumerate(lam)])
