"""What passes from teacher to student: accuracy over the teacher's capacity, temperature by kind of teacher. Every seed is drawn."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.intervals import once, t_interval
from mixkd.figures.markup import CALIBRATIONS, Html, absent, tabulate
from mixkd.figures.plot import Plot, dots, grey
from mixkd.figures.table import mean_half
from mixkd.measure.selective import score
from mixkd.measure.temperature import spread_temperature

NO_TEACHER = "no teacher"
CAPACITY = (
    "Each pale dot is one seed: its accuracy minus that of the cross-entropy student with the same initial weights and data order. "
    "Markers are means, bars 95 % t intervals over seeds; a bar above the zero line is a gain beyond seed noise. Inside the grey band the "
    "difference counts as none. Under each teacher stands its own accuracy."
)
PASSED_ON = (
    "One marker for each kind of teacher, its bar a 95 % t interval over seeds; pale dots are seeds. Right of 1 the teacher was too "
    "sharp, above 1 its student is. On the dotted line a student needs exactly the temperature its teacher needs."
)
FOLLOWED = (
    "Test images are sorted by how much steeper (right) or softer (left) the teacher was made on them, and cut into groups of equal "
    "size. Height is the change in the log-odds of the confidence: up means surer than the sibling student whose teacher was left "
    "alone. Pale lines are seeds, bars 95 % t intervals; the dashed line is the teacher itself: what a student that followed it "
    "whole would show."
)


def capacity(frame: pd.DataFrame, teachers: pd.DataFrame, order: Sequence[str], *, margin: float = 0.0) -> Plot | Html:
    """Accuracy minus that of the cross-entropy student, paired by seed, for students without a teacher and of teachers of rising capacity.

    Args:
        frame: ``Records.frame()``, one row for each (arm, teacher, seed).
        teachers: the same of the teachers themselves; may be empty.
        order: model names of the teachers, by capacity.
        margin: accuracy differences within it are drawn as none.
    """
    if frame.empty or not (frame["arm"] == "ce").any():
        return absent("No figure: no ce student to compare with is in this store.")
    frame = frame.assign(place=frame["teacher"].fillna(NO_TEACHER))
    once(frame, ["arm", "place", "seed"])
    plain, base = theme.look("ce"), frame[frame["arm"] == "ce"].set_index("seed")["accuracy"]
    places = [NO_TEACHER, *(name for name in order if name in set(frame["place"]))]
    figure, rows = go.Figure(), []
    for arm in theme.order(list(frame.loc[frame["arm"] != "ce", "arm"])):
        look, own, means = theme.look(arm), frame[frame["arm"] == arm], []
        for place, name in enumerate(places):
            gain = 100 * (own[own["place"] == name].set_index("seed")["accuracy"] - base).dropna()
            if gain.empty:
                continue
            at = place + _OFFSET.get(arm, 0.0)
            means.append((at, *t_interval(gain)))
            figure.add_scatter(
                x=np.full(len(gain), at - 0.06), y=gain.to_numpy(), mode="markers", showlegend=False, legendgroup=arm,
                marker={"color": look.color, "size": 5, "opacity": 0.55}, text=[f"seed {seed}" for seed in gain.index],
                hovertemplate="%{text}: %{y:+.2f} points<extra></extra>",
            )  # fmt: skip
            _, mean, low, high = means[-1]
            rows.append({"arm": look.label, "teacher": name, "points": mean, "low": low, "high": high, "seeds": len(gain)})
        if means:
            figure.add_trace(_means(means, look, arm, joined=len(means) > 1))
    if not rows:
        return absent("No figure: no other student shares a seed with ce in this store.")
    names = {name: 100 * group["accuracy"].mean() for name, group in teachers.groupby("student")} if len(teachers) else {}
    words = [theme.text(place) + (f"<br>{names[place]:.1f} %" if place in names else "") for place in places]
    figure.add_hline(y=0, line={"color": plain.color, "width": 1.5})
    if margin:
        figure.add_hrect(y0=-100 * margin, y1=100 * margin, line_width=0, fillcolor=theme.translucent(theme.NEUTRAL, 0.14), layer="below")
    figure.update_layout(theme.layout(height=440))
    figure.update_xaxes(tickvals=list(range(len(places))), ticktext=words, range=[-0.5, len(places) - 0.5], showgrid=False, zeroline=False)
    figure.update_yaxes(title={"text": f"accuracy − {plain.label}, points"}, zeroline=False)
    label = f"Accuracy minus that of {plain.label}, by teacher capacity, paired by seed"
    return Plot(figure, label=label, reading=CAPACITY, table=pd.DataFrame(rows))


_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "cross", "x", "hexagon", "pentagon", "bowtie")
_OFFSET = {"label_smoothing": -0.12, "mixup": 0.12, "kd": -0.12, "kd_mixup": 0.12}


def with_teachers(records: Iterable[Any], teacher_of: Callable[[Any], Any]) -> pd.DataFrame:
    """Return a row for each student that was distilled, with what its teacher was.

    Args:
        records: students, see :class:`mixkd.records.Record`.
        teacher_of: the record of a student's teacher, or None.

    Returns:
        seed, teacher (its model, and after how many epochs it was stopped where others of that model went on), kind (how its logits
        were tempered or what it was trained with, in words), ``needs`` (the post-hoc temperature that the teacher, as the student met
        it, would need; nan where unknown or not one number), ``temperature`` (the student's), accuracy, teacher_accuracy.
    """
    rows = []
    students = [record for record in records if record.spec.teacher is not None]
    usual: dict[str, float] = {}  # the longest training of each model; None is the profile's own, hence the longest
    for record in students:
        spec = record.spec.teacher
        usual[spec.model] = max(usual.get(spec.model, 0), math.inf if spec.epochs is None else spec.epochs)
    for record in students:
        spec, teacher = record.spec.teacher, teacher_of(record)
        stopped = spec.epochs is not None and spec.epochs < usual[spec.model]
        own = teacher.temperature if teacher is not None else math.nan
        needs = 1 / spec.temperature_factor if spec.temperature == "fitted" else own / float(spec.temperature)
        rows.append(
            {
                "seed": record.spec.seed,
                "teacher": f"{spec.model} after {spec.epochs} epochs" if stopped else spec.model,
                "kind": _kind(spec),
                "needs": math.nan if spec.temperature_spread else needs,
                "temperature": record.temperature,
                "accuracy": _accuracy(record),
                "teacher_accuracy": math.nan if teacher is None else _accuracy(teacher),
            }
        )
    return pd.DataFrame(rows)


_FACTORS = {0.5: "half", 1.0: "fitted", 2.0: "double"}


def _kind(spec: Any) -> str:
    """How a teacher came by its calibration, in words."""
    if spec.temperature_spread:
        return "a temperature for each image"
    if spec.arm != "ce":
        return f"trained with {theme.look(spec.arm).label}"
    if spec.temperature == "fitted":
        factor = float(spec.temperature_factor)
        return CALIBRATIONS[_FACTORS[factor]] if factor in _FACTORS else f"its own temperature times {factor:g}"
    return CALIBRATIONS["raw"] if float(spec.temperature) == 1 else f"logits divided by {float(spec.temperature):g}"


def passed_on(frame: pd.DataFrame) -> Plot | Html:
    """Draw the temperature that students need against the one their teacher needs, a marker for each kind of teacher.

    Args:
        frame: of :func:`with_teachers`.
    """
    known = frame[np.isfinite(frame["needs"])] if len(frame) else frame
    if known.empty:
        return absent("No figure: the students of these teachers, or their teachers, are not here.")
    look, figure, rows = theme.look("kd_mixup"), go.Figure(), []
    ends = [known["needs"].min() / 1.12, known["needs"].max() * 1.12]
    figure.add_scatter(x=ends, y=ends, mode="lines", name="passed on whole", line=grey(2), hoverinfo="skip")
    for i, (kind, alike) in enumerate(known.groupby("kind", sort=False)):
        figure.add_scatter(
            x=alike["needs"].to_numpy(), y=alike["temperature"].to_numpy(), mode="markers", showlegend=False, legendgroup=kind,
            marker={"color": look.color, "size": 4, "opacity": 0.45}, hoverinfo="skip",
        )  # fmt: skip
        points, names = [], []
        for teacher, own in alike.groupby("teacher", sort=False):
            at = float(np.exp(np.log(own["needs"]).mean()))
            mean, low, high = (float(np.exp(value)) for value in t_interval(np.log(own["temperature"])))
            points.append((at, mean, low, high))
            names.append(f"{teacher}, {kind}")
            shown = {"teacher's T*": at, "student's T*": mean, "low": low, "high": high, "seeds": len(own)}
            rows.append({"teacher": names[-1], **shown})
        kind_look = theme.Look(str(kind), look.color, "solid", _SYMBOLS[i % len(_SYMBOLS)])
        hover = "%{text}<br>teacher %{x:.2f}, student %{y:.2f}"
        figure.add_trace(_means(points, kind_look, str(kind), joined=False, hover=hover, text=names))
    figure.update_layout(theme.layout(height=470, margin={"l": 56, "r": 12, "t": 96, "b": 48}))
    ticks = [0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8]
    log = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    figure.update_xaxes(title={"text": "temperature T* the teacher needs"}, **log)
    figure.update_yaxes(title={"text": "T* the student needs"}, **log)
    label = "The student's NLL-optimal temperature against its teacher's"
    return Plot(figure, label=label, reading=PASSED_ON, table=pd.DataFrame(rows))


def teacher_table(frame: pd.DataFrame) -> Html:
    """Return one row for each kind of teacher: its accuracy and T*, and its students', each with the half-width of its interval.

    Args:
        frame: of :func:`with_teachers`.
    """
    if frame.empty:
        return absent("No table: no student of this study is here.")
    head = ("teacher", "its accuracy", "its T*", "student’s T*", "student’s accuracy")
    body, text = [], []
    for (kind, model), own in frame.groupby(["kind", "teacher"], sort=False):
        name, accuracy, needs = f"{model}, {kind}", _half(100 * own["teacher_accuracy"], 1), _half(own["needs"], 2)
        cells = (accuracy, needs, _half(own["temperature"], 2), _half(100 * own["accuracy"], 1))
        body.append((html.escape(name), cells))
        text.append(f"{name}: " + ", ".join(f"{title} {cell}" for title, cell in zip(head[1:], cells, strict=True)))
    caption = "Means over seeds ± half the 95 % t interval. Accuracy in per cent."
    return Html(tabulate(head, body, label="students by teacher", caption=caption), "\n".join(text))


def _half(sample: pd.Series, digits: int) -> str:
    """Format a mean and the half-width of its interval; no width if all values are equal, a dash if any is not finite."""
    return mean_half(sample if sample.nunique() > 1 else sample[:1], digits) if np.isfinite(sample).all() else "–"


def followed(students: Iterable[tuple[Any, Any, Any]], *, groups: int = 10) -> Plot | Html:
    """How a student's confidence moves, image by image, with a teacher temperature that depends on the image.

    Args:
        students: (student, sibling, teacher) for each seed: the student of a teacher whose logits were divided by ``c exp(s h(x))``, the
            student of the same teacher untouched, and that teacher's record or None.
        groups: test images are sorted by ``-s h(x)`` and cut into so many groups.
    """
    lines, own = [], []
    for student, sibling, teacher in students:
        if student.projection is None:
            continue
        spread, h = student.spec.teacher.temperature_spread, student.projection.double()
        steeper = -spread * h.numpy()
        change = (score(student.logits()) - score(sibling.logits())).numpy()
        cut = np.array_split(np.argsort(steeper, kind="stable"), groups)
        lines.append((student.spec.seed, [steeper[part].mean() for part in cut], [change[part].mean() for part in cut]))
        if teacher is not None:
            z = teacher.logits().double()
            moved = (score(z / spread_temperature(z, h, spread)[:, None]) - score(z)).numpy()
            own.append([moved[part].mean() for part in cut])
    if not lines:
        return absent("No figure: the students of a teacher with a temperature for each image, or their siblings, are not in this store.")
    look, figure = theme.look("kd_mixup"), go.Figure()
    x = np.array([places for _, places, _ in lines]).mean(axis=0)
    found = [t_interval(column) for column in zip(*(moves for _, _, moves in lines), strict=True)]
    table = pd.DataFrame(found, columns=["student", "low", "high"])
    table.insert(0, "−ln T(x)", x)
    if own:
        table["teacher"] = np.mean(own, axis=0)
        figure.add_scatter(x=x, y=table["teacher"].to_numpy(), mode="lines", name="the teacher itself", line=grey(2, "longdash"))
    pale = {"color": look.color, "width": 0.8}
    for seed, places, moves in lines:
        figure.add_scatter(x=places, y=moves, mode="lines", line=pale, opacity=0.4, showlegend=False, name=f"seed {seed}")
    points = [(at, *interval) for at, interval in zip(x, found, strict=True)]
    figure.add_trace(_means(points, look, "student", joined=True, name="the student"))
    figure.add_hline(y=0, line=grey(1, dash=None))
    figure.update_layout(theme.layout(height=400))
    figure.update_xaxes(title={"text": "teacher made steeper by −ln T(x)"}, zeroline=False)
    figure.update_yaxes(title={"text": "change in log-odds"}, zeroline=False)
    label = "Change of the student's confidence over the teacher's input-dependent temperature"
    return Plot(figure, label=label, reading=FOLLOWED, table=table)


def _means(
    points: Sequence[tuple[float, float, float, float]], look: theme.Look, group: str, *, hover: str = "mean %{y:.3f}", **more: Any
) -> go.Scatter:
    """Means with their intervals; a single seed has a bar of no length."""
    x, *interval = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    return dots(look, x, *interval, group=group, width=2, size=10, hover=hover, showlegend=True, **more)


def _accuracy(record: Any) -> float:
    return float((record.logits().argmax(-1) == record.labels()).double().mean())
