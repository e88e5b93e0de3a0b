"""The measured sections as tables of `benchmarks/README.md`, each between its own markers; all other text stays.

Refuses to average machines: each table says on what, and beside what load, it was measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

README = Path(__file__).parent / "README.md"


def write(results: Mapping[str, dict[str, Any]], path: Path = README) -> None:
    """Put each section's table between its markers."""
    text = path.read_text()
    for name, result in results.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start not in text or end not in text:
            raise ValueError(f"{path}: no markers {start} ... {end}")
        body = f"{start}\n{_RENDER[name](result['rows'])}\n\n*{_stamp(result)}*\n{end}"
        text = re.sub(re.escape(start) + ".*?" + re.escape(end), lambda _, body=body: body, text, flags=re.S)  # type: ignore[misc]
    path.write_text(text)


def _stamp(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    missing = f" Not installed: {', '.join(result['missing'])}." if result["missing"] else ""
    return (
        f"{result['date']}, {machine['processor']}, {machine['cores']} cores, {machine['capability']}, {machine['device']}, "
        f"torch {machine['torch']}, load before and after {machine['load_before']:.1f} and {machine['load_after']:.1f}; "
        f"{result['seconds']:.0f} s, `{result['command']}`.{missing}"
    )


def _grid(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ratio(ratio: Mapping[str, float]) -> str:
    return f"**{ratio['median']:.2f}** ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _goal(goal: list[float] | None, median: float) -> str:
    if goal is None:
        return ""
    reached = "stretch reached" if median >= goal[1] else "must reached" if median >= goal[0] else "missed"
    return f"{goal[0]:g}; {goal[1]:g}: {reached}"


def _training(rows: list[dict[str, Any]]) -> str:
    body = [
        [
            row["workload"],
            row["precision"],
            f"{row['rate']:.0f}",
            ", ".join(f"{name} {rate:.0f}" for name, rate in row["peers"].items()),
            _ratio(row["ratio"]),
            _goal(row["goal"], row["ratio"]["median"]),
            "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.2f} of {row['peak'] / 1e9:.0f} GFLOP/s",
        ]
        for row in rows
    ]
    head = ["student images/s", "precision", "ours", "peers", "ratio to the fastest (min to max)", "goal", "share of the conv peak"]
    return _grid(head, body)


def _calibration(rows: list[dict[str, Any]]) -> str:
    body = [
        [
            row["what"],
            row["peer"],
            f"{1e3 * row['ours_s']:.1f}",
            f"{1e3 * row['peer_s']:.1f}",
            _ratio(row["ratio"]),
            _goal(row["goal"], row["ratio"]["median"]),
        ]
        for row in rows
    ]
    return _grid(["what", "peer", "ours, ms", "peer, ms", "ratio (min to max)", "goal"], body)


def _ablation(rows: list[dict[str, Any]]) -> str:
    body = [[row["pair"], row["part"], _ratio(row["gain"])] for row in rows]
    return _grid(["models", "part", "speed with it, in units of without (min to max)"], body)


def _graphs(rows: list[dict[str, Any]]) -> str:
    body = [[row["workload"], f"{row['rate']:.0f}", f"{row['step_ms']:.2f}", _ratio(row["gain"])] for row in rows]
    return _grid(["models", "student images/s", "ms of a step without", "speed with graphs, in units of without (min to max)"], body)


def _scaling(row: dict[str, Any]) -> str:
    (few, less), (many, more) = row["memory_mb"].items()
    body = [
        ["speed per image at four times the images", _ratio(row["images"])],
        ["speed per image at four times the epochs", _ratio(row["epochs"])],
        [f"peak memory after {few} runs, after {many}", f"{less:.0f} MB, {more:.0f} MB"],
        ["`mixkd --help`", f"{row['help_s']:.2f} s"],
    ]
    return _grid(["what", "measured"], body)


def _precision(row: dict[str, Any]) -> str:
    size = row["size"]
    how = " (products by float32 units)" if row["emulated"] else ""
    body = [[name + how * (name == "bf16"), " ".join(f"{value:.4f}" for value in values)] for name, values in row["accuracy"].items()]
    body += [
        ["mean difference, 95 % interval", f"**{row['difference']:+.4f}** ± {row['half_width']:.4f}"],
        ["deviation between seeds of fp32", f"{row['seed_deviation']:.4f}"],
        ["trained", f"{size['student']}, {size['train_size']:,} images, {size['epochs']} epochs"],
    ]
    return _grid(["precision", "validation accuracy, one for each seed"], body)


_RENDER = {
    "training": _training,
    "calibration": _calibration,
    "ablation": _ablation,
    "graphs": _graphs,
    "scaling": _scaling,
    "precision": _precision,
}
