#include "openssl.hpp"

#include <cstdint>
#include <new>

#include <dlfcn.h>

#include "../ref.hpp"
#include "tls_session.hpp"

namespace epoll::python {

namespace {

/// How `_ssl` lays out its objects: the same from 3.11 to 3.15. A newer Python is unknown until
/// somebody has looked.
constexpr bool k_is_known_layout = PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x03100000;

struct SslSocketLayout {  ///< PySSLSocket
    PyObject_HEAD
    PyObject* socket;  ///< a weak reference; null for an SSLObject
    Ssl* ssl;
    PyObject* context;
};

struct MemoryBioLayout {  ///< PySSLMemoryBIO
    PyObject_HEAD
    Bio* bio;
    int is_eof_written;
};

/// Behind the context an SSLSocket has some more fields, whose number differs.
constexpr Py_ssize_t k_least_socket = sizeof(SslSocketLayout) + 4 * sizeof(void*);
constexpr Py_ssize_t k_most_socket = sizeof(SslSocketLayout) + 16 * sizeof(void*);

/// SSL_set0_rbio() and the functions of BIO_METHOD are there from 1.1.0 on, TLS 1.3 from 1.1.1.
constexpr unsigned long k_oldest = 0x10101000UL;

/// Whose records are enciphered by one object for each set of keys.
constexpr unsigned long k_with_record_layers = 0x30200000UL;

constexpr int k_source_sink = 0x0400;  ///< BIO_TYPE_SOURCE_SINK

template <class Function>
bool find_function(void* library, const char* name, Function& place) noexcept {
    place = reinterpret_cast<Function>(::dlsym(library, name));  // which POSIX allows
    return place != nullptr;
}

#define PYEPOLL_FIND(name) find_function(library, #name, functions.name)

bool find_functions(void* library, OpenSslFunctions& functions) noexcept {
    return PYEPOLL_FIND(SSL_read_ex) && PYEPOLL_FIND(SSL_write_ex) && PYEPOLL_FIND(SSL_get_error) &&
           PYEPOLL_FIND(SSL_pending) && PYEPOLL_FIND(SSL_get_key_update_type) &&
           PYEPOLL_FIND(SSL_get_rbio) && PYEPOLL_FIND(SSL_get_wbio) &&
           PYEPOLL_FIND(SSL_set0_rbio) && PYEPOLL_FIND(SSL_set0_wbio) &&
           PYEPOLL_FIND(BIO_meth_new) && PYEPOLL_FIND(BIO_meth_free) &&
           PYEPOLL_FIND(BIO_meth_set_read) && PYEPOLL_FIND(BIO_meth_set_write) &&
           PYEPOLL_FIND(BIO_meth_set_ctrl) && PYEPOLL_FIND(BIO_new) && PYEPOLL_FIND(BIO_free) &&
           PYEPOLL_FIND(BIO_up_ref) && PYEPOLL_FIND(BIO_set_data) && PYEPOLL_FIND(BIO_get_data) &&
           PYEPOLL_FIND(BIO_set_init) && PYEPOLL_FIND(BIO_set_flags) &&
           PYEPOLL_FIND(BIO_clear_flags) && PYEPOLL_FIND(ERR_peek_error) &&
           PYEPOLL_FIND(ERR_clear_error) && PYEPOLL_FIND(OpenSSL_version_num);
}

#undef PYEPOLL_FIND

/// Attribute `name` of the module `_ssl`; empty, without an exception, if it has none.
Ref attribute_of_ssl(const char* name) noexcept {
    const Ref module = Ref::steal(PyImport_ImportModule("_ssl"));
    Ref value = module ? Ref::steal(PyObject_GetAttrString(module.get(), name)) : Ref{};
    PyErr_Clear();
    return value;
}

/// `_ssl` is loaded already. What is found through it is found in itself and in the libraries that
/// it was linked to, nowhere else.
void* open_library() noexcept {
    const Ref path = attribute_of_ssl("__file__");
    const char* const text =
        path && PyUnicode_Check(path.get()) ? PyUnicode_AsUTF8(path.get()) : nullptr;
    PyErr_Clear();
    return text != nullptr ? ::dlopen(text, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
}

bool is_expected_version(const OpenSslFunctions& functions) noexcept {
    const Ref number = attribute_of_ssl("OPENSSL_VERSION_NUMBER");
    const unsigned long told =
        number && PyLong_Check(number.get()) ? PyLong_AsUnsignedLong(number.get()) : 0;
    PyErr_Clear();
    return told >= k_oldest && functions.OpenSSL_version_num() == told;
}

/// Whether the type of `object` is `_ssl`'s own of that name, with instances of a plausible size.
bool is_exactly(PyObject* object, const char* name, Py_ssize_t least, Py_ssize_t most) noexcept {
    const Ref type = attribute_of_ssl(name);
    const Py_ssize_t size = Py_TYPE(object)->tp_basicsize;
    return type && reinterpret_cast<PyObject*>(Py_TYPE(object)) == type.get() && size >= least &&
           size <= most;
}

template <class Object>
bool is_plausible(const Object* pointer) noexcept {
    return pointer != nullptr && reinterpret_cast<std::uintptr_t>(pointer) % alignof(void*) == 0;
}

Bio* bio_of(PyObject* memory_bio) noexcept {
    constexpr auto k_size = static_cast<Py_ssize_t>(sizeof(MemoryBioLayout));
    return is_exactly(memory_bio, "MemoryBIO", k_size, k_size)
               ? reinterpret_cast<MemoryBioLayout*>(memory_bio)->bio
               : nullptr;
}

}  // namespace

std::unique_ptr<OpenSsl> OpenSsl::find() noexcept {
    std::unique_ptr<OpenSsl> found{k_is_known_layout ? new (std::nothrow) OpenSsl{} : nullptr};
    if (found == nullptr) {
        return nullptr;
    }
    found->library_ = open_library();
    if (found->library_ == nullptr || !find_functions(found->library_, found->functions_) ||
        !is_expected_version(found->functions_)) {
        return nullptr;
    }
    const OpenSslFunctions& functions = found->functions_;
    TlsSession::use_library(functions);
    BioMethod* const method = functions.BIO_meth_new(k_source_sink, "epoll");
    found->bio_method_ = method;
    if (method == nullptr || functions.BIO_meth_set_read(method, &TlsSession::on_bio_read) == 0 ||
        functions.BIO_meth_set_write(method, &TlsSession::on_bio_write) == 0 ||
        functions.BIO_meth_set_ctrl(method, &TlsSession::on_bio_control) == 0) {
        return nullptr;
    }
    return found;
}

OpenSsl::~OpenSsl() {
    if (bio_method_ != nullptr) {
        functions_.BIO_meth_free(bio_method_);
    }
    if (library_ != nullptr) {
        (void)::dlclose(library_);
    }
}

bool OpenSsl::hands_over_new_keys() const noexcept {
    return functions_.OpenSSL_version_num() >= k_with_record_layers;
}

ReachedSsl OpenSsl::reach(PyObject* ssl_socket, PyObject* incoming,
                          PyObject* outgoing) const noexcept {
    ReachedSsl reached{nullptr, bio_of(incoming), bio_of(outgoing)};
    if (!is_plausible(reached.incoming) || !is_plausible(reached.outgoing) ||
        !is_exactly(ssl_socket, "_SSLSocket", k_least_socket, k_most_socket)) {
        return {};
    }
    Ssl* const ssl = reinterpret_cast<SslSocketLayout*>(ssl_socket)->ssl;
    if (is_plausible(ssl) && functions_.SSL_get_rbio(ssl) == reached.incoming &&
        functions_.SSL_get_wbio(ssl) == reached.outgoing) {
        reached.ssl = ssl;
    }
    return reached;
}

}  // namespace epoll::python
