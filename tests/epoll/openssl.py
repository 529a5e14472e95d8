"""What the ssl module has no function for, by its own OpenSSL."""

from __future__ import annotations

import _ssl
import ctypes
import functools
import ssl

import pytest


def is_in_reach() -> bool:
    """Tell whether the interpreter's OpenSSL is a library, and not a hidden part of something."""
    path = getattr(_ssl, "__file__", None)
    return path is not None and hasattr(ctypes.CDLL(path), "SSL_read_ex")


needs_openssl = pytest.mark.skipif(
    not is_in_reach(), reason="the OpenSSL of this interpreter is hidden: TLS is sslproto's"
)


@functools.cache
def library() -> ctypes.CDLL:
    """The OpenSSL that the ssl module runs on; where it is hidden, the test is skipped."""
    loaded = ctypes.CDLL(getattr(_ssl, "__file__", None))
    if not hasattr(loaded, "SSL_read_ex"):
        pytest.skip("the OpenSSL of this interpreter is hidden, and nothing else can do this")
    for name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_gcm"):
        getattr(loaded, name).restype = ctypes.c_void_p
    loaded.SSL_set_options.restype = ctypes.c_uint64
    return loaded


def _connection_of(ssl_object: ssl.SSLObject) -> ctypes.c_void_p:
    """The SSL inside."""
    head = object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)  # of an _SSLSocket: then the SSL
    return ctypes.c_void_p.from_address(id(ssl_object._sslobj) + head)  # type: ignore[attr-defined]


def ask_for_new_keys(ssl_object: ssl.SSLObject) -> None:
    """Have the next bytes that it sends begin with a KeyUpdate that wants an answer."""
    assert library().SSL_key_update(_connection_of(ssl_object), 1)


def enable_kernel_tls(ssl_object: ssl.SSLObject) -> None:
    """What OP_ENABLE_KTLS of its context would do, which the module names from 3.12 on."""
    library().SSL_set_options(_connection_of(ssl_object), ctypes.c_uint64(1 << 3))
