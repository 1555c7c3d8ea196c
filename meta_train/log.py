"""Log a fit for watching it in other programs: ``BUNDLE.log/``, whole after every evaluation."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from collect.files import replace
from nowcast.paths import check_writable
from nowcast.types import UserError

Curves = dict[str, list[float]]
Log = Callable[[Curves], None]
"""Called with all curves so far, at every evaluation."""


class CSV:
    """Writes ``loss.csv``, a line per evaluation."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "loss.csv"

    def __call__(self, curves: Curves) -> None:
        """Write the table."""
        text = io.StringIO()
        csv.writer(text).writerows([list(curves), *zip(*curves.values(), strict=True)])
        replace(self._file, text.getvalue())


class TensorBoard:
    """Writes events that ``tensorboard --logdir`` draws.

    After a restart earlier points are written once more.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboard.summary import Writer
        except ImportError:
            raise UserError(
                "log=tensorboard: tensorboard is missing; pip install"
                " 'weight-nowcaster[tensorboard]'"
            ) from None
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer, self._written = Writer(str(folder)), 0

    def __call__(self, curves: Curves) -> None:
        """Add the new points."""
        steps = curves["step"]
        for name, values in curves.items():
            for step, value in list(zip(steps, values, strict=True))[self._written :]:
                if name != "step":
                    self._writer.add_scalar(name, value, step=int(step))
        self._written = len(steps)
        self._writer.flush()


LOGS: dict[str, type[CSV] | type[TensorBoard]] = {"csv": CSV, "tensorboard": TensorBoard}


def start(name: str | None, bundle: str) -> Log:
    """The log of this name, or one that does nothing."""
    if name is None:
        return lambda curves: None
    folder = Path(f"{bundle.rstrip('/')}.log")
    check_writable(f"log={name}", folder)
    return LOGS[name](folder)
