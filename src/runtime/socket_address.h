// SocketAddress: what "unix:/path" and "tcp:host:port" mean to the kernel.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace foreshard::runtime {

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// The scheme ("unix", "tcp", "local") and what follows it; kInvalid for anything else.
struct SplitAddress {
  std::string_view scheme;
  std::string_view rest;
};
Result<SplitAddress> split_address(std::string_view address);

Result<SocketAddress> unix_address(std::string_view path);

// "host:port", "[host]:port". The host may be a name, which takes a look-up that blocks, unless
// numeric_only: then a name is kNotFound.
Result<SocketAddress> tcp_address(std::string_view host_and_port, bool numeric_only);

// "tcp:host:port", "unix:path", or "" when it has no name.
std::string address_text(const SocketAddress& address);

// The host of a TCP peer without its port; with IPv6 the /64, within which one host may take any address it likes.
std::string host_group(const SocketAddress& address);

}  // namespace foreshard::runtime
