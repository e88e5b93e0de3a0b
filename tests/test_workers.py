"""Worker processes end with their parent, from the moment they start: before torch is loaded, too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for workers in /proc")

SLOW = """
import importlib.abc, os, pathlib, sys, time

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch" and "loky" in " ".join(sys.orig_argv):
            pathlib.Path(os.environ["LOADING"], str(os.getpid())).touch()
            time.sleep(120)

sys.meta_path.insert(0, Slow())
"""

PARENT = """
import sys
sys.path.insert(0, {tests!r})
from handmade import CPU, short
from mixkd.runs import collect
if __name__ == "__main__":
    collect([short("ce", seed=seed) for seed in range(2)], {store!r}, workers=2, machine=CPU, progress=False)
"""


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_that_are_still_loading_end_with_their_parent(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SLOW)
    (tmp_path / "parent.py").write_text(PARENT.format(tests=str(Path(__file__).parent), store=str(tmp_path / "store")))
    loading = tmp_path / "loading"
    loading.mkdir()
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", ""), str(Path(__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "LOADING": str(loading)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while len(list(loading.iterdir())) < 2:
            assert time.monotonic() < deadline
            assert parent.poll() is None
            time.sleep(0.05)
        workers = [int(path.name) for path in loading.iterdir()]
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 5
        while any(alive(worker) for worker in workers):
            assert time.monotonic() < deadline, "a worker outlives its parent"
            time.sleep(0.05)
    finally:
        for each in [parent.pid, *[int(path.name) for path in loading.iterdir()]]:
            if alive(each):
                os.kill(each, signal.SIGKILL)
        parent.wait()
