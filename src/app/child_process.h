// ChildProcess: another program run for a while, such as qemu-img. Killed when destroyed while it runs.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/io.h"

namespace foreshard::app {

class ChildProcess {
 public:
  // The program is looked up in PATH; its standard output goes to `output` when that is not empty, else nowhere.
  // kNotFound when there is no such program.
  static Result<ChildProcess> start(const std::vector<std::string>& command, const std::string& output = {});
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();
  // Waits for its end. kIo with the exit status when it failed.
  runtime::Task<Result<void>> wait(runtime::Runtime& runtime);
  void terminate();

 private:
  explicit ChildProcess(pid_t pid, std::string name) : pid_(pid), name_(std::move(name)) {}
  pid_t pid_;  // 0: it has been waited for
  std::string name_;
};

}  // namespace foreshard::app
