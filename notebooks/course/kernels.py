"""Kernels in the Python of this command, and a client of papermill that does not wait for a reply in vain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from queue import Empty
from time import monotonic

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_async, run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager

# seconds without a sign of life, or after a cell without reply and output, until a kernel is given up
PATIENCE = 60.0
LOG = logging.getLogger("geomreg_course")
LOG.addHandler(logging.NullHandler())  # nbclient logs what the summary says


class LostReply(Exception):
    """The kernel no longer answers; the text says how that was noticed."""


class ThisPython(KernelSpecManager):
    """Starts kernels in the running interpreter, whatever kernels the user has registered."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        spec = get_kernel_dict()  # ipykernel's own description of this interpreter
        return KernelSpec(
            argv=[*spec["argv"], "--log-level=ERROR"],  # its warnings would break into the progress bars
            display_name=spec["display_name"],
            language=spec["language"],
            metadata=spec.get("metadata", {}),
            # One thread: results that do not depend on the number of cores.
            env={"OMP_NUM_THREADS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        )


class _Client(PapermillNotebookClient):
    """Papermill's client, which also notices a lost reply and a kernel that no longer answers.

    A cell may take a week, so elapsed time proves nothing. The kernel answers requests in their order: an
    answer over a second connection proves that it finished the cell. Its heartbeat is a thread that no cell
    can block: if it stops, the whole process stopped.
    """

    heard = 0.0  # when the last output came

    def process_message(self, *arguments: object, **options: object) -> object:
        self.heard = monotonic()
        return super().process_message(*arguments, **options)

    async def async_start_new_kernel_client(self) -> object:
        try:
            return await super().async_start_new_kernel_client()
        except RuntimeError as error:
            raise LostReply(f"a kernel that did not start ({error})") from error

    async def async_execute_cell(self, *arguments: object, **options: object) -> object:
        return await self._answered(super().async_execute_cell(*arguments, **options))

    async def async_wait_for_reply(self, *arguments: object, **options: object) -> object:
        return await self._answered(super().async_wait_for_reply(*arguments, **options))

    start_new_kernel_client = run_sync(async_start_new_kernel_client)
    execute_cell = run_sync(async_execute_cell)
    wait_for_reply = run_sync(async_wait_for_reply)

    async def _answered(self, reply: Awaitable[object]) -> object:
        """Wait for a reply; raise LostReply if there will be none."""
        others = asyncio.all_tasks()
        waiting, watch = asyncio.ensure_future(reply), asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({waiting, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise LostReply(watch.result())
            return waiting.result()
        finally:
            begun = asyncio.all_tasks() - others  # with those that nbclient leaves behind
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _watch(self) -> str:
        """Return what is wrong with the kernel, once it was so for PATIENCE seconds."""
        interval = PATIENCE / 10
        await asyncio.sleep(interval)  # most cells are faster
        asking = AsyncKernelClient()  # with a session of its own; the same one would take the replies
        asking.load_connection_info(self.km.get_connection_info())
        asking.start_channels(iopub=False, stdin=False, control=False)
        try:
            await ensure_async(asking.kernel_info())
            missed = 0
            while missed < 10:
                try:
                    await asking.get_shell_msg(timeout=interval)
                except Empty:
                    missed = 0 if asking.hb_channel.is_beating() else missed + 1
                else:
                    answered = monotonic()  # the reply may still be under way, behind many outputs
                    while monotonic() - max(answered, self.heard) < PATIENCE:
                        await asyncio.sleep(interval)
                    return "a lost reply"
            return "a kernel that stopped answering"
        finally:
            asking.stop_channels()


class WatchedEngine(NBClientEngine):
    """Papermill's engine with that client; it ends its kernel at once, whatever happened."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        km: AsyncKernelManager,
        execution_timeout: float,
        start_timeout: float = 60,
        **options: object,
    ) -> nbformat.NotebookNode:
        chosen = {name: options[name] for name in ("resources", "on_cell_execute", "on_cell_executed")}
        client = _Client(
            nb_man,
            km=km,
            kernel_name=kernel_name,
            timeout=execution_timeout,
            startup_timeout=start_timeout,
            iopub_timeout=10**9,  # outputs are awaited under the same watch as replies
            shutdown_kernel="immediate",
            log=LOG,
            **chosen,
        )
        return client.execute(cleanup_kc=True)
