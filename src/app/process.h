// Who this process is to others on its host, and whether another one still runs. A pid alone does not say: pids
// are reused, and mean nothing in another pid namespace or after a reboot; so the boot, the namespace and the
// start time of the process go with it.
#pragma once

#include <cstdint>
#include <string>

#include "meta/records.pb.h"

namespace foreshard::app {

struct ProcessIdentity {
  std::string host;
  std::string boot_id;  // of the kernel's boot and the pid namespace
  uint64_t pid = 0;
  uint64_t start_ticks = 0;  // since boot
};

ProcessIdentity this_process();

// True only when the attachment's process was on this boot and in this pid namespace and runs no more. False when
// it runs or when that cannot be told from here.
bool surely_dead(const meta::pb::Attachment& attachment);

// As many open files as this process may have: the usual soft limit of 1024 is soon reached by indexes and connections.
void raise_open_files_limit();

}  // namespace foreshard::app
