"""A blended image along lam, and what two models say about it. Draws answers that were recorded; queries no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.plot import Plot

READING = (
    "Move the slider from the second image alone (λ = 0) to the first alone (λ = 1). Left, the image both models are shown; right, the "
    "probability each gives to every class, and dots where it would lie if the answer were the blend of its answers at the two ends."
)


def blend(
    answers: Mapping[str, np.ndarray], lam: Sequence[float], classes: Sequence[str], images: tuple[np.ndarray, np.ndarray] | None = None
) -> Plot:
    """Draw a pair along the lam grid.

    Args:
        answers: arm or "teacher" -> (L, K) probabilities along lam; two of them.
        lam: (L,) weights of the first image, ascending from 0 to 1.
        classes: (K,) names.
        images: the two images, (H, W) each with values in [0, 1], first and second; left out where they are not at hand.
    """
    columns = 2 if images is not None else 1
    figure = make_subplots(rows=1, cols=columns, column_widths=[0.32, 0.68] if columns == 2 else None, horizontal_spacing=0.14)
    names = [theme.text(name) for name in classes]

    def traces(i: int) -> list[Any]:
        made: list[Any] = []
        if images is not None:
            mixed = lam[i] * images[0] + (1 - lam[i]) * images[1]
            made.append(
                go.Heatmap(z=mixed[::-1], colorscale="gray", zmin=0, zmax=1, showscale=False, hoverinfo="skip", xaxis="x", yaxis="y")
            )
        axes = {"xaxis": f"x{columns}", "yaxis": f"y{columns}"} if columns == 2 else {}
        for arm, p in answers.items():
            look = theme.look(arm)
            made.append(go.Bar(x=names, y=p[i], name=theme.text(look.label), marker={"color": look.color}, **axes))
        for arm, p in answers.items():
            look = theme.look(arm)
            made.append(
                go.Scatter(
                    x=names,
                    y=lam[i] * p[-1] + (1 - lam[i]) * p[0],
                    mode="markers",
                    name=f"{theme.text(look.label)}, if linear",
                    marker={"color": look.color, "symbol": "circle-open", "size": 8, "line": {"width": 2}},
                    **axes,
                )
            )
        return made

    start = len(lam) // 2
    figure.add_traces(traces(start))
    figure.frames = [go.Frame(name=f"{value:.1f}", data=traces(i)) for i, value in enumerate(lam)]
    steps = [
        {"label": f"{value:.1f}", "method": "animate",
         "args": [[f"{value:.1f}"], {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}]}
        for value in lam
    ]  # fmt: skip
    figure.update_layout(
        theme.layout(
            height=440,
            barmode="group",
            sliders=[{"active": start, "currentvalue": {"prefix": "λ = "}, "pad": {"t": 40}, "steps": steps}],
        )
    )
    # A title beside the axis would lie on the image on a narrow page.
    figure.update_yaxes(range=[0, 1.05], title={"text": "probability" if columns == 1 else ""}, col=columns)
    figure.update_xaxes(type="category", col=columns)
    if images is not None:
        figure.update_xaxes(visible=False, col=1)
        figure.update_yaxes(visible=False, scaleanchor="x", col=1)
    rows = [
        {"model": theme.look(arm).label, "lam": value, **dict(zip(classes, np.round(p[i], 4), strict=True))}
        for arm, p in answers.items()
        for i, value in enumerate(lam)
    ]
    return Plot(figure, label="A blend of two images and two models' answers along lambda", reading=READING, table=pd.DataFrame(rows))
