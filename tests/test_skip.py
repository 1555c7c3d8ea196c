"""Leaves that are skipped stay where training left them, and have no history; the others jump."""

import jax.numpy as jnp
import numpy as np
import pytest

import nowcast
from nowcast.history import absent

PARAMS = {
    "stem": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)},
    "head": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)},
}


def after_a_jump(**options):
    """The weights after five steps of −0.1 and a jump, and the state."""
    jumps = nowcast.Jumps(forecaster=nowcast.load("linear"), every=1, **options)
    params, state = PARAMS, jumps.init(PARAMS)
    for _ in range(5):
        params = {part: {k: v - 0.1 for k, v in own.items()} for part, own in params.items()}
        params, state = jumps.step(params, state)
    return params, state


@pytest.mark.parametrize(
    ("skip", "stays"),
    [
        ("stem/*", {"stem/kernel", "stem/bias"}),
        (["*/bias"], {"stem/bias", "head/bias"}),
        (("stem/bias", "head/kernel"), {"stem/bias", "head/kernel"}),
    ],
)
def test_what_is_skipped_stays(skip, stays):
    params, state = after_a_jump(skip=skip)
    for part, own in params.items():
        for name, leaf in own.items():
            still = f"{part}/{name}" in stays
            np.testing.assert_allclose(leaf, -0.5 if still else -1, rtol=1e-5)
            assert absent(state.history.first[part][name]) == still


def test_operations_and_skip_hold_both():
    params, _ = after_a_jump(operations=["bias"], skip=["stem/*"])
    moved = {
        f"{a}/{b}" for a, own in params.items() for b, leaf in own.items() if leaf.min() < -0.9
    }
    assert moved == {"head/bias"}


@pytest.mark.parametrize(
    ("skip", "said"),
    [
        (["body/*"], "skip: no leaf has a name like 'body/\\*'; there are head/bias, head/kernel"),
        (["*"], r"no leaf would ever jump with this linear and skip=\('\*',\)"),
        ([], r"skip=\[\] must be patterns of leaves' names"),
        ([3], r"skip=\[3\] must be patterns of leaves' names"),
    ],
)
def test_patterns_that_fit_nothing_or_everything_are_refused(unchecked, skip, said):
    with pytest.raises(nowcast.UserError, match=said):
        nowcast.Jumps(forecaster=nowcast.load("linear"), every=1, skip=skip).init(PARAMS)
