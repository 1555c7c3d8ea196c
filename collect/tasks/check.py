"""Check that an object is a task.

A missing or wrong member is named in one line.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from collect.tasks.failure import failure
from collect.tasks.protocol import TAKEN, Metric, Task, names_a_metric
from nowcast.types import OPERATIONS, UserError

KEY = 0xC4EC
NAME = re.compile(r"[\w.+=-]{1,100}")
METHODS = {
    "init": "init(seed)",
    "order": "order(seed, epoch)",
    "stream": "stream(seed, steps)",
    "batch": "batch(arrays, indices, key)",
    "loss": "loss(params, extra, batch, key)",
    "gradients": "gradients(params, extra, batch, key)",
    "evaluate": "evaluate(params, extra, split)",
    "picture": "picture(params, extra)",
}
OPTIONAL = ("gradients", "stream", "picture", "rates", "record_every", "loops", "waits")


def check(task: Any, target: str) -> None:
    """Refuse an object that lacks a member of :class:`collect.tasks.Task`.

    Every member is looked at, and every method is called once or traced.

    Args:
        task: The object that the class made.
        target: The name of the class in messages.

    Raises:
        UserError: A member is missing or of the wrong kind, or a method fails.
    """
    say = _MemberErrors(target)
    names = dict.fromkeys([*Task.__annotations__, *METHODS, *OPTIONAL])
    has = {name for name in names if say.calling(name, partial(hasattr, task, name))}
    own_gradients = "gradients" in has
    for name in names:
        if name not in has and name not in OPTIONAL and not (name == "loss" and own_gradients):
            raise say(
                name,
                f"is missing: a task needs {METHODS.get(name, name)}; the guide 'Your own task'"
                " shows one",
            )
        if name in METHODS and name in has and not callable(getattr(task, name)):
            raise say(name, f"must be a method, {METHODS[name]}")
    _check_attributes(task, say)
    params, extra = _start(task, say)
    step = _check_steps(task, say)
    call = "gradients" if own_gradients else "loss"
    key = jax.random.key(KEY)
    batch = say.calling("batch", lambda: jax.eval_shape(task.batch, task.arrays, step, key))
    given = say.calling(
        call, lambda: jax.eval_shape(getattr(task, call), params, extra, batch, key)
    )
    parts = ("loss", "gradients", "new extra") if own_gradients else ("loss", "new extra")
    if not isinstance(given, tuple) or len(given) != len(parts):
        raise say(call, f"must give ({', '.join(parts)}), and gives {_kind(given)}")
    if getattr(given[0], "shape", None) != () or not _is_float(given[0]):
        raise say(call, f"must give a loss that is one number, and gives {_kind(given[0])}")
    if own_gradients and _shapes(given[1]) != _shapes(params):
        raise say(call, "must give gradients of the structure and shapes of params")
    if _shapes(given[-1]) != _shapes(extra):
        raise say(
            call, "must give a new extra of the structure, shapes and dtypes of the one it takes"
        )
    for split in task.splits:
        _check_evaluation(task, params, extra, split, say)


class _MemberErrors:
    """Makes errors that name a member of the class."""

    def __init__(self, target: str):
        self._target = target

    def __call__(self, member: str, what: str) -> UserError:
        return UserError(f"{self._target}.{member}: {what}")

    def calling(self, member: str, call: Callable[[], Any]) -> Any:
        """The result of a method; a failure of it becomes one line."""
        try:
            return call()
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever somebody's code raises
            how = f"was called as {METHODS[member]}" if member in METHODS else "was read"
            raise self(member, f"failed when it {how} ({failure(error)})") from None


def _check_attributes(task: Any, say: _MemberErrors) -> None:
    if not isinstance(task.name, str) or not NAME.fullmatch(task.name):
        rule = (
            "must be a text without spaces and slashes, of letters, digits and -_.+=, at most 100"
            " of them"
        )
        raise say("name", f"{rule}, such as 'mine-digits', and is {task.name!r:.120}")
    steps = task.steps_per_epoch
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise say("steps_per_epoch", f"must be a whole number, 1 or more, and is {steps!r}")
    every = getattr(task, "record_every", None)
    if every is not None and (
        isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1
    ):
        raise say("record_every", f"must be a whole number of steps, 1 or more, and is {every!r}")
    for name in ("loops", "waits"):
        given = getattr(task, name, False)
        if not isinstance(given, bool):
            raise say(name, f"must be True or False, and is {given!r}")
    metrics, splits = task.metrics, task.splits
    listed = isinstance(metrics, Sequence) and len(metrics) > 0
    if not listed or not all(
        isinstance(metric, Metric) and isinstance(metric.name, str) for metric in metrics
    ):
        raise say(
            "metrics",
            f"must be a sequence of collect.tasks.Metric, at least one, and is {metrics!r}",
        )
    _check_once("metrics", [metric.name for metric in metrics], say)
    for metric in metrics:
        if not names_a_metric(metric.name):
            raise say(
                "metrics",
                f"a metric cannot be called {metric.name!r}; give it a name of letters, digits"
                f" and _, none of {', '.join(TAKEN)}, and no test_ before it",
            )
        if metric.better not in ("lower", "higher") or metric.compare not in (
            "ratio",
            "difference",
        ):
            raise say(
                "metrics",
                f"better is 'lower' or 'higher', compare 'ratio' or 'difference'; {metric} is"
                " not so",
            )
    texts = (
        isinstance(splits, Sequence)
        and not isinstance(splits, str)
        and all(isinstance(s, str) for s in splits)
    )
    if not texts or not splits:
        raise say(
            "splits",
            f"must be a sequence of names, such as ('validation', 'test'), and is {splits!r}",
        )
    _check_once("splits", splits, say)


def _check_once(member: str, names: Sequence[str], say: _MemberErrors) -> None:
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise say(member, f"{twice!r} is there twice")


def _start(task: Any, say: _MemberErrors) -> tuple[Any, Any]:
    """``(params, extra)`` of seed 0, checked."""
    begun = say.calling("init", lambda: task.init(0))
    if not isinstance(begun, tuple) or len(begun) != 2:
        raise say("init", f"must give (params, extra), and gives {_kind(begun)}")
    params, extra = begun
    leaves = jax.tree.leaves(params)
    if not leaves or not all(map(_is_float, leaves)):
        raise say("init", "must give params whose leaves are arrays of floats, at least one")
    structure: Any = jax.tree.structure(params)
    if jax.tree.structure(task.labels) != structure:
        raise say(
            "labels", "must have the structure of params: nowcast.label_ops(params) gives that"
        )
    for label in jax.tree.leaves(task.labels):
        if label not in OPERATIONS:
            are = ", ".join(OPERATIONS)
            raise say("labels", f"{label!r:.60} is not an operation: use one of {are}")
    rates = getattr(task, "rates", None)
    if rates is not None and jax.tree.structure(rates) != structure:
        raise say("rates", "must have the structure of params, with a number for each leaf")
    for rate in jax.tree.leaves(rates):
        if (
            np.shape(rate)
            or not isinstance(rate, int | float | np.number | jax.Array)
            or not np.isfinite(rate)
        ):
            raise say(
                "rates",
                f"must hold a finite number for each leaf, and holds {_kind(rate)} {rate!r:.60}",
            )
    return params, extra


def _check_steps(task: Any, say: _MemberErrors) -> Any:
    """The first step's input of ``batch``, checked.

    It is the first row of an epoch's order, or what a stream gives for the first step.
    """
    order = say.calling("order", lambda: task.order(0, 0))
    rows = len(order) if isinstance(order, np.ndarray) and order.ndim else None
    if rows != task.steps_per_epoch:
        expected = f"a NumPy array of steps_per_epoch={task.steps_per_epoch} rows"
        other = " of JAX" if isinstance(order, jax.Array) else ""
        raise say("order", f"must give {expected}, and gives {_kind(order)}{other}")
    if not np.array_equal(order, say.calling("order", lambda: task.order(0, 0))):
        raise say("order", "must give the same twice: it follows from seed and epoch alone")
    return _check_stream(task, say) if hasattr(task, "stream") else order[0]


def _check_stream(task: Any, say: _MemberErrors) -> Any:
    """Check that a stream gives a step the same wherever it begins, and return its first step."""
    (first, second), (again,) = (_ahead(task, range(step, 2), say) for step in (0, 1))
    if _shapes(first) != _shapes(second):
        raise say(
            "stream",
            "must give arrays of the same shapes at every step: a program is compiled for them"
            " once",
        )
    before, after = (jax.tree.leaves(given) for given in (second, again))
    if len(before) != len(after) or not all(map(np.array_equal, before, after)):
        raise say(
            "stream",
            "must give the same for a step wherever it begins: it follows from seed and step alone",
        )
    return first


def _ahead(task: Any, steps: range, say: _MemberErrors) -> list[Any]:
    """The inputs that a stream gives for these steps."""
    stream = say.calling("stream", lambda: task.stream(0, steps))
    return [say.calling("stream", lambda: next(stream)) for _ in steps]


def _check_evaluation(task: Any, params: Any, extra: Any, split: str, say: _MemberErrors) -> None:
    check_measured(task, say.calling("evaluate", lambda: task.evaluate(params, extra, split)), say)


def check_measured(task: Any, measured: Any, say: "_MemberErrors | None" = None) -> None:
    """Refuse what ``evaluate`` gave if it is not every metric of the task, as a number.

    Raises:
        UserError: A metric is missing, is unknown or is not a number, or is below 0 and compared by
            ratio.
    """
    say = say or _MemberErrors(type(task).__name__)
    names = {metric.name for metric in task.metrics}
    if not isinstance(measured, Mapping) or set(measured) != names:
        expected = f"a dict with the metrics, {', '.join(sorted(names))}"
        has = ", ".join(map(str, measured)) if isinstance(measured, Mapping) else _kind(measured)
        raise say("evaluate", f"must give {expected}, and gives {has}")
    for metric in task.metrics:
        value = measured[metric.name]
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise say(
                "evaluate",
                f"must give {metric.name} as a number, and gives {_kind(value)}: float(…)"
                " makes one",
            )
        if metric.compare == "ratio" and math.isfinite(value) and value < 0:
            raise say(
                "metrics",
                f"{metric.name} is compared by ratio and is {value:g}: give compare='difference'",
            )


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [
        (np.shape(leaf), np.result_type(leaf) if np.isscalar(leaf) else leaf.dtype)
        for leaf in leaves
    ]


def _is_float(value: Any) -> bool:
    """Whether a value is an array of floats, in any precision that JAX has."""
    return bool(jax.dtypes.issubdtype(getattr(value, "dtype", object), np.floating))


def _kind(value: Any) -> str:
    """A value's type in a few words."""
    shape = getattr(value, "shape", None)
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return type(value).__name__ if shape is None else f"an array of {shape}"
