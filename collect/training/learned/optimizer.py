"""A learned optimizer as an optax transformation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import optax

from collect.training.learned import kinds
from collect.training.learned.kinds import KINDS, Kind
from collect.training.learned.parts import layout
from nowcast.types import PyTree


class LearnedState(NamedTuple):
    """State of a learned optimizer: the memory of each network, for all its coordinates."""

    memory: dict[str, PyTree]


@dataclass(frozen=True)
class LearnedOptimizer:
    """An optimizer that was meta-trained.

    Args:
        name: ``l2o`` or ``l2o_amalgam``.
        params: The parameters of each network.
        card: How it was made.
    """

    name: str
    params: PyTree
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What it reads and answers."""
        return KINDS[self.name]

    def transformation(self, learning_rate: Any = 1.0) -> optax.GradientTransformation:
        """The optimizer as an optax transformation.

        Args:
            learning_rate: A factor of its updates; 1: as it was meta-trained. It may be traced.

        Returns:
            A transformation. Its state holds 80 numbers for each weight (82 of ``l2o_amalgam``),
            which is 40 times Adam's: it is meant for small networks, as its papers' are.

        Raises:
            UserError: At ``init``: there are no weights.

        Examples:
            >>> import jax, jax.numpy as jnp, optax
            >>> from collect.training.learned import load
            >>> tx = load("l2o").transformation()
            >>> params = {"kernel": jnp.ones((2, 3))}
            >>> state = tx.init(params)
            >>> updates, state = tx.update(params, state)  # the gradient of ½ |kernel|²
            >>> updates["kernel"].shape
            (2, 3)
        """
        kind, params = self.kind, self.params

        def init(weights: PyTree) -> LearnedState:
            parts = layout(kind, list(params), weights).apart(weights)
            return LearnedState(kinds.begin(kind, params, parts))

        def update(
            grads: PyTree, state: LearnedState, weights: PyTree | None = None
        ) -> tuple[PyTree, LearnedState]:
            laid = layout(kind, list(params), grads)
            parts, memory = kinds.advance(kind, params, state.memory, laid.apart(grads))
            scaled = {name: learning_rate * part for name, part in parts.items()}
            return laid.whole(scaled), LearnedState(memory)

        return optax.GradientTransformation(init, update)
