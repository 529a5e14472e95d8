#include <epoll/serve/connection.hpp>

#include <algorithm>
#include <utility>

#include <epoll/net/socket_options.hpp>
#include <epoll/serve/message_server.hpp>

// Closing is harder than it looks. close(2) on a socket with unread input sends a reset, and a
// reset makes the peer's kernel throw away what it has received and its program has not read yet:
// the answers, or the very message that explains why we close. So when the peer may still be
// sending (it is, or it is about to: its answers are still on their way), our side is shut down
// first and what comes is dropped until the peer closes or loses its patience with us: the state
// `lingering`. (RFC 9112, 9.6, describes it for HTTP.)

namespace epoll {

const char* name_of(CloseReason reason) noexcept {
    switch (reason) {
        case CloseReason::peer_finished: return "peer finished";
        case CloseReason::closed: return "closed";
        case CloseReason::too_long: return "message too long";
        case CloseReason::idle: return "idle";
        case CloseReason::failed: return "failed";
        case CloseReason::stopped: return "stopped";
    }
    return "unknown";
}

Connection::Connection(MessageServer& server, OwnedFd socket, const Address& peer)
    : server_(server),
      peer_(peer),
      stream_(server.reactor(), std::move(socket), *this, server.options().water_marks) {
    if (server.options().idle_timeout != Duration::zero()) {
        active_at_ = server.reactor().now();
        start_timer(server.options().idle_timeout);
    }
}

bool Connection::send(std::span<const std::byte> message) {
    const auto envelope = envelope_for(server_.options().framing, message.size());
    if (!envelope) {
        return false;
    }
    stream_.write(std::span{envelope->prefix}.first(envelope->prefix_size));
    stream_.write(message);
    stream_.write(envelope->suffix);
    return true;
}

bool Connection::send(OwnedBytes message) {
    const auto envelope = envelope_for(server_.options().framing, message.bytes().size());
    if (!envelope) {
        return false;
    }
    stream_.write(std::span{envelope->prefix}.first(envelope->prefix_size));
    stream_.write(std::move(message));
    stream_.write_borrowed(envelope->suffix);
    return true;
}

bool Connection::send_borrowed(std::span<const std::byte> message) {
    const auto envelope = envelope_for(server_.options().framing, message.size());
    if (!envelope) {
        return false;
    }
    stream_.write(std::span{envelope->prefix}.first(envelope->prefix_size));
    stream_.write_borrowed(message);
    stream_.write_borrowed(envelope->suffix);
    return true;
}

bool Connection::is_raw() const noexcept { return server_.options().framing == Framing::raw; }

void Connection::close() noexcept {
    if (state_ != State::open) {
        return;
    }
    if (is_at_rest() && stream_.unsent() == 0) {
        close_now(CloseReason::closed);
    } else {
        linger(CloseReason::closed);
    }
}

void Connection::abort() noexcept { abort_now(CloseReason::closed); }

std::span<std::byte> Connection::receive_buffer() noexcept { return server_.read_buffer_; }

void Connection::on_data(std::span<std::byte> bytes) {
    server_.bytes_in_.add(bytes.size());
    if (state_ != State::open) {
        dropped_ += bytes.size();
        if (dropped_ > MessageServer::k_linger_bytes) {
            abort_now(reason_);
        }
        return;
    }
    if (server_.options().idle_timeout != Duration::zero()) {
        active_at_ = server_.reactor().now();
    }
    if (kept_.empty()) {
        const std::size_t handled = handle_messages(bytes);
        if (state_ == State::open && handled != bytes.size()) {
            kept_.assign(bytes.begin() + static_cast<std::ptrdiff_t>(handled), bytes.end());
        }
    } else {
        kept_.insert(kept_.end(), bytes.begin(), bytes.end());
        handle_kept();
    }
    after_input();
}

void Connection::on_end_of_stream() {
    // What was complete has been answered; an incomplete message never reaches the handler.
    if (state_ != State::closed) {
        close_now(state_ == State::open ? CloseReason::peer_finished : reason_);
    }
}

void Connection::on_drained() {
    if (state_ == State::open) {
        is_held_back_ = false;
        handle_kept();
        if (state_ == State::open && !is_held_back_) {
            stream_.start_reading();
        }
        after_input();
    }
}

void Connection::on_closed(int error) noexcept {
    count_sent();
    // An error after we have decided to close is of no interest, unless it cost the peer its
    // answers.
    const bool has_failed =
        error != 0 && (state_ == State::open || reason_ == CloseReason::peer_finished);
    server_.remove(*this, has_failed ? CloseReason::failed : reason_, has_failed ? error : 0);
}

/// Hands over the complete messages at the start of `input` and answers how many bytes they took.
/// When it returns, nothing borrowed from `input` is left in the stream.
std::size_t Connection::handle_messages(std::span<const std::byte> input) {
    const ServerOptions& options = server_.options();
    std::size_t handled = 0;
    while (handled != input.size() && state_ == State::open && !is_held_back_ &&
           stream_.is_open()) {
        const Frame frame =
            next_frame(options.framing, input.subspan(handled), looked_at_, options.max_message);
        if (frame.status == Frame::Status::incomplete) {
            looked_at_ = frame.size;
            break;
        }
        looked_at_ = 0;
        if (frame.status == Frame::Status::too_long) {
            server_.too_long_.add(1);
            server_.handler_.on_too_long(*this);
            if (state_ == State::open) {
                linger(CloseReason::too_long);
            }
            break;
        }
        handled += frame.size;
        server_.messages_.add(1);
        server_.handler_.on_message(*this, frame.message);
        if (stream_.unsent() > options.water_marks.high) {
            send_or_hold_back();
        }
    }
    send_or_hold_back();
    return handled;
}

void Connection::handle_kept() {
    const std::size_t handled = handle_messages(kept_);
    if (state_ != State::open || handled == kept_.size()) {
        std::vector<std::byte>{}.swap(kept_);  // an idle connection keeps no memory
    } else {
        kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(handled));
    }
}

