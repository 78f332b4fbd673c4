#include "app/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>

namespace foreshard::app {
namespace {

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string boot_and_namespace() {
  std::string id = read_file("/proc/sys/kernel/random/boot_id").value_or("");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  std::array<char, 64> space{};
  const ssize_t size = readlink("/proc/self/ns/pid", space.data(), space.size());
  if (size > 0) id += " " + std::string(space.data(), static_cast<size_t>(size));
  return id;
}

struct ProcessState {
  char state = '?';
  uint64_t start_ticks = 0;
};

// Nothing when there is no such process. /proc/PID/stat: pid (name) state ... field 22 is the start time; the
// name may hold anything, so the fields are counted from its closing parenthesis.
std::optional<ProcessState> process_state(const std::string& pid) {
  const std::optional<std::string> text = read_file("/proc/" + pid + "/stat");
  if (!text) return std::nullopt;
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text->substr(name_end + 1));
  ProcessState process;
  fields >> process.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> process.start_ticks;
  if (!fields) return std::nullopt;
  return process;
}

}  // namespace

ProcessIdentity this_process() {
  ProcessIdentity identity;
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) == 0) identity.host = host.data();
  identity.boot_id = boot_and_namespace();
  identity.pid = static_cast<uint64_t>(getpid());
  const std::optional<ProcessState> self = process_state("self");
  identity.start_ticks = self ? self->start_ticks : 0;
  return identity;
}

bool surely_dead(const meta::pb::Attachment& attachment) {
  const ProcessIdentity here = this_process();
  if (attachment.pid() == 0 || attachment.boot_id().empty()) return false;
  if (attachment.host() != here.host || attachment.boot_id() != here.boot_id) return false;
  const std::optional<ProcessState> process = process_state(std::to_string(attachment.pid()));
  if (!process) return true;
  return process->state == 'Z' || process->state == 'X' || process->start_ticks != attachment.process_start();
}

void raise_open_files_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);  // less is enough for most
}

}  // namespace foreshard::app
