"""The command line: what is wrong is said before anything trains, what is right leaves a record."""

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import pictures, short, written

import mixkd.cli as cli
import mixkd.jobs as jobs
import mixkd.runs as runs
from mixkd import checkpoint
from mixkd.chapters import studies_of
from mixkd.checkpoint import Settings
from mixkd.cli import main
from mixkd.flags import spec_of
from mixkd.spec import ARMS, RunSpec, TeacherSpec
from mixkd.store import RecordStore
from mixkd.studies import CORE_ARMS, Cell, cell_spec, cells, load_profile, one, study

SIZE = ["--image-size", "8", "--augment", "none", "--batch-size", "4", "--device", "cpu"]


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.setattr("mixkd.data.CACHE", tmp_path / "cache")
    return Path(shutil.make_archive(str(tmp_path / "pets"), "zip", pictures(tmp_path / "tree", train=8, test=4)))


@pytest.fixture
def nothing_trains(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr(jobs, "train_cohort", refuse)


def fails(capsys, *arguments):
    """The message of a command that ends with status 2 and no traceback."""
    try:
        status = main([*arguments])
    except SystemExit as stop:  # argparse
        status = stop.code
    out, error = capsys.readouterr()
    assert status == 2
    assert "Traceback" not in error
    assert out == ""
    return error


def test_claims_as_json(capsys, tmp_path):
    assert main(["claims", "--json", "--profile", "gaussians", "--store", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [verdict["claim"] for verdict in found["verdicts"]] == list("abcdefghi")
    assert {row["profile"] for row in found["map"]} == {"gaussians"}
    assert {row["as_stated"] for row in found["map"]} == {"not run"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arm", "kd_mixpu"], ["'kd_mixpu'", *ARMS, "did you mean 'kd_mixup'"]),
        (["--data", "digit"], ["'digit'", "cifar10", "folder:PATH", "did you mean 'digits'"]),
        (["--tau", "sdt"], ["tau = 'sdt'", "did you mean 'std'"]),
        (["--epochs", "many"], ["epochs = 'many'", "integer"]),
        (["--tau", "0", "--alpha", "-1"], ["tau = '0'", "alpha = '-1'"]),
        (["--arm", "ce", "--tau", "2"], ["tau = 2", "arm 'ce' does not use it"]),
        (["--arm", "ce", "--teacher", "cnn16"], ["teacher: arm 'ce' has no teacher", "kd_mixup"]),
        (["--seed", "-1"], ["seed = '-1'", "0 or more"]),
        (["--schedule", "step", "--milestones", "9,3"], ["(9, 3)", "grow"]),
        (["--warmup", "3", "--teacher-epochs", "3"], ["teacher: warmup = 3", "shorter than epochs = 3"]),
        (["--teacher-temperature", "0"], ["teacher: temperature = '0'", "greater than 0", "fitted"]),
        (["--teacher-arm", "kd"], ["teacher: arm = 'kd'", "label_smoothing"]),
        (["--teacher-seed", "x"], ["teacher: seed = 'x'"]),
        (["--teacher", "resnet21"], ["'resnet21'", "resnet20, ", "did you mean 'resnet"]),
        (["--seed", "one"], ["seed = 'one'", "whole number"]),
        (["--epochs", "9" * 5000], ["epochs = '9999", "must be"]),
        (["--milestones", "9" * 5000, "--schedule", "step"], ["milestones = '9999"]),
        (["--data", "gaussians16", "--arm", "ce"], ["student: required"]),
        (["--device", "gpu"], ["'gpu'", "auto, cpu, cuda"]),
        (["--taau", "2"], ["--taau", "did you mean '--tau'"]),
        (["--epoch=2"], ["--epoch", "did you mean '--epochs'"]),
        (["--tau"], ["--tau", "expected one argument"]),
    ],
)
def test_a_bad_run_is_explained_before_anything_trains(capsys, tmp_path, nothing_trains, arguments, words):
    error = fails(capsys, "run", "--store", str(tmp_path / "store"), *arguments)
    for word in words:
        assert word in error
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "folder:nowhere"], ["nowhere", "nowhere.zip exists"]),
        (["--data", "folder:"], ["folder:PATH"]),
        (["--data", "folder:PETS", "--batch-size", "99"], ["batch_size = 99", "of pets"]),
        (["--data", "folder:IMAGE"], ["neither a directory nor a whole zip"]),
    ],
)
def test_folders_and_flags_that_do_not_fit(capsys, pets, tmp_path, nothing_trains, arguments, words):
    image = tmp_path / "tree" / "train" / "cat" / "0.png"
    arguments = [word.replace("PETS", str(pets)).replace("IMAGE", str(image)) for word in arguments]
    error = fails(capsys, "run", "--arm", "ce", *SIZE, "--store", str(tmp_path / "store"), *arguments)
    for word in words:
        assert word in error


