"""The worked diffs of CONTRIBUTING.md: applied to a copy of the project, the arm trains, the measure is shown, the chapter runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixkd.store import RecordStore, committed_path
from mixkd.studies import study

ROOT = Path(__file__).resolve().parent.parent


def _in(copy, *command):
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A copy of the project, without records, that every diff of CONTRIBUTING.md was applied to."""
    copy = tmp_path_factory.mktemp("grown")
    listed = subprocess.run(["git", "ls-files", "-z", ":!book/records"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    diffs = re.findall(r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(diffs) == 3
    for number, diff in enumerate(diffs):
        (copy / f"{number}.diff").write_text(diff, encoding="utf-8")
        _in(copy, "git", "apply", f"{number}.diff")
    _in(copy, sys.executable, "-c", "from mixkd import chapters; chapters.pair('which-error')")
    return copy


def test_the_arm_trains_and_its_record_has_the_measure(grown):
    tiny = ["--epochs", "2", "--teacher-epochs", "2", "--train-size", "200", "--teacher-train-size", "200", "--student", "mlp16"]
    _in(grown, sys.executable, "-m", "mixkd", "run", "--arm", "kd_hard", "--teacher", "mlp16", "--store", "runs", *tiny)
    code = """
from mixkd import RecordStore, figures
frame = RecordStore("runs").list().select(arm="kd_hard").frame()
print(frame[["ks", "gap", "ts_ks"]].to_json(orient="records"))
print(figures.table(frame, ["ks"], also_scaled=["kd_hard"])._repr_html_())
"""
    numbers, table = _in(grown, sys.executable, "-c", code).split("\n", 1)
    [found] = json.loads(numbers)
    assert abs(found["gap"]) <= found["ks"] <= 1
    assert 0 <= found["ts_ks"] <= 1
    assert "hard distillation on mixup" in table
    assert "Kolmogorov" in table


def test_the_chapter_runs_in_a_batch(grown):
    store, committed, errors = grown / "some", committed_path(), []
    for spec in [spec for spec in study("overconfidence", "digits") if spec.arm in ("ce", "kd_mixup")][:4]:
        if not (committed / spec.id).is_dir():
            pytest.skip("the committed records are of another plan")
        shutil.copytree(committed / spec.id, store / spec.id)
        record = RecordStore(committed).load(spec.id)
        confidence, predicted = record.logits().double().softmax(-1).max(-1)
        wrong_by = (confidence - (predicted == record.labels()).double()).numpy()
        errors.append(np.abs(np.cumsum(wrong_by[np.argsort(confidence.numpy())])).max() / len(wrong_by))
    grid = grown / "grid.toml"
    grid.write_text('chapters = ["which-error"]\n[parameters]\nstore = ["../some"]\n', encoding="utf-8")
    _in(grown, sys.executable, "-m", "mixkd", "batch", str(grid), "--out", "made")
    [row] = json.loads((grown / "made" / "results.json").read_text())
    assert row["state"] == "done"
    assert row["results"]["ks"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert "Kolmogorov" in (grown / "made" / row["notebook"]).read_text()


def test_what_holds_of_every_arm_measure_and_chapter_holds_of_the_new_ones(grown):
    of_all = "see_what or Colours or is_its_definitions or typed or terms or sidebar or listed or up_to_date"
    files = ["test_objectives.py", "test_figures.py", "measure/test_calibration.py", "test_text.py", "test_chapters.py"]
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=", "-rA", "-k", of_all]
    ran = _in(grown, sys.executable, "-m", "pytest", *options, *(f"tests/{name}" for name in files))
    for one in ("[kd_hard]", "is_its_definitions", "test_no_measured_number_is_typed[which-error]", "up_to_date[which-error]"):
        assert one in ran
