// What kind of disk image a file is.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/io.h"

namespace foreshard::app {

struct ImageFormat {
  std::string name;         // as qemu-img calls it: raw, qcow2, ...
  uint64_t disk_bytes = 0;  // of the disk inside
};

// Raw is told by looking: anything that no known header begins with. Others are asked of qemu-img. `name` says what it
// is instead of looking, when not empty.
runtime::Task<Result<ImageFormat>> image_format(runtime::Runtime& runtime, std::string path, std::string name,
                                                std::string scratch_folder);
// By the name's ending: "x.qcow2" is qcow2, most are raw.
std::string format_for_name(const std::string& path);

}  // namespace foreshard::app
