// The real File: reads, writes and syncs by io_uring. Made by the real Disk; ends before the reactor does.
// Destroying it withdraws what is still under way.
#pragma once

#include <memory>

#include "runtime/file_descriptor.h"
#include "runtime/io.h"
#include "runtime/reactor.h"

namespace foreshard::runtime {

std::unique_ptr<File> make_real_file(Reactor& reactor, FileDescriptor fd);

}  // namespace foreshard::runtime
