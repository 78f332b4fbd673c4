#include "runtime/real_network.h"

#include <liburing.h>

#include <cerrno>

#include "runtime/file_descriptor.h"
#include "runtime/socket_address.h"
#include "runtime/socket_connection.h"
#include "runtime/socket_listener.h"

namespace foreshard::runtime {

namespace {

struct ConnectCall final : KernelCall {
  ConnectCall(Reactor& reactor, int socket_fd, const SocketAddress& to)
      : KernelCall(reactor), fd(socket_fd), address(to) {}
  void fill(io_uring_sqe* sqe) override { io_uring_prep_connect(sqe, fd, address.get(), address.length); }
  int fd;
  const SocketAddress& address;
};

// Cancels a call at its deadline.
struct CallTimer final : Timer {
  explicit CallTimer(KernelCall& cancelled) : call(cancelled) {}
  void fire() override {
    fired = true;
    call.cancel();
  }
  KernelCall& call;
  bool fired = false;
};

Error connect_error(int error_number, bool timed_out, const std::string& address) {
  Error error = error_from_errno(error_number, "connect", address);
  if (timed_out && (error_number == ECANCELED || error_number == EINTR))
    error = Error{ErrorCode::kTimeout, "connect", 0, address};
  // Nobody listens there now; somebody may later.
  if (error_number == ENOENT || error_number == ENOTDIR) error.code = ErrorCode::kUnavailable;
  return error;
}

}  // namespace

Task<Result<std::unique_ptr<Connection>>> RealNetwork::connect(const std::string& address, uint64_t deadline_ns) {
  return connect_to(address, deadline_ns);  // by value: the caller's string may be a temporary
}

Task<Result<std::unique_ptr<Connection>>> RealNetwork::connect_to(std::string address, uint64_t deadline_ns) {
  CO_TRY(const SplitAddress split, split_address(address));
  if (split.scheme == "local") co_return local_.connect(std::string(split.rest));
  SocketAddress target;
  if (split.scheme == "unix") {
    CO_TRY(target, unix_address(split.rest));
  } else {
    Result<SocketAddress> numeric = tcp_address(split.rest, true);
    if (!numeric && numeric.error().code == ErrorCode::kNotFound) {
      if (resolver_ == nullptr) resolver_ = std::make_unique<WorkerThread>(reactor_, "resolver");
      auto look_up = [rest = std::string(split.rest)] { return tcp_address(rest, false); };
      numeric = co_await resolver_->run_blocking(std::move(look_up));
    }
    if (!numeric) co_return fail(std::move(numeric.error()));
    target = *numeric;
  }

  FileDescriptor socket(::socket(target.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) co_return fail(error_from_errno(errno, "socket"));
  ConnectCall call(reactor_, socket.get(), target);
  CallTimer timer(call);
  if (deadline_ns != UINT64_MAX) timer.start(reactor_, deadline_ns);
  const int32_t result = co_await call;
  timer.cancel();
  if (result < 0) co_return fail(connect_error(-result, timer.fired, address));
  set_up_stream(socket.get(), target.family());
  co_return make_socket_connection(reactor_, std::move(socket), address);
}

Result<std::unique_ptr<Listener>> RealNetwork::listen(const std::string& address) {
  TRY(const SplitAddress split, split_address(address));
  if (split.scheme == "local") return local_.listen(std::string(split.rest));
  if (split.scheme == "unix") return listen_unix(reactor_, std::string(split.rest));
  TRY(const SocketAddress target, tcp_address(split.rest, false));
  return listen_tcp(reactor_, target);
}

}  // namespace foreshard::runtime
