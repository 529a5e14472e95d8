// What the coroutines of a StreamWriter do: drain() and wait_closed().

#include "../errors.hpp"
#include "stream_operation.hpp"
#include "stream_protocol.hpp"
#include "stream_reader.hpp"
#include "stream_writer.hpp"

namespace epoll::python {

namespace {

// The phases of drain(): begin; the connection has had its turn to end; the wait is over.
enum : std::uint8_t { k_begin, k_look, k_drained };

StreamWriterObject& owner_of(const StreamOperation& operation) noexcept {
    return writer_of(operation.owner.get());
}

StreamProtocol& protocol_behind(const StreamOperation& operation) noexcept {
    return protocol_of(owner_of(operation).protocol.get());
}

Progress return_none(Ref& result) noexcept {
    result = Ref::none();
    return Progress::returned;
}

/// `argument` is the future that stands in the protocol's list.
Progress wait_until_drained(StreamOperation& operation) {
    const Ref waiters = protocol_behind(operation).drain_waiters();
    operation.argument =
        waiters ? create_future(*operation.state, protocol_behind(operation).loop.get()) : Ref{};
    if (!operation.argument) {
        return Progress::failed;
    }
    const Progress progress = wait_for(operation, operation.argument.get());
    if (progress == Progress::waits && PyList_Append(waiters.get(), operation.argument.get()) < 0) {
        operation.awaited.reset();
        return Progress::failed;
    }
    return progress;
}

void on_drain_ended(StreamOperation& operation) noexcept {
    const Ref waiters = protocol_behind(operation).drain_waiters();
    if (!waiters) {
        PyErr_Clear();
        return;
    }
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(waiters.get()); ++index) {
        if (PyList_GET_ITEM(waiters.get(), index) == operation.argument.get()) {
            (void)PyList_SetSlice(waiters.get(), index, index + 1, nullptr);
            return;
        }
    }
}

Progress drain(StreamOperation& operation, Ref& result) {
    const StreamWriterObject& writer = owner_of(operation);
    if (operation.phase == k_begin) {
        if (writer.reader && reader_of(writer.reader.get()).exception) {
            raise(reader_of(writer.reader.get()).exception.get());
            return Progress::failed;
        }
        operation.phase = k_look;
        const Answer closing = is_closing(writer);
        if (closing != Answer::no) {  // connection_lost() shall be called before who drains goes on
            return closing == Answer::yes ? Progress::yields : Progress::failed;
        }
    }
    if (operation.phase == k_look) {
        operation.phase = k_drained;
        const StreamProtocol& protocol = protocol_behind(operation);
        if (protocol.connection_lost) {
            (void)error(PyExc_ConnectionResetError, "Connection lost");
            return Progress::failed;
        }
        if (protocol.is_paused) {
            return wait_until_drained(operation);
        }
    }
    return return_none(result);
}

Progress wait_closed(StreamOperation& operation, Ref& result) {
    StreamProtocol& protocol = protocol_behind(operation);
    if (operation.phase != k_begin || protocol.is_closed_well()) {
        return return_none(result);
    }
    operation.phase = k_drained;
    const Ref closed = protocol.closed();
    return closed ? wait_for(operation, closed.get()) : Progress::failed;
}

void on_wait_closed_ended(StreamOperation& /*operation*/) noexcept {}

constexpr OperationKind k_drain{"StreamWriter.drain", &drain, &on_drain_ended};
constexpr OperationKind k_wait_closed{"StreamWriter.wait_closed", &wait_closed,
                                      &on_wait_closed_ended};

}  // namespace

Ref make_drain(StreamWriterObject& writer) noexcept {
    return make_operation(*writer.state, k_drain, writer.as_python(), nullptr);
}

Ref make_wait_closed(StreamWriterObject& writer) noexcept {
    return make_operation(*writer.state, k_wait_closed, writer.as_python(), nullptr);
}

}  // namespace epoll::python
