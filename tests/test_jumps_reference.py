"""Random combinations of options against the rules written down once more, in plain NumPy, in
double precision.
"""

import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nowcast

STEPS, RATE, MOMENTUM = 60, 0.05, 0.8


def loss(x, xp):
    return xp.sum(0.3 * x**2) + xp.sum(xp.sin(4 * x)) / 4 + 5


def gradient(x, xp):
    return 0.6 * x + xp.cos(4 * x)


class ByHand:
    """One run, step by step."""

    def __init__(self, given):
        self.given, guard = given, given["guard"]
        self.after, self.tolerance = (guard.wait, guard.tolerance) if guard else (0, 0.0)
        self.dampings, self.give_up = (guard.dampings, guard.give_up) if guard else (None, None)
        self.longest = guard is not None and guard.longest
        self.window, self.since, self.jumps = [], 0, 0
        self.accepted = self.refused = self.row = 0
        self.pending = self.kept = None

    def higher(self, x, than):
        return not loss(x, np) <= loss(than, np) + self.tolerance * abs(loss(than, np))

    def run(self, x):
        trace, path = np.zeros_like(x), []
        for step in range(1, STEPS + 1):
            trace = gradient(x, np) + MOMENTUM * trace
            x = x - RATE * trace
            x, trace = self.after_step(step, x, trace)
            path.append((x, self.accepted, self.refused))
        return path

    def after_step(self, step, x, trace):
        given = self.given
        if step <= given["start_after"]:
            return x, trace
        self.since += 1
        if self.kept is not None and self.since <= self.after:
            if self.since == self.after:
                if self.pending and self.higher(x, self.kept[0]):
                    x, trace = self.kept
                    self.accepted, self.refused, self.row = (
                        self.accepted - 1,
                        self.refused + 1,
                        self.row + 1,
                    )
                elif self.pending:
                    self.row = 0
                self.kept, self.since = None, 0
            return x, trace
        if self.since < given["every"] or (
            given["stop_after"] is not None and step > given["stop_after"]
        ):
            return x, trace
        self.since = 0
        self.window.append(x)
        if len(self.window) < given["size"]:
            return x, trace
        return self.jump(x, trace)

    def jump(self, x, trace):
        given, times = self.given, np.arange(self.given["size"])
        horizon = (
            [8, 5, 3, 1][min(self.jumps, 3)] if callable(given["horizon"]) else given["horizon"]
        )
        slope, start = np.polyfit(times, np.stack(self.window).reshape(given["size"], -1), 1)
        move = given["damping"] * ((start + slope * (times[-1] + horizon)).reshape(x.shape) - x)
        steps = np.diff(np.stack(self.window).reshape(given["size"], -1), axis=0)
        begun, self.window, self.jumps = self.window[0], [], self.jumps + 1
        moves, passes = True, True
        if given["min_drift"] is not None:
            # Of lines through the origin.
            cosines = np.corrcoef(np.concatenate([steps, -steps], axis=1))
            moves = np.mean(cosines[np.triu_indices(len(steps), 2)]) >= given["min_drift"]
        if self.dampings:
            best = (
                min(self.dampings, key=lambda d: loss(x + d * move, np))
                if len(self.dampings) > 1
                else self.dampings[0]
            )
            pass_at_once = [d for d in self.dampings if not self.higher(x + d * move, x)]
            if self.longest:
                most = max(loss(begun, np), loss(x, np))
                pass_at_once = [d for d in pass_at_once if loss(x + d * move, np) <= most]
                best = max(pass_at_once, key=abs, default=None)
            passes = (
                bool(pass_at_once) if self.longest else bool(self.after) or best in pass_at_once
            )
            move = (best or 0) * move
            passes = passes and not (self.give_up and self.row >= self.give_up)
        hurts, passes = moves and not passes, moves and passes
        if self.after:
            self.kept, self.pending = (x, trace), passes
            self.row += hurts
        else:
            self.row = 0 if passes else self.row + hurts
        self.accepted, self.refused = self.accepted + passes, self.refused + (not passes)
        return (x + move if passes else x), trace


def guarded(*, after, **options):
    """A guard that judges so many steps after a jump; 0: at once."""
    return nowcast.WaitingGuard(after=after, **options) if after else nowcast.Guard(**options)


def drawn(seed):
    """A random combination."""
    draw = random.Random(seed)
    guard = None
    if draw.random() < 0.7:
        guard = guarded(
            tolerance=draw.choice([0.0, 0.02, 0.3]),
            dampings=draw.choice([(1.0,), (0.25, 0.5, 1.0), (-0.5, 1.0)]),
            after=draw.choice([0, 0, 1, 4]),
            give_up=draw.choice([None, None, 1, 2]),
            longest=draw.random() < 0.4,
        )
    size = draw.choice([2, 3, 5, 5])
    return {
        "every": draw.choice([1, 2, 3]),
        "size": size,
        "guard": guard,
        "horizon": draw.choice([1, 4, nowcast.decaying_horizon(4, first=8)]),
        "damping": draw.choice([1.0, 0.6, -0.3]),
        "start_after": draw.choice([0, 0, 5]),
        "stop_after": draw.choice([None, None, 33]),
        "min_drift": draw.choice([None, 0.0, 0.5]) if size > 3 else None,
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_run_is_what_the_rules_say(seed):
    given = drawn(seed)
    begin = np.random.default_rng(seed).normal(size=(2, 4, 3))  # two members of a population
    expected = [ByHand(given).run(x) for x in begin]
    options = {key: value for key, value in given.items() if key != "size"}
    with jax.enable_x64(True):
        inner = optax.sgd(RATE, momentum=MOMENTUM)
        tx = nowcast.periodic(inner, nowcast.forecasters.Linear(window=given["size"]), **options)

        def step(carry, _=None):
            params, state = carry
            value_fn = lambda p: loss(p["kernel"], jnp)  # noqa: E731
            updates, state = tx.update(
                {"kernel": gradient(params["kernel"], jnp)}, state, params, value_fn=value_fn
            )
            params = optax.apply_updates(params, updates)
            return (params, state), (params["kernel"], state.accepted, state.refused)

        axes = (0, nowcast.POPULATION)
        params = {"kernel": jnp.asarray(begin)}
        state = jax.vmap(tx.init, out_axes=nowcast.POPULATION)(params)
        together = jax.vmap(step, in_axes=(axes,), out_axes=(axes, 0))
        _, path = jax.jit(
            lambda carry: jax.lax.scan(lambda c, _: together(c), carry, length=STEPS)
        )((params, state))
    for member, by_hand in enumerate(expected):
        for number, (x, accepted, refused) in enumerate(by_hand):
            assert (int(path[1][number, member]), int(path[2][number, member])) == (
                accepted,
                refused,
            ), (number, given)
            np.testing.assert_allclose(
                path[0][number, member],
                x,
                rtol=1e-4,
                atol=1e-3,
                err_msg=f"step {number + 1}: {given}",
            )
    assert expected[0][-1][1] + expected[0][-1][2] > 0
