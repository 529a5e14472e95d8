#pragma once

// The documentation of the class Epoll.

namespace epoll::python {

inline constexpr const char* k_epoll_text =
    "Epoll(sizehint=-1, flags=0)\n--\n\n"
    "An epoll instance: watches many file descriptors and reports those that are ready.\n"
    "\n"
    "Takes what select.epoll takes and answers what it answers; sizehint is ignored, and\n"
    "the only flag is EPOLL_CLOEXEC, which is always on (PEP 446). In addition an object\n"
    "can be attached to a descriptor, timeouts are exact to the nanosecond where the\n"
    "kernel has epoll_pwait2(2) (Linux 5.11; else they are rounded up to milliseconds),\n"
    "and an event mask out of range is an OverflowError instead of being cut.\n"
    "\n"
    "    with epoll.Epoll() as ep:\n"
    "        ep.register(sock, epoll.EPOLLIN, data=connection)\n"
    "        for connection, events in ep.wait():\n"
    "            ...\n"
    "\n"
    "len() counts the descriptors that were registered here, `fd in ep` tells whether one\n"
    "was. The object is true even when it is empty. It can be subclassed.\n"
    "\n"
    "Threads: everything may be called from any thread, also while others wait. close()\n"
    "wakes all that wait. After os.fork() the child shares the instance with its parent:\n"
    "what either registers both see. A child should close its copy and open another one.\n"
    "\n"
    "Raises OSError: EMFILE, ENFILE, ENOMEM, or 'invalid flags'; ValueError for a sizehint\n"
    "of 0 or below -1. See epoll(7).";

inline constexpr const char* k_from_fd_text =
    "fromfd($type, fd, /)\n--\n\n"
    "Return an object around the descriptor of an epoll instance, and own it.\n"
    "\n"
    "close() will close it. Descriptors that were registered elsewhere are reported by\n"
    "their number; only what is registered here has an object attached. Whether fd is an\n"
    "epoll instance shows when it is used (EINVAL). Raises ValueError when fd is negative.";

inline constexpr const char* k_register_text =
    "register($self, /, fd, eventmask=7, data=None)\n--\n\n"
    "Start watching a descriptor.\n"
    "\n"
    "fd is an int or has fileno(). eventmask is what to report, a mask of EPOLL* bits;\n"
    "when left out it is EPOLLIN | EPOLLPRI | EPOLLOUT. EPOLLERR and EPOLLHUP are always\n"
    "reported. data is any object; wait() and\n"
    "EventBatch.objects() report it in place of the number, and it is kept alive until\n"
    "the descriptor is unregistered. None attaches nothing.\n"
    "\n"
    "Unregister a descriptor before you close it: the kernel watches the open file, which\n"
    "a dup() or a forked child may keep open, and then reports a number that may be\n"
    "somebody else's. Such a report never comes with the new owner's data.\n"
    "\n"
    "Any thread, also while others wait. Raises OSError: FileExistsError (EEXIST),\n"
    "PermissionError (EPERM: a regular file or a directory), EBADF, EINVAL, ELOOP, ENOSPC,\n"
    "ENOMEM; OverflowError for a mask out of range; ValueError when closed.\n"
    "See epoll_ctl(2), EPOLL_CTL_ADD.";

inline constexpr const char* k_modify_text =
    "modify($self, /, fd, eventmask, data=...)\n--\n\n"
    "Change what is watched for a registered descriptor.\n"
    "\n"
    "data replaces the attached object; None detaches it, and when left out (or given as\n"
    "Ellipsis) it stays. Arms a registration with EPOLLONESHOT again.\n"
    "\n"
    "Any thread, also while others wait. Raises OSError: FileNotFoundError (ENOENT, not\n"
    "registered), EBADF, EINVAL (EPOLLEXCLUSIVE cannot be modified), ENOMEM; OverflowError\n"
    "for a mask out of range; ValueError when closed. See epoll_ctl(2), EPOLL_CTL_MOD.";

inline constexpr const char* k_unregister_text =
    "unregister($self, /, fd)\n--\n\n"
    "Stop watching a descriptor and drop what was attached to it.\n"
    "\n"
    "A wait that is under way in another thread may still report it, by its number.\n"
    "\n"
    "Any thread. Raises OSError: FileNotFoundError (ENOENT, not registered), EBADF (closed\n"
    "already); also then the attached object is dropped. ValueError when closed.\n"
    "See epoll_ctl(2), EPOLL_CTL_DEL.";

inline constexpr const char* k_poll_text =
    "poll($self, /, timeout=None, maxevents=-1)\n--\n\n"
    "Wait for events and return a list of (fd, events) tuples of ints.\n"
    "\n"
    "timeout is in seconds, a real number, rounded up to nanoseconds: 0 returns at once\n"
    "what is ready; None and numbers down from -0.001 wait without end (select.epoll\n"
    "rounds to milliseconds first, so that -0.0009 is 0; so it is here). maxevents bounds\n"
    "the list; -1 is FD_SETSIZE - 1. The list is empty when the time is over. Tuples that\n"
    "say the same may be the same object.\n"
    "\n"
    "Other threads run while it sleeps. A signal does not end the wait, unless its\n"
    "handler raises (PEP 475). Any thread.\n"
    "\n"
    "Raises ValueError when closed, also by another thread during the wait, for NaN and\n"
    "for maxevents of 0 or below -1; OverflowError for a timeout beyond 292 years;\n"
    "TypeError; MemoryError; OSError: EBADF, EINVAL. See epoll_wait(2), epoll_pwait2(2).";

inline constexpr const char* k_wait_text =
    "wait($self, /, timeout_ns=None, maxevents=-1)\n--\n\n"
    "Wait for events and return a list of (data, events) tuples.\n"
    "\n"
    "data is the object attached to the descriptor, or the descriptor itself, an int, when\n"
    "nothing was attached. timeout_ns is an int of nanoseconds: 0 returns at once, None\n"
    "and negative numbers wait without end. Everything else is as in poll().";

inline constexpr const char* k_wait_into_text =
    "wait_into($self, /, batch, timeout_ns=None)\n--\n\n"
    "Wait for events, put them into an EventBatch and return how many there are.\n"
    "\n"
    "What the batch held before is dropped first. At most batch.capacity events are\n"
    "taken; the others stay ready for the next call. timeout_ns is as in wait().\n"
    "\n"
    "Raises RuntimeError when another thread waits into the same batch; else as poll().";

inline constexpr const char* k_registrations_text =
    "registrations($self, /)\n--\n\n"
    "Return a new dict of what was registered here: {fd: (eventmask, data)}.\n"
    "\n"
    "data is None where nothing was attached. A descriptor that was closed without being\n"
    "unregistered is still there. Empty after close(). Any thread.";

inline constexpr const char* k_busy_poll_text =
    "busy_poll($self, /)\n--\n\n"
    "Return the parameters of busy polling: a BusyPoll(usecs, budget, prefer).\n"
    "\n"
    "Raises OSError: ENOTTY where the kernel has no EPIOCGPARAMS (before Linux 6.9);\n"
    "ValueError when closed. See ioctl_eventpoll(2).";

inline constexpr const char* k_set_busy_poll_text =
    "set_busy_poll($self, /, *, usecs=0, budget=0, prefer=False)\n--\n\n"
    "Have waits poll the network device for a while before they sleep.\n"
    "\n"
    "usecs is for how long, in microseconds, 0 is not at all; budget is how many packets\n"
    "one poll may take, 0 is the kernel's default (more than 64 needs CAP_NET_ADMIN);\n"
    "prefer keeps the device's interrupts off meanwhile.\n"
    "\n"
    "Raises OSError: ENOTTY where the kernel has no EPIOCSPARAMS (before Linux 6.9), EPERM,\n"
    "EINVAL; OverflowError; ValueError when closed. See ioctl_eventpoll(2).";

inline constexpr const char* k_close_text =
    "close($self, /)\n--\n\n"
    "Close the epoll instance and drop what was attached to its descriptors.\n"
    "\n"
    "Every thread that waits on it wakes up with ValueError; the last one closes the\n"
    "descriptor, so that none waits on a number that is somebody else's by then. Closing\n"
    "again does nothing. Any thread.\n"
    "\n"
    "Raises OSError: from close(2); or, while threads wait, EMFILE, ENFILE, ENOMEM or\n"
    "ENOSPC when they cannot be woken up, and then the instance stays open.";

inline constexpr const char* k_fileno_text =
    "fileno($self, /)\n--\n\n"
    "Return the descriptor, which can be watched by another epoll. ValueError when closed.";

inline constexpr const char* k_enter_text =
    "__enter__($self, /)\n--\n\nReturn the object itself. ValueError when closed.";

inline constexpr const char* k_exit_text =
    "__exit__($self, exc_type=None, exc_value=None, exc_tb=None, /)\n--\n\nCall close().";

}  // namespace epoll::python
