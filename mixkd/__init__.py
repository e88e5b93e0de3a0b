"""mixkd: mixup-based knowledge distillation, measured.

The names below are the public API; everything else may change. They load on first use, so that reading a record or
asking for help never waits for what it does not need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "RunSpec": "mixkd.spec:RunSpec",
    "TeacherSpec": "mixkd.spec:TeacherSpec",
    "run": "mixkd.runs:run",
    "collect": "mixkd.runs:collect",
    "study": "mixkd.studies:study",
    "Record": "mixkd.records:Record",
    "RecordStore": "mixkd.store:RecordStore",
    "load_data": "mixkd.data:load_data",
    "calibration": "mixkd.measure.calibration",
    "statistics": "mixkd.measure.statistics",
    "vicinal": "mixkd.vicinal",
    "claims": "mixkd.claims",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from mixkd import claims, vicinal
    from mixkd.data import load_data
    from mixkd.measure import calibration, statistics
    from mixkd.records import Record
    from mixkd.runs import collect, run
    from mixkd.spec import RunSpec, TeacherSpec
    from mixkd.store import RecordStore
    from mixkd.studies import study


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mixkd' has no attribute {name!r}; it has {', '.join(_HOME)}")
    module, _, attribute = _HOME[name].partition(":")
    loaded = importlib.import_module(module)
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
