"""Transfer: fine-tune a classifier whose weights, but for its head, were trained elsewhere."""

import hashlib
from typing import Any

import jax
import numpy as np
from flax import nnx

from collect.data import Dataset
from collect.data.streaming import Streamed
from collect.tasks import weights as files
from collect.tasks.classification import Classification
from nowcast.types import PyTree

HEAD = "head"
"""The layer that is new in each run: the last one of every architecture."""


class Transfer(Classification):
    """A :class:`collect.tasks.Classification` whose runs begin with given weights.

    Source: the program of transfer of the WNN paper's authors (``PVTV2/WNN_PVTv2.py`` of
    github.com/jjh6297/WNN). All layers begin with the same given weights in every run, but for the
    head, which the seed draws. All layers train. BatchNorm's statistics, where a network has some,
    begin anew: training takes those of each batch.

    Args:
        model: A name of :data:`collect.models.MODELS`. The last layer of each is its head.
        data: As for a classification.
        weights: The weights, from :func:`collect.tasks.weights.read`.
        source: Where they were found, for messages.
        given: As for a classification.

    Raises:
        UserError: The weights are of another network: the first one that differs is named.

    Examples:
        >>> from types import SimpleNamespace as Given
        >>> from collect.config import DataConfig, ModelConfig
        >>> Transfer.configured(
        ...     ModelConfig("mlp"), DataConfig("digits"), Given(name="none"), 64, weights="run.npz"
        ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str,
        data: Dataset | Streamed,
        *,
        weights: dict[str, np.ndarray],
        source: str = "weights",
        **given: Any,
    ):
        super().__init__(model, data, **given)
        shapes = nnx.to_pure_dict(nnx.state(self._start.module, nnx.Param))
        self._begin = files.without(shapes, HEAD, weights, source)
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(self._begin):
            digest.update(np.asarray(leaf).tobytes())
        self.name = f"{self.name}-from_{digest.hexdigest()[:8]}"

    @classmethod
    def configured(  # type: ignore[override]
        cls,
        model: Any,
        data: Any,
        augment: Any,
        batch_size: int,
        *,
        weights: str,
        run: str | None = None,
        made_by: str | None = None,
    ) -> "Transfer":
        """The task that a configuration's keys name.

        Args:
            model: The part ``model=`` of the configuration.
            data: The part ``data=``.
            augment: The part ``augment=``.
            batch_size: Examples a step.
            weights: ``task.weights``: the file or the corpus of the weights.
            run: ``task.run``: the run of that corpus; None: its only one.
            made_by: ``task.made_by``: the experiment that makes the weights, for the message where
                they are missing.
        """
        found = files.read(str(weights), model.name, run, made_by)
        given = cls.arguments(model, data, augment, batch_size)
        return cls(**given, weights=found, source=str(weights))

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, BatchNorm statistics)``: the given weights, and a head of this seed."""
        params, extra = super().init(seed)
        return {**self._begin, HEAD: params[HEAD]}, extra
