"""Tests that older patch releases of Python fail by themselves, as Debian 12's 3.11.2 does.

What asyncio's loop or `subprocess` gets wrong there, 3.11.7 gets right: the same tests pass.
"""

from __future__ import annotations

import re
import sys

_PAUSING = "transports of this Python's asyncio lack parts of pausing: mended by 3.11.7"
_CALLBACKS = "asyncio of this Python ends a client's callback otherwise: mended by 3.11.7"
_STARTS = "subprocess of this Python leaks descriptors of a failed start: mended by 3.11.7"
_INPUT = "asyncio of this Python asks nobody for the failure of an input: mended by 3.11.7"

#: Patterns of the ids of tests, and why those fail.
_FAULTS = {
    r"test_stream_protocol\.py::test_the_callbacks_task_is_kept_.*\[asyncio": _CALLBACKS,
    r"test_stream_servers\.py::test_a_failing_client_callback_.*\[asyncio": _CALLBACKS,
    r"test_stream_servers\.py::test_a_cancelled_client_does_.*\[asyncio": _CALLBACKS,
    r"test_datagram_ends\.py::test_the_(loss_is_told|repr).*\[asyncio": _PAUSING,
    r"test_datagram_ends\.py::test_debug_mode_logs\[asyncio": _PAUSING,
    r"test_datagram_reentrancy\.py::test_action_in_callback\[.*-pause and resume-": _PAUSING,
    r"test_datagrams\.py::test_pause_reading\[asyncio": _PAUSING,
    r"test_transport_reading\.py::test_pause_in_connection_made\[asyncio": _PAUSING,
    r"test_pipes\.py::test_reading_can_be_paused.*\[asyncio": _PAUSING,
    r"test_reentrancy\.py::test_action_in_callback\[connection_made-pause_reading-": _PAUSING,
    r"test_isolated\.py::.*\[loop_children\.py\]": _STARTS,
    r"test_processes_faults\.py::test_pipes_that_cannot_be_made\[.*-3\]": _STARTS,
    r"test_processes\.py::test_a_closed_input_is_no_failure_of_communicate": _INPUT,
}


def fault_of(node_id: str) -> str | None:
    """Return why this Python fails a test by itself; None for all others."""
    if sys.version_info >= (3, 11, 7):
        return None
    return next((why for pattern, why in _FAULTS.items() if re.search(pattern, node_id)), None)
