"""The benchmarks run at tiny sizes, compare only within a round, and fill their tables without touching the text around them."""

import json

import pytest
import torch

from benchmarks import calibration, clock, precision, run, table, training

CPU = torch.device("cpu")
STAMP = {
    "seconds": 1.0, "date": "2000-01-01", "command": "python -m benchmarks.run", "missing": ["netcal"],
    "machine": {**run.machine(CPU), "load_before": 0.5, "load_after": 7.25},
}  # fmt: skip


def test_contenders_take_turns_and_are_compared_within_a_round(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def contender(name, seconds):
        def turn():
            order.append(name)
            now[0] += seconds
            return 8.0

        return turn

    rates = clock.alternate({"a": contender("a", 2.0), "b": contender("b", 4.0)}, rounds=1)
    assert order == ["a", "b", "a", "b"]
    assert rates == {"a": [4.0], "b": [2.0]}
    spread = clock.ratios([4.0, 0.4, 3.0], [2.0, 0.2, 1.0])  # ten times slower in the middle, both
    assert (spread.low, spread.median, spread.high) == (2.0, 2.0, 3.0)
    name, spread = clock.against_fastest({"us": [6.0], "p": [2.0], "q": [3.0]}, "us", ["p", "q"])
    assert (name, spread.median) == ("q", 2.0)


def test_a_slow_machine_measures_fewer_rounds_but_never_too_few_for_a_median(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def turn():
        now[0] += 10.0
        return 1.0

    assert len(clock.alternate({"a": turn}, rounds=5, seconds=1)["a"]) == clock.FEWEST
    assert len(clock.alternate({"a": turn}, rounds=5, seconds=45)["a"]) == 4
    assert len(clock.alternate({"a": turn}, rounds=5)["a"]) == 5


def test_calibration_is_measured_against_every_peer_that_is_there():
    rows = calibration.measure(calibration.QUICK)
    peers = " ".join(row["peer"] for row in rows)
    for peer in ("torchmetrics", "netcal", "relplot", "resampled logits", "resampled confidences"):
        assert peer in peers
    assert all(row["ratio"]["low"] > 0 for row in rows)


def test_the_frozen_teacher_of_the_ablation_answers_alike_with_and_without_inference_mode():
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole, bare = (training.frozen("resnet8", CPU, "fp32", inference=inference).network(x) for inference in (True, False))
    torch.testing.assert_close(bare, whole, rtol=1e-4, atol=1e-4)


def test_tables_are_filled_between_their_markers_again_and_again(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(table.README.read_text())
    rows = [{"what": "w", "peer": "p", "ours_s": 0.001, "peer_s": 0.004, "ratio": {"low": 3, "median": 4, "high": 5}, "goal": [2, 6]}]
    for value in (4, 7):
        rows[0]["ratio"]["median"] = value
        table.write({"calibration": {**STAMP, "rows": json.loads(json.dumps(rows))}}, readme)
        text = readme.read_text()
        assert text.count(f"**{value}.00** (3.00 to 5.00)") == 1
        assert "load before and after 0.5 and 7.2" in text
        assert "Not installed: netcal." in text
    assert "**4.00**" not in text
    assert "stretch reached" in text

    def outside(content):
        return content.partition("<!-- calibration -->")[0], content.partition("<!-- /calibration -->")[2]

    assert outside(text) == outside(table.README.read_text())
    (tmp_path / "bare.md").write_text("nothing here")
    with pytest.raises(ValueError, match="no markers"):
        table.write({"calibration": {**STAMP, "rows": rows}}, tmp_path / "bare.md")


@pytest.mark.parametrize(
    "work",
    [lambda x, w: torch.nn.functional.conv2d(x.view(4, 2, 6, 6), w.view(16, 2, 3, 3)), lambda x, w: x.view(16, 18) @ w.view(18, 16)],
    ids=["conv2d", "matmul"],
)
def test_bfloat16_by_float32_rounds_each_sum_once(work):
    draw = torch.Generator().manual_seed(0)
    x, w = (torch.randn(288, generator=draw).bfloat16().requires_grad_() for _ in range(2))
    with precision.ByFloat32():
        got = work(x, w)
        gradients = torch.autograd.grad(got.sum(), (x, w))
    x64, w64 = (value.detach().double().requires_grad_() for value in (x, w))
    exact = work(x64, w64)
    for rounded, true in zip((got, *gradients), (exact, *torch.autograd.grad(exact.sum(), (x64, w64))), strict=True):
        assert rounded.dtype == torch.bfloat16
        # one rounding to 8 bits; a sum that was itself rounded on its way would err by several times as much
        assert ((rounded.double() - true).abs() <= 2**-8 * true.abs() + 1e-5).all()
        assert (rounded.double() != true).any()


@pytest.mark.parametrize("hardware", ["fp32", "bf16"])
def test_half_precision_is_computed_by_float32_only_where_the_machine_lacks_it(monkeypatch, hardware):
    monkeypatch.setattr(precision, "resolve_precision", lambda *_: hardware)
    seen, emulation = [], precision.ByFloat32
    monkeypatch.setattr(precision, "ByFloat32", lambda: seen.append(1) or emulation())
    row = precision.measure(precision.QUICK, CPU)
    assert len(seen) == (precision.QUICK.seeds if hardware == "fp32" else 0)
    assert row["emulated"] == (hardware == "fp32")


def test_a_finished_section_is_kept_and_a_missing_one_measured(tmp_path, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(run, "_work", lambda name, *_: lambda: done.append(name) or [])
    arguments = ["--results", str(tmp_path), "--no-table", "--only", "calibration"]
    assert run.main(arguments) == 0
    assert run.main([*arguments, "training", "--resume"]) == 0
    assert done == ["calibration", "training"]
    assert "measured before" in capsys.readouterr().out
    assert json.loads((tmp_path / "training.json").read_text())["machine"]["cores"]
