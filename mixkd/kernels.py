"""Kernels that begin with the library loaded: a process loads it once, and each chapter's kernel is a fork of that process.

Loading torch, SciPy and the rest takes most of the time of a chapter that only reads records. Refuses to be a kernel: where a process
cannot be forked soundly, and for a kernel of another language, Jupyter starts one as always.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from papermill.engines import NBClientEngine, papermill_engines
from papermill.iorw import write_ipynb

ENGINE = "mixkd"  # as papermill knows `Engine`
_LOADED = ("ipykernel.kernelapp", "myst_nb", "pandas", "mixkd.figures", "mixkd.claims")
_LAUNCHER = "ipykernel_launcher"
_THREADS = "OMP_NUM_THREADS"  # one, unless the environment has another number: kernels run side by side
_LOADING = threading.Lock()


class KernelManager(AsyncKernelManager):
    """Jupyter's manager, whose kernels are forks; for nbclient's and papermill's ``kernel_manager_class``.

    The first start in a process loads the library, which every later one finds loaded. Kernels have one thread, or as many as
    OMP_NUM_THREADS says.
    """

    async def _async_pre_start_kernel(self, **options: Any) -> Any:
        options["env"] = {_THREADS: "1", **(options.get("env") or os.environ)}
        if self.provisioner is None and sys.platform == "linux":  # elsewhere system libraries do not survive a fork
            self.provisioner = _Fork(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**options)


class Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's engine with such kernels. Unlike its `cwd`, `folder` moves the kernel alone, so that chapters can run in threads."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, folder: Path, what_ran: Path, **options: Any) -> None:
        """Run all cells.

        Args:
            nb_man: papermill's, which holds the notebook.
            kernel_name: as in the notebook's metadata.
            folder: working directory of the kernel.
            what_ran: written where the kernel dies or a cell takes too long; a cell that fails is papermill's to tell.
            options: of `nbclient.NotebookClient`.
        """
        try:
            super().execute_managed_notebook(
                nb_man,
                kernel_name,
                kernel_manager_class=KernelManager,
                resources={"metadata": {"path": str(folder)}},
                extra_arguments=["--Application.log_level=50"],  # the kernel's own remarks; what a cell prints is kept
                **options,
            )
        except Exception:
            write_ipynb(nb_man.nb, str(what_ran))
            raise


papermill_engines.register(ENGINE, Engine)


class _Fork(LocalProvisioner):
    process: Any

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        if _LAUNCHER not in cmd or not _forks_here():
            return await super().launch_kernel(cmd, **options)
        context = _loaded()
        arguments = cmd[cmd.index(_LAUNCHER) + 1 :]
        self.cwd = options.get("cwd") or os.getcwd()
        process = context.Process(target=_serve, args=(arguments, dict(options["env"]), str(self.cwd)))
        process.start()
        self.process, self.pid = _Handle(process), process.pid
        return self.connection_info


def _forks_here() -> bool:
    """Whether children of multiprocessing are sound here: not in a daemon, nor in a worker of a library with a start method of its own,
    nor in a script that would run again in each of them, as it does not ask whether it is the main module."""
    own = multiprocessing.get_start_method(allow_none=True)
    if multiprocessing.current_process().daemon or own not in (None, *multiprocessing.get_all_start_methods()):
        return False
    script = getattr(sys.modules["__main__"], "__file__", None)
    return script is None or not Path(script).is_file() or "__name__" in Path(script).read_text(encoding="utf-8", errors="replace")


def _loaded() -> Any:
    """The context whose processes are forks of one that has loaded the library. That one reads its number of threads while it loads."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    with _LOADING:
        chosen = os.environ.get(_THREADS)
        os.environ[_THREADS] = chosen or "1"
        try:
            forkserver.ensure_running()
        finally:
            if chosen is None:
                del os.environ[_THREADS]
    return context


class _Handle:
    """What Jupyter asks of a process, answered by one of multiprocessing."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def wait(self) -> int | None:
        self._process.join()
        return self.poll()

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _serve(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """The forked process: a kernel as if started anew, which ends when the process that asked for it ends."""
    from ipykernel.kernelapp import IPKernelApp

    os.environ.clear()
    os.environ.update(environment)
    os.environ.pop("JPY_PARENT_PID", None)  # the kernel would watch the process that was forked, which lives as long as its kernels
    threading.Thread(target=_follow, daemon=True).start()
    os.chdir(folder)
    IPKernelApp.launch_instance(argv=arguments)


def _follow() -> None:
    """As `mixkd.orphans.end_with`, but of the process that asked: the parent by the system's count is the one that was forked."""
    asked = multiprocessing.parent_process()
    assert asked is not None
    asked.join()
    os._exit(1)
