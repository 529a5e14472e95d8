#include <algorithm>
#include <cmath>
#include <memory>
#include <string_view>
#include <utility>

#include "answers.hpp"
#include "arguments.hpp"
#include "convert.hpp"
#include "errors.hpp"
#include "method.hpp"
#include "module_state.hpp"
#include "service.hpp"

namespace epoll::python {

namespace {

struct ServerObject {
    PyObject_HEAD
    std::unique_ptr<Service> service;
};

/// The longest request head that the responder hello reads.
constexpr std::size_t k_longest_head = 16 * 1024;

/// Seconds as a duration; nothing, with ValueError set, when they are negative, absurd or no
/// number.
std::optional<Duration> to_duration(double seconds, const char* name) noexcept {
    constexpr double k_most = 1e9;  // thirty years
    if (!(seconds >= 0.0 && seconds <= k_most)) {
        (void)error(PyExc_ValueError, "%s must be between 0 and 1e9 seconds", name);
        return std::nullopt;
    }
    return Duration{static_cast<Duration::rep>(std::ceil(seconds * 1e9))};
}

std::optional<Framing> to_framing(const char* name, Responder responder) noexcept {
    if (responder == Responder::hello) {
        return Framing::http_head;
    }
    const auto framing = framing_of(name);
    if (!framing || *framing == Framing::http_head) {
        (void)error(PyExc_ValueError,
                    "framing must be raw, line, null, length16 or length32, not '%s'", name);
        return std::nullopt;
    }
    return framing;
}

std::optional<Responder> to_responder(PyObject* handler) noexcept {
    if (PyUnicode_Check(handler)) {
        if (PyUnicode_CompareWithASCIIString(handler, "echo") == 0) {
            return Responder::echo;
        }
        if (PyUnicode_CompareWithASCIIString(handler, "hello") == 0) {
            return Responder::hello;
        }
        (void)error(PyExc_ValueError, "handler must be 'echo', 'hello' or callable, not %R",
                    handler);
        return std::nullopt;
    }
    if (PyCallable_Check(handler) == 0) {
        (void)error(PyExc_TypeError, "handler must be 'echo', 'hello' or callable, not %.200s",
                    Py_TYPE(handler)->tp_name);
        return std::nullopt;
    }
    return Responder::python;
}

/// What __new__ is called with.
struct Arguments {
    PyObject* handler = nullptr;
    const char* framing = "raw";
    Py_ssize_t max_message = 1024 * 1024;
    Py_ssize_t high_water = 64 * 1024;
    double idle_timeout = 0.0;
    int takes_connection = 0;
    PyObject* on_open = Py_None;
    PyObject* on_close = Py_None;
    PyObject* on_error = Py_None;

