"""Values that nobody means, in specs and names: each is one line of SpecError or UnknownName, never another error."""

import pytest
from handmade import CPU, short, written

import mixkd
from mixkd import files
from mixkd.spec import RunSpec, SpecError, TeacherSpec, UnknownName
from mixkd.store import RecordStore
from mixkd.studies import load_profile, one

HUGE = 10**5000
VALUES = {
    "list": ["ce"], "empty list": [], "table": {}, "huge": HUGE, "huge and negative": -HUGE, "huge in a list": [HUGE],
    "set": {1}, "none": None, "bytes": b"\xff", "long": "x" * 100_000, "nan": float("nan"),
    "class": object, "number": 3, "surrogate": "\ud800", "2**63": 2**63,
}  # fmt: skip


def told(make):
    """What the error of a user says, and what is made where there is none. Any other error passes."""
    try:
        return "", make()
    except SpecError as error:
        return str(error), None


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", [*RunSpec.model_fields, "self", "", "x" * 5000])
def test_any_value_of_any_field_is_taken_or_named(name, kind):
    value = VALUES[kind]
    for make in (
        lambda: RunSpec(**{"data": "digits", "student": "cnn8", "arm": "kd", "teacher": {"model": "cnn16"}, name: value}),
        lambda: short("kd").replace(**{name: value}),
        lambda: one("digits", **{"arm": "kd", name: value}) if name != "teacher" else None,
        lambda: load_profile("digits").spec(**{"arm": "kd", "seed": 0, name: value}) if name not in ("teacher", "seed") else None,
    ):
        said, made = told(make)
        assert all(len(line) < 1000 for line in said.splitlines())
        assert made is None or len(made.id) == 16


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", [*TeacherSpec.model_fields, "self"])
def test_any_value_of_any_field_of_a_teacher_is_taken_or_named(name, kind):
    for make in (
        lambda: TeacherSpec(**{"model": "cnn16", name: VALUES[kind]}),
        lambda: one("digits", arm="kd", **{f"teacher_{name}": VALUES[kind]}) if name != "model" else None,
    ):
        assert all(len(line) < 1000 for line in told(make)[0].splitlines())


def test_the_largest_seed_trains_and_the_next_is_refused(tmp_path):
    assert mixkd.run(short("ce", seed=2**63 - 1, epochs=1), tmp_path, CPU, progress=False).id
    with pytest.raises(SpecError, match=r"seed = 9223372036854775808: must be less than or equal to"):
        short("ce", seed=2**63)


def test_names_that_are_not_there_are_one_kind_of_error(tmp_path):
    store = RecordStore(tmp_path)
    record, _ = written(store, short("ce"))
    for ask, words in (
        (lambda: store.load("zzz"), "record 'zzz': none in"),
        (lambda: record.logits("tets"), "split 'tets'.*did you mean 'test'"),
        (lambda: store.list().select(amr="kd"), "'amr'.*did you mean 'arm'"),
        (lambda: store.list().select(self=3), "'self'"),
    ):
        with pytest.raises(UnknownName, match=words) as caught:
            ask()
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, ValueError)
        assert not str(caught.value).startswith(('"', "\\"))


def test_a_lock_of_a_cache_that_is_a_folder_is_named(tmp_path):
    (tmp_path / "x.npy.lock").mkdir()
    with pytest.raises(IsADirectoryError, match=r"x\.npy\.lock: is a folder, where a file is needed; remove it"):
        files.lock(tmp_path / "x.npy.lock")
