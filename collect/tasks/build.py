"""Build a task from a configuration: import the class in ``task._target_``, call it, check it.

A configuration here is anything with ``task``, ``model``, ``data``, ``augment`` and ``batch_size``,
as the commands have them.
"""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from collect.tasks import check
from collect.tasks.classification import Classification
from collect.tasks.failure import failure, is_in_users_code
from collect.tasks.protocol import Task
from nowcast.types import UserError

PARTS = ("model", "data", "augment", "batch_size")
"""The parts of a configuration that a task may ask for, by the name of an argument."""


def make(config: Any, batch_size: int | None = None) -> Task:
    """The task of a configuration; ``batch_size`` stands in for the configuration's own.

    Raises:
        UserError: The class cannot be imported, does not take the keys that are given, or is no
            task.
    """
    kind = resolve(_target(config))
    given = {name: getattr(config, name) for name in PARTS}
    if batch_size is not None:
        given["batch_size"] = batch_size
    task = _call(kind, _target(config), _own(config), given)
    if not is_ours(kind):
        check.check(task, _target(config))
    return task


def described(config: Any) -> dict[str, Any]:
    """The keys on which a run depends through its task: the task's own, and those of its parts.

    A classification's are those from before there were other tasks, so that old corpora and reports
    can be continued.
    """
    own = {} if is_classification(config) else {"task_config": dict(config.task)}
    takes = _parameters(resolve(_target(config)))
    parts = {
        "model": lambda: asdict(config.model),
        "data": lambda: config.data.identity,
        "augment": lambda: config.augment.name,
    }
    return own | {
        name: part() for name, part in parts.items() if name in takes and name not in _own(config)
    }


@contextmanager
def failures_in_one_line(config: Any) -> Iterator[None]:
    """A context that turns an error in a user's task into a :class:`UserError` of one line.

    Errors of our own tasks, and errors outside the user's code, pass unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_ours(resolve(_target(config))) or not is_in_users_code(error):
            raise
        raise UserError(
            f"task._target_={_target(config)}: failed while it trained ({failure(error)}); finished"
            " runs stay, and the same command goes on with the others, or begins them anew"
        ) from None


def is_ours(kind: type) -> bool:
    """Whether a task comes with this project. Such tasks need no check, as the tests check them."""
    return kind.__module__.startswith("collect.tasks.")


def check_typed(config: Any, typed: Iterable[str]) -> None:
    """Refuse keys of a part that the task does not take, such as ``model=lenet`` for a GPT."""
    kind = resolve(_target(config))
    takes = _parameters(kind)
    for override in typed:
        part = re.split(r"[.=@]", override.lstrip("+~"))[0]
        if part in PARTS and part not in takes:
            raise UserError(f"{override}: {_target(config)} takes no {part}; leave it out")


def is_classification(config: Any) -> bool:
    """Whether the task of a configuration is the default one, image classification."""
    return resolve(_target(config)) is Classification


def in_words(config: Any) -> str:
    """The task of a configuration in a few words: ``resnet20 on digits``."""
    if is_classification(config):
        return f"{config.model.name}{config.model.depth or ''} on {config.data.name}"
    name = _target(config).rpartition(".")[2]
    takes = _parameters(resolve(_target(config)))
    return f"{name} on {config.data.name}" if "data" in takes else name


def resolve(target: str) -> type:
    """The class that ``package.file.Class`` names.

    It is imported from an installed package, or from a file in the current folder.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last: a file of the user's hides no package
    module, _, name = target.rpartition(".")
    if not module:
        raise UserError(
            f"task._target_={target}: names no class; give file.Class, or package.file.Class"
        )
    try:
        importlib.invalidate_caches()  # the file may be younger than this process
        found = getattr(importlib.import_module(module), name, None)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a file of one's own raises
        raise UserError(
            f"task._target_={target}: {module} cannot be imported ({failure(error)}); give"
            f" package.file.Class, of a file in {here} or of an installed package"
        ) from None
    if not isinstance(found, type):
        raise UserError(f"task._target_={target}: {module} has no class {name}")
    if found.__module__ in sys.builtin_module_names or found is Task:
        raise UserError(
            f"task._target_={target}: is not a task; give a class of your own, with the members of"
            f" {Task.__name__}"
        )
    return found


def _target(config: Any) -> str:
    return str(config.task["_target_"])


def _own(config: Any) -> dict[str, Any]:
    """The task's own keys."""
    return {key: value for key, value in config.task.items() if key != "_target_"}


def _maker(kind: type) -> Callable[..., Any]:
    return getattr(kind, "configured", kind)


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """The parameters of a task's maker.

    Where the maker of one of our tasks hands keys on to its class (``**own``), the keyword-only
    parameters of the class are added in their place.
    """
    maker = _maker(kind)
    parameters = dict(inspect.signature(maker).parameters)
    hands_on = [name for name, one in parameters.items() if one.kind == one.VAR_KEYWORD]
    if hands_on and maker.__module__.startswith("collect.tasks."):
        del parameters[hands_on[0]]
        of_class = inspect.signature(kind).parameters.items()
        parameters |= {
            name: one
            for name, one in of_class
            if one.kind == one.KEYWORD_ONLY and name not in parameters
        }
    return parameters


def _call(kind: type, target: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Make the task from its own keys and the parts of the configuration that it takes."""
    maker, parameters = _maker(kind), _parameters(kind)
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    keys = [name for name in named if name not in given]
    takes = f"{target} takes {', '.join(keys) or 'no keys of its own'}"
    anything = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in own:
        if name not in named and not anything:
            raise UserError(f"task.{name}: is unknown; {takes}")
    for name, parameter in named.items():
        if name not in own and name not in given and parameter.default is parameter.empty:
            raise UserError(f"task.{name} is missing: give task.{name}=…; {takes}")
    if "augment" not in {*named, *own} and given["augment"].name != "none":
        raise UserError(f"augment={given['augment'].name}: {target} augments nothing; leave it out")
    try:
        return maker(**{name: value for name, value in given.items() if name in named} | dict(own))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if maker.__module__.startswith("collect."):
            raise
        raise UserError(f"task._target_={target}: cannot be made ({failure(error)})") from None
