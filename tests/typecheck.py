"""The run-time type checker of the tests; as for mypy, an int will do where a float is asked for.

A function within a function is made anew at every call of the outer one, and writing its checks
takes longer than most of what it does. So they are written once for each ``def``, and then check
whichever of its functions is called.
"""

import functools
import threading

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
_jaxtyped, _checks, _called = jaxtyping.jaxtyped, {}, threading.local()


def _once(*, typechecker):
    """As :func:`jaxtyping.jaxtyped`, with the checks of inner functions written once."""

    def decorate(function):
        if "<locals>" not in function.__qualname__ or not hasattr(function, "__code__"):
            return _jaxtyped(typechecker=typechecker)(function)
        if function.__code__ not in _checks:

            @functools.wraps(function)
            def call(*args, **kwargs):
                return _called.function(*args, **kwargs)

            _checks[function.__code__] = _jaxtyped(typechecker=typechecker)(call)
        checked = _checks[function.__code__]

        @functools.wraps(function)
        def of_this_call(*args, **kwargs):
            _called.function = function
            return checked(*args, **kwargs)

        return of_this_call

    return decorate


jaxtyping.jaxtyped = _once
