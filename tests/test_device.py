"""No step of an epoch waits for a GPU, and no tensor is on the wrong device: shown without one, on fake CUDA tensors.

Fake tensors have shapes, dtypes and devices but no values: reading one (`.item()`, `bool()`, `nonzero()`, a boolean index) fails, as
does an operation between devices. Copies do not, so they are watched: device to host always waits, host to device where blocking.
"""

import copy
import dataclasses

import pytest
import torch
from handmade import short
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from mixkd import data as data_module
from mixkd import loader, objectives, train
from mixkd.data import Dataset, Split, load_data, normalise
from mixkd.draws import send
from mixkd.images import ImageFiles
from mixkd.models import build
from mixkd.objectives import Teacher
from mixkd.spec import ARMS, TeacherSpec

CUDA = torch.device("cuda")


class HostWaits(RuntimeError):
    """An operation for which the host would stop until the device is done."""


class NoWaiting(TorchDispatchMode):
    sending = False  # inside `send`, which pins

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default:
            self.judge(func, args[0].device, out.device, kwargs.get("non_blocking", False))
        elif func is torch.ops.aten.copy_.default:
            self.judge(func, args[1].device, args[0].device, args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        return out

    @staticmethod
    def judge(func, source, target, non_blocking):
        if source.type == "cuda" and target.type == "cpu":
            raise HostWaits(f"{func}: from the device to the host")
        if source.type == "cpu" and target.type == "cuda" and not (non_blocking and NoWaiting.sending):
            raise HostWaits(f"{func}: to the device, blocking or from memory that is not pinned")


@pytest.fixture
def fake(monkeypatch):
    data_module._affine.cache_clear()  # else a later test would meet fake tensors

    def sent(tensor, device):
        NoWaiting.sending = True
        try:
            return send(tensor, device)
        finally:
            NoWaiting.sending = False

    for module in (loader, objectives, train):
        monkeypatch.setattr(module, "send", sent)
    with FakeTensorMode() as mode:
        yield mode
    data_module._affine.cache_clear()


def on_device(model):
    """The same modules with fake parameters and buffers on the GPU; `to` cannot move fake ones."""
    with unset_fake_temporarily():
        model = copy.deepcopy(model)

    def twin(value):
        out = torch.empty(value.shape, dtype=value.dtype, device=CUDA)
        return out.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else out

    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(twin(value), requires_grad=value.requires_grad)
        for name, value in module._buffers.items():
            module._buffers[name] = twin(value)
    return model


STUDENTS = {name: build(name, 10, in_channels=1, image_size=8) for name in ("cnn8", "resnet8")}
TEACHER = build("cnn16", 10, in_channels=1, image_size=8).eval().requires_grad_(False)
DIGITS = load_data("digits", train_size=200)


def epoch(monkeypatch, spec, precision="bf16"):
    """The real loop over one epoch, with fake tensors on a fake GPU; returns the student."""
    model = on_device(STUDENTS[spec.student])
    frozen = on_device(TEACHER)
    rows = len(DIGITS.splits["train"].labels)
    split = Split(torch.empty(rows, 1, 8, 8, device=CUDA), torch.empty(rows, dtype=torch.int64, device=CUDA))
    data = dataclasses.replace(DIGITS, splits={"train": split})
    normalise(split.images[:1], data)  # its constants are copied once for all, before the first step
    losses, direction = torch.empty(rows // spec.batch_size, device=CUDA), torch.empty(64, device=CUDA)

    @torch.inference_mode()
    def answer(images):
        with train.autocast(precision, CUDA):
            return frozen(images).float()

    def start(spec, data, device, precision, located):
        assert device == CUDA
        scaler = torch.amp.GradScaler("cuda", enabled=False)
        optimizer = train._optimizer(spec, model)
        if spec.optimizer == "sgd":  # its fused kernel has no fake twin
            optimizer.param_groups[0] |= {"fused": None, "foreach": True}
        return train.Student(spec, model, optimizer, losses, scaler, stochastic=model.stochastic)

    teacher = Teacher(answer)
    if spec.teacher is not None:
        teacher.temperatures[spec.teacher] = lambda images: torch.exp(images.flatten(1) @ direction).unsqueeze(-1)
    monkeypatch.setattr(train, "start", start)
    monkeypatch.setattr(train, "_end_epoch", lambda *_: None)  # the host may wait there
    monkeypatch.setattr(Dataset, "to", lambda self, device: self)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)

    def backward(value):  # autograd's engine asks the driver for a stream; its result is what the optimiser meets
        assert value.device.type == "cuda"
        assert value.requires_grad
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    with NoWaiting():
        [student] = train.train_cohort([spec], data, teacher, sigma={spec.id: 0.5}, device=CUDA, precision=precision)
    return student


def given(arm, **fields):
    if arm.startswith("kd"):
        fields["teacher"] = TeacherSpec(model="cnn16", temperature=2.0)
    return short(arm, epochs=1, **fields)


CASES = [
    *(given(arm) for arm in ARMS),
    given("kd_mixup", ce_weight=0.5, tau="std", alpha=0.3, partial=0.5),
    given("mixup", lam_per="batch", optimizer="sgd", nesterov=True),
    *(given("ce", augment=kind).replace(student="resnet8") for kind in ("flip", "resize_crop_flip")),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("spec", CASES, ids=lambda spec: f"{spec.arm}-{spec.id[:4]}")
def test_no_arm_waits_for_the_device_or_mixes_devices(fake, monkeypatch, spec, precision):
    student = epoch(monkeypatch, spec, precision)
    assert student.step == spec.train_size // spec.batch_size
    assert student.losses.device.type == "cuda"
    for parameter in student.model.parameters():
        assert parameter.device.type == "cuda"
        assert parameter.grad is not None


@pytest.mark.parametrize("augmentation", ["flip", "resized_crop_flip"])
def test_images_that_are_decoded_on_the_way_wait_for_nothing_either(fake, augmentation):
    class Files(ImageFiles):
        """Two hundred images that come from nowhere; as of a `stream:` folder, decoded ahead."""

        shape = (200, 1, 8, 8)

        def __init__(self):
            pass

        def __getitem__(self, rows):
            return self

        def start(self, draws=None):
            return lambda: torch.empty(50, 1, 8, 8, dtype=torch.uint8, device=CUDA)

    labels = torch.empty(200, dtype=torch.int64, device=CUDA)
    data = dataclasses.replace(DIGITS, splits={"train": Split(Files(), labels)})
    normalise(torch.empty(1, 1, 8, 8, dtype=torch.uint8, device=CUDA), data)  # its constants are copied once for all
    with NoWaiting():
        drawn = list(loader.batches(given("ce", augment=augmentation), data, 0, 4))
    assert [batch.step for batch in drawn] == [0, 1, 2, 3]
    assert {batch.labels.device.type for batch in drawn} == {batch.images.device.type for batch in drawn} == {"cuda"}


SPOILS = {
    "item": (lambda value: value * value.detach().item(), DataDependentOutputException),
    "cpu": (lambda value: value + value.detach().cpu().to(value.device, non_blocking=True), HostWaits),
    "not pinned": (lambda value: value + torch.ones(()).to(value.device, non_blocking=True), HostWaits),
}


@pytest.mark.parametrize("what", SPOILS)
def test_a_stray_wait_in_a_loss_would_be_seen(fake, monkeypatch, what):
    spoil, error = SPOILS[what]
    real = train.loss
    monkeypatch.setattr(train, "loss", lambda *arguments: spoil(real(*arguments)))
    with pytest.raises(error):
        epoch(monkeypatch, given("kd_mixup"))


@pytest.mark.parametrize(("capability", "precision"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_is_bf16_only_where_the_gpu_multiplies_in_it(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or capability >= (8, 0))
    assert train.resolve_precision("auto", CUDA, "cifar10") == precision
    assert train.resolve_precision("auto", CUDA, "digits") == "fp32"
    assert train.resolve_precision("bf16", CUDA, "cifar10") == "bf16"  # emulated where it must be: it was asked for


def test_gradients_that_overflow_float16_at_every_scale_end_the_run(monkeypatch):
    real = train.loss

    def loss(*arguments):
        value = real(*arguments)
        value.register_hook(lambda slope: slope * torch.inf)  # the loss itself stays finite
        return value

    monkeypatch.setattr(train, "loss", loss)
    [student] = train.train_cohort([short("ce", epochs=6)], DIGITS, precision="fp16")
    assert student.losses.isfinite().all()
    assert "gradients overflow float16 at a loss scale of 0.0625" in str(student.error)
    assert "--precision fp32" in str(student.error)


def test_a_step_that_float16_skips_ends_nothing(monkeypatch):
    real, calls = train.loss, []

    def loss(*arguments):
        value = real(*arguments)
        calls.append(1)
        if len(calls) == 3:
            value.register_hook(lambda slope: slope * torch.inf)
        return value

    monkeypatch.setattr(train, "loss", loss)
    [student] = train.train_cohort([short("ce", epochs=6)], DIGITS, precision="fp16")
    assert student.error is None
    assert student.scaler.get_scale() == 2.0**15
    assert all(parameter.isfinite().all() for parameter in student.model.parameters())
