"""CUDA graphs without a GPU: a stand-in for the recorder of torch keeps its rules, and training under it has the bits of training without.

The rules are those of ``torch.cuda.make_graphed_callables``: warm-up runs in earnest, every call has the form of the first, what a call
or its backward pass returned is overwritten by the next, and autocast must not cache.
"""

import pytest
import torch
from handmade import CPU, SURE, same_students, short, stopped_after

from mixkd import graphs, train
from mixkd.cli import main
from mixkd.data import load_data
from mixkd.models import Model, build
from mixkd.objectives import Teacher
from mixkd.ranks import Ranks
from mixkd.runs import Machine, collect
from mixkd.spec import ARMS
from mixkd.train import train_cohort

NET = build("cnn16", 10, in_channels=1, image_size=8, seed=9).eval().requires_grad_(False)


class Recorder:
    """What stands in for ``make_graphed_callables``; counts what it recorded and how often that was replayed."""

    def __init__(self):
        self.recorded, self.replayed, self.pools = [], 0, set()

    def __call__(self, function, sample, allow_unused_input, pool):
        assert not (torch.is_autocast_enabled("cpu") and torch.is_autocast_cache_enabled())
        self.recorded.append(function)
        self.pools.add(pool)
        [place] = sample
        module = isinstance(function, torch.nn.Module)
        learnt = tuple(function.parameters()) if module else ()
        for _ in range(3):
            out = function(place)
            gradients = torch.autograd.grad(out, learnt, torch.ones_like(out)) if out.requires_grad else ()
        assert not out.is_inference()
        answer, slopes = torch.full_like(out, torch.nan), [torch.full_like(value, torch.nan) for value in gradients]
        real, recorder = function.forward if module else function, self

        class Graphed(torch.autograd.Function):
            @staticmethod
            def forward(context, images, *_):
                assert (images.shape, images.dtype, images.stride()) == (place.shape, place.dtype, place.stride())
                place.copy_(images)
                with torch.enable_grad():
                    context.out = real(place)
                recorder.replayed += 1
                answer.copy_(context.out.detach())
                return answer.detach()

            @staticmethod
            def backward(context, slope):
                for kept, value in zip(slopes, torch.autograd.grad(context.out, learnt, slope), strict=True):
                    kept.copy_(value)
                return None, *(value.detach() for value in slopes)

        def replay(images):
            return Graphed.apply(images, *learnt)

        if not module:
            return replay
        function.forward = replay
        return function


@pytest.fixture
def recorder(monkeypatch):
    """Graphs recorded by the stand-in, and allowed on the CPU."""
    made = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", made)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(graphs, "check", lambda *_: None)
    return made


@pytest.fixture(scope="module")
def data():
    return load_data("digits", train_size=200)


def trained(specs, data, **options):
    @torch.inference_mode()
    def answer(images):
        with train.autocast(options.get("precision", "fp32"), images.device):
            return NET(images).float()

    sigma = {spec.id: 0.5 for spec in specs if spec.arm == "kd_noise"}
    return train_cohort(specs, data, Teacher(answer), sigma=sigma, **options)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cohort_of_all_arms_has_the_same_bits(recorder, data, precision):
    specs = [*(short(arm) for arm in ARMS), short("kd", tau=4.0), short("kd_mixup", alpha=0.3)]
    theirs = trained(specs, data, precision=precision)
    assert not recorder.recorded
    same_students(trained(specs, data, precision=precision, cuda_graphs=True), theirs)
    assert len(recorder.recorded) == len(specs) + 1
    assert len(recorder.pools) == 1
    assert recorder.replayed > 8 * len(specs)


def test_images_in_channels_last(recorder, data):
    specs = [short("kd_mixup").replace(student="resnet8")]
    same_students(trained(specs, data, cuda_graphs=True), trained(specs, data))


def test_a_resumed_run_records_anew_and_has_the_same_bits(recorder, data, tmp_path):
    specs = [short("ce"), short("kd_mixup")]
    whole = trained(specs, data)
    with stopped_after(7):
        trained(specs, data, cuda_graphs=True, checkpoints=tmp_path, checkpoint_seconds=0)
    resumed = trained(specs, data, cuda_graphs=True, checkpoints=tmp_path)
    assert resumed[0].began > 0
    same_students(resumed, whole)


def test_a_student_that_draws_random_numbers_runs_without(recorder, data, monkeypatch):
    monkeypatch.setattr(Model, "stochastic", True)
    specs = [short("ce")]
    same_students(trained(specs, data, cuda_graphs=True), trained(specs, data))
    assert not recorder.recorded


def test_a_record_says_so(recorder, tmp_path):
    specs = [short("kd_mixup", teacher=SURE.model_copy(update={"epochs": 2}))]
    [plain] = collect(specs, tmp_path / "plain", machine=CPU, workers=0, progress=False)
    [graphed] = collect(specs, tmp_path / "graphed", machine=Machine(device="cpu", cuda_graphs=True), workers=0, progress=False)
    assert graphed.provenance["cuda_graphs"] is True
    assert "cuda_graphs" not in plain.provenance
    assert torch.equal(torch.as_tensor(plain.logits("test")), torch.as_tensor(graphed.logits("test")))


def test_without_a_gpu_or_in_several_processes_they_are_refused_before_training(tmp_path, capsys):
    with pytest.raises(ValueError, match="cuda_graphs: need a CUDA device, and this run trains on cpu"):
        collect([short("ce")], tmp_path, machine=Machine(device="cpu", cuda_graphs=True), progress=False)
    with pytest.raises(ValueError, match="2 ranks"):
        graphs.check(torch.device("cuda"), Ranks(0, 2).size)
    assert main(["run", "--arm", "ce", "--device", "cpu", "--cuda-graphs", "--store", str(tmp_path / "store")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "leave out --cuda-graphs" in said
    assert not (tmp_path / "store").exists()
