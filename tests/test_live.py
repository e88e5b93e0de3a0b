"""The workbench in a real kernel: a control is moved by message, the button pressed, and a student joins the figure."""

import json
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel


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


def test_an_unknown_figure_is_refused():
    from mixkd.live import workbench

    with pytest.raises(ValueError, match=r"'wrld'.*did you mean 'world'"):
        workbench("gaussians", figure="wrld")
