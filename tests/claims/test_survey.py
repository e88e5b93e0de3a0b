"""The map of a profile, on worlds made by hand: it says what claim (e) says, and fills whatever a reader trains."""

import math
import shlex

import made
import numpy as np
import pytest

import mixkd.claims.evidence
import mixkd.store
import mixkd.studies
from mixkd import claims
from mixkd.cli import _parser
from mixkd.measure import calibration
from mixkd.store import RecordStore
from mixkd.studies import CALIBRATIONS, Cell, cell_spec, cells

FITTED = Cell(made.DEFAULT, "fitted", 2.0)
UNPLANNED = Cell(made.OTHER, "double", 4.0)
HOW_SHARP = {"half": 3.0, "raw": 2.0, "fitted": 1.0, "double": 0.5}


def student(spec):
    if spec.teacher is None:
        return made.jittered(spec, 0.7, 4.0, val=4.0, n=1500)
    tempered = {(t.get("temperature", 1.0), t.get("temperature_factor", 1.0)): name for name, t in CALIBRATIONS.items()}
    sharpness = HOW_SHARP[tempered[spec.teacher.temperature, spec.teacher.temperature_factor]]
    return made.jittered(spec, 0.8, sharpness * (2.0 if spec.arm == "kd" else 1.0), n=1500)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store of the whole map, and the survey of it."""
    world = made.World(RecordStore(tmp_path_factory.mktemp("map")))
    with pytest.MonkeyPatch.context() as patch:
        for module in (mixkd.claims.evidence, mixkd.studies):
            patch.setattr(module, "load_profile", lambda name: world.profile)
        patch.setattr(mixkd.store, "_fsync", lambda path: None)
        world.train("map", student)
        [found] = claims.survey("tiny", world.store)
    return world.store, found


@pytest.fixture
def surveyed(world, trained):
    world.store, found = trained
    return found


def test_a_cell_says_what_the_claim_says(world, surveyed):
    for cell in cells(world.profile):
        reading, verdict = surveyed.readings["kd_mixup", cell], claims.judge("e", world.evidence, cell)
        primary = verdict.stated[0]
        assert (reading.as_stated, reading.attributed) == (verdict.as_stated, verdict.attributed)
        assert (reading.ratio.estimate, reading.ratio.low, reading.ratio.high) == (primary.estimate, primary.low, primary.high)
    assert surveyed.readings["kd_mixup", FITTED].as_stated == "supported"
    assert surveyed.readings["kd_mixup", world.profile.paper_cell].as_stated == "not supported"


def test_underconfidence_is_marked(surveyed):
    soft = surveyed.readings["kd_mixup", Cell(made.DEFAULT, "double", 2.0)]
    assert soft.ratio.estimate > 1
    assert soft.underconfident
    assert soft.bought
    assert soft.as_stated == "not supported"
    assert not surveyed.readings["kd_mixup", FITTED].bought


def test_the_cheapest_rival_keeps_its_answers(surveyed):
    assert surveyed.rival.gain.estimate == 0
    assert surveyed.rival.model.accuracy == surveyed.plain.accuracy
    assert surveyed.rival.ratio.estimate > 1, "one temperature takes away what was a matter of scale"
    assert surveyed.rival.model.temperature == pytest.approx(1.0, abs=0.02)


def test_teachers_are_measured_as_their_students_met_them(surveyed):
    needs = {name: surveyed.teachers[made.DEFAULT, name].temperature for name in CALIBRATIONS}
    assert needs["raw"] == pytest.approx(made.SHARP, rel=0.05)
    assert [needs["fitted"], needs["half"], needs["double"]] == pytest.approx([1.0, 2.0, 0.5])
    assert len({surveyed.teachers[made.DEFAULT, name].accuracy for name in CALIBRATIONS}) == 1, "dividing logits changes no decision"
    assert surveyed.teachers[made.DEFAULT, "half"].gap > surveyed.teachers[made.DEFAULT, "fitted"].gap


def test_bars_hold_all_answers_of_all_seeds(world, surveyed):
    records = [*world.evidence.students(FITTED, "kd_mixup").values()]
    model = surveyed.readings["kd_mixup", FITTED].model
    assert model.share.sum() == pytest.approx(1)
    assert model.share @ model.bar_accuracy == pytest.approx(model.accuracy)
    assert model.share @ model.bar_confidence == pytest.approx(model.confidence)
    assert model.under == pytest.approx(np.mean([calibration.report(r.logits(), r.labels()).under for r in records]))
    assert sorted(model.seeds) == sorted(record.spec.seed for record in records)


def test_the_sweep_of_tau_is_its_largest_less_its_smallest(world, surveyed):
    trade = surveyed.trades["kd_mixup", made.DEFAULT, "raw"]
    assert (trade.low, trade.high) == (1.0, 4.0)
    ends = [surveyed.readings["kd_mixup", Cell(made.DEFAULT, "raw", tau)].model.accuracy for tau in (4.0, 1.0)]
    assert trade.accuracy.estimate == pytest.approx(ends[0] - ends[1])


def test_a_cell_that_no_study_plans_names_a_run_that_fills_it(world, surveyed):
    waiting = surveyed.readings["kd_mixup", UNPLANNED]
    assert waiting.model is None
    assert waiting.as_stated == "not run"
    given = shlex.split(waiting.command)[1:]
    options = vars(_parser(given).parse_args(given))
    spec = cell_spec(world.profile, "kd_mixup", world.profile.first_seed, UNPLANNED)
    assert options["teacher.model"] == spec.teacher.model == made.OTHER
    assert (options["teacher.temperature"], float(options["teacher.temperature_factor"])) == ("fitted", 2.0)
    assert (float(options["run.tau"]), int(options["run.seed"]), options["run.arm"]) == (4.0, 0, "kd_mixup")
    world.put([cell_spec(world.profile, "kd_mixup", seed, UNPLANNED) for seed in world.profile.swept_seeds], student)
    [again] = claims.survey("tiny", world.store)
    filled = again.readings["kd_mixup", UNPLANNED]
    assert len(filled.model.seeds) == 4
    assert not math.isnan(filled.ratio.low)
    assert filled.attributed is None, "the ledger does not judge what was not planned"


def test_planned_cells_that_wait_name_their_study(world):
    world.train("overconfidence", student)
    [found] = claims.survey(store=world.store)
    assert found.readings["kd_mixup", FITTED].command == "mixkd reproduce --profile tiny --study map"
    assert found.readings["kd_mixup", world.profile.paper_cell].model is not None


def test_a_profile_without_plain_students_has_no_map(world):
    assert claims.survey("tiny", world.store) == []
    assert claims.survey(store=world.store) == []
