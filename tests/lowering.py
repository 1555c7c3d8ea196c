"""One MLIR context for all that a thread lowers: JAX makes a new one for every program, which takes
a quarter of the tests' time.
"""

import threading

from jax._src.interpreters import mlir

_make, _of_this_thread = mlir.make_ir_context, threading.local()


def _context():
    if not hasattr(_of_this_thread, "context"):
        _of_this_thread.context = _make()
    return _of_this_thread.context


mlir.make_ir_context = _context
