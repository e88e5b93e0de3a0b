"""On a real GPU: the losses of the CPU within tolerance, half precision, resuming, evaluation, no wait inside an epoch."""

import pytest
import torch
from handmade import short, stopped_after

from mixkd import train
from mixkd.data import load_data
from mixkd.evaluate import evaluate
from mixkd.models import build
from mixkd.objectives import Teacher
from mixkd.runs import Machine, collect
from mixkd.spec import ARMS, TeacherSpec
from mixkd.train import train_cohort

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


def spec(arm="kd_mixup", **fields):
    given = short(arm, **{"batch_size": 100, "train_size": 600, "teacher": TeacherSpec(model="resnet8") if "kd" in arm else None, **fields})
    return given.replace(student="resnet8")


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_size=600)


def teacher(device):
    network = build("resnet8", 10, in_channels=1, image_size=8, seed=9).eval().requires_grad_(False).to(device)
    return Teacher(lambda images: torch.no_grad()(network)(images).float())


def trained(specs, data, device, **options):
    sigma = {one.id: 0.5 for one in specs if one.arm == "kd_noise"}
    return train_cohort(specs, data, teacher(device), sigma=sigma, device=device, **options)


@pytest.fixture
def exact(monkeypatch):
    """Without TensorFloat-32, which rounds inputs of products to ten bits."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_every_arm_has_the_losses_of_the_cpu(exact, data):
    specs = [spec(arm) for arm in ARMS]
    ours, theirs = trained(specs, data, "cuda", precision="fp32"), trained(specs, data, "cpu", precision="fp32")
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.losses.cpu()[:4], other.losses[:4], rtol=1e-3, atol=1e-4)  # later, rounding has grown
        torch.testing.assert_close(one.losses.cpu(), other.losses, rtol=5e-2, atol=2e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_the_full_one(data, precision):
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bfloat16")
    [half], [full] = (trained([spec()], data, "cuda", precision=kind) for kind in (precision, "fp32"))
    assert half.error is None
    assert half.losses.dtype == torch.float32
    torch.testing.assert_close(half.losses, full.losses, rtol=0.1, atol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in half.model.parameters())


@pytest.mark.parametrize(("precision", "graphs"), [("fp32", False), ("fp16", False), ("fp16", True)])
def test_resuming_continues_where_it_stopped(data, tmp_path, monkeypatch, precision, graphs):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    how = {"precision": precision, "cuda_graphs": graphs}
    [whole] = trained([spec()], data, "cuda", **how)
    with stopped_after(8):
        trained([spec()], data, "cuda", checkpoints=tmp_path, checkpoint_seconds=0, **how)
    [resumed] = trained([spec()], data, "cuda", checkpoints=tmp_path, **how)
    assert resumed.began == 8
    assert torch.equal(resumed.losses[:8], whole.losses[:8])
    torch.testing.assert_close(resumed.losses, whole.losses, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_no_step_waits_for_the_device(data, monkeypatch, precision, graphs):
    real, steps = train._step, 0

    def watched(*arguments):
        nonlocal steps
        steps += 1
        if steps > 1:  # the first one sets libraries up
            torch.cuda.set_sync_debug_mode("error")
        real(*arguments)

    def end(*_):
        torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(train, "_step", watched)
    monkeypatch.setattr(train, "_end_epoch", end)
    try:
        trained([spec(epochs=1)], data, "cuda", precision=precision, cuda_graphs=graphs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert steps == 6


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_graphs_have_the_losses_of_separate_launches(exact, data, precision):
    specs = [*(spec(arm) for arm in ARMS), spec("kd", tau=4.0)]
    ours, theirs = (trained(specs, data, "cuda", precision=precision, cuda_graphs=graphs) for graphs in (True, False))
    for one, other in zip(ours, theirs, strict=True):
        assert one.error is None
        torch.testing.assert_close(one.losses[:4], other.losses[:4], rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(one.losses, other.losses, rtol=5e-2, atol=2e-2)
        for name, value in one.model.named_buffers():  # the batches of the warm-up do not count
            torch.testing.assert_close(value, other.model.get_buffer(name), rtol=5e-2, atol=2e-2)
        assert one.model(data.splits["val"].images[:7].float().cuda()).shape == (7, 10)


NOISE = {"noise.logits", "noise.sigma"}


def test_evaluation_gives_the_answers_of_the_cpu(exact, data):
    model = build("resnet8", 10, in_channels=1, image_size=8, seed=3).eval()
    there = evaluate(build("resnet8", 10, in_channels=1, image_size=8, seed=3).eval().to("cuda"), data.to("cuda"))
    here = evaluate(model, data)
    assert there.keys() - NOISE == here.keys() - NOISE  # where entropies hardly differ, rounding decides whether there is such noise
    for name in here.keys() - NOISE:
        value = here[name]
        assert there[name].device.type == "cpu"
        torch.testing.assert_close(there[name], value, rtol=1e-3, atol=1e-3)


def test_a_record_is_made_on_the_device_and_names_it(tmp_path):
    records = collect([spec("kd_mixup", epochs=1)], tmp_path, machine=Machine(device="cuda"), progress=False)
    assert not records.failed
    assert records[0].provenance["device"] == torch.cuda.get_device_name()
    assert records[0].logits("test").shape == (2 * 797, 10)
