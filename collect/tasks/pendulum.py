"""A pendulum that a motor is to swing up and hold: Gymnasium's ``Pendulum-v1``, in JAX.

Its equations are those of Gymnasium 1.4 (``gymnasium/envs/classic_control/pendulum.py``, MIT):
gravity 10 m/s², mass 1 kg, length 1 m, 0.05 s a step. Gymnasium computes in float64. These
functions compute in the precision of their arguments, so they can be compiled into a training step.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

EPISODE = 200
"""Steps of an episode (10 s); the time limit is its only end."""
TORQUE = 2.0
"""The largest torque either way, in N·m; a larger one is cut to it."""
SPEED = 8.0
"""The largest speed either way, in rad/s."""
GRAVITY, MASS, LENGTH = 10.0, 1.0, 1.0
SECONDS = 0.05
"""Time that one step takes."""


class Pendulum(NamedTuple):
    """Where a pendulum is, and how fast it turns.

    Examples:
        >>> hanging = Pendulum(jnp.float32(jnp.pi), jnp.float32(0))
        >>> print(observe(hanging).round(3))
        [-1. -0.  0.]
    """

    angle: Float[Array, ""]
    """In rad, 0 where it stands upright; whole turns are kept."""
    speed: Float[Array, ""]
    """In rad/s."""


def start(shares: Float[Array, "2"]) -> Pendulum:
    """A pendulum as an episode begins.

    Args:
        shares: Two numbers drawn evenly from 0 to 1. They become an angle from −π to π rad and a
            speed from −1 to 1 rad/s.

    Examples:
        >>> print(*start(jnp.array([0.5, 1.0])))
        0.0 1.0
    """
    spread = 2 * shares - 1
    return Pendulum(jnp.pi * spread[0], spread[1])


def observe(pendulum: Pendulum) -> Float[Array, "3"]:
    """What an agent sees: cosine and sine of the angle, and the speed in rad/s."""
    return jnp.stack([jnp.cos(pendulum.angle), jnp.sin(pendulum.angle), pendulum.speed])


def advance(pendulum: Pendulum, torque: Float[Array, ""]) -> tuple[Pendulum, Float[Array, ""]]:
    """The pendulum one step on, and the reward of the step.

    The reward is minus the square of the angle from upright (rad, −π to π), minus a tenth of the
    squared speed, minus a thousandth of the squared torque: 0 at best, −16.27 at worst. Speed comes
    first, and the new speed moves the angle (semi-implicit Euler).

    Args:
        pendulum: The pendulum before the step.
        torque: Of the motor, in N·m.

    Examples:
        >>> after, reward = advance(Pendulum(jnp.float32(0), jnp.float32(1)), jnp.float32(2))
        >>> print(*after, reward)
        0.065 1.3 -0.104
    """
    angle, speed = pendulum
    torque = jnp.clip(torque, -TORQUE, TORQUE)
    upright = jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi
    reward = -(upright**2 + 0.1 * speed**2 + 0.001 * torque**2)
    gravity = 3 * GRAVITY / (2 * LENGTH) * jnp.sin(angle)
    motor = 3 / (MASS * LENGTH**2) * torque
    speed = jnp.clip(speed + (gravity + motor) * SECONDS, -SPEED, SPEED)
    return Pendulum(angle + speed * SECONDS, speed), reward
