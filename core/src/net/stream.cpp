#include <epoll/net/stream.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <utility>

#include <sys/socket.h>

#include <epoll/base/io_result.hpp>
#include <epoll/net/kernel_tls.hpp>

// Level-triggered: a read that did not fill its buffer returns to the loop, because if more has
// come since, epoll says so again. One recv per message, no second one that only hears EAGAIN.
// (Edge- triggered one would have to read until EAGAIN: a short read does not prove an empty
// buffer.)
//
// End of stream is a state, not an event: a level-triggered descriptor at its end is readable for
// ever. So the wish to read goes first, and then the handler is told.

namespace epoll {

namespace {

IoResult receive(int fd, std::span<std::byte> room) noexcept {
    return retry_interrupted([&] { return ::recv(fd, room.data(), room.size(), 0); });
}

IoResult send(int fd, std::span<iovec> parts) noexcept {
    if (parts.size() == 1) {
        const iovec& part = parts.front();
        return retry_interrupted(
            [&] { return ::send(fd, part.iov_base, part.iov_len, MSG_NOSIGNAL); });
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(parts.size());  // musl: an int
    return retry_interrupted([&] { return ::sendmsg(fd, &message, MSG_NOSIGNAL); });
}

std::size_t size_of(std::span<const iovec> parts) noexcept {
    std::size_t size = 0;
    for (const iovec& part : parts) {
        size += part.iov_len;
    }
    return size;
}

}  // namespace

Stream::Stream(Reactor& reactor, OwnedFd socket, StreamHandler& handler, WaterMarks marks)
    : Source(reactor), socket_(std::move(socket)), handler_(handler), marks_(marks) {
    join(socket_.get(), Events::readable);
    unwant(Events::readable);
    reactor.traffic().connections_opened.add(1);
}

Stream::Stream(Reactor& reactor, DisownedFd socket, StreamHandler& handler, WaterMarks marks)
    : Source(reactor), handler_(handler), marks_(marks), is_disowned_(true) {
    join(socket.fd, Events::readable);
    socket_ = OwnedFd{socket.fd};
    unwant(Events::readable);
    reactor.traffic().connections_opened.add(1);
}

Stream::~Stream() {
    if (is_open_) {
        reactor().traffic().connections_closed.add(1);
    }
    leave();  // before the descriptor is closed
    let_go();
    if (destroyed_ != nullptr) {
        *destroyed_ = true;
    }
}

void Stream::start_reading() noexcept {
    if (is_open() && !is_closing_ && !has_ended_) {
        is_reading_ = true;
        want(Events::readable);
    }
}

void Stream::stop_reading() noexcept {
    is_reading_ = false;
    unwant(Events::readable);
}

void Stream::write(std::span<const std::byte> bytes) {
    if (takes_writes()) {
        unsent_.append_copy(bytes);
        note_queued();
    }
}

void Stream::write(OwnedBytes bytes) {
    if (takes_writes()) {
        unsent_.append_owned(std::move(bytes));
        note_queued();
    }
}

void Stream::write_borrowed(std::span<const std::byte> bytes) {
    if (takes_writes()) {
        unsent_.append_borrowed(bytes);
        note_queued();
    }
}

void Stream::note_queued() noexcept {
    if (is_writing_blocked()) {
        note_full();
    } else if (!is_inside_on_data_) {
        reactor().before_wait(flush_due_);
    }
}

void Stream::note_sent(std::size_t count) noexcept {
    bytes_out_ += count;
    reactor().traffic().bytes_sent.add(count);
}

void Stream::note_full() noexcept {
    want(Events::writable);
    is_over_high_ = is_over_high_ || unsent_.size() > marks_.high;
}

void Stream::flush() {
    if (is_open() && !is_writing_blocked() && !is_releasing_) {
        send_queued();
        finish_if_sent();
    } else {
        unsent_.own_borrowed();
    }
}

std::size_t Stream::try_send(std::span<const std::byte> bytes) noexcept {
    if (!takes_writes() || !unsent_.is_empty() || is_writing_blocked()) {
        return 0;
    }
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    const IoResult result = send(socket_.get(), {&part, 1});
    note_sent(result.size());
    return result.size();
}

std::size_t Stream::send_record(std::uint8_t type, std::span<const std::byte> bytes) {
    if (!is_open()) {
        return bytes.size();
    }
    IoResult result{0, EAGAIN};
    if (!is_writing_blocked()) {
        result = send_tls_record(socket_.get(), type, bytes);
    }
    if (!result.ok() && !result.would_block()) {
        abort(result.error);
        return bytes.size();
    }
    note_sent(result.size());
    if (result.size() < bytes.size()) {
        note_full();
        is_over_high_ = true;
    }
    return result.size();
}

void Stream::set_water_marks(WaterMarks marks) noexcept {
    marks_ = marks;
    if (is_writing_blocked()) {
        note_full();
    }
}

int Stream::shutdown_writing() noexcept {
    if (is_closing_) {
        return 0;
    }
    is_shut_down_ = true;
    return finish_if_sent();
}

void Stream::close() noexcept {
    if (!is_open() || is_closing_) {
        return;
    }
    is_closing_ = true;
    stop_reading();
    finish_if_sent();
}

void Stream::abort(int error) noexcept {
    if (is_open()) {
        is_closing_ = true;
        end(error);
    }
}

void Stream::repeat_end_of_stream() noexcept {
    has_ended_ = false;
    start_reading();  // and receives the end once more
}

void Stream::on_ready(Events ready) noexcept {
    bool has_sent_the_last = false;
    try {
        // Reading first: what the peer had sent before it broke the connection is still there to be
        // read, but no longer when a send has taken the error.
        if (has_any(ready, Events::readable | Events::error) && is_reading_) {
            read();
        }
        if (has_any(ready, Events::writable | Events::error) && is_open()) {
            const bool was_closing = is_closing_;
            send_queued();
            tell_drained();
            finish_if_sent();
            has_sent_the_last = was_closing && !is_open() && close_error_ == 0;
        }
    } catch (const std::bad_alloc&) {
        is_inside_on_data_ = false;
        abort(ENOMEM);
    }
    if (has_sent_the_last && close_due_.is_scheduled()) {
        close_due_.cancel();
        on_close_due();  // nothing after it: it may destroy this
    }
}

void Stream::read() {
    std::size_t budget = k_read_budget;
    while (is_reading_ && receive_once(budget)) {
    }
}

/// One recv and its consequences; answers whether another one is worth it in this turn.
bool Stream::receive_once(std::size_t& budget) {
    const std::span<std::byte> room = handler_.receive_buffer();
    if (room.empty()) {
        return false;
    }
    const IoResult result = receive(socket_.get(), room);
    if (!result.ok()) {
        handler_.on_nothing_received();
        if (!result.would_block()) {
            abort(result.error);
        }
        return false;
    }
    if (result.end_of_stream()) {
        has_ended_ = true;
        stop_reading();
        handler_.on_end_of_stream();
        flush();
        return false;
    }
    bytes_in_ += result.size();
    reactor().traffic().bytes_received.add(result.size());
    is_inside_on_data_ = true;
    handler_.on_data(room.first(result.size()));
    is_inside_on_data_ = false;
    if (!unsent_.is_empty()) {
        flush();
    }
    budget -= std::min(budget, result.size());
    return result.size() == room.size() && budget != 0;
}

void Stream::on_flush_due() noexcept {
    try {
        flush();
    } catch (const std::bad_alloc&) {
        abort(ENOMEM);
    }
}

/// Sends until the queue is empty or the socket is full. Borrowed bytes are ours afterwards.
void Stream::send_queued() {
    std::array<iovec, ByteQueue::k_max_gather> room;
    while (!unsent_.is_empty()) {
        const std::span<iovec> parts = unsent_.gather(room);
        const std::size_t offered = size_of(parts);
        const IoResult result = send(socket_.get(), parts);
        if (!result.ok() && !result.would_block()) {
            abort(result.error);
            return;
        }
        note_sent(result.size());
        is_releasing_ = true;
        unsent_.consume(result.size());
        is_releasing_ = false;
        if (!is_open()) {
            return;  // the release of an owner has ended the stream
        }
        // A stream socket that took a part is full: another call would only hear EAGAIN.
        if (result.size() < offered) {
            unsent_.own_borrowed();
            note_full();
            return;
        }
    }
    unwant(Events::writable);
}

void Stream::tell_drained() {
    if (is_open() && is_over_high_ && unsent_.size() <= marks_.low) {
        is_over_high_ = false;
        handler_.on_drained();
        flush();
    }
}

/// Does what shutdown_writing() and close() wait for, as soon as nothing is queued.
/// Answers the errno of shutdown(2).
int Stream::finish_if_sent() noexcept {
    if (!is_open() || !unsent_.is_empty()) {
        return 0;
    }
    if (is_closing_) {
        end(0);
    } else if (is_shut_down_ && !is_shutdown_sent_) {
        is_shutdown_sent_ = true;
        return IoResult::from(::shutdown(socket_.get(), SHUT_WR)).error;
    }
    return 0;
}

/// The one way out: nothing is watched, nothing is kept, and the handler hears of it later. Until
/// then the descriptor stays open, so that its number cannot become a stranger's.
void Stream::end(int error) noexcept {
    close_error_ = error;
    is_open_ = false;
    is_reading_ = false;
    reactor().traffic().connections_closed.add(1);
    leave();
    flush_due_.cancel();
    reactor().defer(close_due_);
    unsent_.clear();
}

void Stream::on_close_due() noexcept {
    bool is_destroyed = false;
    destroyed_ = &is_destroyed;
    handler_.on_closed(close_error_);
    if (!is_destroyed) {
        destroyed_ = nullptr;
        let_go();
    }
}

void Stream::let_go() noexcept {
    if (is_disowned_) {
        (void)socket_.release();
    } else {
        (void)socket_.close();
    }
}

}  // namespace epoll
