"""The command line: what is wrong is said before anything trains, what is right leaves a record."""

import io
import json
import random
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace

import pytest
from handmade import short, written
from PIL import Image

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


def images(part, label, count, colours):
    for i in range(count):
        content = io.BytesIO()
        Image.frombytes("RGB", (9, 10), colours.randbytes(270)).save(content, "JPEG")
        yield f"{part}/{label}/{i}.jpg", content.getvalue()


def make_zip(path, labels=("cat", "dog"), train=8, test=4, changes=()):
    """An ImageFolder in a zip; ``changes`` maps a file to its content, or to None to leave it out."""
    colours = random.Random(0)
    files = {name: content for label in labels for name, content in images("train", label, train, colours)}
    files |= {name: content for label in labels for name, content in images("test", label, test, colours)}
    files |= dict(changes)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return path


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.setattr("mixkd.data.CACHE", tmp_path / "cache")
    return make_zip(tmp_path / "pets.zip")


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
    import json

    assert main(["claims", "--json", "--profile", "gaussians", "--store", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [verdict["claim"] for verdict in found["verdicts"]] == list("abcdefghi")
    assert {row["profile"] for row in found["map"]} == {"gaussians"}
    assert {row["as_stated"] for row in found["map"]} == {"not run"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arm", "kd_mixpu"], ["'kd_mixpu'", *ARMS, "did you mean 'kd_mixup'"]),
        (["--arm", "kd_mixpu", "--teacher", "cnn16", "--tau", "2"], ["'kd_mixpu'", "did you mean 'kd_mixup'"]),
        (["--data", "digit"], ["'digit'", "cifar10", "folder:PATH", "did you mean 'digits'"]),
        (["--tau", "0"], ["tau = '0'", "greater than 0", "std"]),
        (["--tau", "-1.5"], ["tau = '-1.5'", "greater than 0"]),
        (["--tau", "sdt"], ["tau = 'sdt'", "did you mean 'std'"]),
        (["--tau", "nan"], ["tau = 'nan'", "finite"]),
        (["--alpha", "-1"], ["alpha = '-1'", "greater than or equal to 0"]),
        (["--partial", "1.1"], ["partial = '1.1'", "less than or equal to 1"]),
        (["--epochs", "0"], ["epochs = 0", "at least 1"]),
        (["--epochs", "many"], ["epochs = 'many'", "integer"]),
        (["--lam-per", "smaple"], ["'smaple'", "did you mean 'sample'"]),
        (["--tau", "0", "--alpha", "-1"], ["tau = '0'", "alpha = '-1'"]),
        (["--arm", "ce", "--tau", "2"], ["tau = 2", "arm 'ce' does not use it"]),
        (["--arm", "mixup", "--smoothing", ".1"], ["smoothing = 0.1", "label_smoothing"]),
        (["--arm", "ce", "--teacher", "cnn16"], ["teacher: arm 'ce' has no teacher", "kd_mixup"]),
        (["--arm", "mixup", "--teacher-seed", "3"], ["teacher_seed: arm 'mixup' has no teacher", "kd_mixup"]),
        (["--profile", "digit"], ["'digit'", "did you mean 'digits'"]),
        (["--seed", "-1"], ["seed = '-1'", "0 or more"]),
        (["--teacher-temperature-factor", "2"], ["teacher: temperature_factor = 2", "temperature = 2 instead"]),
        (["--train-skip", "1391"], ["train_skip = 1391", "0 to 1390"]),
        (["--momentum", ".9"], ["momentum = 0.9", "adamw"]),
        (["--schedule", "step"], ["milestones", "at least one epoch"]),
        (["--schedule", "step", "--milestones", "9,3"], ["(9, 3)", "grow"]),
        (["--warmup", "60"], ["warmup = 60", "shorter"]),
        (["--warmup", "3", "--teacher-epochs", "3"], ["teacher: warmup = 3", "shorter than epochs = 3"]),
        (["--teacher-temperature", "0"], ["teacher: temperature = '0'", "greater than 0", "fitted"]),
        (["--teacher-arm", "kd"], ["teacher: arm = 'kd'", "label_smoothing"]),
        (["--teacher-seed", "x"], ["teacher: seed = 'x'"]),
        (["--teacher-alpha", ".2"], ["teacher: alpha = 0.2", "arm 'ce' does not use it"]),
        (["--student", "cnn9"], ["'cnn9'", "resnet8", "did you mean 'cnn"]),
        (["--teacher", "resnet21"], ["'resnet21'", "resnet20, ", "did you mean 'resnet"]),
        (["--batch-size", "201"], ["batch_size = 201", "200 training images of digits"]),
        (["--train-size", "5"], ["train_size = 5", "10", "1400"]),
        (["--seed", "one"], ["seed = 'one'", "whole number"]),
        (["--seed", "9" * 5000], ["seed = '9999", "must be"]),
        (["--epochs", "9" * 5000], ["epochs = '9999", "must be"]),
        (["--milestones", "9" * 5000, "--schedule", "step"], ["milestones = '9999"]),
        (["--arm", "a" * 5000], ["arm = 'aaaa", "must be one of"]),
        (["--image-size", "32"], ["image_size = 32", "8 px"]),
        (["--augment", "crop_flip"], ["crop_flip", "16 px"]),
        (["--data", "gaussians16", "--arm", "ce"], ["student: required"]),
        (["--data", "gaussians", "--student", "cnn8"], ["cnn8", "vectors", "mlp16"]),
        (["--device", "gpu"], ["'gpu'", "auto, cpu, cuda"]),
        (["--precision", "fp8"], ["'fp8'", "bf16"]),
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
    ("changes", "words"),
    [
        ({"train/cat/0.jpg": "cut"}, ["train/cat/0.jpg", "cannot be read as an image"]),
        ({"train/cow/": b""}, ["class folder train/cow has no images", ".jpg"]),
        ({"train/cow/notes.txt": b"moo"}, ["class folder train/cow has no images"]),
        ({"train/cow/0.jpg": "ok", "train/cow/1.jpg": "ok"}, ["different classes", "cow"]),
        ({f"test/{label}/{i}.jpg": None for label in ("cat", "dog") for i in range(1, 4)}, ["one test image in each class"]),
        ({f"test/{label}/{i}.jpg": None for label in ("cat", "dog") for i in range(4)}, ["no test or val folder"]),
        ({f"{part}/dog/{i}.jpg": None for part in ("train", "test") for i in range(8)}, ["1 class (cat)", "two or more"]),
    ],
)
def test_a_bad_folder_is_explained_before_anything_trains(capsys, pets, tmp_path, nothing_trains, changes, words):
    whole = next(images("train", "cat", 1, random.Random(1)))[1]
    contents = {"cut": whole[:300], "ok": whole}
    changes = {name: contents.get(content, content) for name, content in changes.items()}
    path = make_zip(tmp_path / "bad.zip", changes=changes)
    error = fails(capsys, "run", "--data", f"folder:{path}", "--arm", "ce", *SIZE, "--store", str(tmp_path / "store"))
    for word in [*words, "bad"]:
        assert word in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "folder:nowhere"], ["nowhere", "nowhere.zip exists"]),
        (["--data", "folder:"], ["folder:PATH"]),
        (["--data", "folder:PETS", "--batch-size", "99"], ["batch_size = 99", "of pets"]),
        (["--data", "folder:PETS", "--augment", "crop_flip"], ["crop_flip", "16 px"]),
        (["--data", "folder:PETS", "--train-size", "99"], ["train_size = 99", "pets allows 2 (one per class) to 15"]),
        (["--data", "folder:JPEG"], ["neither a directory nor a whole zip"]),
        (["--data", "folder:PETS", "--image-size", "4"], ["image_size = '4'", "8"]),
    ],
)
def test_folders_and_flags_that_do_not_fit(capsys, pets, tmp_path, nothing_trains, arguments, words):
    (tmp_path / "one.jpg").write_bytes(next(images("train", "cat", 1, random.Random(1)))[1])
    arguments = [word.replace("PETS", str(pets)).replace("JPEG", str(tmp_path / "one.jpg")) for word in arguments]
    error = fails(capsys, "run", "--arm", "ce", *SIZE, "--store", str(tmp_path / "store"), *arguments)
    for word in words:
        assert word in error


