"""The pendulum's dynamics: those of Gymnasium, and what they are by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collect.tasks import pendulum
from collect.tasks.pendulum import EPISODE, Pendulum, advance, observe, start


@pytest.fixture(scope="module")
def environment():
    """Gymnasium's own, without its time limit."""
    gymnasium = pytest.importorskip(
        "gymnasium", reason="Gymnasium is not installed: pip install 'weight-nowcaster[dev]'"
    )
    return gymnasium.make("Pendulum-v1").unwrapped


def torques(seed):
    """Of one episode; a third of them are larger than the motor's largest."""
    return np.random.default_rng(seed).uniform(-3, 3, EPISODE)


@pytest.mark.parametrize("seed", range(5))
def test_an_episode_is_gymnasiums_in_double_precision(environment, seed):
    environment.reset(seed=seed)
    with jax.enable_x64(True):
        own = Pendulum(*map(jnp.asarray, environment.state))
        step = jax.jit(advance)
        for torque in torques(seed):
            seen, reward, *_ = environment.step(np.array([torque]))
            own, got = step(own, jnp.asarray(torque))
            np.testing.assert_allclose(own, environment.state, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(got, reward, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(observe(own), seen, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_each_step_of_an_episode_is_gymnasiums_to_rounding(environment, seed):
    environment.reset(seed=seed)
    step = jax.jit(advance)
    for torque in torques(seed):
        before = Pendulum(*(jnp.float32(value) for value in environment.state))
        _, reward, *_ = environment.step(np.array([torque]))
        after, got = step(before, jnp.float32(torque))
        np.testing.assert_allclose(after, environment.state, rtol=1e-6, atol=5e-6)
        np.testing.assert_allclose(got, reward, rtol=1e-5, atol=1e-5)


def test_the_limits_are_gymnasiums(environment):
    assert environment.action_space.high == pendulum.TORQUE
    assert environment.max_speed == pendulum.SPEED
    import gymnasium

    assert gymnasium.spec("Pendulum-v1").max_episode_steps == EPISODE


def test_a_step_by_hand():
    # Level, at rest, with all torque: 15 m/s² of gravity and 6 of the motor, for 0.05 s.
    after, reward = advance(Pendulum(jnp.float32(math.pi / 2), jnp.float32(0)), jnp.float32(9))
    assert float(after.speed) == pytest.approx(0.05 * (15 + 3 * 2))
    assert float(after.angle) == pytest.approx(math.pi / 2 + 0.05 * 1.05)
    assert float(reward) == pytest.approx(-((math.pi / 2) ** 2 + 0.001 * 4))


def test_whole_turns_do_not_change_what_is_seen_nor_the_reward():
    one, turned = (Pendulum(jnp.float32(1 + turn), jnp.float32(2)) for turn in (0, 2 * math.pi))
    np.testing.assert_allclose(observe(one), observe(turned), atol=1e-6)
    rewards = [float(advance(each, jnp.float32(0.5))[1]) for each in (one, turned)]
    assert rewards[0] == pytest.approx(rewards[1], rel=1e-5)


def test_starts_spread_over_all_angles_and_slow_speeds():
    ends = [start(jnp.full(2, share)) for share in (0.0, 1.0)]
    np.testing.assert_allclose(ends, [[-math.pi, -1], [math.pi, 1]], rtol=1e-6)
