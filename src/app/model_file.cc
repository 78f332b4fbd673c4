#include "app/model_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "policy/predict/neural/model_format.h"
#include "runtime/file_descriptor.h"

namespace foreshard::app {
namespace {

Result<void> write_all(int file, ConstByteSpan bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(error_from_errno(errno, "cannot write the model", path));
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> sync_folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const runtime::FileDescriptor file(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0 || fsync(file.get()) != 0) return fail(error_from_errno(errno, "cannot sync the folder", folder));
  return {};
}

}  // namespace

Result<void> write_model_file(const std::string& path, const policy::Model& model) {
  const std::vector<std::byte> bytes = policy::encode_model(model);
  const std::string temporary = path + ".part";
  Result<void> written;
  {
    const runtime::FileDescriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) return fail(error_from_errno(errno, "cannot write the model", temporary));
    written = write_all(file.get(), bytes, temporary);
    if (written && fsync(file.get()) != 0) written = fail(error_from_errno(errno, "cannot sync the model", temporary));
  }
  if (written && rename(temporary.c_str(), path.c_str()) != 0) {
    written = fail(error_from_errno(errno, "cannot rename the model", path));
  }
  if (!written) {
    unlink(temporary.c_str());
    return written;
  }
  return sync_folder_of(path);
}

Result<policy::Model> read_model_file(const std::string& path) {
  // Not blocked by a fifo, and nothing but a file is read.
  const runtime::FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return fail(error_from_errno(errno, "cannot read the model", path));
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return fail(error_from_errno(errno, "cannot read the model", path));
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::kInvalid, "model file", path + " is no file");
  if (status.st_size < 0 || static_cast<uint64_t>(status.st_size) > policy::kModelFileBytesMax) {
    return fail(ErrorCode::kCorrupt, "model file", path + ": it is longer than any model");
  }
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t got = read(file.get(), bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(error_from_errno(errno, "cannot read the model", path));
    if (got == 0) break;
    at += static_cast<size_t>(got);
  }
  bytes.resize(at);
  Result<policy::Model> model = policy::decode_model(bytes);
  if (!model) {
    Error error = model.error();
    error.detail = path + ": " + error.detail;
    return fail(std::move(error));
  }
  return model;
}

}  // namespace foreshard::app
