"""Our loop has the methods of asyncio's, with their parameters, and what it builds upon is there.

Half of the loop is asyncio's own code, which is reached through names with an underscore. They are
no promise of Python: when one changes, a test here says which.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio import base_events, selector_events, unix_events
from collections.abc import Callable

import pytest

import epoll
from epoll import _loop

Oracle = asyncio.SelectorEventLoop
Parameters = list[tuple[str, object, object]]

PUBLIC = sorted(
    name for name in dir(Oracle) if not name.startswith("_") and callable(getattr(Oracle, name))
)

#: What we override of asyncio, and its parameters after self.
OVERRIDDEN = {
    "_make_self_pipe": [],
    "_read_from_self": [],
    "_close_self_pipe": [],
    "_write_to_self": [],
    "_add_callback": ["handle"],
    "_add_callback_signalsafe": ["handle"],
    "_check_closed": [],
    "_check_running": [],
    "_check_callback": ["callback", "method"],
    "_check_default_executor": [],
    "_set_coroutine_origin_tracking": ["enabled"],
    "_asyncgen_firstiter_hook": ["agen"],
    "_asyncgen_finalizer_hook": ["agen"],
    "_run_once": [],
}

#: What the loop's __init__ must have set for what is inherited.
ATTRIBUTES = [
    "_signal_handlers",
    "_csock",
    "_ssock",
    "_transports",
    "_exception_handler",
    "_default_executor",
    "slow_callback_duration",
    "_current_handle",
]


def parameters(method: Callable[..., object]) -> Parameters:
    """Return name, kind and default of each parameter after self."""
    _, *others = inspect.signature(method).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in others]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_method_has_the_parameters_of_asyncio(name: str) -> None:
    assert parameters(getattr(epoll.EventLoop, name)) == parameters(getattr(Oracle, name))


@pytest.mark.parametrize("name", sorted(set(PUBLIC) & set(vars(_loop.Loop))))
def test_native_method_says_what_it_does(name: str) -> None:
    text = inspect.getdoc(getattr(_loop.Loop, name))
    assert text is not None
    assert "--" not in text.splitlines()


@pytest.mark.parametrize("name", sorted(OVERRIDDEN))
def test_hook_of_asyncio_is_what_we_expect(name: str) -> None:
    assert [parameter[0] for parameter in parameters(getattr(Oracle, name))] == OVERRIDDEN[name]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="we have them ourselves before Python 3.13")
@pytest.mark.parametrize("name", ["_run_forever_setup", "_run_forever_cleanup"])
def test_halves_of_run_forever_are_inherited(name: str) -> None:
    assert getattr(epoll.EventLoop, name) is getattr(base_events.BaseEventLoop, name)


def test_attributes_of_asyncio_are_set() -> None:
    loop = epoll.new_event_loop()
    missing = [name for name in ATTRIBUTES if not hasattr(loop, name)]
    loop.close()
    assert missing == []


def test_classes_of_asyncio_are_our_bases() -> None:
    assert epoll.EventLoop.__mro__[1:5] == (
        _loop.Loop,
        unix_events._UnixSelectorEventLoop,
        selector_events.BaseSelectorEventLoop,
        base_events.BaseEventLoop,
    )


def test_native_methods_come_first() -> None:
    hot = [
        "call_soon",
        "call_soon_threadsafe",
        "call_later",
        "call_at",
        "time",
        "stop",
        "create_task",
    ]
    assert [name for name in hot if name not in vars(_loop.Loop)] == []
    found = {name: inspect.getattr_static(epoll.EventLoop, name) for name in hot}
    in_python = [name for name in hot if not inspect.ismethoddescriptor(found[name])]
    assert in_python == []
    assert [name for name in hot if found[name].__objclass__ is not epoll.EventLoop] == []