def test_a_run_on_a_zip_of_images_leaves_a_record_without_its_path(capsys, pets, tmp_path):
    command = ["run", "--data", f"folder:{pets}", "--arm", "kd_mixup", "--student", "cnn8", "--teacher", "cnn16", *SIZE]
    command += ["--epochs", "2", "--teacher-epochs", "2", "--store", str(tmp_path / "store")]
    assert main(command) == 0
    out, _ = capsys.readouterr()
    store = RecordStore(tmp_path / "store")
    [record] = store.list().select(arm="kd_mixup")
    assert record.id in out
    assert "accuracy" in out
    assert record.spec.data.startswith("folder:pets@")
    assert (record.spec.teacher.model, record.spec.teacher.epochs, record.spec.epochs) == ("cnn16", 2, 2)
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


def test_a_diverging_run_fails_with_its_reason(capsys, tmp_path):
    command = ["run", "--arm", "ce", "--student", "cnn8", "--optimizer", "sgd", "--lr", "1e18", "--epochs", "1"]
    assert main([*command, "--device", "cpu", "--store", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "the loss is" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("field", "value", "flag"), [("precision", "bf16", "--precision bf16"), ("ranks", 2, "torchrun --nproc_per_node=2")]
)
def test_a_run_that_began_otherwise_is_not_continued(capsys, tmp_path, nothing_trains, field, value, flag):
    spec = one("digits", arm="kd", epochs=1)
    path = tmp_path / ".checkpoints" / f"{spec.id}.pt"
    checkpoint.write(path, Settings(**{"spec": spec.id, "precision": "fp32", "ranks": 1, "device": "cpu", field: value}), 3, {})
    error = fails(capsys, "run", "--arm", "kd", "--epochs", "1", "--device", "cpu", "--store", str(tmp_path))
    for word in (str(path), "reached step 3", flag, "remove the file"):
        assert word in error
    assert len(error.strip().splitlines()) == 1
    assert path.is_file()


def test_a_damaged_checkpoint_does_not_stop_the_command(tmp_path):
    spec = one("digits", arm="ce", epochs=1)
    path = tmp_path / ".checkpoints" / f"{spec.id}.pt"
    path.parent.mkdir()
    path.write_bytes(b"PK rest of an archive")
    with pytest.warns(UserWarning, match="is not a checkpoint of this version.*begins anew"):
        assert main(["run", "--arm", "ce", "--epochs", "1", "--device", "cpu", "--store", str(tmp_path)]) == 0
    record = RecordStore(tmp_path).load(spec.id)
    assert record.provenance["precision"] == "fp32"
    assert "resumed_at_step" not in record.provenance


@pytest.mark.parametrize("error", [KeyError("boom"), TypeError("boom"), AttributeError("boom"), IndexError("boom")])
def test_our_own_bugs_keep_their_traceback(monkeypatch, tmp_path, error):
    def bug(*_):
        raise error

    monkeypatch.setattr(RecordStore, "load", bug)
    with pytest.raises(type(error), match="boom"):
        main(["records", "show", "1f", "--store", str(tmp_path)])


def test_an_ambiguous_id_is_one_line(capsys, tmp_path):
    store = RecordStore(tmp_path)
    for seed in range(17):  # two of them begin alike
        written(store, short("ce", seed=seed))
    first = next(id[0] for id in store.ids() if sum(other[0] == id[0] for other in store.ids()) > 1)
    assert f"record {first!r}: ambiguous, " in fails(capsys, "records", "show", first, "--store", str(tmp_path))
    assert f"record {first!r}: ambiguous, " in fails(capsys, "export", first, "--store", str(tmp_path))


def test_a_lock_that_is_a_folder_is_one_line(capsys, tmp_path, nothing_trains):
    spec = one("digits", arm="ce")
    lock = tmp_path / ".locks" / f"{spec.id}.lock"
    lock.mkdir(parents=True)
    assert main(["run", "--arm", "ce", "--device", "cpu", "--store", str(tmp_path)]) == 1
    assert f"lock {lock}: is a folder, where a file is needed; remove it" in capsys.readouterr().err


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
        (["--chapters", "77"], ["'77'", "01-smooth-boundaries"]),
        (["--chapters", "temperature"], ["temperature: is a study", "--study temperature"]),
        (["--chapters", "own-images"], ["'own-images'", "nothing to train"]),
        (["--chapters", "07", "--study", "duraton"], ["did you mean 'duration'"]),
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
        (["--chapters", "07"], studies_of("07-overconfidence")),
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
    where = ["--store", str(tmp_path)]
    assert main(["records", "list", *where]) == 0
    out = capsys.readouterr().out
    assert all(id in out for id in store.ids())
    assert [line.split()[4:6] for line in out.splitlines() if "kd" in line] == [["cnn16", "4.0"], ["cnn16", "std"]]
    assert "NaN" not in out
    assert "None" not in out
    assert main(["records", "show", record.id[:9], *where]) == 0
    out = capsys.readouterr().out
    assert record.id in out
    assert '"device": "none"' in out
    assert json.loads(out.splitlines()[1])["arm"] == "mixup"
    assert main(["records", "verify", *where]) == 0
    assert "4 records" in capsys.readouterr().out
    (record.path / "tensors.safetensors").write_bytes(b"")
    assert main(["records", "verify", *where]) == 1
    assert str(record.path / "tensors.safetensors") in capsys.readouterr().out
    assert main(["records", "verify", record.id, *where]) == 1
    whole = next(id for id in store.ids() if id != record.id)
    assert main(["records", "verify", whole[:8], *where]) == 0
    assert f"record {whole} in" in capsys.readouterr().out
    assert main(["claims", "--store", str(tmp_path / "nowhere")]) == 2
    assert "no folder" in capsys.readouterr().err
    assert main(["records", "list", *where]) == 0
    out, error = capsys.readouterr()
    assert record.id not in out
    assert "1 damaged" in error
    assert main(["records", "show", record.id, *where]) == 1
    assert "tensors.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--store", "nowhere"], ["'nowhere'", "no folder"]),
        (["verify", "--store", "nowhere"], ["'nowhere'", "no folder"]),
        (["show"], ["say which"]),
        (["list", "1f0f"], ["records list 1f0f", "records show 1f0f"]),
        (["verify", "zzz"], ["'zzz'", "none in"]),
        (["show", "zzz"], ["'zzz'", "none in"]),
        (["shwo"], ["shwo", "list", "show", "verify"]),
    ],
)
def test_bad_questions_about_records(capsys, tmp_path, arguments, words):
    arguments = arguments if "--store" in arguments else [*arguments, "--store", str(tmp_path)]
    error = fails(capsys, "records", *arguments)
    for word in words:
        assert word in error


