"""Masked language: a universal transformer that fills in masked tokens, after BERT.

BERT is by Devlin et al., NAACL 2019 (arXiv:1810.04805). Masks, losses and their weights are those
of the program github.com/kpot/keras-transformer (``example/run_bert.py``,
``keras_transformer/bert.py``), whose sizes the WNN paper's Table 5 names. Each token is masked with
a probability of 15 %; of the masked ones 80 % become the token that masks, 10 % a token drawn at
random, and 10 % stay. Departures from that program:

- A text is one window, without the tokens that begin and end a sentence, and there is no second
  task of telling whether two sentences follow each other.
- A pass reads every window once; there, windows are drawn at random places.
- Adam's ε is 1e-8, in place of Keras's 1e-7.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

import nowcast
from collect.data import tokens
from collect.data.tokens import Tokens
from collect.models.start import Start
from collect.models.universal_transformer import UniversalTransformer
from collect.tasks.language import EVALUATED, encoded, named
from collect.tasks.passes import Passes, windows
from collect.tasks.protocol import LOSS, Metric
from nowcast.types import PyTree, UserError, real, whole

MASKED, HIDDEN, CHANGED = 0.15, 0.8, 0.1
"""The share of tokens that are to be filled in, and of these: hidden, and changed at random."""
MASKS = 0x3A5C
"""The root of the masks of evaluations, which are the same for all runs."""
USUAL = {"passes": 5, "heads": 4, "width": 64, "context": 64}
"""The default sizes of a model."""


class MaskedLanguage:
    """A :class:`collect.tasks.Task`: fill in masked tokens of one text.

    The loss is the mean over windows of each window's mean cross-entropy of its masked tokens, less
    ``confidence_penalty`` times the mean entropy of what is predicted there (Pereyra et al., 2017,
    arXiv:1701.06548), plus ``ponder`` times the mean ponder cost, plus ``embedding_penalty`` times
    the sum of the squares of the token embedding and of the projection.

    Metrics are of masked tokens alone, with masks that are the same at every evaluation:

    - ``perplexity``: the exponential of the loss;
    - ``loss``: the mean cross-entropy, in nats;
    - ``window_perplexity``: the mean over windows of the exponential of each window's mean, the
      program's ``masked_perplexity``. It is never below the first.

    Args:
        text: The tokens of each split.
        batch_size: Windows a step.
        steps_per_epoch: Steps; as many as read the text once when None.
        passes: How often the block is passed at most.
        heads: How many heads the attention has; they divide the width.
        width: The width of the model.
        context: Tokens in a window.
        dropout: Share left out within the block in training.
        embedding_dropout: Share left out before the output's embedding in training.
        confidence_penalty: The weight of the entropy.
        ponder: The weight of the ponder cost.
        embedding_penalty: The weight of the squares.

    Raises:
        UserError: A value is out of range, or a text is shorter than a window.

    Examples:
        >>> import numpy as np
        >>> splits = {name: np.arange(400) % 7 for name in ("train", "validation", "test")}
        >>> text = Tokens("sevens", 7, splits, str)
        >>> task = MaskedLanguage(text, batch_size=2, heads=2, width=8, context=16)
        >>> print(task.name, task.steps_per_epoch)
        bert_h2_w8_c16-sevens 12
    """

    metrics = (Metric("perplexity"), LOSS, Metric("window_perplexity"))
    loops = True

    def __init__(
        self,
        text: Tokens,
        *,
        batch_size: int,
        steps_per_epoch: int | None = None,
        passes: int = USUAL["passes"],
        heads: int = USUAL["heads"],
        width: int = USUAL["width"],
        context: int = USUAL["context"],
        dropout: float = 0.1,
        embedding_dropout: float = 0.6,
        confidence_penalty: float = 0.1,
        ponder: float = 0.01,
        embedding_penalty: float = 1e-4,
    ):
        sizes = {"passes": passes, "heads": heads, "width": width, "context": context}
        _check(sizes, {"dropout": dropout, "embedding_dropout": embedding_dropout})
        weights = {
            "confidence_penalty": confidence_penalty,
            "ponder": ponder,
            "embedding_penalty": embedding_penalty,
        }
        self._confidence, self._ponder, self._decay = (
            _weight(f"task.{key}", value) for key, value in weights.items()
        )
        for split, numbers in text.splits.items():
            if len(numbers) < context:
                raise UserError(
                    f"task.context={context}: the {split} text of {text.name} has {len(numbers)}"
                    " tokens; give a shorter task.context, or a longer text"
                )
        self._context, self._hides = context, text.vocabulary
        self._passes = Passes(len(text.splits["train"]), context, batch_size, steps_per_epoch)
        self.name = f"{named(sizes, 'bert', USUAL)}-{text.name}"
        self.batch_size, self.steps_per_epoch = batch_size, self._passes.steps_per_epoch
        self.splits = tuple(split for split in text.splits if split != "train")
        self.arrays = jnp.asarray(text.splits["train"])
        self._kept = {split: self._masked_once(text.splits[split]) for split in self.splits}
        self._start = Start(
            lambda rngs: UniversalTransformer(
                text.vocabulary + 1,
                **sizes,
                dropout=dropout,
                embedding_dropout=embedding_dropout,
                rngs=rngs,
            )
        )
        module = self._start.module
        self.labels = nowcast.label_ops(module)
        self._definition = nnx.graphdef(module)
        self._sums = jax.jit(self._summed)

    @classmethod
    def configured(
        cls, data: Any, batch_size: int, *, tokens: str = tokens.CHARACTERS, **own: Any
    ) -> "MaskedLanguage":
        """The task that a configuration's keys name, on its ``data=`` with its ``batch_size=``."""
        return cls(encoded(data, str(tokens)), batch_size=batch_size, **own)

    def init(self, seed: int) -> tuple[PyTree, PyTree]:
        """``(params, nothing)``: the model carries nothing else."""
        return self._start(seed)

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, "steps B"]:
        """Where the windows of each step begin."""
        return self._passes.order(seed, epoch)

    def batch(
        self, arrays: Array, indices: Any, key: jax.Array
    ) -> tuple[Int[Array, "B T"], Int[Array, "B T"], Bool[Array, "B T"]]:
        """``(seen, tokens, masked)``: what the model sees, what is true, and where it is judged.

        The key decides which tokens are masked, and how.
        """
        own = windows(arrays, indices, self._context)
        chances, hows, others = jax.random.split(key, 3)
        masked = jax.random.uniform(chances, own.shape) < MASKED
        how = jax.random.uniform(hows, own.shape)
        other = jax.random.randint(others, own.shape, 0, self._hides)
        changed = jnp.where(
            how < HIDDEN, self._hides, jnp.where(how < HIDDEN + CHANGED, other, own)
        )
        return jnp.where(masked, changed, own), own, masked

    def loss(
        self, params: PyTree, extra: PyTree, batch: tuple[Array, ...], key: jax.Array | None = None
    ) -> tuple[Float[Array, ""], PyTree]:
        """The mean loss of a batch; ``key`` is for dropout, and without a key there is none."""
        seen, own, masked = batch
        logits, cost = nnx.merge(self._definition, params)(seen, key)
        logs = jax.nn.log_softmax(logits)
        errors = -jnp.take_along_axis(logs, own[..., None], axis=-1)[..., 0]
        entropy = -jnp.sum(jnp.exp(logs) * logs, axis=-1)
        each = jnp.where(masked, errors - self._confidence * entropy, 0)
        judged = jnp.sum(each, axis=1) / jnp.maximum(jnp.sum(masked, axis=1), 1)
        squares = sum(
            jnp.sum(kernel**2)
            for kernel in (
                params["token_embedding"]["embedding"],
                params["projection"]["kernel"],
            )
        )
        return jnp.mean(judged) + self._ponder * jnp.mean(cost) + self._decay * squares, extra

    def evaluate(self, params: PyTree, extra: PyTree, split: str) -> dict[str, float]:
        """Every metric, of a whole split's masked tokens."""
        kept = self._kept[split]
        count, totals = len(kept[0]), np.zeros(4)
        at_once = min(count, max(1, EVALUATED // self._context))
        for start in range(0, count, at_once):
            rows = np.minimum(start + np.arange(at_once), count - 1)
            counts = start + np.arange(at_once) < count
            totals += np.asarray(self._sums(params, *(one[rows] for one in kept), counts))
        errors, masked, perplexities, judged = totals.tolist()
        loss = errors / masked
        return {
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "loss": loss,
            "window_perplexity": perplexities / judged,
        }

    def _masked_once(self, numbers: np.ndarray) -> tuple[Array, ...]:
        """A split's windows, masked once and for all, ``(windows, T)`` each."""
        begins = jnp.arange(len(numbers) // self._context) * self._context
        return self.batch(jnp.asarray(numbers), begins, jax.random.key(MASKS))

    def _summed(
        self,
        params: PyTree,
        seen: Int[Array, "B T"],
        own: Int[Array, "B T"],
        masked: Bool[Array, "B T"],
        counts: Bool[Array, "B"],
    ) -> Float[Array, "4"]:
        """Sums over windows that count: errors, masked tokens, perplexities, windows with any."""
        logits, _ = nnx.merge(self._definition, params)(seen)
        errors = optax.softmax_cross_entropy_with_integer_labels(logits, own)
        number = jnp.sum(masked, axis=1)
        each = jnp.sum(jnp.where(masked, errors, 0), axis=1)
        judged = counts & (number > 0)
        perplexity = jnp.exp(each / jnp.maximum(number, 1))
        parts = (each, number, perplexity, jnp.ones_like(each))
        return jnp.stack([jnp.sum(jnp.where(judged, part, 0)) for part in parts])


def _check(sizes: dict[str, int], shares: dict[str, float]) -> None:
    for (key, value), unit in zip(
        sizes.items(), ("passes", "heads", "features", "tokens"), strict=True
    ):
        whole(f"task.{key}", value, unit)
    if sizes["width"] % sizes["heads"]:
        raise UserError(f"task.heads={sizes['heads']}: must divide task.width={sizes['width']}")
    rule = "must be a share, 0 or more, below 1"
    for key, share in shares.items():
        if not 0 <= real(f"task.{key}", share, rule) < 1:
            raise UserError(f"task.{key}={share}: {rule}")


def _weight(key: str, value: float) -> float:
    rule = "must be 0 or more, such as 0.1; 0: none"
    if real(key, value, rule) < 0:
        raise UserError(f"{key}={value}: {rule}")
    return float(value)
