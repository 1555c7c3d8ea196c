"""What the commands share: Hydra configuration in, one clear line out when something is wrong."""

import logging
import os
import shlex
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nowcast.types import UserError

CONFIGS = str(Path(__file__).resolve().parent.parent / "configs")


def command(name: str, schema: type, body: Callable[[Any], None]) -> None:
    """Run a command: ``configs/NAME.yaml`` checked against ``schema``, given to ``body`` as an object.

    Wrong input of any kind ends with one line on standard error and exit code 2.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs what it then raises,
    threading.excepthook = lambda _: None  # and its threads print it once more
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)

    @hydra.main(version_base="1.3", config_path=CONFIGS, config_name=name)
    def main(config: Any) -> None:
        try:  # here, before Hydra adds a line of its own
            OmegaConf.resolve(config)
            _refuse_unknown(config, OmegaConf.structured(schema))
            body(OmegaConf.to_object(config))
        except UserError as error:
            _fail(str(error))
        except OmegaConfBaseException as error:
            _fail(_cause(error))
        except OSError as error:
            _fail_at(error)

    try:
        main()
    except OSError as error:  # of Hydra's own folders
        _fail_at(error)
    except UserError as error:
        _fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(_cause(error))
    except KeyboardInterrupt:
        print("stopped; give the same command again", file=sys.stderr)
        sys.exit(130)


def command_line(name: str) -> str:
    """This very command, as one would type it again."""
    return shlex.join(["python", f"scripts/{name}.py", *sys.argv[1:]])


def argument(key: str, value: str) -> str:
    """``key=value`` as one would type it in a shell."""
    return shlex.quote(f"{key}={value}")


def _refuse_unknown(config: Any, schema: Any, parents: str = "") -> None:
    """Keys that ``+key=value`` added beyond the schema."""
    known = list(schema.keys())  # `in` would miss the mandatory ones
    for key in config:
        if key not in known:
            raise UserError(f"key '{parents}{key}' is unknown; available: {', '.join(known)}")
        if OmegaConf.is_dict(config._get_node(key)) and OmegaConf.is_dict(schema._get_node(key)):
            _refuse_unknown(config[key], schema[key], f"{parents}{key}.")


def _cause(error: BaseException) -> str:
    """Hydra's message, with that of its cause, on one line."""
    if isinstance(error.__context__, UserError):
        return str(error.__context__)
    if "missing mandatory value" in str(error):
        key = str(error).split("missing mandatory value: ")[-1].split()[0]
        return f"{key} is missing: give {key}=…; --help explains every key"
    if error.__cause__ is not None and "Error merging override" in str(error):
        return f"{error}: {_cause(error.__cause__)}"
    if "To append to your config use +" in str(error):
        return f"{str(error).splitlines()[0]}; --help lists every key"
    if "Could not find 'data/" in str(error):  # Hydra only knows the sets that have a file
        available = str(error).split("Available options in 'data':")[-1].split("Config search path")[0].split()
        named = str(error).split("Could not find 'data/")[1].split("'")[0]
        return (
            f"data={named}: configs/data has no such file, but {', '.join(available)}; "
            f"any image classification set of TensorFlow Datasets goes by data.name={named}"
        )
    lines = [line.strip() for line in str(error).split("Config search path")[0].splitlines()]
    noise = ("full_key:", "object_type=", "reference_type=", "Set the environment variable", "See https")
    return " ".join(line for line in lines if line and not line.startswith(noise))


def _fail_at(error: OSError) -> None:
    _fail(
        f"{error.filename or 'file system'}: {error.strerror or error}; check the path, its rights, and the space left"
    )


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


warnings.filterwarnings("ignore", category=UserWarning, module="hydra.*")
