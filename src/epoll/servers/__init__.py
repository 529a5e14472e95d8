"""Servers, from the simplest that works to the native one.

The ladder: every module changes one thing against the one before it, and its docstring says
which problem that solves and which new one it brings. Each has the same ``serve(host, port, ...)``
and runs as a program: ``python -m epoll.servers.NAME --host HOST --port PORT``.

Echo, default port 65432:

==================== ==========================================================================
``blocking``         one client at a time
``busy_loop``        many clients: ask each of them, again and again
``with_select``      the kernel says who is ready; the whole list goes in with every question
``with_poll``        the same without the limit of 1024 descriptors
``with_epoll``       the kernel keeps the list and answers only with those who are ready
==================== ==========================================================================

HTTP "Hello, world!", default port 8080:

======================== ======================================================================
``http_blocking_once``   one request, then the end
``http_blocking``        one request after the other
``level_triggered``      epoll as it is when nothing else is said
``edge_triggered``       news once; read until there is nothing more
``one_shot``             one event, then silence until ``modify``
``corked``               ``TCP_CORK``: head and body leave in one segment
``no_delay``             ``TCP_NODELAY``: every write leaves at once
======================== ======================================================================

Beside the ladder: ``echo_client``, the client for all echo servers; ``show_level_triggered`` and
``show_edge_triggered``, which show how often each mode reports the same thing; ``printing``, a
server that prints what it is told, on the four functions ``create``, ``ctl``, ``wait``, ``close``.
"""
