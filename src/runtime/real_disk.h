// The real Disk: a folder of the host, its files read and written by io_uring, O_DIRECT where the file
// system can (tmpfs and some network file systems cannot: there the page cache stands between).
//
// Owner: whoever opened it through Runtime::open_disk. Files outlive the disk and end before the reactor.
// Invariant: no path leads out of the folder; components "." and ".." and absolute paths are refused, and
// the kernel is told to follow no link out of it.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "runtime/io.h"
#include "runtime/reactor.h"

namespace foreshard::runtime {

// Makes the folder, and the ones above it, when missing.
Result<std::unique_ptr<Disk>> open_real_disk(Reactor& reactor, const std::string& folder);

}  // namespace foreshard::runtime
