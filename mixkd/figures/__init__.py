"""The figures of the book: functions that take a frame or measured bins and return a `Plot`, and the live lab.

They show results; they refuse to train, to load or to measure.
"""

from mixkd.figures.blend import blend
from mixkd.figures.curves import curves, stack
from mixkd.figures.explorer import LabModel, temperature_lab
from mixkd.figures.intervals import effects, intervals
from mixkd.figures.labs import lab_of
from mixkd.figures.ledger import comparisons, ledger, verdict
from mixkd.figures.plot import Plot
from mixkd.figures.reliability import reliability
from mixkd.figures.sweep import sweep
from mixkd.figures.table import table
from mixkd.figures.tradeoff import tradeoff

__all__ = [
    "LabModel", "Plot", "blend", "comparisons", "curves", "effects", "intervals", "lab_of", "ledger", "reliability", "stack", "sweep", "table",
    "temperature_lab", "tradeoff", "verdict",
]  # fmt: skip
