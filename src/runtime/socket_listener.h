// SocketListener: accepts connections of a listening socket through io_uring.
//
// Unix sockets are reachable by their owner alone (mode 0600 from the moment they appear). A socket file that
// nobody listens on any more is replaced; one that answers is kBusy. The file is removed at the end.
#pragma once

#include <memory>
#include <string>

#include "runtime/io.h"
#include "runtime/reactor.h"
#include "runtime/socket_address.h"

namespace foreshard::runtime {

Result<std::unique_ptr<Listener>> listen_unix(Reactor& reactor, const std::string& path);
Result<std::unique_ptr<Listener>> listen_tcp(Reactor& reactor, const SocketAddress& address);

// Settings of a stream socket, be it accepted or connected: no delay, keep-alive.
void set_up_stream(int fd, int family);

}  // namespace foreshard::runtime
