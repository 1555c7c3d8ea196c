"""Run a command: read its configuration with Hydra, and end with one line if input is wrong."""

import logging
import os
import re
import shlex
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from collect.commands import output
from collect.commands.choices import choices
from collect.commands.compiled import keep_compiled
from collect.commands.explained import help_text
from collect.commands.jobs import ROOT, STOPPED, Failed, are_here, end, share_cores
from collect.commands.typed import argument, as_text, takes_text, unreadable
from collect.commands.utf8 import in_utf8
from nowcast import text
from nowcast.types import UserError

INSTALLED = Path(ROOT, "weight_nowcaster_configs")
"""The folder of the configurations in an installed project; in a clone it is ``configs``."""
CONFIGS = str(INSTALLED if INSTALLED.is_dir() else Path(ROOT, "configs"))
WRONG = (UserError, OmegaConfBaseException, OSError, YAMLError)
_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
"""OmegaConf's types, in words."""
_WHOLE = "give an arm, or a part of one, as in '+arm={mine: {over: cosine, guard: {after: 0.5}}}'"


def command(
    name: str,
    schema: type,
    body: Callable[[Any], Any],
    conclude: Callable[[list[Any]], None] | None = None,
) -> None:
    """Run a command: check ``configs/NAME.yaml`` against ``schema`` and give it to ``body``.

    With ``-m`` several jobs do this, which a launcher may run elsewhere. ``conclude`` gets what all
    jobs return, once, in this process. Wrong input of any kind ends with one line on standard error
    and exit code 2.
    """
    in_utf8()
    output.print_anything()
    for typed in sys.argv[1:]:
        # There are bytes that Python could not read.
        if any("\udc80" <= letter <= "\udcff" for letter in typed):
            _fail(UserError(f"{typed}: is not UTF-8; names and values are given in UTF-8"))
        if typed.startswith("--") and re.split(r"[=.]", typed[2:])[0] in [
            one.name for one in fields(schema)
        ]:
            _fail(
                UserError(
                    f"{typed}: keys have no hyphens before them: give"
                    f" {typed[2:]}{'' if '=' in typed else '=…'}"
                )
            )
    sys.argv[1:] = [as_text(typed, schema) for typed in sys.argv[1:]]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    configs: str | None = CONFIGS
    if _shares_a_name(schema):
        configs = None
        _store_alone(name)
    OmegaConf.register_new_resolver(
        "explained", lambda: help_text(schema, Path(CONFIGS, f"{name}.yaml")), replace=True
    )

    def job(config: Any) -> Any:
        output.print_anything()  # in a process of a launcher's too
        _silence_libraries()
        keep_compiled()
        here = are_here(HydraConfig.get().launcher)
        if HydraConfig.get().mode == RunMode.RUN:
            try:  # here, before Hydra adds a line of its own
                if not here:
                    raise UserError("hydra/launcher is for the jobs of -m: add -m, or leave it out")
                returned = checked(config, schema, body)
            except WRONG as error:
                _fail(error)
            end([returned], conclude)
            return returned
        if not here:
            share_cores()
        try:
            return checked(config, schema, body)
        except WRONG as error:
            return Failed(line(error), 2)
        except SystemExit as ended:
            if here or ended.code not in STOPPED:  # meant for all jobs, or the launcher's own
                raise
            return Failed("stopped; give the same command again", ended.code)

    job.conclude = conclude  # type: ignore[attr-defined]
    try:
        hydra.main(version_base="1.3", config_path=configs, config_name=name)(job)()
    except (*WRONG, HydraException) as error:  # raised before or after the jobs
        _fail(error)
    except (AssertionError, AttributeError) as error:
        if "omegaconf" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise
        into = ", ".join(part for part in sys.argv[1:] if "." in part.split("=")[0])
        _fail(UserError(f"{into}: leads into a part that is null; {_WHOLE}"))
    except KeyboardInterrupt:
        print("stopped; give the same command again", file=sys.stderr)
        sys.exit(130)


def _shares_a_name(schema: type) -> bool:
    """Whether a key that takes a text is called like a group of configurations.

    Hydra would take ``task=mine`` for the file ``configs/task/mine.yaml``.
    """
    return any(
        takes_text([one.name], schema) and Path(CONFIGS, one.name).is_dir()
        for one in fields(schema)
    )


def _store_alone(name: str) -> None:
    """Give Hydra a command's configuration and our launchers, without the folder of all groups."""
    store = ConfigStore.instance()
    for file, package in ((name, None), ("hydra", "hydra")):
        store.store(name=file, node=OmegaConf.load(Path(CONFIGS, f"{file}.yaml")), package=package)
    Plugins.instance()  # these store launchers of the same names, with all their keys
    for path in Path(CONFIGS, "hydra", "launcher").glob("*.yaml"):
        node = OmegaConf.load(path)
        if path.name in store.list("hydra/launcher"):
            node = OmegaConf.merge(store.load(f"hydra/launcher/{path.name}").node, node)
        store.store(group="hydra/launcher", name=path.stem, node=node)


def checked(config: Any, schema: type, body: Callable[[Any], Any]) -> Any:
    """Run ``body`` on a configuration, as an object of ``schema``.

    Wrong input raises one of ``WRONG``.
    """
    OmegaConf.resolve(config)
    _refuse_unknown(config, OmegaConf.structured(schema))
    given = OmegaConf.to_object(config)
    if HydraConfig.initialized() and isinstance(getattr(given, "task", None), dict):
        from collect.tasks import build

        build.check_typed(given, HydraConfig.get().overrides.task)
    return body(given)


