"""Control: an agent that learns to swing up a pendulum and hold it, by DDPG.

DDPG is by Lillicrap et al., "Continuous control with deep reinforcement learning", ICLR 2016
(arXiv:1509.02971). The networks, the buffer, the noise and the order of a step are those of the
program of the WNN paper's Table 5 (github.com/jjh6297/WNN, folder ``RL``), with these departures:

- Both gradients of a step are taken at the same weights. There the critic moves first, and the
  actor climbs the critic that has moved.
- The target networks follow the weights at the beginning of the next step. Nothing lies between,
  except for a jump: the targets' last step before it already goes towards the weights after it.
- Adam's ε is 1e-8, in place of Keras's 1e-7.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

import nowcast
from collect.models.ddpg import Agent
from collect.models.start import Start
from collect.tasks.carried import Carried, Draws
from collect.tasks.pendulum import EPISODE, TORQUE, Pendulum, advance, observe, start
from collect.tasks.protocol import Metric
from collect.tasks.replay import WIDTH, Transition, distinct, pack, unpack
from nowcast.types import PyTree, UserError, real, whole

OBSERVATIONS, ACTIONS = 3, 1
AVERAGED = 40
"""Episodes that ``average_reward`` is the mean of, as in Keras's example of DDPG."""
PLAYED = 10
"""Episodes that ``greedy_reward`` is the mean of."""
PLAYS = 0x91A7
"""The root of the keys of those episodes' starts."""
REVERSION, INTERVAL = 0.15, 0.1
"""Of the noise: the pull towards 0, and the time of a step (Ornstein and Uhlenbeck, 1930)."""
MOST = 10_000_000
"""Transitions that a buffer holds at most."""


