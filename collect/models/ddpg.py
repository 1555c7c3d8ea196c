"""The actor and the critic of DDPG, as the WNN paper's program has them (its folder ``RL``).

DDPG is by Lillicrap et al., ICLR 2016 (arXiv:1509.02971). For a pendulum's three observations and
one torque the actor has 2,881 parameters and the critic 2,817.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def _dense(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A layer with Keras's initial weights: Glorot's uniform kernel, a bias of zeros."""
    return nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs)


class Actor(nnx.Module):
    """The policy: layers of 64, 32 and 16 with ReLU, then tanh times the largest action.

    Args:
        observations: Numbers that the agent sees.
        actions: Numbers that it decides.
        bound: The largest action either way.
        rngs: Of the initial weights.

    Examples:
        >>> actor = Actor(3, 1, 2.0, rngs=nnx.Rngs(0))
        >>> print(actor(jnp.ones((5, 3))).shape)
        (5, 1)
    """

    def __init__(self, observations: int, actions: int, bound: float, *, rngs: nnx.Rngs):
        self.h1 = _dense(observations, 64, rngs)
        self.h2 = _dense(64, 32, rngs)
        self.h3 = _dense(32, 16, rngs)
        self.action = _dense(16, actions, rngs)
        self.bound = bound

    def __call__(self, seen: Float[Array, "B observations"]) -> Float[Array, "B actions"]:
        """The actions of a batch of observations."""
        x = jax.nn.relu(self.h1(seen))
        x = jax.nn.relu(self.h2(x))
        x = jax.nn.relu(self.h3(x))
        return self.bound * jnp.tanh(self.action(x))


class Critic(nnx.Module):
    """The value of actions: 32 of the observation beside 32 of the action, then 32, 16 and 1.

    Args:
        observations: Numbers that the agent sees.
        actions: Numbers that it decides.
        rngs: Of the initial weights.
    """

    def __init__(self, observations: int, actions: int, *, rngs: nnx.Rngs):
        self.x1 = _dense(observations, 32, rngs)
        self.a1 = _dense(actions, 32, rngs)
        self.h2 = _dense(64, 32, rngs)
        self.h3 = _dense(32, 16, rngs)
        self.q = _dense(16, 1, rngs)

    def __call__(
        self, seen: Float[Array, "B observations"], actions: Float[Array, "B actions"]
    ) -> Float[Array, "B"]:
        """The discounted sum of rewards that each pair is thought to lead to."""
        x = jnp.concatenate([jax.nn.relu(self.x1(seen)), jax.nn.relu(self.a1(actions))], axis=-1)
        x = jax.nn.relu(self.h2(x))
        x = jax.nn.relu(self.h3(x))
        return self.q(x)[..., 0]


class Agent(nnx.Module):
    """Both networks: what a run of DDPG trains, records and nowcasts.

    Args:
        observations: Numbers that the agent sees.
        actions: Numbers that it decides.
        bound: The largest action either way.
        rngs: Of the initial weights.
    """

    def __init__(self, observations: int, actions: int, bound: float, *, rngs: nnx.Rngs):
        self.actor = Actor(observations, actions, bound, rngs=rngs)
        self.critic = Critic(observations, actions, rngs=rngs)
