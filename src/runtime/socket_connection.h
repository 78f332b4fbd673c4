// SocketConnection: a Connection over a stream socket of the kernel's. Each call is tried at once without
// waiting; only when the socket has nothing to give or no room does io_uring take it over.
//
// Owner: whoever connected or accepted. Ending: shutdown() ends what is pending with -ECANCELED, soon; the
// destructor withdraws what still pends and closes the socket once the kernel has let go of it.
#pragma once

#include <memory>
#include <string>

#include "runtime/file_descriptor.h"
#include "runtime/io.h"
#include "runtime/reactor.h"

namespace foreshard::runtime {

std::unique_ptr<Connection> make_socket_connection(Reactor& reactor, FileDescriptor socket, std::string peer,
                                                   std::string peer_group = "");

}  // namespace foreshard::runtime
