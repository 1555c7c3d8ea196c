"""Start a command, by its installed name or by ``python scripts/NAME.py``."""

import importlib
import os
import sys

from collect.commands.memory import large_pages

PIPELINE = "weight-nowcaster[pipeline]"


def begin(module: str) -> None:
    """Import the module of a command and run its ``start``.

    Where only the library is installed, one line says what the commands need.

    Args:
        module: The name of the module, such as ``collect.commands.collect``.
    """
    large_pages()  # before the heavy imports
    try:
        command = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == module.split(".")[0]:
            raise
        print(
            f"error: {os.path.basename(sys.argv[0])} needs {error.name}: pip install '{PIPELINE}'",
            file=sys.stderr,
        )
        sys.exit(2)
    command.start()
