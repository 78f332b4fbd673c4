// A driver in the command's own process, for as long as the command needs the volume: imports, exports, benchmarks.
#pragma once

#include <memory>
#include <string>

#include "app/attachment.h"
#include "cli/region_session.h"

namespace foreshard::cli {

// The options of such a driver: no prefetching, a small cache, its control socket beside the region's.
app::AttachmentOptions temporary_attachment_options(RegionSession& session, const std::string& volume);
// Tells, for a volume that is attached elsewhere, how to get at its data all the same.
Error attached_elsewhere(Error error, const std::string& volume);

// A private folder, removed with what is in it when this object ends.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> create();
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace foreshard::cli
