#include "runtime/socket_listener.h"

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "runtime/file_descriptor.h"
#include "runtime/socket_connection.h"
#include "runtime/sync.h"

namespace foreshard::runtime {

namespace {

constexpr int kBacklog = 1024;
constexpr uint64_t kBackOffNs = 50'000'000;

struct AcceptCall final : KernelCall {
  AcceptCall(Reactor& reactor, int listening_fd) : KernelCall(reactor), fd(listening_fd) {
    peer.length = sizeof(peer.storage);
  }
  void fill(io_uring_sqe* sqe) override { io_uring_prep_accept(sqe, fd, peer.get(), &peer.length, SOCK_CLOEXEC); }
  int fd;
  SocketAddress peer;
};

struct PeerNames {
  std::string peer, group;
};

PeerNames names_of(int fd, const SocketAddress& peer) {
  if (peer.family() != AF_UNIX) return {address_text(peer), host_group(peer)};
  ucred credentials = {};
  socklen_t length = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return {"unix", "unix"};
  const std::string name = fmt::format("unix (pid {}, uid {})", credentials.pid, credentials.uid);
  return {name, name};
}

// What is wrong with this process or machine for the moment, rather than with the listener.
bool is_shortage(int error_number) {
  return error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS || error_number == ENOMEM;
}

// What befell one connection before it was accepted: the next one may be well.
bool is_of_one_connection(int error_number) {
  switch (error_number) {
    case EINTR:
    case EAGAIN:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH: return true;
    default: return false;
  }
}

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

// Nothing there: an identity of zeros.
FileIdentity identity_of(const std::string& path) {
  struct stat status;
  if (path.empty() || lstat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino};
}

class SocketListener final : public Listener {
 public:
  // `path`: the socket's file, removed at the end; empty for TCP.
  SocketListener(Reactor& reactor, FileDescriptor socket, std::string address, std::string path)
      : reactor_(reactor),
        socket_(std::move(socket)),
        address_(std::move(address)),
        path_(std::move(path)),
        identity_(identity_of(path_)),
        ended_(reactor) {}
  ~SocketListener() override { shutdown(); }

  Task<Result<std::unique_ptr<Connection>>> accept() override {
    for (;;) {
      if (shut_) co_return fail(ErrorCode::kCancelled, "accept: the listener is shut down");
      AcceptCall call(reactor_, socket_.get());
      const PendingNote note(pending_, call);
      const int32_t result = co_await call;
      FileDescriptor socket(result);
      if (shut_ || !reactor_.open()) co_return fail(ErrorCode::kCancelled, "accept: the listener is shut down");
      if (result >= 0) {
        set_up_stream(result, call.peer.family());
        PeerNames names = names_of(result, call.peer);
        co_return make_socket_connection(reactor_, std::move(socket), std::move(names.peer), std::move(names.group));
      }
      if (is_of_one_connection(-result)) continue;
      if (is_shortage(-result)) {
        // The connection stays in the backlog: trying again at once would only spin.
        co_await ended_.wait_until(reactor_.now_ns() + kBackOffNs);
      }
      co_return fail(error_from_errno(-result, "accept"));
    }
  }

  void shutdown() override {
    if (std::exchange(shut_, true)) return;
    if (pending_ != nullptr) pending_->cancel();
    ended_.wake_all();
    if (identity_ != FileIdentity{} && identity_of(path_) == identity_) unlink(path_.c_str());
    ::shutdown(socket_.get(), SHUT_RDWR);
  }
  std::string address() const override { return address_; }

 private:
  // Tells shutdown() what to cancel, as long as it is there.
  struct PendingNote {
    PendingNote(AcceptCall*& noted_in, AcceptCall& call) : slot(noted_in) { slot = &call; }
    ~PendingNote() { slot = nullptr; }
    AcceptCall*& slot;
  };
  Reactor& reactor_;
  FileDescriptor socket_;
  std::string address_;
  std::string path_;
  FileIdentity identity_;
  WaitQueue ended_;
  AcceptCall* pending_ = nullptr;
  bool shut_ = false;
};

Result<FileDescriptor> make_socket(int family) {
  FileDescriptor socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail(error_from_errno(errno, "socket"));
  return socket;
}

// Whether the process behind a connected socket runs no more. The kernel keeps the listener of a killed process for
// as long as it takes to give up what io_uring had under way.
bool listener_is_dead(int connected) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid <= 0) return false;
  return kill(peer.pid, 0) != 0 && errno == ESRCH;
}

// Makes room for a socket file: removes one that nobody listens on.
Result<void> clear_stale_socket(const std::string& path, const SocketAddress& address) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail(error_from_errno(errno, "listen", path));
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(ErrorCode::kExists, "listen: a file that is no socket is in the way", path);
  }
  TRY(const FileDescriptor probe, make_socket(AF_UNIX));
  // Not to wait for a listener whose backlog is full: it lives.
  fcntl(probe.get(), F_SETFL, O_NONBLOCK);
  const bool connected = connect(probe.get(), address.get(), address.length) == 0;
  if (connected ? !listener_is_dead(probe.get()) : errno == EAGAIN) {
    return fail(ErrorCode::kBusy, "listen: another process listens there", path);
  }
  if (!connected && errno == ENOENT) return {};
  if (!connected && errno != ECONNREFUSED) return fail(error_from_errno(errno, "listen", path));
  if (identity_of(path) != FileIdentity{status.st_dev, status.st_ino}) {
    return fail(ErrorCode::kBusy, "listen: another process has just begun to listen there", path);
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return fail(error_from_errno(errno, "unlink stale socket", path));
  return {};
}

}  // namespace

void set_up_stream(int fd, int family) {
  if (family != AF_INET && family != AF_INET6) return;
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

Result<std::unique_ptr<Listener>> listen_unix(Reactor& reactor, const std::string& path) {
  TRY(const SocketAddress address, unix_address(path));
  const size_t slash = path.find_last_of('/');
  const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  struct stat status;
  if (stat(parent.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::kNotFound, "listen: the socket's folder does not exist", parent);
  }
  TRY_VOID(clear_stale_socket(path, address));
  TRY(FileDescriptor socket, make_socket(AF_UNIX));
  // bind gives the file the mode of the socket itself, so that it never is open to others.
  if (fchmod(socket.get(), 0600) != 0) return fail(error_from_errno(errno, "fchmod", path));
  if (bind(socket.get(), address.get(), address.length) != 0) return fail(error_from_errno(errno, "bind", path));
  if (::listen(socket.get(), kBacklog) != 0) return fail(error_from_errno(errno, "listen", path));
  return std::make_unique<SocketListener>(reactor, std::move(socket), "unix:" + path, path);
}

Result<std::unique_ptr<Listener>> listen_tcp(Reactor& reactor, const SocketAddress& address) {
  TRY(FileDescriptor socket, make_socket(address.family()));
  const int one = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(socket.get(), address.get(), address.length) != 0) {
    return fail(error_from_errno(errno, "bind", address_text(address)));
  }
  if (::listen(socket.get(), kBacklog) != 0) return fail(error_from_errno(errno, "listen", address_text(address)));
  SocketAddress bound;
  bound.length = sizeof(bound.storage);
  if (getsockname(socket.get(), bound.get(), &bound.length) != 0) return fail(error_from_errno(errno, "getsockname"));
  return std::make_unique<SocketListener>(reactor, std::move(socket), address_text(bound), "");
}

}  // namespace foreshard::runtime
