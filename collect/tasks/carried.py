"""What a run of DDPG carries beside its weights, and what chance decides in each of its steps."""

from typing import NamedTuple

from jaxtyping import Array, Float, Integer

from collect.tasks.pendulum import Pendulum
from nowcast.types import PyTree


class Draws(NamedTuple):
    """All that is random in one step; it follows from seed and step alone."""

    place: Integer[Array, ""]
    """The step's number within its episode, from 0."""
    start: Float[Array, "2"]
    """Where an episode begins that begins here (:func:`collect.tasks.pendulum.start`)."""
    noise: Float[Array, ""]
    """A normal number, of the exploration noise."""
    shares: Float[Array, "B"]
    """Numbers from 0 to 1, by which transitions are chosen."""


class Carried(NamedTuple):
    """What a run of :class:`collect.tasks.DDPG` carries beside its weights.

    A jump leaves it as it is.
    """

    target: PyTree
    """Both target networks."""
    buffer: Float[Array, "capacity 9"]
    """Transitions: 3 observed, the action, the training reward, 3 observed next, 1 at an end."""
    held: Integer[Array, ""]
    """Transitions that were ever kept."""
    pendulum: Pendulum
    noise: Float[Array, ""]
    reward: Float[Array, ""]
    """Of the episode so far."""
    rewards: Float[Array, "40"]
    """Of the last 40 episodes; the oldest one gives way."""
    episodes: Integer[Array, ""]
    """Episodes that have ended."""
