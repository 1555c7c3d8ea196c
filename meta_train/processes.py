"""Several processes that fit together, each with its own devices: one program, as ``jax.distributed`` means it."""

import os
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from collect.places import first_line
from meta_train.config import MetaTrainConfig
from nowcast.types import UserError


def join(config: MetaTrainConfig) -> None:
    """Meet the other processes; call it before anything touches a device."""
    if config.processes == 1 or jax.distributed.is_initialized():
        return
    try:
        if config.processes == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(config.coordinator, num_processes=config.processes, process_id=config.process)
    except (RuntimeError, ValueError) as error:
        cure = (
            "say how many there are: processes=2 process=0 coordinator=HOST:PORT"
            if config.processes == "auto"
            else f"start the same command once per process, each with its own process= and coordinator={config.coordinator}"
        )
        raise UserError(f"processes={config.processes}: they did not meet ({first_line(error)}); {cure}") from None


def leave(error: UserError) -> None:
    """End this process where others wait for it: they are told by JAX that it is gone. Alone, do nothing."""
    if jax.process_count() > 1:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)


def is_first() -> bool:
    """Whether this process writes and prints for all."""
    return jax.process_index() == 0


def anywhere(yes: bool) -> bool:
    """Whether it is so in any process; all of them must ask."""
    if jax.process_count() == 1:
        return yes
    return bool(np.any(multihost_utils.process_allgather(np.array(yes))))
