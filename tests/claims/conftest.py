"""The world that tests of claims fill."""

import pytest
from made import World

import mixkd.claims.evidence
import mixkd.claims.ledger
import mixkd.store
import mixkd.studies
from mixkd.store import RecordStore


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(RecordStore(tmp_path))
    for module in (mixkd.claims.evidence, mixkd.studies):
        monkeypatch.setattr(module, "load_profile", lambda name: made.profile)
    monkeypatch.setattr(mixkd.claims.ledger, "profiles", lambda: ("tiny",))
    monkeypatch.setattr(mixkd.store, "_fsync", lambda path: None)
    return made