def test_an_empty_store_lists_nothing(capsys, tmp_path):
    assert main(["records", "list", "--store", str(tmp_path)]) == 0
    assert "no records" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["reproduce"], ["run"], ["batch"], ["records"], ["claims"], ["site"]])
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: {' '.join(['mixkd', *command])}")
    if command == ["run"]:
        for name in {*RunSpec.model_fields, *(f"teacher_{field}" for field in TeacherSpec.model_fields)} - {"teacher_model"}:
            assert f"--{name.replace('_', '-')}" in out


def test_an_unknown_command_names_those_there_are(capsys):
    error = fails(capsys, "reprodcue")
    for word in ("reprodcue", "reproduce", "records"):
        assert word in error


def test_help_imports_nothing_heavy():
    code = "import sys; from mixkd.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_every_flag_says_what_it_means_and_its_default():
    commands = next(action for action in cli.parser()._actions if action.dest == "==SUPPRESS==").choices
    for name, parser in commands.items():
        for action in parser._actions:
            assert action.help, (name, action.dest)
            assert "None" not in action.help, (name, action.dest)
            if action.option_strings and action.dest not in ("help", "chapters"):
                assert "default" in action.help, (name, action.dest)


def test_the_defaults_that_a_run_names_are_those_of_digits():
    text = cli.parser()._actions[-1].choices["run"].format_help()
    plan = load_profile("digits")
    assert f"(default on digits: {plan.recipe['epochs']})" in text
    assert f"(default on digits: {plan.recipe['batch_size']})" in text


def test_a_fitted_teacher_is_shown_before_and_after(capsys, tmp_path):
    command = ["run", "--arm", "kd", "--epochs", "1", "--teacher-epochs", "1", "--device", "cpu", "--store", str(tmp_path)]
    assert main([*command, "--teacher-temperature", "fitted"]) == 0
    out = capsys.readouterr().out
    assert "its teacher, before and after its temperature was fitted:" in out
    assert out.count("as trained") == out.count("  temperature ") == 2


def test_a_warning_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_records", lambda options: print(warnings.formatwarning("look here", UserWarning, "file.py", 3), end=""))
    assert main(["records", "list"]) == 0
    assert capsys.readouterr().out == "mixkd: warning: look here\n"
    assert "file.py" in warnings.formatwarning("look here", UserWarning, "file.py", 3)
