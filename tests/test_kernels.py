"""Kernels that are forks of a process with the library loaded: they start loaded, share nothing, and die and stop like others."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import v4

from mixkd.kernels import KernelManager

forked = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")


def ran(*cells, manager=KernelManager, folder=".", **options):
    """What each cell printed."""
    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel})
    client = NotebookClient(notebook, kernel_manager_class=manager, resources={"metadata": {"path": str(folder)}}, **options)
    done = client.execute()
    nbformat.validate(done)
    return ["".join(output.get("text", "") for output in cell.outputs).strip() for cell in done.cells]


@forked
def test_a_kernel_starts_with_the_library_loaded():
    loaded = "import sys; print({name in sys.modules for name in ('torch', 'pandas', 'mixkd.figures', 'mixkd.claims')})"
    assert ran(loaded) == ["{True}"]
    assert ran(loaded, manager=AsyncKernelManager) == ["{False}"]


def test_kernels_share_nothing_that_one_of_them_changes():
    change = "import numpy, mixkd.claims, os; mixkd.claims.marked = 1; marked = 1; os.environ['MARKED'] = '1'; print(numpy.random.rand())"
    ask = "import os, mixkd.claims; print(hasattr(mixkd.claims, 'marked'), 'marked' in globals(), 'MARKED' in os.environ)"
    assert ran(change, ask)[1] == "True True True"
    assert ran(ask) == ["False False False"]


def test_a_kernel_has_the_folder_and_the_environment_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXKD_ASKED", "now")  # after the process that is forked has started
    told = ran("import os; print(os.getcwd(), os.environ['MIXKD_ASKED'], os.getpid())", folder=tmp_path)[0].split()
    assert told[:2] == [os.path.realpath(tmp_path), "now"]
    assert int(told[2]) != os.getpid()


def test_a_kernel_that_dies_is_noticed():
    with pytest.raises(DeadKernelError):
        ran("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def test_a_cell_that_takes_too_long_is_interrupted():
    ended = ran(
        "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('interrupted')",
        timeout=3, interrupt_on_timeout=True,
    )  # fmt: skip
    assert ended == ["interrupted"]


def test_a_kernel_ends_with_its_manager():
    async def lifetime():
        manager = KernelManager(kernel_name="python3")
        await manager.start_kernel()
        process = manager.provisioner.process
        alive = process.poll() is None and await manager.is_alive()
        await manager.shutdown_kernel(now=True)
        return alive, process.wait() is not None, await manager.is_alive()

    assert asyncio.run(lifetime()) == (True, True, False)


ASKING = """
import asyncio, os, signal
import mixkd.kernels
from mixkd.kernels import KernelManager
mixkd.kernels._LOADED = ()  # whatever is loaded, it ends
if __name__ == "__main__":
    manager = KernelManager(kernel_name="python3")
    asyncio.run(manager.start_kernel())
    print(manager.provisioner.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@forked
def test_a_kernel_ends_with_the_process_that_asked_for_it_even_where_that_was_killed(tmp_path):
    script = tmp_path / "asking.py"
    script.write_text(ASKING)
    told = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120).stdout
    kernel, deadline = Path("/proc", told.strip()), time.monotonic() + 30
    while kernel.exists() and "Z" not in kernel.joinpath("stat").read_text().rpartition(")")[2].split()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started_loaded():
    return ran("import sys; print('torch' in sys.modules)")


@forked
def test_in_a_worker_that_may_not_fork_a_kernel_starts_as_always():
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(started_loaded).result() == ["False"]


SCRIPT = """
import sys
import mixkd.kernels
from mixkd.chapters import execute
mixkd.kernels._LOADED = ("torch",)
print("once", flush=True)
{guard}execute(sys.argv[1], sys.argv[2])
"""
PAGE = """---
kernelspec:
  display_name: Python 3
  name: python3
---

```{code-cell} ipython3
:tags: [parameters]
n = 1
```

```{code-cell} ipython3
import sys
loaded = "torch" in sys.modules
import torch
print(loaded, torch.get_num_threads())
```
"""


@pytest.mark.parametrize(
    ("guard", "printed", "loaded"),
    [
        ("", 1, False),
        pytest.param('if __name__ == "__main__": ', 2, True, marks=forked),
    ],
)
def test_a_script_runs_a_chapter_on_one_thread_and_without_a_guard_itself_once(tmp_path, monkeypatch, guard, printed, loaded):
    """With a guard the kernel is a fork, in which multiprocessing runs the script up to it."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "script.py").write_text(SCRIPT.format(guard=guard))
    command = [sys.executable, "script.py", "page.md", "out.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "once\n" * printed), done.stderr
    told = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs[0].text.split()
    assert told == [str(loaded), "1"]
