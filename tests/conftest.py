"""Stores that several test files share."""

import pytest
from hypothesis import settings

settings.register_profile("mixkd", deadline=None)  # how long an example takes says what else the machine does
settings.load_profile("mixkd")


@pytest.fixture
def store(tmp_path):
    from mixkd.store import RecordStore

    return RecordStore(tmp_path / "store")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A store with a teacher and two of its students."""
    from handmade import CPU, SURE, short  # here, as the process that only hands out tests needs no torch

    from mixkd.runs import collect
    from mixkd.store import RecordStore

    store = RecordStore(tmp_path_factory.mktemp("trained"))
    specs = [short(arm, teacher=SURE) for arm in ("kd", "kd_mixup")]
    collect(specs, store, workers=0, machine=CPU, progress=False)
    return store
