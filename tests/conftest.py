"""A store that several test files share."""

import pytest
from hypothesis import settings

settings.register_profile("mixkd", deadline=None)  # how long an example takes says what else the machine does
settings.load_profile("mixkd")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A store with a teacher (cnn16, ten epochs: uncertain where it should be) and two of its students."""
    from handmade import CPU, short  # here, as the process that only hands out tests needs no torch

    from mixkd.records import RecordStore
    from mixkd.runs import collect
    from mixkd.spec import TeacherSpec

    store = RecordStore(tmp_path_factory.mktemp("trained"))
    teacher = TeacherSpec(model="cnn16", epochs=10)
    specs = [short(arm, teacher=teacher) for arm in ("kd", "kd_mixup")]
    collect(specs, store, workers=0, machine=CPU, progress=False)
    return store
