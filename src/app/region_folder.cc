#include "app/region_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

namespace foreshard::app {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

constexpr size_t kSocketPathMax = sizeof(sockaddr_un::sun_path) - 1;

}  // namespace

std::string default_region_folder() {
  if (const std::string folder = environment("FORESHARD_DIR"); !folder.empty()) return folder;
  if (const std::string data = environment("XDG_DATA_HOME"); !data.empty()) return data + "/foreshard";
  const std::string home = environment("HOME");
  return (home.empty() ? "/var/lib" : home + "/.local/share") + "/foreshard";
}

Result<std::string> absolute_folder(const std::string& folder) {
  std::error_code code;
  std::filesystem::path path = std::filesystem::absolute(folder, code);
  if (code) return fail(error_from_errno(code.value(), "folder", folder));
  path = path.lexically_normal();
  std::string text = path.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

Result<std::string> socket_in(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name + ".sock";
  if (path.size() > kSocketPathMax) {
    return fail(ErrorCode::kInvalid, "socket",
                fmt::format("'{}' is longer than the {} bytes that a socket's path may have; choose a shorter folder",
                            path, kSocketPathMax));
  }
  return "unix:" + path;
}

Result<std::string> region_address(const std::string& given) {
  std::string address = given;
  if (address.empty()) address = environment("FORESHARD_REGION");
  if (address.empty()) address = default_region_folder();
  if (address.starts_with("tcp:") || address.starts_with("local:")) return address;
  std::string path = address.starts_with("unix:") ? address.substr(5) : address;
  TRY(path, absolute_folder(path));
  struct stat status {};
  const bool is_folder = stat(path.c_str(), &status) == 0 ? S_ISDIR(status.st_mode) : !path.ends_with(".sock");
  if (is_folder) return socket_in(path, "foreshard");
  return "unix:" + path;
}

std::string folder_of_address(const std::string& address) {
  if (!address.starts_with("unix:")) return "";
  return std::filesystem::path(address.substr(5)).parent_path().string();
}

Result<FolderLock> FolderLock::acquire(const std::string& folder) {
  const mode_t mask = umask(077);
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  umask(mask);
  if (code) return fail(error_from_errno(code.value(), "cannot make the region's folder", folder));

  const std::string path = folder + "/lock";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return fail(error_from_errno(errno, "cannot open the region's lock", path));
  FolderLock lock(file);
  if (flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(error_from_errno(errno, "cannot lock the region's folder", path));
    std::array<char, 32> holder{};
    const ssize_t size = pread(file, holder.data(), holder.size() - 1, 0);
    std::string pid = size > 0 ? std::string(holder.data(), static_cast<size_t>(size)) : "unknown";
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    return fail(ErrorCode::kBusy, "the region is running already",
                fmt::format("process {} holds {}; talk to it with --region unix:{}/foreshard.sock, or end it first",
                            pid, folder, folder));
  }
  const std::string pid = fmt::format("{}\n", getpid());
  if (ftruncate(file, 0) != 0 || pwrite(file, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return fail(error_from_errno(errno, "cannot write the region's lock", path));
  }
  return lock;
}

FolderLock::FolderLock(FolderLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

FolderLock::~FolderLock() {
  if (file_ >= 0) close(file_);
}

}  // namespace foreshard::app