void Connection::after_input() noexcept {
    count_sent();
    if (server_.is_stopping()) {
        stop_if_at_rest();
    }
}

/// Sends; and if the peer takes so little that answers pile up, handles and reads nothing until it
/// has taken them.
void Connection::send_or_hold_back() {
    stream_.flush();
    if (stream_.is_over_high_water() && state_ == State::open && !is_held_back_) {
        is_held_back_ = true;
        stream_.stop_reading();
    }
}

void Connection::linger(CloseReason reason) noexcept {
    state_ = State::lingering;
    reason_ = reason;
    stream_.shutdown_writing();
    stream_.start_reading();
    active_at_ = server_.reactor().now();
    start_timer(MessageServer::k_linger);
}

void Connection::close_now(CloseReason reason) noexcept {
    state_ = State::closed;
    reason_ = reason;
    stream_.close();
    active_at_ = server_.reactor().now();
    start_timer(MessageServer::k_linger);
}

void Connection::abort_now(CloseReason reason) noexcept {
    if (state_ == State::open) {
        reason_ = reason;
    }
    state_ = State::closed;
    stream_.abort(0);
}

void Connection::stop_if_at_rest() noexcept {
    if (state_ != State::open || !is_at_rest()) {
        return;
    }
    if (stream_.unsent() == 0) {
        close_now(CloseReason::stopped);
    } else {
        linger(CloseReason::stopped);
    }
}

/// Nothing has arrived that was not handled.
bool Connection::is_at_rest() const noexcept {
    return kept_.empty() && unread_bytes(stream_.fd()) == 0;
}

void Connection::on_time() noexcept {
    const TimePoint now = server_.reactor().now();
    // The kernel takes bytes long before the peer does: what counts is what the peer has taken.
    const auto on_their_way = static_cast<std::uint64_t>(unacknowledged_bytes(stream_.fd()));
    const std::uint64_t taken = stream_.bytes_out() - on_their_way;
    if (taken != taken_at_check_) {
        taken_at_check_ = taken;
        active_at_ = now;
    }
    const Duration left = active_at_ + patience() - now;
    if (state_ == State::open) {
        left > Duration::zero() ? start_timer(left) : end_idle();
    } else if ((stream_.unsent() != 0 || on_their_way != 0) && left > Duration::zero()) {
        start_timer(std::min(left, MessageServer::k_linger));
    } else {
        abort_now(reason_);
    }
}

void Connection::end_idle() noexcept {
    server_.idle_.add(1);
    if (stream_.unsent() == 0) {
        close_now(CloseReason::idle);
    } else {
        abort_now(CloseReason::idle);
    }
}

/// How long nothing may move.
Duration Connection::patience() const noexcept {
    const Duration idle = server_.options().idle_timeout;
    return idle != Duration::zero() ? idle : MessageServer::k_patience;
}

void Connection::start_timer(Duration duration) noexcept {
    Reactor& reactor = server_.reactor();
    reactor.timers().start(timer_, reactor.now() + duration);
}

void Connection::count_sent() noexcept {
    server_.bytes_out_.add(stream_.bytes_out() - counted_out_);
    counted_out_ = stream_.bytes_out();
}

}  // namespace epoll
