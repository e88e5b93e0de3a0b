"""The ledger and the map: every claim, every cell, named records, counted gaps, the command that fills them, JSON without NaN."""

import json
from dataclasses import fields, replace

import pytest
import torch
from made import DEFAULT, OTHER, TINY, K, jittered, split, teacher
from test_accuracy_and_overconfidence import of

import mixkd.claims
from mixkd.claims import CLAIMS, Row, Verdict, across, elsewhere, evaluate, everywhere, to_frame, to_json, to_text
from mixkd.claims.evidence import overconfidence_floor
from mixkd.spec import RunSpec, SpecError
from mixkd.store import RecordStore
from mixkd.studies import Cell, cells, study
from mixkd.vicinal import LAM_GRID

HERE = ["d", "e", "f", "g", "i"]


class TestVerdicts:
    def test_nothing_trained(self, world):
        verdicts = evaluate("tiny", world.store)
        assert [verdict.claim for verdict in verdicts] == sorted(CLAIMS)
        for verdict in verdicts:
            assert (verdict.as_stated, verdict.attributed) == ("not run", "not run")
            assert verdict.command.startswith("mixkd reproduce --profile tiny")
            assert verdict.records == ()
            assert verdict.missing > 0
            assert verdict.title
            assert verdict.chapter

    def test_records_are_named_and_the_missing_counted(self, world):
        world.train("overconfidence", lambda spec: of()(spec) if spec.seed < 3 else None, lambda spec: None)
        [verdict] = evaluate("tiny", world.store, ["e"])
        specs = study("overconfidence", "tiny")
        assert set(verdict.records) == {spec.id for spec in specs if spec.seed < 3}
        teachers = {spec.teacher_run().id for spec in specs if spec.arm == "kd_mixup" and spec.seed < 3}
        assert verdict.missing == len(specs) - len(verdict.records) + len(teachers)
        assert verdict.command == "mixkd reproduce --profile tiny --study overconfidence"
        assert verdict.as_stated == "unresolved"  # without its teachers P6 is open
        assert "P6 is not resolved" in verdict.note

    def test_a_damaged_record_counts_as_missing(self, world):
        world.train("overconfidence", of())
        spec = next(spec for spec in study("overconfidence", "tiny") if spec.arm == "kd_mixup")
        (world.store.path / spec.id / "tensors.safetensors").write_bytes(b"not a tensor")
        [verdict] = evaluate("tiny", world.store, ["e"])
        assert spec.id not in verdict.records
        assert verdict.missing == 1
        assert verdict.stated[0].seeds == 3

    def test_data_that_lie_elsewhere_need_a_root(self, world):
        world.profile = replace(TINY, data="folder:tiny@0123456789abcdef")
        [verdict] = evaluate("tiny", world.store, ["e"])
        assert verdict.command == "mixkd reproduce --profile tiny --study overconfidence --data-root DIR"

    @pytest.mark.parametrize("kept", ["two seeds", "one seed", "no plain student", "no distilled student", "one record"])
    def test_a_part_of_the_grid_never_crashes(self, world, kept):
        last = study("map", "tiny")[-1].id
        keep = {
            "two seeds": lambda spec: spec.seed < 2,
            "one seed": lambda spec: spec.seed == 1,
            "no plain student": lambda spec: spec.arm != "ce",
            "no distilled student": lambda spec: spec.arm not in ("kd", "kd_mixup"),
            "one record": lambda spec: spec.id == last,
        }[kept]
        world.train("map", lambda spec: of(n=600)(spec) if keep(spec) else None, lambda spec: teacher(spec, n=600))
        verdicts = evaluate("tiny", world.store, HERE)
        json.loads(to_json(verdicts, across("tiny", world.store, HERE)))
        for verdict in verdicts:
            assert verdict.as_stated != "unresolved" or verdict.stated[0].seeds > 0  # never unresolved with nothing run
        if kept == "one seed":
            assert {verdict.as_stated for verdict in verdicts} == {"not run"}

    def test_constant_models_never_crash(self, world):
        def constant(spec: RunSpec):
            logits, labels = split(0.8, 0.0, 600)
            made = {f"logits.{name}": logits for name in ("test", "val", "train")}
            return made | {f"labels.{name}": labels for name in ("test", "val", "train")}

        world.train(("map", "propagation"), constant, constant)
        for verdict in evaluate("tiny", world.store, HERE):
            assert verdict.as_stated != "supported"