class DDPG:
    """A :class:`collect.tasks.Task`: DDPG on Gymnasium's ``Pendulum-v1``.

    An epoch is an episode of 200 steps. A step acts once, with Ornstein-Uhlenbeck noise, keeps the
    transition, and takes one update of both networks on a batch of kept ones, all different. What
    the run carries beside its weights (target networks, replay buffer, pendulum, noise, rewards) is
    its ``extra``.

    The learning rates of the networks are multiples of the step's. By default, with a rate of
    0.001, these rates, τ and the batch are those of Keras's example of DDPG
    (keras.io/examples/rl/ddpg_pendulum), which learns within 40 episodes;
    ``experiment=table5_ddpg`` has the WNN paper's.

    The training reward is (r + 8) / 8, and the last step of an episode is taken to end it: its
    value is its reward alone. Metrics are of plain rewards:

    - ``average_reward``: the mean of the last 40 episodes' rewards, of all where there are fewer;
    - ``reward``: the last episode's, as it was played in training, with noise;
    - ``greedy_reward``: the mean of 10 episodes that the weights play without noise, from starts
      that are always the same. The other two are this one before the first episode has ended.

    Args:
        batch_size: Transitions that an update is of.
        gamma: The discount of a later reward.
        tau: The share of the way to the weights that the target networks go each step.
        capacity: Transitions that are kept; the oldest one gives way.
        learns_after: Transitions that are kept before the first update.
        noise: The deviation σ of the noise, in N·m over the root of its time.
        actor_rate: The actor's learning rate, as a multiple of the step's.
        critic_rate: The critic's.

    Raises:
        UserError: A value is out of range.

    Examples:
        >>> task = DDPG()
        >>> params, extra = task.init(0)
        >>> print(sorted(params), extra.buffer.shape, task.steps_per_epoch)
        ['actor', 'critic'] (20000, 9) 200
    """

    name = "ddpg-pendulum"
    metrics = tuple(
        Metric(name, "higher", "difference")
        for name in ("average_reward", "reward", "greedy_reward")
    )
    splits = ("training",)
    steps_per_epoch = EPISODE
    arrays = ()
    loops = True
    waits = True

    def __init__(
        self,
        batch_size: int = 64,
        *,
        gamma: float = 0.95,
        tau: float = 0.005,
        capacity: int = 20_000,
        learns_after: int = 64,
        noise: float = 0.2,
        actor_rate: float = 1.0,
        critic_rate: float = 2.0,
    ):
        self.batch_size = whole("batch_size", batch_size, "transitions")
        self._gamma, self._tau, self._noise, *own = _checked(
            gamma, tau, noise, actor_rate, critic_rate
        )
        self._after = whole("task.learns_after", learns_after, "transitions")
        self._capacity = whole("task.capacity", capacity, "transitions")
        if self._after < batch_size:
            raise UserError(
                f"task.learns_after={learns_after}: must be {batch_size} or more, the transitions"
                " of a batch; or give a smaller batch_size"
            )
        if not self._after < self._capacity <= MOST:
            raise UserError(
                f"task.capacity={capacity}: must be above task.learns_after={learns_after}, and"
                f" {MOST:,} at most"
            )
        self._start = Start(lambda rngs: Agent(OBSERVATIONS, ACTIONS, TORQUE, rngs=rngs))
        module = self._start.module
        self.labels = nowcast.label_ops(module)
        self.rates = {
            name: jax.tree.map(lambda _, rate=rate: rate, self.labels[name])
            for name, rate in zip(("actor", "critic"), own, strict=True)
        }
        self._actor, self._critic = nnx.graphdef(module.actor), nnx.graphdef(module.critic)
        self._greedy = jax.jit(self._play)

    def init(self, seed: int) -> tuple[PyTree, Carried]:
        """``(params, extra)``: the target networks begin as copies, the buffer is empty."""
        params, _ = self._start(seed)
        zero = jnp.zeros(())
        return params, Carried(
            target=params,
            buffer=jnp.zeros((self._capacity, WIDTH)),
            held=jnp.zeros((), jnp.int32),
            pendulum=Pendulum(zero, zero),
            noise=zero,
            reward=zero,
            rewards=jnp.zeros(AVERAGED),
            episodes=jnp.zeros((), jnp.int32),
        )

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The numbers of an episode's steps, ``(200,)``: every episode has as many."""
        return np.arange(EPISODE, dtype=np.int32)

    def batch(self, arrays: PyTree, indices: Any, key: jax.Array) -> Draws:
        """What chance decides in one step, from the key of its seed and step."""
        evenly, normally = jax.random.split(key)
        shares = jax.random.uniform(evenly, (2 + self.batch_size,))
        return Draws(jnp.asarray(indices), shares[:2], jax.random.normal(normally), shares[2:])

    def gradients(
        self, params: PyTree, extra: Carried, batch: Draws, key: jax.Array
    ) -> tuple[Float[Array, ""], PyTree, Carried]:
        """``(loss, gradients, new extra)`` of a step: it acts, keeps the transition, and learns.

        The critic's gradients are those of its own loss, the actor's of its own; the loss is their
        sum. Until there are enough transitions the loss and all gradients are 0.
        """
        extra = self._act(params, self._follow(params, extra), batch)
        seen, action, target = self._sampled(extra, batch.shares)

        def critic_loss(critic: PyTree) -> Float[Array, ""]:
            return jnp.mean((self._value(critic, seen, action) - target) ** 2)

        def actor_loss(actor: PyTree) -> Float[Array, ""]:
            return -jnp.mean(self._value(params["critic"], seen, self._policy(actor, seen)))

        error, critic = jax.value_and_grad(critic_loss)(params["critic"])
        cost, actor = jax.value_and_grad(actor_loss)(params["actor"])
        loss, grads = jax.tree.map(
            lambda leaf: jnp.where(self._learns(extra), leaf, jnp.zeros_like(leaf)),
            (error + cost, {"actor": actor, "critic": critic}),
        )
        return loss, grads, extra

    def loss(
        self, params: PyTree, extra: Carried, batch: Draws, key: jax.Array | None = None
    ) -> tuple[Float[Array, ""], Carried]:
        """What a guard judges a jump by, on kept transitions; nothing is played.

        It is the critic's loss less the value of the actor's actions, which the target critic says:
        a critic that jumps does not judge itself.
        """
        seen, action, target = self._sampled(extra, batch.shares)
        error = jnp.mean((self._value(params["critic"], seen, action) - target) ** 2)
        played = self._policy(params["actor"], seen)
        worth = jnp.mean(self._value(extra.target["critic"], seen, played))
        return jnp.where(self._learns(extra), error - worth, 0.0), extra

    def evaluate(self, params: PyTree, extra: Carried, split: str) -> dict[str, float]:
        """Every metric after the episodes so far; all are sums of 200 rewards, 0 at best."""
        greedy = float(self._greedy(params["actor"]))
        episodes = int(extra.episodes)
        if not episodes:
            return {"average_reward": greedy, "reward": greedy, "greedy_reward": greedy}
        rewards = np.asarray(extra.rewards, np.float64)
        return {
            "average_reward": float(rewards[: min(episodes, AVERAGED)].mean()),
            "reward": float(rewards[(episodes - 1) % AVERAGED]),
            "greedy_reward": greedy,
        }

    def _policy(self, actor: PyTree, seen: Float[Array, "B 3"]) -> Float[Array, "B 1"]:
        return nnx.merge(self._actor, actor)(seen)

    def _value(
        self, critic: PyTree, seen: Float[Array, "B 3"], action: Float[Array, "B 1"]
    ) -> Float[Array, "B"]:
        return nnx.merge(self._critic, critic)(seen, action)

    def _learns(self, extra: Carried) -> Array:
        return extra.held > self._after

    def _follow(self, params: PyTree, extra: Carried) -> Carried:
        """The target networks after the last step, if that was an update."""
        share = jnp.where(self._learns(extra), self._tau, 0.0)
        target = jax.tree.map(lambda old, new: old + share * (new - old), extra.target, params)
        return extra._replace(target=target)

    def _act(self, params: PyTree, extra: Carried, draws: Draws) -> Carried:
        """One step of the pendulum, kept."""
        first, last = draws.place == 0, draws.place == EPISODE - 1
        pendulum = jax.tree.map(
            lambda begun, on: jnp.where(first, begun, on), start(draws.start), extra.pendulum
        )
        noise = jnp.where(first, 0.0, extra.noise) * (1 - REVERSION * INTERVAL)
        noise += self._noise * INTERVAL**0.5 * draws.noise
        seen = observe(pendulum)
        torque = jnp.clip(self._policy(params["actor"], seen[None])[0, 0] + noise, -TORQUE, TORQUE)
        pendulum, reward = advance(pendulum, torque)
        kept = Transition(
            seen, torque, (reward + 8) / 8, observe(pendulum), last.astype(seen.dtype)
        )
        total = jnp.where(first, 0.0, extra.reward) + reward
        own = extra.episodes % AVERAGED
        return extra._replace(
            buffer=extra.buffer.at[extra.held % self._capacity].set(pack(kept)),
            held=extra.held + 1,
            pendulum=pendulum,
            noise=noise,
            reward=total,
            rewards=extra.rewards.at[own].set(jnp.where(last, total, extra.rewards[own])),
            episodes=extra.episodes + last,
        )

    def _sampled(
        self, extra: Carried, shares: Float[Array, "B"]
    ) -> tuple[Float[Array, "B 3"], Float[Array, "B 1"], Float[Array, "B"]]:
        """Observations and actions of a batch, and the values that the critic is to have there."""
        chosen = distinct(shares, jnp.minimum(extra.held, self._capacity))
        batch = unpack(extra.buffer[chosen])
        action = self._policy(extra.target["actor"], batch.after)
        later = self._value(extra.target["critic"], batch.after, action)
        target = batch.reward + self._gamma * jnp.where(batch.ends > 0, 0.0, later)
        return batch.seen, batch.action, target

    def _play(self, actor: PyTree) -> Float[Array, ""]:
        """The mean reward of episodes without noise."""

        def step(pendulum: Pendulum, _: None) -> tuple[Pendulum, Float[Array, ""]]:
            return advance(pendulum, self._policy(actor, observe(pendulum)[None])[0, 0])

        def reward(shares: Float[Array, "2"]) -> Float[Array, ""]:
            return jnp.sum(jax.lax.scan(step, start(shares), length=EPISODE)[1])

        return jnp.mean(jax.vmap(reward)(jax.random.uniform(jax.random.key(PLAYS), (PLAYED, 2))))


def _checked(
    gamma: Any, tau: Any, noise: Any, actor_rate: Any, critic_rate: Any
) -> tuple[float, ...]:
    """The numbers of a configuration, each in its range."""
    above = ("must be above 0, such as 1", lambda own: own > 0)
    for key, value, rule, fits in (
        ("gamma", gamma, "must be 0 or more, below 1, such as 0.95", lambda own: 0 <= own < 1),
        ("tau", tau, "must be above 0 and at most 1, such as 0.005", lambda own: 0 < own <= 1),
        ("noise", noise, "must be 0 or more, such as 0.2; 0: none", lambda own: own >= 0),
        ("actor_rate", actor_rate, *above),
        ("critic_rate", critic_rate, *above),
    ):
        if not fits(real(f"task.{key}", value, rule)):
            raise UserError(f"task.{key}={value}: {rule}")
    return tuple(map(float, (gamma, tau, noise, actor_rate, critic_rate)))
