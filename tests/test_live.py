"""The workbench in a real kernel: a control is moved by message, the button pressed, and a student joins the figure."""

from pathlib import Path

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


def test_a_student_trained_from_the_controls_joins_the_lab(tmp_path: Path):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
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
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