class TestMap:
    def test_every_cell_has_a_row(self, world):
        rows = across("tiny", world.store)
        for letter, claim in CLAIMS.items():
            own = [row for row in rows if row.claim == letter]
            if claim.per == "cell":
                assert [Cell(row.teacher, row.calibration, row.tau) for row in own] == cells(TINY)
            if claim.per == "column":
                assert [row.calibration for row in own] == ["raw", "fitted", "half", "double"]
                assert {row.tau for row in own} == {None}
            if claim.per == "profile":
                assert [(row.teacher, row.tau) for row in own] == [(None, None)]
            for row in own:
                assert row.as_stated == "not run"
                assert row.missing > 0
                assert row.command.startswith("mixkd reproduce --profile tiny")

    def test_a_filled_map_lacks_nothing(self, world):
        def made(spec: RunSpec):
            if spec.arm == "kd_mixup" and spec.teacher.temperature == "fitted" and spec.teacher.temperature_factor == 2:
                return jittered(spec, 0.80, 0.3)
            return of()(spec)

        world.train("map", made)
        rows = across("tiny", world.store, ["d", "e", "g"])
        assert {(row.missing, row.command) for row in rows} == {(0, "")}
        word = {(row.teacher, row.calibration, row.tau): row for row in rows if row.claim == "e"}
        assert word[DEFAULT, "raw", 2.0].as_stated == "supported"
        assert word[DEFAULT, "double", 2.0].as_stated == "not supported"
        assert word[OTHER, "fitted", 2.0].as_stated == "supported"
        assert word[DEFAULT, "raw", 2.0].n == 4
        assert word[DEFAULT, "raw", 2.0].unit == "log10 ratio"

    def test_the_map_fills_what_a_cell_lacks(self, world):
        world.train("overconfidence", of())
        [row] = [row for row in across("tiny", world.store, ["e"]) if (row.teacher, row.calibration, row.tau) == (DEFAULT, "half", 4.0)]
        assert row.as_stated == "not run"
        assert row.command == "mixkd reproduce --profile tiny --study map"
        assert row.missing == 2 * 4  # kd and kd_mixup

    def test_profiles_with_records(self, world, tmp_path):
        assert across(store=RecordStore(tmp_path / "empty")) == []
        assert everywhere(RecordStore(tmp_path / "empty")) == {}
        world.train("overconfidence", of())
        assert {row.profile for row in across(store=world.store, letters=["e"])} == {"tiny"}
        assert list(everywhere(world.store, ["e"])) == ["tiny"]
        assert elsewhere("e", "tiny", world.store) == []
        assert [verdict.profile for verdict in elsewhere("e", "digits", world.store)] == ["tiny"]


class TestForms:
    def test_json(self, world):
        world.train("overconfidence", lambda spec: of()(spec) if spec.seed < 1 else None)
        verdicts, rows = evaluate("tiny", world.store, HERE), across("tiny", world.store, HERE)

        def fail(constant: str) -> None:
            raise AssertionError(constant)

        parsed = json.loads(to_json(verdicts, rows), parse_constant=fail)
        assert set(parsed) == {"verdicts", "map"}
        for verdict in parsed["verdicts"]:
            assert set(verdict) == {field.name for field in fields(Verdict)}
        assert any(row["low"] is None for verdict in parsed["verdicts"] for row in verdict["stated"])
        assert all(set(row) == {field.name for field in fields(Row)} for row in parsed["map"])

    def test_frame_and_text(self, world):
        world.train("overconfidence", of())
        verdicts = evaluate("tiny", world.store, HERE)
        assert len(to_frame(verdicts)) == len(HERE)
        text = to_text(verdicts)
        assert "not run" in text
        assert "(e) P3 met: overconfidence error of ce over" in text


class TestEvidence:
    def test_the_floor_counts_views_of_one_image_by_what_they_add(self, world):
        """Twice the same rows are no more evidence."""
        world.train("overconfidence", lambda spec: of(n=1000)(spec) if spec.seed < 2 else None)

        def twice(spec: RunSpec):
            made = of(n=1000)(spec)
            return made | {"logits.test": made["logits.test"].repeat(2, 1)} if spec.seed == 1 else made

        world.put([spec for spec in study("overconfidence", "tiny") if spec.arm == "ce" and spec.seed < 2], twice)
        plain = world.evidence.students(None, "ce")
        assert len(plain[1].logits()) == 2 * len(plain[0].logits())
        once, again = (overconfidence_floor([plain[seed]]) for seed in (0, 1))
        assert again == pytest.approx(once, rel=0.1)


class TestChanges:
    """What another amount of one ingredient changes."""

    def test_patience(self, world):
        """Twice the steps give every arm a point of accuracy, and kd_mixup is five points ahead of all."""
        usual = TINY.spec("kd", 0).epochs

        def made(spec: RunSpec):
            ahead = 0.05 if spec.arm == "kd_mixup" else 0.0
            return jittered(spec, 0.8 + ahead + 0.01 * (spec.epochs > usual), 1.0, 0.0005) | probe()

        world.train("duration", made)
        found = mixkd.claims.changes("duration", world.evidence)
        found = found[found["measure"] == "accuracy"].set_index(["setting", "arm", "against"])["estimate"]
        assert found["2 times the steps", "ce", "itself at the recipe's steps"] == pytest.approx(0.01, abs=0.003)
        assert found["2 times the steps", "kd_mixup", "mixup, equal steps"] == pytest.approx(0.05, abs=0.003)
        assert found["the recipe's steps", "kd_mixup", "kd at 2 times the steps"] == pytest.approx(0.04, abs=0.003)

    def test_amount_of_mixing(self, world):
        def made(spec: RunSpec):
            gain = 0.02 * spec.alpha if spec.arm == "kd_mixup" and spec.partial == 1 else 0
            return jittered(spec, 0.8 + gain, 1.0, 0.0005) | probe()

        world.train("mixing", made)
        found = mixkd.claims.changes("mixing", world.evidence)
        found = found[found["measure"] == "accuracy"].set_index("setting")["estimate"]
        assert found["alpha 0.2"] == pytest.approx(-0.016, abs=0.003)
        assert found["no mixing"] == pytest.approx(-0.02, abs=0.003)
        assert found["50% of each batch"] == pytest.approx(-0.02, abs=0.003)

    def test_nothing_trained_changes_nothing_and_unknown_names_get_the_nearest(self, world):
        assert mixkd.claims.changes("duration", world.evidence).empty
        with pytest.raises(SpecError, match="must be one of a, b"):
            evaluate("tiny", world.store, ["z"])
        with pytest.raises(SpecError, match="did you mean 'mixing'"):
            mixkd.claims.changes("mixin", world.evidence)


def probe():
    labels = torch.stack([torch.arange(12) % K, (torch.arange(12) + 1) % K], 1)
    logits = torch.randn(len(LAM_GRID), 12, K, generator=torch.Generator().manual_seed(0))
    return {"probe.logits": logits, "probe.labels": labels, "probe.pairs": torch.zeros_like(labels)}
