"""The figures of the book: functions that take a frame or measured bins and return a `Plot`, and the live lab.

They show what was trained and measured elsewhere.
"""

from mixkd.figures.along import against_truth, along, blend, signal_parts, truth_along
from mixkd.figures.curves import curves, stack
from mixkd.figures.explorer import LabModel, temperature_lab
from mixkd.figures.findings import found, standing
from mixkd.figures.geometry import class_map, shape
from mixkd.figures.imitation import imitation, imitation_rates
from mixkd.figures.intervals import changed, intervals, intervals_if
from mixkd.figures.judgement import finding, judgement, premises_of
from mixkd.figures.labs import boundary_frame, lab_of, vicinal_of, world_of
from mixkd.figures.ledger import ledger, rules
from mixkd.figures.map import map_of, map_svg
from mixkd.figures.markup import CALIBRATIONS, absent, in_words
from mixkd.figures.plot import Plot
from mixkd.figures.points import against_accuracy, labelled_points, on_the_map
from mixkd.figures.propagation import capacity, followed, passed_on, teacher_table, with_teachers
from mixkd.figures.reliability import reliability, side_by_side
from mixkd.figures.selective import risk_coverage, usefulness
from mixkd.figures.specimens import specimens
from mixkd.figures.sweep import over_classes, sweep
from mixkd.figures.table import rows, table, table_if
from mixkd.figures.where import holds_in, where
from mixkd.figures.words import average, beyond_strangers, same_images, slowest, tally, versus

__all__ = [
    "CALIBRATIONS", "LabModel", "Plot", "absent", "against_accuracy", "against_truth", "along", "average", "beyond_strangers", "blend",
    "boundary_frame", "capacity", "changed", "class_map", "curves", "finding", "followed", "found", "holds_in", "imitation",
    "imitation_rates", "in_words", "intervals", "intervals_if", "judgement", "lab_of", "labelled_points", "ledger", "map_of", "map_svg",
    "on_the_map", "over_classes", "passed_on", "premises_of", "reliability", "risk_coverage", "rows", "rules", "same_images", "shape",
    "side_by_side", "signal_parts", "slowest", "specimens", "stack", "standing", "sweep", "table", "table_if", "tally", "teacher_table",
    "temperature_lab", "truth_along", "usefulness", "versus", "vicinal_of", "where", "with_teachers", "world_of",
]  # fmt: skip
