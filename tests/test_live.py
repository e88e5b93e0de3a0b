"""The workbench in a real kernel: a control is moved by message, the button pressed, and a student joins the figure."""

import json
from pathlib import Path

import pytest
from handmade import written
from jupyter_client.manager import start_new_kernel

from mixkd import live
from mixkd.live import workbench
from mixkd.store import RecordStore
from mixkd.studies import load_profile, profiles, study


def _execute(client, code):
    outputs = []
    reply = client.execute_interactive(code, timeout=120, output_hook=lambda message: outputs.append(message))
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(m["content"].get("text", "") for m in outputs if m["msg_type"] == "stream")


def _set(client, model, state):
    """What a browser sends when a reader moves a control."""
    message = client.session.msg("comm_msg", {"comm_id": model, "data": state})
    client.shell_channel.send(message)
    _execute(client, "pass")


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def client(kernel, tmp_path):
    """A kernel in an empty folder."""
    _execute(kernel, f"import os; os.chdir({str(tmp_path)!r})")
    return kernel


def test_a_student_trained_from_the_controls_joins_the_lab(client, tmp_path: Path):
    setup = "from mixkd.live import workbench; bench = workbench('digits', 'own'); print(bench.arm.model_id, bench.train.model_id)"
    arm, button = _execute(client, setup).split()
    _set(client, arm, {"method": "update", "state": {"index": 0}, "buffer_paths": []})
    assert _execute(client, "print(bench.arm.value, bench.tau.disabled, bench.spec().arm)").split() == ["ce", "True", "ce"]
    _set(client, button, {"method": "custom", "content": {"event": "click"}})
    shown = _execute(client, "print(len(bench.records), bench.records[0].spec.arm, len(bench.figure.outputs), bench.message.value)")
    assert shown.startswith("1 ce 1 1 students"), shown
    assert "mixkd-lab" in _execute(client, "print(bench.figure.outputs[0]['data']['text/html'][:20000])")
    assert len(list((tmp_path / "own").glob("*/record.json"))) == 1
    told = _execute(client, "bench.store = '/dev/null/no'; bench.seed.value = 1; bench.train.click(); print(bench.message.value)")
    assert "/dev/null" in told


SHOWN = """
import json, re
def shown(bench):
    page = bench.figure.outputs[0]["data"]["text/html"]
    meta = json.loads(re.search(r'class="mixkd-meta">(.*?)</script>', page, re.DOTALL)[1])
    return json.dumps([list(model["label"].values()) for model in meta["models"]])
"""


def test_a_student_joins_the_world_and_a_known_one_needs_no_training(client):
    _execute(client, SHOWN)
    setup = "bench = workbench('gaussians', 'own', figure='world', known='own')"
    names = "print(bench.arm.model_id, bench.alpha.model_id, bench.seed.model_id, bench.train.model_id)"
    arm, alpha, seed, button = _execute(client, f"from mixkd.live import workbench; {setup}; {names}").split()
    assert _execute(client, "print(bench.message.value, len(bench.figure.outputs))").startswith("no student")
    _set(client, seed, {"method": "update", "state": {"value": 77}, "buffer_paths": []})
    _set(client, arm, {"method": "update", "state": {"index": 0}, "buffer_paths": []})
    _set(client, button, {"method": "custom", "content": {"event": "click"}})
    assert json.loads(_execute(client, "print(shown(bench))")) == [["ce", "–", "–", "77"]]

    _set(client, arm, {"method": "update", "state": {"index": 4}, "buffer_paths": []})
    _set(client, alpha, {"method": "update", "state": {"value": 0.2}, "buffer_paths": []})
    _set(client, button, {"method": "custom", "content": {"event": "click"}})
    labels = json.loads(_execute(client, "print(shown(bench))"))
    assert labels[0] == ["kd_mixup", "0.2", "2", "77"]
    assert ["ce", "–", "–", "77"] in labels

    _execute(client, f"{setup}; bench.seed.value = 77")
    ask = "bench.arm.value = 'ce'; print(shown(bench)); print(len(bench.records), bench.message.value)"
    labels, told = _execute(client, ask).splitlines()
    assert json.loads(labels) == [["ce", "–", "–", "77"]]
    assert told.startswith("1 1 students")

    path = "walk = workbench('gaussians', 'own', figure='path', known='own'); walk.seed.value = 77; walk.alpha.value = 0.2"
    assert json.loads(_execute(client, f"{path}; print(shown(walk))")) == [["kd_mixup", "0.2", "2", "77"]]
    wrong = "other = workbench('digits', 'own', figure='world'); other.arm.value = 'ce'; other.train.click(); print(other.message.value)"
    assert "gaussians" in _execute(client, wrong)


def chosen(spec, profile, **stores):
    """A workbench whose controls a reader has moved to a spec."""
    bench = workbench(profile, figure="path", **stores)
    bench.arm.value = spec.arm
    bench.seed.value = spec.seed
    if spec.teacher is not None:
        bench.tau.value = spec.tau
    bench.alpha.value = spec.alpha + 1e-12 if spec.alpha != 1 else 1.0  # as a slider in steps of 0.1 may have it
    return bench


@pytest.mark.parametrize("place", ["store", "known"])
def test_what_the_studies_of_a_profile_trained_is_found_by_the_controls(tmp_path, monkeypatch, place):
    monkeypatch.setattr(live, "run", lambda *_: pytest.fail("it trained"))
    monkeypatch.setitem(live.FIGURES, "path", lambda records, first: f"{len(records)} with {first}")
    specs = [spec for name in ("overconfidence", "temperature", "mixing") for spec in study(name, "digits")]
    plain = next(spec.teacher for spec in specs if spec.arm == "kd")
    specs = [spec for spec in specs if spec.tau != "std" and spec.partial == 1 and spec.seed == 60]
    assert {(spec.arm, spec.tau, spec.alpha) for spec in specs} >= {("ce", 2, 1), ("kd", 8, 1), ("kd_mixup", 0.5, 1), ("kd_mixup", 2, 0.2)}
    stores = {"store": tmp_path / "empty", place: tmp_path / "trained"}
    for spec in dict.fromkeys(specs):
        assert spec.teacher in (None, plain)
        written(RecordStore(tmp_path / "trained"), spec)
        bench = chosen(spec, "digits", **stores)
        assert spec.id in {record.id for record in bench.records}
        assert bench.message.value.endswith(f"the last has record {spec.id}")
    assert not (tmp_path / "empty").exists()
    bench.seed.value = 999
    assert bench.message.value == "no student was trained with these settings yet"


def test_the_controls_begin_where_the_profile_does():
    for name in profiles():
        first = load_profile(name).spec("kd_mixup", load_profile(name).first_seed)
        assert workbench(name).spec() == first
    with pytest.raises(ValueError, match=r"'wrld'.*did you mean 'world'"):
        workbench("gaussians", figure="wrld")
