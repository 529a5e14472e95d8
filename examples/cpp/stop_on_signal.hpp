#pragma once

#include <csignal>

#include <epoll/loop/reactor.hpp>

/// SIGINT and SIGTERM end Reactor::run(). While it exists, for one reactor of a program.
class StopOnSignal {
  public:
    explicit StopOnSignal(epoll::Reactor& reactor) {
        reactor_ = &reactor;
        std::signal(SIGINT, on_signal);
        std::signal(SIGTERM, on_signal);
    }
    StopOnSignal(const StopOnSignal&) = delete;
    StopOnSignal& operator=(const StopOnSignal&) = delete;
    ~StopOnSignal() {
        std::signal(SIGINT, SIG_DFL);
        std::signal(SIGTERM, SIG_DFL);
        reactor_ = nullptr;
    }

  private:
    /// Reactor::stop() is async-signal-safe: a flag and a write to an eventfd.
    static void on_signal(int) { reactor_->stop(); }

    static inline epoll::Reactor* reactor_ = nullptr;
};
