#include "app/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <fmt/format.h>

namespace foreshard::app {
namespace {

constexpr uint64_t kLookAgainNs = 10'000'000;

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& command, const std::string& output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output.empty() ? "/dev/null" : output.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  // This process may block termination signals to await them; the child must not.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int code = posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (code == ENOENT) {
    return fail(ErrorCode::kNotFound, "program", fmt::format("{} is not installed (package qemu-utils)", command[0]));
  }
  if (code != 0) return fail(error_from_errno(code, "cannot start", command[0]));
  return ChildProcess(pid, command[0]);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), name_(std::move(other.name_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

runtime::Task<Result<void>> ChildProcess::wait(runtime::Runtime& runtime) {
  for (;;) {
    int status = 0;
    const pid_t done = waitpid(pid_, &status, WNOHANG);
    if (done == pid_) {
      pid_ = 0;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) co_return Result<void>();
      co_return fail(ErrorCode::kIo, "program",
                     WIFEXITED(status) ? fmt::format("{} failed with exit status {}; what it said is above", name_,
                                                     WEXITSTATUS(status))
                                       : fmt::format("{} was ended by signal {}", name_, WTERMSIG(status)));
    }
    if (done < 0 && errno != EINTR) co_return fail(error_from_errno(errno, "waitpid", name_));
    co_await runtime.executor().sleep_for(kLookAgainNs);
  }
}

void ChildProcess::terminate() {
  if (pid_ != 0) kill(pid_, SIGTERM);
}

}  // namespace foreshard::app
