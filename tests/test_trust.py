"""The short form of `make trust`: some cases of each trial, in the same code."""

import os
import random

import pytest
import trust

from mixkd.store import RecordStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="puts faults into forks")
SECONDS = 0.7
"""For each trial; one case is always done."""


SEVERAL = ("kills among local workers", "kills among Dask workers", "kills among ranks")
"""Each case starts processes anew, and a first one is needed to compare with: test_workers, test_cluster and test_ranks are quicker."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SEVERAL[1:])) for name in trust.TRIALS])
def test_nothing_is_lost_nothing_damaged_is_used_no_code_runs(name):
    [tally] = trust.campaign(SECONDS, [name], seed=int(os.environ.get("TRUST_SEED", "0")))
    assert not tally.failed, "\n".join(tally.failed[:3])
    assert tally.tried


def test_the_campaign_notices_a_record_that_is_written_in_place(monkeypatch):
    """Without the hidden folder and the rename, a kill leaves half a record."""

    def put_at_once(store):
        if trust.short().id in store:
            return
        folder = store.path / trust.short().id
        folder.mkdir(parents=True)
        for name in ("record.json", "tensors.safetensors", "SHA256SUMS"):
            (folder / name).write_text("")

    monkeypatch.setattr(trust, "written", lambda store, *_, **__: put_at_once(store))
    [tally] = trust.campaign(2, ["file operations of a record failed"])
    assert tally.failed


def test_the_committed_records_are_whole():
    """Ids and checksum lists of all, every byte of a handful; `mixkd records verify --store committed` reads all of them."""
    store = RecordStore("committed")
    ids = store.ids()
    assert sorted(path.name for path in store.path.iterdir() if path.name[0] != "." and path.is_dir()) == ids
    for id in ids:
        spec = trust.RunSpec(**trust.json.loads((store.path / id / "record.json").read_text())["spec"])
        assert spec.id == id
        listed = trust.checksums.read_sums(store.path / id)
        assert {path.name for path in (store.path / id).iterdir()} - {"SHA256SUMS"} == {name for name in listed if "/" not in name}
    assert store.verify(random.sample(ids, 30)) == []
