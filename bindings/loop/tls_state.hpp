#pragma once

#include <memory>

#include "../python.hpp"
#include "../ref.hpp"
#include "openssl.hpp"

namespace epoll::python {

/// What TlsTransports need, looked up when the first one is made. Part of LoopState.
struct TlsState {
    Ref transport_type;

    /// Null until find(), and afterwards where OpenSSL cannot be reached.
    std::unique_ptr<OpenSsl> library;

    // Of the ssl module.
    Ref error;            ///< SSLError
    Ref want_read_error;  ///< these two mean that more has to arrive
    Ref syscall_error;
    Ref certificate_error;  ///< CertificateError

    // Names of methods, interned, that StreamState has not got.
    Ref cipher, compression, connection_made, do_handshake, getpeercert, read, unwrap;

    bool was_sought = false;

    /// Looks up what the module state has not got yet. False with an exception set.
    [[nodiscard]] bool find() noexcept;
    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;
};

}  // namespace epoll::python
