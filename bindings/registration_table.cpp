#include "registration_table.hpp"

#include <utility>

namespace epoll::python {

void RegistrationTable::reserve(int fd) {
    const std::size_t page = static_cast<std::size_t>(fd) / k_page_size;
    if (page >= pages_.size()) {
        pages_.resize(page + 1);
    }
    if (pages_[page] == nullptr) {
        pages_[page] = std::make_unique<Page>();
    }
}

Registration RegistrationTable::put(int fd, Registration registration) noexcept {
    Registration* const home = place(fd);
    if (!home->exists()) {
        ++size_;
    }
    return std::exchange(*home, std::move(registration));
}

Registration RegistrationTable::take(int fd) noexcept {
    Registration* const home = find(fd);
    if (home == nullptr) {
        return {};
    }
    --size_;
    return std::exchange(*home, Registration{});
}

}  // namespace epoll::python
