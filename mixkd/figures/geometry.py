"""The shape of a representation: maps of the class means, model beside model, and its measures as a table.

Maps are aligned before they are compared: directions of two models have nothing to do with each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.markup import Html, absent
from mixkd.figures.plot import Plot, grey, slider
from mixkd.measure import geometry

READING = (
    "Each name is the mean of one class among a model's features, on the plane that keeps most of the distances between the means. Every "
    "map has size 1 and is turned (or mirrored) onto the teacher's, since directions of two models have nothing to do with each other. "
    "The grey lines lead to where the teacher has the class: short ones mean that student and teacher find the same classes alike."
)
NAMED = 26
"""Classes up to this number carry their names; more are dots with the name on hover."""


def class_map(models: Mapping[int, Mapping[str, Any]]) -> Plot | Html:
    """Draw maps of the class means, one panel for each model, one slider stop for each seed.

    Classical scaling of the distances between class means, which for Euclidean distances is their principal components; each centred and
    of Frobenius norm 1 over all components, then orthogonally aligned to the first panel (Procrustes).

    Args:
        models: seed -> {arm or "teacher": record}, with ``features`` and ``labels()``; only arms that all seeds have
            are drawn, the first is the reference.
    """
    seeds = sorted(seed for seed, own in models.items() if own)
    arms = [arm for arm in models[seeds[0]] if all(arm in models[seed] for seed in seeds)] if seeds else []
    if not arms:
        return absent("No map: the models of this page are not among these records.")
    rows = math.ceil(len(arms) / 2)
    figure = make_subplots(
        rows=rows, cols=min(2, len(arms)), horizontal_spacing=0.04, vertical_spacing=0.1 / rows,
        subplot_titles=[theme.text(theme.look(arm).label) for arm in arms],
    )  # fmt: skip
    table: list[dict[str, Any]] = []
    stops = [(str(seed), _panels(models[seed], arms, seed, table)) for seed in seeds]
    slider(figure, stops, "seed ", room=14)
    sides = [side for _, traces in stops for trace in traces for side in (trace.x, trace.y)]
    reach = 1.15 * max(abs(value) for side in sides for value in side if value is not None)
    height = (150 if len(seeds) > 1 else 70) + 240 * rows
    figure.update_layout(theme.layout(height=height, showlegend=False, margin={"l": 8, "r": 8, "t": 30, "b": 8}))
    plain = {"range": [-reach, reach], "showticklabels": False, "ticks": "", "zeroline": False}
    figure.update_xaxes(plain)
    for i in range(1, len(arms) + 1):
        figure.update_layout({f"yaxis{_nth(i)}": {**plain, "scaleanchor": f"x{_nth(i)}"}})
    figure.update_annotations(font={"size": 13})
    label = "Maps of the class means of each model, turned onto the teacher's"
    return Plot(figure, label=label, reading=READING, table=pd.DataFrame(table))


def shape(records: Iterable[Any], teacher_of: Callable[[Any], Any] | None = None) -> pd.DataFrame:
    """Return measures of the representation, one row for each record.

    Args:
        records: with ``features``, ``probe_features`` at lam 0, 1/2 and 1, ``probe`` and ``labels()``.
        teacher_of: the record to compare a record's representation with, or None.

    Returns:
        arm, seed, accuracy, "feature non-linearity" (mean over cross-class pairs), "NC1", "effective rank", and with the other
        record "likeness of the class map" (Spearman) and "CKA" (debiased, linear); nan where there is no other record.
    """
    rows = []
    for record in records:
        bend = geometry.feature_linearity(record.probe_features, np.array([0.0, 0.5, 1.0]))[1]
        same = record.probe.same_class[: len(bend)]
        phi, labels, other = record.features, record.labels()[: len(record.features)], teacher_of(record) if teacher_of else None
        likeness = cka = math.nan
        if other is not None:
            cka = geometry.linear_cka(phi, other.features)
            likeness = geometry.class_mean_rsa(phi, other.features, labels) if len(labels.unique()) > 2 else math.nan
        rows.append(
            {
                "arm": record.spec.arm,
                "seed": record.spec.seed,
                "accuracy": float((record.logits().argmax(-1) == record.labels()).double().mean()),
                "feature non-linearity": float(bend[~same].nanmean()),
                "NC1": geometry.nc1(phi, labels),
                "effective rank": geometry.effective_rank(phi),
                "likeness of the class map": likeness,
                "CKA": cka,
            }
        )
    return pd.DataFrame(rows)


def _panels(models: Mapping[str, Any], arms: Sequence[str], seed: int, table: list[dict[str, Any]]) -> list[go.Scatter]:
    """Return two traces for each panel: the lines to the reference, and the classes."""
    traces, reference = [], None
    for i, arm in enumerate(arms, start=1):
        record, look = models[arm], theme.look(arm)
        classes, at, kept = _map(record)
        if reference is None:
            reference = dict(zip(classes, at, strict=True))
        shared = [k for k, name in enumerate(classes) if name in reference]
        goal = np.array([reference[classes[k]] for k in shared])
        at = at @ _turn(at[shared], goal)
        far = float(np.linalg.norm(at[shared] - goal))
        found = {"share of the distances on the map": kept, "distance to the teacher's map": far}
        table.append({"model": look.label, "seed": seed, **found})
        lines = [[value for a, b in zip(goal, at[shared], strict=True) for value in (a[side], b[side], None)] for side in (0, 1)]
        axes = {"xaxis": f"x{_nth(i)}", "yaxis": f"y{_nth(i)}"}
        traces.append(go.Scatter(x=lines[0], y=lines[1], mode="lines", line=grey(1, dash=None), hoverinfo="skip", **axes))
        words = [theme.text(record.classes[name] if name < len(record.classes) else name) for name in classes]
        means = go.Scatter(
            x=at[:, 0], y=at[:, 1], mode="text" if len(classes) <= NAMED else "markers", text=words, name=theme.text(look.label),
            textfont={"color": look.color, "size": 15}, marker={"color": look.color, "size": 5}, hovertemplate="%{text}<extra></extra>",
            **axes,
        )  # fmt: skip
        traces.append(means)
    return traces


def _nth(i: int) -> str:
    """Return the suffix of the i-th subplot's axes."""
    return str(i) if i > 1 else ""


def _map(record: Any) -> tuple[list[int], np.ndarray, float]:
    """Return classes, their means in two dimensions (C, 2), and the share of the squared distances that these keep."""
    phi, labels = record.features.double().numpy(), record.labels()[: len(record.features)].numpy()
    classes = sorted(set(labels.tolist()) - {-1})
    means = np.stack([phi[labels == name].mean(0) for name in classes])
    means = means - means.mean(0)
    norm = float(np.linalg.norm(means)) or 1.0
    left, singular, _ = np.linalg.svd(means / norm, full_matrices=False)
    flat = np.zeros((len(classes), 2))
    flat[:, : min(2, len(singular))] = left[:, :2] * singular[:2]
    return classes, flat, float((singular[:2] ** 2).sum())


def _turn(own: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return the orthogonal (2, 2) matrix that brings ``own`` nearest to ``goal`` (Schönemann 1966)."""
    left, _, right = np.linalg.svd(own.T @ goal)
    turn: np.ndarray = left @ right
    return turn
