#include "cli/temporary_attachment.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "app/region_folder.h"

namespace foreshard::cli {

app::AttachmentOptions temporary_attachment_options(RegionSession& session, const std::string& volume) {
  app::AttachmentOptions options;
  options.driver.volume = volume;
  options.driver.cache_bytes = 16u << 20;
  options.driver.prefetch = policy::PrefetchMode::kOff;
  const std::string folder = app::folder_of_address(session.address());
  options.control_folder = folder.empty() ? "/tmp" : folder;
  return options;
}

Error attached_elsewhere(Error error, const std::string& volume) {
  if (error.code == ErrorCode::kBusy) {
    error.detail += "; detach it first (foreshard detach " + volume + "), or copy through its NBD export with nbdcopy";
  }
  return error;
}

Result<TemporaryFolder> TemporaryFolder::create() {
  const char* base = std::getenv("TMPDIR");
  std::string path = std::string(base == nullptr ? "/tmp" : base) + "/foreshard.XXXXXX";
  if (mkdtemp(path.data()) == nullptr) return fail(error_from_errno(errno, "temporary folder", path));
  return TemporaryFolder(std::move(path));
}

TemporaryFolder::~TemporaryFolder() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace foreshard::cli