    [[nodiscard]] bool parse(PyObject* positional, PyObject* named) noexcept {
        static constexpr const char* k_names[] = {
            "handler",          "framing", "max_message", "high_water", "idle_timeout",
            "takes_connection", "on_open", "on_close",    "on_error",   nullptr};
        if (PyArg_ParseTupleAndKeywords(positional, named, "O|$snndpOOO:Server",
                                        const_cast<char**>(k_names), &handler, &framing,
                                        &max_message, &high_water, &idle_timeout, &takes_connection,
                                        &on_open, &on_close, &on_error) == 0) {
            return false;
        }
        if (max_message < 1 || high_water < 1) {
            (void)error(PyExc_ValueError, "max_message and high_water must be at least 1");
            return false;
        }
        for (PyObject* const callback : {on_open, on_close, on_error}) {
            if (callback != Py_None && PyCallable_Check(callback) == 0) {
                (void)error(PyExc_TypeError, "a callback must be callable or None, not %.200s",
                            Py_TYPE(callback)->tp_name);
                return false;
            }
        }
        return true;
    }
};

Ref unless_none(PyObject* object) noexcept {
    return object == Py_None ? Ref{} : Ref::borrow(object);
}

std::unique_ptr<Service> make_service(PyTypeObject* type, const Arguments& arguments) {
    const auto responder = to_responder(arguments.handler);
    const auto framing = responder ? to_framing(arguments.framing, *responder) : std::nullopt;
    const auto idle = framing ? to_duration(arguments.idle_timeout, "idle_timeout") : std::nullopt;
    if (!idle) {
        return nullptr;
    }
    ServerOptions options;
    options.framing = *framing;
    options.max_message = static_cast<std::size_t>(arguments.max_message);
    if (*responder == Responder::hello) {
        options.max_message = std::min(options.max_message, k_longest_head);
    }
    options.idle_timeout = *idle;
    options.water_marks = {static_cast<std::size_t>(arguments.high_water),
                           static_cast<std::size_t>(arguments.high_water) / 4};
    ServiceCallbacks callbacks;
    callbacks.handler = Ref::borrow(arguments.handler);
    callbacks.on_open = unless_none(arguments.on_open);
    callbacks.on_close = unless_none(arguments.on_close);
    callbacks.on_error = unless_none(arguments.on_error);
    callbacks.connection_type = Ref::borrow(ModuleState::of_type(type).connection_type.get());
    callbacks.takes_connection = arguments.takes_connection != 0;
    return std::make_unique<Service>(std::move(callbacks), *responder, options);
}

PyObject* make(PyTypeObject* type, PyObject* positional, PyObject* named) noexcept {
    try {
        Arguments arguments;
        std::unique_ptr<Service> service =
            arguments.parse(positional, named) ? make_service(type, arguments) : nullptr;
        if (service == nullptr) {
            return nullptr;
        }
        Ref object = Ref::steal(type->tp_alloc(type, 0));
        if (object) {
            ::new (&self_of<ServerObject>(object.get()).service)
                std::unique_ptr<Service>{std::move(service)};
        }
        return object.release();
    } catch (...) {
        translate_exception();
        return nullptr;
    }
}

Ref listen(ServerObject& self, const CallArguments& call) {
    static constexpr Signature<2> k_listen{
        "listen", {"fd", "shared"}, {Parameter::required, Parameter::keyword_only}};
    const auto bound = k_listen.bind(call);
    const auto fd = bound ? to_int((*bound)[0]) : std::nullopt;
    const int shared = fd && (*bound)[1] != nullptr ? PyObject_IsTrue((*bound)[1]) : 0;
    if (!fd || shared < 0) {
        return {};
    }
    if (*fd < 0) {
        return error(PyExc_ValueError, "a descriptor is not negative");
    }
    self.service->listen(OwnedFd{*fd}, shared != 0);
    return Ref::none();
}

Ref run(ServerObject& self, const CallArguments& call) {
    static constexpr Signature<1> k_run{"run", {"signal_fd"}, {Parameter::optional}};
    const auto bound = k_run.bind(call);
    const auto fd = bound && (*bound)[0] != nullptr ? to_int((*bound)[0]) : std::optional{-1};
    return bound && fd ? self.service->run(*fd) : Ref{};
}

Ref stop(ServerObject& self, const CallArguments& call) {
    static constexpr Signature<1> k_stop{"stop", {"grace"}, {Parameter::required}};
    const auto bound = k_stop.bind(call);
    const double seconds = bound ? PyFloat_AsDouble((*bound)[0]) : 0.0;
    if (!bound || PyErr_Occurred() != nullptr) {
        return {};
    }
    const auto grace = to_duration(seconds, "grace");
    if (!grace) {
        return {};
    }
    self.service->stop(*grace);
    return Ref::none();
}

Ref call_soon_threadsafe(ServerObject& self, PyObject* callback) {
    if (PyCallable_Check(callback) == 0) {
        return error(PyExc_TypeError, "a callback must be callable, not %.200s",
                     Py_TYPE(callback)->tp_name);
    }
    return as_bool(self.service->call_soon(Ref::borrow(callback)));
}

Ref statistics(ServerObject& self) {
    const ServerStatistics server = self.service->statistics();
    const ReactorStatistics reactor = self.service->turns();
    const std::pair<const char*, std::uint64_t> numbers[] = {
        {"accepted", server.accepted},
        {"open", server.open},
        {"messages", server.messages},
        {"bytes_in", server.bytes_in},
        {"bytes_out", server.bytes_out},
        {"accept_errors", server.accept_errors},
        {"handler_errors", self.service->handler_errors()},
        {"too_long", server.too_long},
        {"idle", server.idle},
        {"failed", server.failed},
        {"turns", reactor.turns},
    };
    Ref all = Ref::steal(PyDict_New());
    for (const auto& [name, number] : numbers) {
        const Ref value = Ref::steal(PyLong_FromUnsignedLongLong(number));
        if (!all || !value || PyDict_SetItemString(all.get(), name, value.get()) < 0) {
            return {};
        }
    }
    return all;
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(self));
    const auto& service = self_of<ServerObject>(self).service;
    return service == nullptr ? 0 : service->traverse(visit, arg);
}

int clear(PyObject* self) noexcept {
    self_of<ServerObject>(self).service->clear();
    return 0;
}

constexpr const char* k_server_text =
    "Server(handler, *, framing='raw', max_message=1048576, high_water=65536,\n"
    "       idle_timeout=0.0, takes_connection=False, on_open=None, on_close=None,\n"
    "       on_error=None)\n--\n\n"
    "The engine of epoll.servers.native: sockets in, complete messages out. Not public.";
constexpr const char* k_listen_text =
    "listen($self, fd, *, shared=False)\n--\n\n"
    "Take over a listening socket that does not block, also when this raises.";
constexpr const char* k_run_text =
    "run($self, signal_fd=-1)\n--\n\n"
    "Serve on this thread until stop(); once. signal_fd is what signal.set_wakeup_fd writes to.";
constexpr const char* k_stop_text =
    "stop($self, grace)\n--\n\n"
    "Stop in order, within grace seconds. Any thread, also before run().";
constexpr const char* k_call_soon_threadsafe_text =
    "call_soon_threadsafe($self, callback, /)\n--\n\n"
    "Call callback() on the server's thread; return False when the server has ended.";
constexpr const char* k_statistics_text =
    "statistics($self, /)\n--\n\n"
    "Return a dict of counters. Any thread.";

PyMethodDef methods[] = {
    make_method<listen>("listen", k_listen_text),
    make_method<run>("run", k_run_text),
    make_method<stop>("stop", k_stop_text),
    make_method<call_soon_threadsafe>("call_soon_threadsafe", k_call_soon_threadsafe_text),
    make_method<statistics>("statistics", k_statistics_text),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(k_server_text)},
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<ServerObject>)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._core.Server", sizeof(ServerObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

bool add_server_type(PyObject* module, ModuleState& state) {
    state.server_type = make_type(module, spec, nullptr);
    return state.server_type &&
           PyModule_AddObjectRef(module, "Server", state.server_type.get()) == 0;
}

}  // namespace epoll::python
