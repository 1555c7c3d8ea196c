"""What Hydra finds by itself, and only in a folder of this name: a sweeper that ends a command
once.
"""

from contextlib import nullcontext
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from collect.commands import jobs


class Sweeper(BasicSweeper):
    """Hydra's own, which would throw away what the jobs return."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Before the jobs are composed."""
        jobs.require_extra(config.hydra.launcher)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._around = nullcontext if jobs.are_here(config.hydra.launcher) else jobs.elsewhere
        self._conclude = task_function.conclude

    def sweep(self, arguments: list[str]) -> None:
        """All jobs, and the command's end."""
        with self._around():
            batches = super().sweep(arguments)
        jobs.end([job.return_value for batch in batches for job in batch], self._conclude)