def _silence_libraries() -> None:
    for name in ("absl", "asyncio"):  # Orbax and its tasks log the error that it raises,
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Orbax may leave tasks that never ran.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    threading.excepthook = lambda _: None  # and its threads print it again
    sys.unraisablehook = lambda _: None


def command_line(name: str) -> str:
    """This command, as a user would type it again."""
    return " ".join([text.command(name), *map(shlex.quote, sys.argv[1:])])


def _refuse_unknown(config: Any, schema: Any, parents: str = "") -> None:
    """Refuse keys that ``+key=value`` added beyond the schema."""
    known = list(schema.keys())  # `in` would miss the mandatory ones
    for key in config:
        if key not in known:
            meant = text.choice(str(key), known, "--help" * (not parents))
            raise UserError(f"key '{parents}{key}' is unknown; {meant}")
        inside = schema._get_node(key)
        if (
            OmegaConf.is_dict(config._get_node(key))
            and OmegaConf.is_dict(inside)
            and OmegaConf.get_type(inside) is not dict
        ):
            _refuse_unknown(config[key], inside, f"{parents}{key}.")


def _cause(error: BaseException) -> str:
    """Hydra's message and that of its cause, on one line."""
    if isinstance(error.__context__, UserError):
        return str(error.__context__)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override)
    if ambiguous := re.match(r"Ambiguous value for argument '(.*)'\n", str(error)):
        key, _, values = ambiguous[1].partition("=")
        return (
            f"{ambiguous[1]}: add -m to try each value; a list is {key}=[{values}], and a text"
            f" {argument(key, values)}"
        )
    if "missing mandatory value" in str(error):
        key = str(error).split("missing mandatory value: ")[-1].split()[0]
        return f"{key} is missing: give {key}=…; --help explains every key"
    if error.__cause__ is not None and "Error merging override" in str(error):
        override = str(error).split("Error merging override ")[-1].strip()
        if "is not a ListConfig, list or tuple" in str(error.__cause__):
            return f"{override}: this key takes a list: {override.replace('=', '=[')}]"
        if "is not a subclass of Arm" in str(error.__cause__):
            return f"{override}: cannot be given so; {_WHOLE}"
        kind = re.search(r"could not be converted to (\w+)", str(error.__cause__))
        if kind and kind[1] in _KINDS:
            return f"{override}: must be {_KINDS[kind[1]]}"
        return f"{error}: {_cause(error.__cause__)}"
    if said := re.match(r"Could not override '(arm\.[^.]+\.guard)\.(\w+)'", str(error)):
        return (
            f"{said[1]}.{said[2]}: the arm's guard is a word; give {said[1]}={{kind: …,"
            f" {said[2]}: …}}"
        )
    if unknown := re.match(r"Could not override '([^']*)'", str(error)):
        return _unknown(unknown[1], error)
    if foreign := re.match(r"In '(experiment/[^']+)': ", str(error)):
        return (
            f"{foreign[1].replace('/', '=')} is not for this command"
            f" ({str(error)[foreign.end() :].splitlines()[0]}); give it to another command"
        )
    missing = re.search(r"Could not (?:find|load) '([\w/]+)/([^'/]+)'", str(error))
    if missing and Path(CONFIGS, missing[1]).is_dir():
        group, named = missing.groups()
        meant = text.choice(named, choices(Path(CONFIGS), group), "--help")
        also = f"; any other set of TensorFlow Datasets goes by data.name={named}" * (
            group == "data"
        )
        return f"{group}={named}: no choice of {group} has this name; {meant}{also}"
    lines = [line.strip() for line in str(error).split("Config search path")[0].splitlines()]
    noise = (
        "full_key:",
        "object_type=",
        "reference_type=",
        "Set the environment variable",
        "See https",
    )
    return " ".join(line for line in lines if line and not line.startswith(noise))


def _unknown(typed: str, error: BaseException) -> str:
    """The message about an unknown key: what may be meant, and which keys exist in its place."""
    cause = error.__cause__
    key, place = getattr(cause, "full_key", None) or typed, getattr(cause, "parent_node", None)
    part, _, name = key.rpartition(".")
    names = [str(one) for one in place] if isinstance(place, DictConfig) else []
    names = [one for one in names if part or one != "hydra"]
    whose = f"{part} has no key of this name" if part else "no key has this name"
    return f"{key}: {whose}; {text.choice(name, names, '' if part else '--help')}"


def line(error: BaseException) -> str:
    """An error's message on one line, as a command prints it."""
    if isinstance(error, UserError):
        message = str(error)
    elif isinstance(error, OSError) and not isinstance(error, HydraException):
        message = (
            f"{error.filename or 'file system'}: {error.strerror or error}; check the path, its"
            " rights, and the space left"
        )
    else:
        message = _cause(error)
    return f"error: {' '.join(message.split())}"


def _fail(error: BaseException) -> NoReturn:
    if isinstance(error, BrokenPipeError):  # the reader has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    print(line(error), file=sys.stderr)
    sys.exit(2)


warnings.filterwarnings("ignore", category=UserWarning, module="hydra.*")
# configs/hydra/launcher/NAME.yaml stands in for what a launcher's plugin brings by the same name,
# and is checked against it
warnings.filterwarnings(
    "ignore",
    category=UserWarning,
    message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore",
)
