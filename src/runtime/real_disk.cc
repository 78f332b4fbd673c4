#include "runtime/real_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/file_descriptor.h"
#include "runtime/real_file.h"

namespace foreshard::runtime {

namespace {

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

tl::unexpected<Error> fail_errno(const char* context, const std::string& path) {
  return fail(error_from_errno(errno, context, path));
}

Result<void> sync_fd(int fd, const std::string& path) {
  if (fsync(fd) != 0) return fail_errno("fsync", path);
  return {};
}

// Makes one folder, durably; fine when it is there. An empty parent is `at` itself.
Result<void> make_folder(int at, const std::string& path) {
  if (mkdirat(at, path.c_str(), kFolderMode) != 0) {
    if (errno == EEXIST) return {};
    return fail_errno("mkdir", path);
  }
  const size_t slash = path.find_last_of('/');
  const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const FileDescriptor folder(openat(at, parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return fail_errno("open folder", parent);
  return sync_fd(folder.get(), parent);
}

// Makes every folder that `path` leads through: all components but the last, or all.
Result<void> make_folders(int at, const std::string& path, bool with_last) {
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    TRY_VOID(make_folder(at, path.substr(0, end)));
  }
  if (with_last) return make_folder(at, path);
  return {};
}

// Relative, and of plain components only. The empty path is the disk's own folder.
Result<void> check_path(const std::string& path) {
  if (path.empty()) return {};
  size_t begin = 0;
  for (;;) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string component = path.substr(begin, end - begin);
    if (component.empty() || component == "." || component == ".." || component.find('\0') != std::string::npos) {
      return fail(ErrorCode::kInvalid, "disk path leads out of its folder", path);
    }
    if (end == path.size()) return {};
    begin = end + 1;
  }
}

std::string or_self(const std::string& path) { return path.empty() ? "." : path; }

class RealDisk final : public Disk {
 public:
  RealDisk(Reactor& reactor, std::string host_path, FileDescriptor folder)
      : reactor_(reactor), host_path_(std::move(host_path)), folder_(std::move(folder)) {}

  Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override {
    TRY_VOID(check_path(path));
    if (mode == Open::kCreate) {
      TRY_VOID(make_folders(folder_.get(), path, false));
    }
    const int flags = O_RDWR | O_CLOEXEC | (mode == Open::kCreate ? O_CREAT : 0);
    FileDescriptor fd(open_beneath(path, flags | O_DIRECT));
    if (!fd.valid() && errno == EINVAL) fd = FileDescriptor(open_beneath(path, flags));
    if (!fd.valid()) return fail_errno("open", path);
    struct stat status;
    if (fstat(fd.get(), &status) != 0) return fail_errno("fstat", path);
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
      return fail(ErrorCode::kInvalid, "open: neither a file nor a block device", path);
    }
    // The lock belongs to the open file, which requests under way keep alive: it falls only when the last write
    // of a process that was killed has reached the disk or failed.
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK)
        return fail(ErrorCode::kBusy, "open: in use, perhaps by a process that is ending", path);
      return fail_errno("flock", path);
    }
    return make_real_file(reactor_, std::move(fd));
  }

  Result<bool> exists(const std::string& path) override {
    TRY_VOID(check_path(path));
    struct stat status;
    if (fstatat(folder_.get(), or_self(path).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return fail_errno("stat", path);
  }

  Result<void> remove(const std::string& path) override {
    TRY_VOID(check_path(path));
    if (unlinkat(folder_.get(), path.c_str(), 0) == 0) return {};
    if (errno == EISDIR && unlinkat(folder_.get(), path.c_str(), AT_REMOVEDIR) == 0) return {};
    return fail_errno("remove", path);
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    TRY_VOID(check_path(from));
    TRY_VOID(check_path(to));
    if (renameat(folder_.get(), from.c_str(), folder_.get(), to.c_str()) != 0) return fail_errno("rename", from);
    return {};
  }

  Result<std::vector<std::string>> list(const std::string& folder) override {
    TRY_VOID(check_path(folder));
    FileDescriptor fd(open_beneath(or_self(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return fail_errno("list", folder);
    DIR* stream = fdopendir(dup(fd.get()));
    if (stream == nullptr) return fail_errno("list", folder);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(stream)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    const int error_number = errno;
    closedir(stream);
    if (error_number != 0) return fail(error_from_errno(error_number, "list", folder));
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<void> sync_folder(const std::string& folder) override {
    TRY_VOID(check_path(folder));
    const FileDescriptor fd(open_beneath(or_self(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return fail_errno("sync folder", folder);
    return sync_fd(fd.get(), folder);
  }

  Result<uint64_t> free_bytes() override {
    struct statvfs status;
    if (fstatvfs(folder_.get(), &status) != 0) return fail_errno("statvfs", host_path_);
    return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  }

  std::string host_path() const override { return host_path_; }

 private:
  int open_beneath(const std::string& path, int flags) {
    open_how how = {};
    how.flags = static_cast<uint64_t>(flags);
    how.mode = (flags & O_CREAT) != 0 ? kFileMode : 0;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    return static_cast<int>(syscall(SYS_openat2, folder_.get(), path.c_str(), &how, sizeof(how)));
  }

  Reactor& reactor_;
  std::string host_path_;
  FileDescriptor folder_;
};

}  // namespace

Result<std::unique_ptr<Disk>> open_real_disk(Reactor& reactor, const std::string& folder) {
  if (folder.empty()) return fail(ErrorCode::kInvalid, "open disk: no folder named");
  std::string path = folder;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path != "/") {
    TRY_VOID(make_folders(AT_FDCWD, path, true));
  }
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fail_errno("open disk", path);
  return std::make_unique<RealDisk>(reactor, path, std::move(fd));
}

}  // namespace foreshard::runtime
