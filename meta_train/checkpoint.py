"""Save and restore the newest progress of a fit, beside the bundle it will become.

``BUNDLE.checkpoint/`` holds Orbax checkpoints, one folder a step. ``progress.json`` is written
after them: it names the checkpoint that counts and the configuration it is of, and holds the curves
so far. The folder is removed when the bundle is written. The first evaluation is saved, and later
ones as often as takes a twentieth of the time.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from collect.corpus.checkpoint_pace import CheckpointPace
from collect.files import lock, replace
from meta_train.loader import everywhere
from meta_train.processes import check_alike, is_first, together
from meta_train.trainer import Progress
from nowcast.paths import check_utf8, check_writable
from nowcast.types import PyTree, UserError, first_line

SHARE = 0.05
"""The share of the time that checkpoints may take."""
TREES, PLAIN = ("params", "optimizer", "best"), ("step", "lowest", "waited", "curves")


class Checkpoint:
    """The progress on disk of one fit.

    Args:
        bundle: The folder that the bundle will be.
        configuration: What determines the fit, as JSON: a checkpoint of another one is refused.
    """

    def __init__(self, bundle: str, configuration: dict[str, Any]):
        self.folder = Path(f"{bundle.rstrip('/')}.checkpoint")
        self._index = self.folder / "progress.json"
        self._configuration = json.loads(json.dumps(configuration))
        self._pace = CheckpointPace(SHARE)
        check_utf8(f"bundle {bundle!r}", self.folder)
        check_writable(f"bundle {bundle!r}", self.folder)
        ours = re.compile(r"\d+(\..*)?|\.?progress\.json.*|lock")
        if self.folder.exists() and not all(
            ours.fullmatch(item.name) for item in self.folder.iterdir()
        ):
            raise UserError(
                f"{self.folder} holds something else, and checkpoints go there; choose another"
                " bundle=…"
            )

    def __enter__(self) -> "Checkpoint":
        together(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if not is_first():
            return
        if self.folder.exists() and [item.name for item in self.folder.iterdir()] == ["lock"]:
            self.remove()
        self._lock.close()

    def load(self, like: Progress) -> Progress | None:
        """The newest progress, or None; ``like`` gives its structure.

        Raises:
            UserError: It is of another configuration, or damaged.
        """
        plain = together(lambda: self._described(like))
        step = plain and plain["step"]
        cure = f"{self.folder} must lie on a file system that all share"
        check_alike({"the step to go on from": step}, cure)
        if plain is None:
            return None
        trees = {name: getattr(like, name) for name in TREES}
        try:
            packed = ocp.load(
                self._path(plain["step"]), jax.tree.map(_everywhere, jax.eval_shape(_packed, trees))
            )
            loaded = _unpacked(packed, trees)
        except Exception as error:  # whatever a damaged checkpoint makes Orbax say
            raise self._damaged(f"step {plain['step']}: {first_line(error)}") from None
        return like._replace(**plain, **loaded)

    def due(self) -> bool:
        """Whether enough time has passed for another checkpoint."""
        return self._pace.due()

    def save(self, progress: Progress) -> None:
        """Save this as the newest progress; with several processes, all of them call it."""
        path = self._path(progress.step)
        with self._pace.timed():
            if is_first():
                # A fit that was killed may have left a checkpoint here.
                shutil.rmtree(path, ignore_errors=True)
            together(lambda: self._write(path, progress))

    def _write(self, path: Path, progress: Progress) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            ocp.save(path, _packed({name: getattr(progress, name) for name in TREES}))
            if not is_first():
                return
            plain = {key: getattr(progress, key) for key in PLAIN}
            replace(self._index, json.dumps({"configuration": self._configuration, **plain}) + "\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise UserError(
                f"cannot write {self.folder} ({reason}); make room and give the command again"
            ) from None
        for old in self.folder.iterdir():
            if old.name not in (path.name, self._index.name, "lock"):
                shutil.rmtree(old) if old.is_dir() else old.unlink()

    def remove(self) -> None:
        """Remove the checkpoints: the fit is over."""
        if is_first():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self) -> None:
        if is_first():
            self._lock = lock(
                self.folder,
                "bundle",
                taken=(
                    f"{self.folder}: another command is fitting this bundle; wait for it, or give"
                    " another bundle="
                ),
                cure="fit on a file system that has locks and room",
            )

    def _described(self, like: Progress) -> dict[str, Any] | None:
        """The content of ``progress.json``, or None."""
        if not self._index.exists():
            return None
        try:
            index = json.loads(self._index.read_text(encoding="utf-8"))
            written = index["configuration"]
            if "served_by" in written:  # the older name
                written["networks"] = written.pop("served_by")
            differs = {
                key
                for key in {*written, *self._configuration}
                if written.get(key) != self._configuration.get(key)
            }
            plain = {key: index[key] for key in PLAIN}
            if (
                len(plain["lowest"]) != len(like.lowest)
                or plain["curves"].keys() != like.curves.keys()
            ):
                raise ValueError("other networks")
            if len({len(curve) for curve in plain["curves"].values()}) != 1:
                raise ValueError("curves of different lengths")
            if {type(plain["step"]), type(plain["waited"])} != {int}:
                raise TypeError("no numbers")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged("progress.json") from None
        if differs:
            said = ", ".join(
                f"{key}={written.get(key)}, now {self._configuration.get(key)}"
                for key in sorted(differs)
            )
            raise UserError(
                f"{self.folder} is of a fit with {said}; give that configuration again, or remove"
                " the folder to begin anew"
            )
        return plain

    def _path(self, step: int) -> Path:
        return self.folder.resolve() / str(step)

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.folder} is damaged ({what}); remove it, and the fit begins anew")


@jax.jit
def _packed(tree: PyTree) -> dict[str, jax.Array]:
    """Join all leaves of each dtype, one after another.

    Orbax takes as long for one number as for a network.
    """
    found: dict[str, list[jax.Array]] = {}
    for leaf in map(jnp.asarray, jax.tree.leaves(tree)):
        found.setdefault(leaf.dtype.name, []).append(leaf.ravel())
    return {dtype: jnp.concatenate(leaves) for dtype, leaves in found.items()}


def _unpacked(packed: dict[str, jax.Array], like: PyTree) -> PyTree:
    """Split the joined leaves again, with the shapes of ``like``."""
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, like))
    begun, shaped = dict.fromkeys(packed, 0), []
    for leaf in leaves:
        first = begun[leaf.dtype.name]
        begun[leaf.dtype.name] = end = first + leaf.size
        shaped.append(packed[leaf.dtype.name][first:end].reshape(leaf.shape))
    return jax.tree.unflatten(tree, shaped)


def _everywhere(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere())
