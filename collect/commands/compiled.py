"""Keep compiled programs between commands.

Compiling takes most of a short command. JAX can keep what it compiled and read it back where the
same program is compiled again. The programs lie in ``$XDG_CACHE_HOME/weight-nowcaster/compiled``,
in a folder for each kind of processor, since a program of one may not run on another. The least
recently used ones go where they would take more than :data:`MOST` bytes.

``JAX_COMPILATION_CACHE_DIR`` names another folder, and ``JAX_ENABLE_COMPILATION_CACHE=false`` keeps
nothing.
"""

import hashlib
import os
import platform
import warnings
from pathlib import Path

from nowcast.types import UserError

FOLDER, SWITCH = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
MOST = 2 << 30
SETTINGS = {
    "jax_compilation_cache_max_size": MOST,
    "jax_persistent_cache_min_compile_time_secs": 0.2,
    "jax_persistent_cache_enable_xla_caches": "none",  # they lie beside, and have no limit
}


def keep_compiled() -> None:
    """Let JAX keep compiled programs, in this process and in those that it starts.

    Nothing changes where the environment says what to keep, or where the folder cannot be made,
    written or locked.
    """
    if FOLDER in os.environ or SWITCH in os.environ:
        return
    import filelock  # here: --help needs none of these
    import jax

    from collect.data.cache import cache_root

    try:
        folder = cache_root() / "compiled" / _processor()
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lockfile", timeout=5):  # as JAX will
            _repair(folder)
    except (UserError, OSError, NotImplementedError):  # no place, not ours, no locks, no answer
        return

    # JAX compiles such a program anew.
    warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation cache entry")
    for name, value in {"jax_compilation_cache_dir": str(folder), **SETTINGS}.items():
        if name.upper() not in os.environ:  # which JAX has read already
            os.environ[name.upper()] = str(value)
            jax.config.update(name, value)


def _repair(folder: Path) -> None:
    """Remove programs without the time of their last use: a command was killed in between.

    JAX would keep nothing more beside them.
    """
    for program in folder.glob("*-cache"):
        if not program.with_name(f"{program.name.removesuffix('-cache')}-atime").exists():
            program.unlink(missing_ok=True)


def _processor() -> str:
    """A name for this kind of processor: of its architecture, and of its instructions if known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    kinds = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    digest = hashlib.sha256("\n".join([platform.processor(), *kinds]).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:12]}"
