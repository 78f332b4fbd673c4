// What `attach` and `up --attach` have in common.
#pragma once

#include <string>
#include <vector>

#include "app/attachment.h"
#include "cli/invocation.h"

namespace foreshard::cli {

struct AttachOptions {
  std::vector<std::string> nbd;
  uint64_t cache_bytes = 256u << 20;
  std::string cache_file;
  uint64_t cache_file_bytes = 0;
  uint64_t cache_file_writes = 64u << 20;
  std::string prefetch = "on";
  std::string prefetch_budget = "normal";
  bool warm_servers = true;
  std::vector<std::string> prefetch_experts;
  std::string model;  // a file, or "region"
  bool train_online = false;
  double train_cpu_percent = 10;
  std::string zone;
  uint64_t io_timeout_ns = UINT64_MAX;
  bool force = false;
};

void add_attach_options(CLI::App& command, AttachOptions& options);
Result<app::AttachmentOptions> attachment_options(const AttachOptions& options, const std::string& volume,
                                                  const std::string& region_address);
// Prints the line that says where clients connect.
void tell_ready(const Invocation& invocation, const app::Attachment& attachment, const std::string& volume);
// Waits until the attachment is over, then detaches. Fails with why the driver could go on no more.
runtime::Task<Result<void>> serve_until_over(app::Attachment& attachment, std::string volume);
// After all else has ended: ends the process with this result where the disk of the cache file hangs. The kernel gives
// nothing back of what it was asked for there, and the memory that it may still write to must stay.
void end_if_disk_hangs(const Invocation& invocation, app::Attachment& attachment, const Result<void>& result);

}  // namespace foreshard::cli