def test_a_run_on_a_zip_of_images_leaves_a_record_without_its_path(capsys, pets, tmp_path):
    command = ["run", "--data", f"folder:{pets}", "--arm", "kd_mixup", "--student", "cnn8", "--teacher", "cnn16", *SIZE]
    command += ["--epochs", "2", "--teacher-epochs", "2", "--teacher-temperature", "fitted", "--store", str(tmp_path / "store")]
    assert main(command) == 0
    out, _ = capsys.readouterr()
    store = RecordStore(tmp_path / "store")
    [record] = store.list().select(arm="kd_mixup")
    assert record.id in out
    assert "accuracy" in out
    assert "its teacher, before and after its temperature was fitted" in out
    assert record.spec.data.startswith("folder:pets@")
    assert record.spec.optimizer == "sgd"  # the recipe of small images, as nothing else was asked for
    assert record.classes == ("cat", "dog")
    assert len(store.ids()) == 2
    assert store.verify() == []
    for path in store.path.rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
    moved = pets.rename(tmp_path / "elsewhere.zip").rename(pets)
    assert main([*command[:2], f"folder:{moved}", *command[3:]]) == 0
    assert len(store.ids()) == 2


def parsed(*arguments):
    """The spec that `mixkd run` would train."""
    return spec_of(cli._parser(["run"]).parse_args(["run", *map(str, arguments)]))


@pytest.mark.parametrize("profile", ["digits", "gaussians", "cifar10-jpeg", "cifar10", "imagenet", "overconfident"])
def test_the_flags_of_a_run_name_the_runs_of_a_study(profile):
    plan = load_profile(profile)
    core = set(study("overconfidence", profile))
    for arm in CORE_ARMS:
        for seed in (plan.core_seeds[0], plan.core_seeds[-1]):
            assert parsed("--profile", profile, "--arm", arm, "--seed", seed) in core
    assert parsed("--profile", profile, "--arm", "ce") == plan.spec("ce", plan.first_seed)  # its first seed, if none is said


@pytest.mark.parametrize("data", ["digits", "gaussians", "cifar10", "cifar100", "imagenet"])
def test_the_profile_of_a_data_set_need_not_be_named(data):
    for arm in CORE_ARMS:
        assert parsed("--data", data, "--arm", arm) == load_profile(data).spec(arm, load_profile(data).first_seed)


@pytest.mark.parametrize(
    ("flags", "cell"),
    [
        (["--tau", "4"], Cell("cnn32", "raw", 4.0)),
        (["--tau", "std"], Cell("cnn32", "raw", "std")),
        (["--tau", "0.5", "--teacher", "cnn32"], Cell("cnn32", "raw", 0.5)),
        (["--teacher", "cnn64"], Cell("cnn64", "raw", 2.0)),
        (["--teacher-temperature", "fitted"], Cell("cnn32", "fitted", 2.0)),
        (["--teacher-temperature", "fitted", "--teacher-temperature-factor", "0.5", "--tau", "1"], Cell("cnn32", "half", 1.0)),
        (["--teacher-temperature", "fitted", "--teacher-temperature-factor", "2"], Cell("cnn32", "double", 2.0)),
        (["--teacher", "cnn16", "--teacher-temperature", "fitted"], Cell("cnn16", "fitted", 2.0)),
    ],
)
def test_the_flags_of_a_run_name_the_cells_of_the_map(flags, cell):
    plan = load_profile("digits")
    spec = parsed("--arm", "kd_mixup", "--seed", plan.first_seed + 1, *flags)
    assert cell in cells(plan)
    assert spec.id == cell_spec(plan, "kd_mixup", plan.first_seed + 1, cell).id
    assert spec in study("map", "digits")


