"""Language: a GPT that predicts each next token of a text."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Integer

import nowcast
from collect.data import text, tokens
from collect.data.tokens import Tokens
from collect.models.gpt import GPT
from collect.models.start import Start
from collect.tasks.data_keys import refuse
from collect.tasks.parts import mean_by_parts
from collect.tasks.passes import Passes, windows
from collect.tasks.protocol import LOSS, Metric
from nowcast.types import PyTree, UserError, real, whole

RECORD_EVERY = 10
"""Steps between snapshots: one per pass over a text would be too few for a forecaster."""
EVALUATED = 8192
"""Tokens that are evaluated at once, at most, but at least one context."""
USUAL = {"layers": 2, "heads": 4, "width": 64, "context": 64}
"""The default sizes of a model."""
CACHED = {"cpu": 1024}
"""Tokens in a part of a batch whose values fit a core's cache: steps are a fifth faster."""


class Language:
    """A :class:`collect.tasks.Task`: a GPT on one text.

    A pass reads each training token once, in windows of one context that do not overlap
    (:class:`collect.tasks.passes.Passes`). An epoch is a pass, or ``steps_per_epoch`` steps.

    Args:
        text: The tokens of each split.
        batch_size: Windows a step; the remainder of a pass is dropped (another one each pass).
        steps_per_epoch: Steps; a pass when None.
        layers: Blocks of the model.
        heads: How many heads each attention has; they divide the width.
        width: The width of the model.
        context: Tokens in a window.
        dropout: Share left out of the embeddings and of what each block adds, in training.
    """

    metrics = (LOSS, Metric("perplexity"))
    loops = True

    def __init__(
        self,
        text: Tokens,
        *,
        batch_size: int,
        steps_per_epoch: int | None = None,
        layers: int = USUAL["layers"],
        heads: int = USUAL["heads"],
        width: int = USUAL["width"],
        context: int = USUAL["context"],
        dropout: float = 0.0,
    ):
        _check(layers, heads, width, dropout)
        self._context = whole("task.context", context, "tokens")
        for split, numbers in text.splits.items():
            if len(numbers) <= context:
                raise UserError(
                    f"task.context={context}: the {split} text of {text.name} has {len(numbers)}"
                    f" tokens, and {context + 1} are needed; give a shorter task.context, or a"
                    " longer text"
                )
        tokens = len(text.splits["train"]) - 1  # those that have a next one
        self._passes = Passes(tokens, context, batch_size, steps_per_epoch)
        sizes = {"layers": layers, "heads": heads, "width": width, "context": context}
        self.name = f"{named(sizes)}-{text.name}"
        self.batch_size = batch_size
        self._part = _part(
            batch_size, CACHED.get(jax.default_backend(), batch_size * context) // context
        )
        self.steps_per_epoch = self._passes.steps_per_epoch
        self.record_every = min(RECORD_EVERY, self.steps_per_epoch)
        self.splits = tuple(split for split in text.splits if split != "train")
        self._data = {split: jnp.asarray(numbers) for split, numbers in text.splits.items()}
        self.arrays = self._data["train"]
        self._start = Start(
            lambda rngs: GPT(
                text.vocabulary,
                layers=layers,
                heads=heads,
                width=width,
                context=context,
                dropout=dropout,
                rngs=rngs,
            )
        )
        module = self._start.module
        self.labels = nowcast.label_ops(module)
        self._definition = nnx.graphdef(module)
        self._totals = jax.jit(self._sum)

    @classmethod
    def configured(
        cls,
        data: Any,
        batch_size: int,
        *,
        tokens: str = tokens.CHARACTERS,
        steps_per_epoch: int | None = None,
        layers: int = USUAL["layers"],
        heads: int = USUAL["heads"],
        width: int = USUAL["width"],
        context: int = USUAL["context"],
        dropout: float = 0.0,
    ) -> "Language":
        """The task that a configuration's keys name, on its ``data=`` with its ``batch_size=``."""
        _check(layers, heads, width, dropout)
        return cls(
            encoded(data, str(tokens)),
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            layers=layers,
            heads=heads,
            width=width,
            context=context,
            dropout=dropout,
        )

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, nothing)``: the model carries nothing else."""
        return self._start(seed)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Where the windows begin, ``(steps_per_epoch, batch_size)``.

        It depends on seed and epoch only, so that arms are paired.
        """
        return self._passes.order(seed, epoch)

    def batch(self, arrays: PyTree, indices: Any, key: jax.Array | None = None) -> jax.Array:
        """Windows of one context and the token behind each."""
        return windows(arrays, indices, self._context + 1)

    def loss(
        self, params: PyTree, extra: PyTree, batch: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, PyTree]:
        """Mean cross-entropy of each next token.

        ``key`` decides what dropout leaves out; without a key there is no dropout.
        """
        parts, rest = divmod(len(batch), self._part)
        if parts == 1 or rest:
            return jnp.mean(self._errors(params, batch, key)), extra
        each = (
            batch.reshape(parts, self._part, -1),
            None if key is None else jax.random.split(key, parts),
        )
        return (
            mean_by_parts(lambda params, part: jnp.mean(self._errors(params, *part)), params, each),
            extra,
        )

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Mean cross-entropy of a split's tokens, and its exponential, the perplexity.

        The windows do not overlap.
        """
        numbers, context = self._data[split], self._context
        windows = (len(numbers) - 1) // context
        at_once = min(windows, max(1, EVALUATED // context))
        total = 0.0
        for start in range(0, windows, at_once):
            begins = start + np.arange(at_once)
            total += float(
                self._totals(
                    params, numbers, np.minimum(begins, windows - 1) * context, begins < windows
                )
            )
        loss = total / (windows * context)
        return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}

    def _sum(
        self,
        params: PyTree,
        numbers: Integer[Array, "tokens"],
        begins: Integer[Array, "B"],
        counts: Array,
    ) -> Float[Array, ""]:
        """The sum of the errors of some windows, of those that count."""
        errors = self._errors(params, self.batch(numbers, begins), None)
        return jnp.sum(jnp.where(counts[:, None], errors, 0))

    def _errors(
        self, params: PyTree, batch: Integer[Array, "B T"], key: jax.Array | None
    ) -> Float[Array, "B _"]:
        logits = nnx.merge(self._definition, params)(batch[:, :-1], key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:])


def named(
    sizes: Mapping[str, int], kind: str = "gpt", usual: Mapping[str, int] = MappingProxyType(USUAL)
) -> str:
    """The name of a language model: its kind, and its sizes that are not the usual ones.

    Each size has its initial before it.

    Examples:
        >>> print(named(USUAL), named(USUAL | {"layers": 4, "width": 128}))
        gpt gpt_l4_w128
    """
    other = [f"{key[0]}{size}" for key, size in sizes.items() if size != usual[key]]
    return "_".join([kind, *other])


def family(name: str) -> str:
    """A task's name without the sizes that :func:`named` adds; any other name as it is.

    Examples:
        >>> print(family("gpt_l4_w128-tiny_shakespeare"), family("lenet-mnist"))
        gpt-tiny_shakespeare lenet-mnist
    """
    return re.sub(
        r"^(gpt|bert|ddim|deeplab|openpose)(_[lhwcpdsrt]\d+([x.]\d+)*)+(?=-|$)", r"\1", name
    )


def encoded(data: Any, kind: str) -> Tokens:
    """The tokens of the text that a configuration's ``data=`` names.

    Raises:
        UserError: A key is for images, or the text cannot be read.
    """
    refuse(data, "is for images", "standardize", "center", "size", "classes")
    found = text.load(data.name, directory=data.dir, validation=data.validation)
    return tokens.encode(found, kind, data.train_size)


def _part(batch_size: int, most: int) -> int:
    """Windows of a part of a batch, all parts equal.

    At most ``most``, or the whole batch where parts would have less than half as many.
    """
    part = max((size for size in range(1, most + 1) if batch_size % size == 0), default=batch_size)
    return part if 2 * part >= most else batch_size


def _check(layers: int, heads: int, width: int, dropout: float) -> None:
    for key, value, unit in (
        ("layers", layers, "blocks"),
        ("heads", heads, "heads"),
        ("width", width, "features"),
    ):
        whole(f"task.{key}", value, unit)
    if width % heads:
        raise UserError(f"task.heads={heads}: must divide task.width={width}")
    rule = "must be a share, 0 or more, below 1"
    if not 0 <= real("task.dropout", dropout, rule) < 1:
        raise UserError(f"task.dropout={dropout}: {rule}")
