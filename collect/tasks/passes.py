"""Read a text in passes: each reads every window of one context once, in an order of its own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from nowcast.types import UserError, whole


class Passes:
    """The windows that each step of a run reads.

    The windows of a pass do not overlap. Their order differs from pass to pass, and so does where
    the first one begins. Less than two contexts of tokens at both ends are left out.

    Args:
        tokens: The tokens that windows cover.
        context: Tokens in a window.
        batch_size: Windows a step; the remainder of a pass is dropped (another one each pass).
        steps_per_epoch: Steps of an epoch; a pass when None.

    Raises:
        UserError: The batch has more windows than the text, or an epoch has no step.

    Examples:
        >>> passes = Passes(20, 4, batch_size=2)
        >>> print(passes.steps_per_epoch, passes.order(0, 0).shape)
        2 (2, 2)
    """

    def __init__(
        self, tokens: int, context: int, batch_size: int, steps_per_epoch: int | None = None
    ):
        windows = max(1, (tokens - context + 1) // context)
        if not 1 <= batch_size <= windows:
            raise UserError(
                f"batch_size={batch_size}: must be 1 to {windows}, the windows of {context} tokens"
                " in the training text"
            )
        if steps_per_epoch is not None:
            whole("task.steps_per_epoch", steps_per_epoch, "steps")
        self._tokens, self._context, self._batch_size = tokens, context, batch_size
        self._windows, self._steps_per_pass = windows, windows // batch_size
        self.steps_per_epoch = steps_per_epoch or self._steps_per_pass

    def order(self, seed: int, epoch: int) -> Int[np.ndarray, "steps B"]:
        """Where the windows begin, ``(steps_per_epoch, batch_size)``.

        It depends on seed and epoch only, so that arms are paired.
        """
        steps = np.arange(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)
        passes, within = np.divmod(steps, self._steps_per_pass)
        rows = {number: self._pass(seed, number) for number in np.unique(passes).tolist()}
        return np.stack(
            [
                rows[number][step]
                for number, step in zip(passes.tolist(), within.tolist(), strict=True)
            ]
        )

    def _pass(self, seed: int, number: int) -> Int[np.ndarray, "steps B"]:
        """Where the windows of a pass begin, ``(steps, batch_size)``."""
        generator = np.random.default_rng((seed, number))
        first = generator.integers(
            0, min(self._tokens - self._windows * self._context, self._context - 1) + 1
        )
        shuffled = first + self._context * generator.permutation(self._windows)
        steps = self._steps_per_pass
        return shuffled[: steps * self._batch_size].reshape(steps, -1).astype(np.int32)


def windows(tokens: Integer[Array, "tokens"], begins: Any, length: int) -> jax.Array:
    """The tokens from each beginning on, ``(*begins.shape, length)``, as int32.

    Examples:
        >>> windows(jnp.arange(9), jnp.array([2, 5]), 3).tolist()
        [[2, 3, 4], [5, 6, 7]]
    """
    places = begins[..., None] + jnp.arange(length).reshape(*[1] * np.ndim(begins), -1)
    return tokens[places].astype(jnp.int32)