def test_a_run_of_other_data_keeps_a_recipe_and_leaves_its_rows():
    spec = parsed("--profile", "digits", "--data", "folder:pets", "--arm", "kd", "--epochs", "3")
    assert (spec.epochs, spec.lr, spec.train_size, spec.teacher.train_skip) == (3, load_profile("digits").recipe["lr"], None, None)
    teacher = TeacherSpec(model="mlp64", lr="0.01")
    bare = parsed("--data", "gaussians16", "--arm", "kd", "--student", "mlp16", "--teacher", "mlp64", "--teacher-lr", "0.01")
    assert bare == RunSpec(data="gaussians16", arm="kd", student="mlp16", teacher=teacher)


def test_a_run_finds_what_a_study_trained_and_says_what_the_record_says(capsys, tmp_path, monkeypatch):
    tiny = replace(load_profile("digits"), recipe={**load_profile("digits").recipe, "epochs": 1}, teacher_recipe={"train_skip": 200})
    monkeypatch.setattr("mixkd.studies.load_profile", lambda name: tiny)
    spec = tiny.spec("kd", tiny.first_seed, tau="std")
    command = ["run", "--arm", "kd", "--tau", "std", "--device", "cpu", "--store", str(tmp_path)]
    assert main(command) == 0
    store = RecordStore(tmp_path)
    record, report = store.load(spec.id), store.load(spec.id).report()
    out, _ = capsys.readouterr()
    for value in (spec.id, f"{report.accuracy:.4f}", f"{report.ece:.4f}", f"{record.temperature:.3f}"):
        assert value in out
    assert store.ids() == sorted([spec.id, spec.teacher_run().id])
    monkeypatch.setattr(jobs, "train_cohort", None)  # and now nothing trains
    assert main(command) == 0
    assert spec.id in capsys.readouterr().out


def test_a_run_that_began_otherwise_is_not_continued(capsys, tmp_path, nothing_trains):
    spec = one("digits", arm="kd", epochs=1)
    path = tmp_path / ".checkpoints" / f"{spec.id}.pt"
    checkpoint.write(path, Settings(spec.id, "bf16", 1, "cpu"), 3, {})
    error = fails(capsys, "run", "--arm", "kd", "--epochs", "1", "--device", "cpu", "--store", str(tmp_path))
    for word in (str(path), "--precision bf16", "remove the file"):
        assert word in error
    assert len(error.strip().splitlines()) == 1
    assert path.is_file()


@pytest.mark.parametrize("error", [KeyError("boom"), TypeError("boom"), AttributeError("boom"), IndexError("boom")])
def test_our_own_bugs_keep_their_traceback(monkeypatch, tmp_path, error):
    def bug(*_):
        raise error

    monkeypatch.setattr(RecordStore, "load", bug)
    with pytest.raises(type(error), match="boom"):
        main(["records", "show", "1f", "--store", str(tmp_path)])


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "mixkd: stopped; finished runs are kept"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (RuntimeError("lost"), 1, "mixkd: failed: lost"),
    ],
)
def test_an_interruption_ends_with_one_line(capsys, monkeypatch, tmp_path, error, status, words):
    def interrupted(*_, **__):
        raise error

    monkeypatch.setattr(jobs, "train_cohort", interrupted)
    assert main(["run", "--arm", "ce", "--device", "cpu", "--store", str(tmp_path)]) == status
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "digit"], ["'digit'", "cifar10-jpeg", "did you mean 'digits'"]),
        (["--study", "temperatur"], ["--study temperatur", "all, overconfidence", "did you mean 'temperature'"]),
        (["--study", "07-overconfidence"], ["07-overconfidence: is a chapter", "--chapters 07-overconfidence"]),
        (["--chapters", "07-overconfidense"], ["'07-overconfidense'", "did you mean '07-overconfidence'"]),
        (["--chapters", "temperature"], ["temperature: is a study", "--study temperature"]),
        (["--chapters", "own-images"], ["'own-images'", "nothing to train"]),
        (["--seeds", "0"], ["--seeds 0", "at least 1"]),
        (["--workers", "-1"], ["workers = -1"]),
        (["--worker", "1"], ["--worker", "did you mean '--workers'"]),
    ],
)
def test_a_bad_reproduction_is_explained_before_anything_trains(capsys, tmp_path, monkeypatch, nothing_trains, arguments, words):
    monkeypatch.setattr("mixkd.store.committed_path", lambda: tmp_path)
    error = fails(capsys, "reproduce", "--store", str(tmp_path / "store"), *arguments)
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("arguments", "studies"),
    [
        ([], ["all"]),
        (["--chapters", "07-overconfidence"], studies_of("07-overconfidence")),
        (["--chapter", "7"], studies_of("07-overconfidence")),
        (["--study", "duration", "mixing"], ["duration", "mixing"]),
        (["--chapters", "07", "--study", "mixing", "duration"], [*studies_of("07-overconfidence"), "duration"]),
        (["--chapters", "claims"], ["all"]),
    ],
)
def test_chapters_and_studies_choose_what_is_reproduced(monkeypatch, tmp_path, arguments, studies):
    def stop(specs, *_, **__):
        raise Reached(list(specs))

    class Reached(Exception):
        pass

    monkeypatch.setattr("mixkd.store.committed_path", lambda: tmp_path)
    monkeypatch.setattr(runs, "collect", stop)
    with pytest.raises(Reached) as caught:
        main(["reproduce", "--store", str(tmp_path / "store"), *arguments])
    expected = dict.fromkeys(spec for name in studies for spec in study(name, "digits"))
    assert dict.fromkeys(caught.value.args[0]) == expected


