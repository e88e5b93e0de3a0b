"""`python -m benchmarks.run`: all sections, or some, each kept as soon as it is measured; then the tables of the README.

Refuses to start over what a stopped run has finished: `--resume` leaves out sections measured before.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import calibration, peers, precision, scaling, table, training

SECTIONS = ("calibration", "training", "scaling", "ablation")
ON_REQUEST = ("precision", "graphs")
RESULTS = Path(__file__).resolve().parent.parent / "_build" / "bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns the exit status: 1 when a section could not be measured."""
    options = _parser().parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu")
    results = Path(options.results)
    results.mkdir(parents=True, exist_ok=True)
    absent = peers.missing()
    if absent:
        print(f"not installed, so not compared: {', '.join(absent)}; get them with: pip install 'mixkd[bench]'", file=sys.stderr)
    failed = 0
    for name in options.only or SECTIONS:
        kept = results / f"{name}.json"
        if options.resume and kept.exists():
            print(f"{name}: measured before, left as it is")
            continue
        print(f"{name} ...", flush=True)
        before, began = os.getloadavg()[0], time.perf_counter()
        try:
            rows = _work(name, options, device)()
        except (ValueError, FileNotFoundError, RuntimeError) as error:
            print(f"{name}: not measured: {error}", file=sys.stderr)
            failed = 1
            continue
        result = {
            "rows": rows,
            "seconds": time.perf_counter() - began,
            "date": datetime.date.today().isoformat(),
            "command": " ".join(["python -m benchmarks.run", *(arguments if arguments is not None else sys.argv[1:])]).strip(),
            "missing": absent,
            "machine": {**machine(device), "load_before": before, "load_after": os.getloadavg()[0]},
        }
        partial = kept.with_suffix(".tmp")
        partial.write_text(json.dumps(result, indent=1))
        partial.replace(kept)
        print(table._RENDER[name](json.loads(json.dumps(rows))), f"\n{result['seconds']:.0f} s\n", flush=True)
    if not options.no_table:
        found = {name: results / f"{name}.json" for name in (*SECTIONS, *ON_REQUEST)}
        table.write({name: json.loads(path.read_text()) for name, path in found.items() if path.exists()})
    return failed


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the figures were measured on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    half = "with bfloat16" if torch.cpu._is_avx512_bf16_supported() else "without bfloat16"
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "capability": f"{torch.backends.cpu.get_cpu_capability()} {half}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU",
        "torch": torch.__version__.partition("+")[0],
    }


def _work(name: str, options: argparse.Namespace, device: torch.device) -> Callable[[], Any]:
    quick = options.quick
    train_size = training.QUICK if quick else training.Size()
    if name == "calibration":
        return lambda: calibration.measure(calibration.QUICK if quick else calibration.Size())
    if name == "training":
        return lambda: training.measure(train_size, device)
    if name == "ablation":
        return lambda: training.ablate(train_size, device)
    if name == "graphs":
        return lambda: training.graph(train_size, device)
    if name == "scaling":
        return lambda: scaling.measure(scaling.QUICK if quick else scaling.Size(), device)
    size = precision.QUICK if quick else precision.Size()
    if options.data:
        size = dataclasses.replace(size, data=options.data, root=options.data_root)
    return lambda: precision.measure(size, device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, *ON_REQUEST], help="default: all but precision and graphs")
    parser.add_argument("--resume", action="store_true", help="leave out sections that were measured before")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu"], help="a GPU where there is one, or the CPU all the same")
    parser.add_argument("--data", help="images for the section precision, as in a spec (default: cifar10)")
    parser.add_argument("--data-root", help="where they lie")
    parser.add_argument("--results", default=str(RESULTS), help="folder of what was measured (default: _build/bench)")
    parser.add_argument("--no-table", action="store_true", help="leave the README as it is")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
