#include "runtime/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <fmt/format.h>

namespace foreshard::runtime {

Result<SplitAddress> split_address(std::string_view address) {
  const size_t colon = address.find(':');
  if (colon != std::string_view::npos && colon + 1 < address.size()) {
    const SplitAddress split = {address.substr(0, colon), address.substr(colon + 1)};
    if (split.scheme == "unix" || split.scheme == "tcp" || split.scheme == "local") return split;
  }
  return fail(ErrorCode::kInvalid, "address", fmt::format("'{}' is none of unix:PATH, tcp:HOST:PORT", address));
}

Result<SocketAddress> unix_address(std::string_view path) {
  SocketAddress address;
  auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
  if (path.size() >= sizeof(un.sun_path)) {
    return fail(
        ErrorCode::kInvalid, "unix socket",
        fmt::format("the path {} is longer than the {} bytes that the system allows", path, sizeof(un.sun_path) - 1));
  }
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, path.data(), path.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

Result<SocketAddress> tcp_address(std::string_view host_and_port, bool numeric_only) {
  const size_t colon = host_and_port.rfind(':');
  std::string host(host_and_port.substr(0, colon));
  const std::string port(colon == std::string_view::npos ? "" : host_and_port.substr(colon + 1));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return fail(ErrorCode::kInvalid, "tcp address",
                fmt::format("'{}': an IPv6 address is written in brackets", host_and_port));
  }
  const bool is_number = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (host.empty() || !is_number || std::stoul(port) > 65535) {
    return fail(ErrorCode::kInvalid, "tcp address", fmt::format("'{}' is not HOST:PORT", host_and_port));
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (numeric_only ? AI_NUMERICHOST : AI_ADDRCONFIG);
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (status != 0) {
    return fail(numeric_only ? ErrorCode::kNotFound : ErrorCode::kUnavailable, "tcp address",
                fmt::format("{}: {}", host, gai_strerror(status)));
  }
  SocketAddress address;
  address.length = found->ai_addrlen;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return address;
}

std::string address_text(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN];
  if (address.family() == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address.storage);
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
    return fmt::format("tcp:{}:{}", text, ntohs(in.sin_port));
  }
  if (address.family() == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address.storage);
    inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof(text));
    return fmt::format("tcp:[{}]:{}", text, ntohs(in.sin6_port));
  }
  if (address.family() == AF_UNIX && address.length > offsetof(sockaddr_un, sun_path)) {
    return fmt::format("unix:{}", reinterpret_cast<const sockaddr_un&>(address.storage).sun_path);
  }
  return "";
}

std::string host_group(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN];
  if (address.family() == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address.storage).sin_addr, text, sizeof(text));
    return text;
  }
  if (address.family() != AF_INET6) return address_text(address);
  in6_addr host = reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&host)) {
    inet_ntop(AF_INET, host.s6_addr + 12, text, sizeof(text));
    return text;
  }
  std::fill(host.s6_addr + 8, host.s6_addr + 16, 0);
  inet_ntop(AF_INET6, &host, text, sizeof(text));
  return std::string(text) + "/64";
}

}  // namespace foreshard::runtime