def test_records_are_listed_shown_and_verified(capsys, tmp_path):
    store = RecordStore(tmp_path)
    for spec in (short("ce"), short("kd", tau=4), short("kd", tau="std"), short("mixup", seed=2)):
        record, _ = written(store, spec)

    def records(*arguments, status=0):
        assert main(["records", *arguments, "--store", str(tmp_path)]) == status
        return capsys.readouterr().out

    out = records("list")
    assert all(id in out for id in store.ids())
    assert [line.split()[4:6] for line in out.splitlines() if "kd" in line] == [["cnn16", "4.0"], ["cnn16", "std"]]
    assert not re.search("NaN|None", out)
    assert json.loads(records("show", record.id[:9]).splitlines()[1])["arm"] == "mixup"
    assert "4 records" in records("verify")
    (record.path / "tensors.safetensors").write_bytes(b"")
    assert str(record.path / "tensors.safetensors") in records("verify", status=1)
    records("verify", record.id, status=1)
    whole = next(id for id in store.ids() if id != record.id)
    assert f"record {whole} in" in records("verify", whole[:8])
    assert record.id not in records("list")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("reprodcue", ["reprodcue", "reproduce", "records"]),
        ("claims --store nowhere", ["'nowhere'", "no folder"]),
        ("records list --store nowhere", ["'nowhere'", "no folder"]),
        ("records show --store TMP", ["say which"]),
        ("records list 1f0f --store TMP", ["records list 1f0f", "records show 1f0f"]),
        ("records verify zzz --store TMP", ["'zzz'", "none in"]),
        ("records show zzz --store TMP", ["'zzz'", "none in"]),
        ("records shwo", ["shwo", "list", "show", "verify"]),
    ],
)
def test_bad_commands_and_bad_questions_about_records(capsys, tmp_path, arguments, words):
    error = fails(capsys, *arguments.replace("TMP", str(tmp_path)).split())
    for word in words:
        assert word in error


def test_an_empty_store_lists_nothing(capsys, tmp_path):
    assert main(["records", "list", "--store", str(tmp_path)]) == 0
    assert "no records" in capsys.readouterr().out


def test_every_flag_says_what_it_means_and_its_default():
    commands = next(action for action in cli.parser()._actions if action.dest == "==SUPPRESS==").choices
    for name, parser in commands.items():
        for action in parser._actions:
            assert action.help, (name, action.dest)
            assert "None" not in action.help, (name, action.dest)
            if action.option_strings and action.dest not in ("help", "chapters"):
                assert "default" in action.help, (name, action.dest)
    fields = {*RunSpec.model_fields, *(f"teacher_{field}" for field in TeacherSpec.model_fields)} - {"teacher_model"}
    flags = {flag for action in commands["run"]._actions for flag in action.option_strings}
    assert {f"--{field.replace('_', '-')}" for field in fields} <= flags


def test_a_warning_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_records", lambda options: print(warnings.formatwarning("look here", UserWarning, "file.py", 3), end=""))
    assert main(["records", "list"]) == 0
    assert capsys.readouterr().out == "mixkd: warning: look here\n"
    assert "file.py" in warnings.formatwarning("look here", UserWarning, "file.py", 3)
