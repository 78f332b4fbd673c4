// Where a region lives on this host: its folder, its sockets, and the lock that lets one process at a time serve it.
#pragma once

#include <string>

#include "base/result.h"

namespace foreshard::app {

// $FORESHARD_DIR, else $XDG_DATA_HOME/foreshard, else ~/.local/share/foreshard: what `up` takes without --dir and
// every other command looks in without --region.
std::string default_region_folder();
// The absolute path, without links resolved; the folder need not exist.
Result<std::string> absolute_folder(const std::string& folder);
// "unix:<folder>/<name>.sock". kInvalid when the path is too long for a socket.
Result<std::string> socket_in(const std::string& folder, const std::string& name);
// The address of the region to talk to: the one given, else $FORESHARD_REGION, else the default folder's.
// A plain path is taken for a unix socket, a folder for the socket inside it.
Result<std::string> region_address(const std::string& given);
// The folder of a unix address; empty for others.
std::string folder_of_address(const std::string& address);

// An exclusive lock on <folder>/lock, held as long as this object lives. The kernel drops it when the process ends,
// however it ends.
class FolderLock {
 public:
  // Makes the folder, for the user alone, when it is missing. kBusy names the process that holds it.
  static Result<FolderLock> acquire(const std::string& folder);
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int file) : file_(file) {}
  int file_;
};

}  // namespace foreshard::app
