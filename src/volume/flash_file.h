// The file of a FlashCache: taken or made, with its space reserved. It begins with a page (kPageBytes) that says whose
// it is; what follows is the caller's, and of no worth to whoever opens it next. A file with other contents is never
// touched.
#pragma once

#include <memory>
#include <string>

#include "runtime/io.h"

namespace foreshard::volume {

// The file, of file_bytes, held by this process alone until it is destroyed. Errors tell a person what to do: kExists
// for a file that is not ours, kBusy for one that another driver uses (after a second), kNoSpace, kInvalid.
runtime::Task<Result<std::unique_ptr<runtime::File>>> open_flash_file(runtime::Runtime& runtime, std::string path,
                                                                      uint64_t file_bytes);

}  // namespace foreshard::volume
