"""The short form of `make trust`: some cases of each trial, in the same code."""

import os

import pytest
import trust

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="puts faults into forks")
SECONDS = 0.7
"""For each trial; one case is always done."""


@pytest.mark.parametrize("name", trust.TRIALS)
def test_nothing_is_lost_nothing_damaged_is_used_no_code_runs(name):
    [tally] = trust.campaign(SECONDS, [name], seed=int(os.environ.get("TRUST_SEED", "0")))
    assert not tally.failed, "\n".join(tally.failed[:3])
    assert tally.tried


def test_the_campaign_notices_what_is_not_named(monkeypatch):
    monkeypatch.setattr(trust.records, "_match", lambda *_: None)
    [tally] = trust.campaign(2, ["bytes of a record changed"])
    assert tally.failed


def test_the_campaign_notices_a_checkpoint_that_is_continued(monkeypatch):
    monkeypatch.setattr(trust.checkpoint, "read", lambda *_: (3, {}))
    [tally] = trust.campaign(1, ["bytes of a checkpoint changed, cuts"])
    assert len(tally.failed) == tally.tried


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
