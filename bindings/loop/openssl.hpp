#pragma once

#include <cstddef>
#include <memory>

#include "../python.hpp"

namespace epoll::python {

// The OpenSSL that the interpreter's ssl module has loaded, reached without its headers and without
// linking to it: whatever `_ssl` runs on is what runs here, and a program that never speaks TLS
// never looks for it. docs/design/decisions/0009-native-tls.md says what is relied on.

struct Ssl;        ///< OpenSSL's SSL
struct Bio;        ///< OpenSSL's BIO
struct BioMethod;  ///< OpenSSL's BIO_METHOD

/// The functions of OpenSSL (1.1.1 and newer) that records need, under their own names. Handshake
/// and shutdown are not among them: those are the methods of the interpreter's own objects.
struct OpenSslFunctions {
    int (*SSL_read_ex)(Ssl*, void*, std::size_t, std::size_t*);
    int (*SSL_write_ex)(Ssl*, const void*, std::size_t, std::size_t*);
    int (*SSL_get_error)(const Ssl*, int);
    int (*SSL_pending)(const Ssl*);
    int (*SSL_get_key_update_type)(const Ssl*);
    Bio* (*SSL_get_rbio)(const Ssl*);
    Bio* (*SSL_get_wbio)(const Ssl*);
    void (*SSL_set0_rbio)(Ssl*, Bio*);
    void (*SSL_set0_wbio)(Ssl*, Bio*);
    BioMethod* (*BIO_meth_new)(int, const char*);
    void (*BIO_meth_free)(BioMethod*);
    int (*BIO_meth_set_read)(BioMethod*, int (*)(Bio*, char*, int));
    int (*BIO_meth_set_write)(BioMethod*, int (*)(Bio*, const char*, int));
    int (*BIO_meth_set_ctrl)(BioMethod*, long (*)(Bio*, int, long, void*));
    Bio* (*BIO_new)(const BioMethod*);
    int (*BIO_free)(Bio*);
    int (*BIO_up_ref)(Bio*);
    void (*BIO_set_data)(Bio*, void*);
    void* (*BIO_get_data)(Bio*);
    void (*BIO_set_init)(Bio*, int);
    void (*BIO_set_flags)(Bio*, int);
    void (*BIO_clear_flags)(Bio*, int);
    unsigned long (*ERR_peek_error)();
    void (*ERR_clear_error)();
    unsigned long (*OpenSSL_version_num)();
};

/// What SSL_get_error() answers.
namespace ssl_error {
inline constexpr int k_none = 0;
inline constexpr int k_want_read = 2;
inline constexpr int k_want_write = 3;
inline constexpr int k_zero_return = 6;
}  // namespace ssl_error

/// What SSL_get_key_update_type() answers when no KeyUpdate is due.
inline constexpr int k_no_key_update = -1;

/// Which SSL belongs to an ssl.SSLObject, and the BIOs that it was made with.
struct ReachedSsl {
    Ssl* ssl = nullptr;  ///< null: it could not be reached
    Bio* incoming = nullptr;
    Bio* outgoing = nullptr;
};

/// OpenSSL's functions, and the kind of BIO that TlsSession puts into an SSL. One for each module
/// state; it must outlive the sessions.
class OpenSsl {
  public:
    /// The library under the interpreter's `_ssl`. Null, without an exception, when it cannot be
    /// reached: `_ssl` is no shared object, or was linked statically, or a function is missing, or
    /// the version is not the one that the ssl module tells.
    [[nodiscard]] static std::unique_ptr<OpenSsl> find() noexcept;

    OpenSsl(const OpenSsl&) = delete;
    OpenSsl& operator=(const OpenSsl&) = delete;
    ~OpenSsl();

    [[nodiscard]] const OpenSslFunctions& functions() const noexcept { return functions_; }
    [[nodiscard]] const BioMethod* bio_method() const noexcept { return bio_method_; }

    /// With the kernel's TLS: a BIO that has been given keys is given those that follow them, too.
    [[nodiscard]] bool hands_over_new_keys() const noexcept;

    /// The SSL inside `ssl_socket`, the `_sslobj` of an ssl.SSLObject that was just made with the
    /// ssl.MemoryBIO objects `incoming` and `outgoing`. All three are looked into only if their
    /// types are exactly the interpreter's own, of a known size; the answer is believed only if
    /// OpenSSL says that this SSL has those two BIOs.
    [[nodiscard]] ReachedSsl reach(PyObject* ssl_socket, PyObject* incoming,
                                   PyObject* outgoing) const noexcept;

  private:
    OpenSsl() = default;

    OpenSslFunctions functions_{};
    BioMethod* bio_method_ = nullptr;
    void* library_ = nullptr;  ///< of dlopen()
};

}  // namespace epoll::python
