#include "tls_state.hpp"

#include <utility>

namespace epoll::python {

bool TlsState::find() noexcept {
    if (was_sought) {
        return true;
    }
    const std::pair<Ref*, const char*> names[] = {
        {&cipher, "cipher"},
        {&compression, "compression"},
        {&connection_made, "connection_made"},
        {&do_handshake, "do_handshake"},
        {&getpeercert, "getpeercert"},
        {&read, "read"},
        {&unwrap, "unwrap"},
    };
    for (const auto& [place, name] : names) {
        *place = Ref::steal(PyUnicode_InternFromString(name));
        if (!*place) {
            return false;
        }
    }
    const std::pair<Ref*, const char*> errors[] = {
        {&error, "SSLError"},
        {&want_read_error, "SSLWantReadError"},
        {&syscall_error, "SSLSyscallError"},
        {&certificate_error, "CertificateError"},
    };
    const Ref ssl = Ref::steal(PyImport_ImportModule("ssl"));
    for (const auto& [place, name] : errors) {
        *place = ssl ? Ref::steal(PyObject_GetAttrString(ssl.get(), name)) : Ref{};
        if (!*place) {
            return false;
        }
    }
    library = OpenSsl::find();
    was_sought = true;
    return true;
}

int TlsState::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const object :
         {&transport_type, &error, &want_read_error, &syscall_error, &certificate_error}) {
        Py_VISIT(object->get());
    }
    return 0;
}

void TlsState::clear() noexcept {
    for (Ref* const object :
         {&transport_type, &error, &want_read_error, &syscall_error, &certificate_error}) {
        object->reset();
    }
}

}  // namespace epoll::python
