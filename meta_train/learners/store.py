"""Save and restore the progress of a learned optimizer's meta-training, beside its bundle.

``BUNDLE.checkpoint/progress.npz`` is written whole or not at all after every round. It holds the
arrays and, as JSON, the rest and the configuration that it is of.
"""

import io
import json
import shutil
from pathlib import Path
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np

from collect.files import lock, replace
from meta_train.learners.fit import Progress
from nowcast.paths import check_utf8, check_writable
from nowcast.types import UserError, first_line

TREES = ("params", "optimizer", "best")


class Store:
    """The progress on disk; a context that only one command can be in at a time.

    Args:
        bundle: The folder that the bundle will be.
        configuration: What determines the meta-training, as JSON.
    """

    def __init__(self, bundle: str, configuration: dict[str, Any]):
        self.folder = Path(f"{bundle.rstrip('/')}.checkpoint")
        self._file = self.folder / "progress.npz"
        self._configuration = json.loads(json.dumps(configuration))
        check_utf8(f"bundle {bundle!r}", self.folder)
        check_writable(f"bundle {bundle!r}", self.folder)

    def __enter__(self) -> "Store":
        self._lock: TextIO = lock(
            self.folder,
            "bundle",
            taken=(
                f"{self.folder}: another command is making this bundle; wait for it, or give"
                " another bundle="
            ),
            cure="meta-train on a file system that has locks and room",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def save(self, progress: Progress) -> None:
        """Save this as the newest progress."""
        arrays = {
            f"{name}/{number}": np.asarray(leaf)
            for name in TREES
            for number, leaf in enumerate(jax.tree.leaves(getattr(progress, name)))
        }
        plain = {name: value for name, value in progress._asdict().items() if name not in TREES}
        said = json.dumps({"configuration": self._configuration, "progress": plain})
        content = io.BytesIO()
        np.savez(content, said=np.array(said), **arrays)  # type: ignore[arg-type]
        try:
            replace(self._file, content.getvalue())
        except OSError as error:
            raise UserError(
                f"cannot write {self.folder} ({error.strerror}); make room and give the command"
                " again"
            ) from None

    def load(self, like: Progress) -> Progress | None:
        """The newest progress, or None; ``like`` gives its structure.

        Raises:
            UserError: It is of another configuration, or damaged.
        """
        if not self._file.exists():
            return None
        cure = f"give another bundle=, or remove {self.folder}"
        try:
            with np.load(self._file, allow_pickle=False) as held:
                said = json.loads(str(held["said"]))
                trees = {name: _restored(held, name, getattr(like, name)) for name in TREES}
        except Exception as error:  # whatever a damaged file makes NumPy say
            raise UserError(f"{self._file}: is damaged ({first_line(error)}); {cure}") from None
        if said["configuration"] != self._configuration:
            other = [
                key
                for key, value in self._configuration.items()
                if said["configuration"].get(key) != value
            ]
            raise UserError(
                f"{self.folder}: is of a meta-training with another {', '.join(other)}; {cure}"
            )
        return like._replace(**said["progress"], **trees)

    def remove(self) -> None:
        """Remove the checkpoint: the meta-training is over."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _restored(held: Any, name: str, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    saved = [jnp.asarray(held[f"{name}/{number}"]) for number in range(len(leaves))]
    return jax.tree.unflatten(structure, saved)
