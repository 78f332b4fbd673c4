// Proves where commands look for a region, that a folder has one owner at a time, and that an attachment's process is
// called dead only when that is sure.
#include "app/region_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "app/process.h"

namespace foreshard::app {
namespace {

class RegionFolder : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/foreshard-app.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    unsetenv("FORESHARD_DIR");
    unsetenv("FORESHARD_REGION");
    unsetenv("XDG_DATA_HOME");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(RegionFolder, DefaultFollowsTheEnvironment) {
  setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(default_region_folder(), "/home/someone/.local/share/foreshard");
  setenv("XDG_DATA_HOME", "/data", 1);
  EXPECT_EQ(default_region_folder(), "/data/foreshard");
  setenv("FORESHARD_DIR", "/srv/region", 1);
  EXPECT_EQ(default_region_folder(), "/srv/region");
  EXPECT_EQ(*region_address(""), "unix:/srv/region/foreshard.sock");
  setenv("FORESHARD_REGION", "unix:/elsewhere/foreshard.sock", 1);
  EXPECT_EQ(*region_address(""), "unix:/elsewhere/foreshard.sock");
  EXPECT_EQ(*region_address("unix:/given.sock"), "unix:/given.sock");
}

TEST_F(RegionFolder, AddressMayBeAFolderOrAPath) {
  EXPECT_EQ(*region_address(folder_), "unix:" + folder_ + "/foreshard.sock");
  EXPECT_EQ(*region_address("unix:" + folder_ + "/"), "unix:" + folder_ + "/foreshard.sock");
  EXPECT_EQ(*region_address(folder_ + "/x.sock"), "unix:" + folder_ + "/x.sock");
  EXPECT_EQ(*region_address("tcp:host:1"), "tcp:host:1");
  EXPECT_EQ(folder_of_address("unix:/a/b.sock"), "/a");
  EXPECT_EQ(folder_of_address("tcp:host:1"), "");
}

TEST_F(RegionFolder, PathsTooLongForASocketAreRefused) {
  const Result<std::string> address = socket_in("/" + std::string(120, 'x'), "foreshard");
  ASSERT_FALSE(address);
  EXPECT_EQ(address.error().code, ErrorCode::kInvalid);
}

TEST_F(RegionFolder, HasOneOwnerAtATime) {
  const std::string region = folder_ + "/new/region";
  {
    Result<FolderLock> lock = FolderLock::acquire(region);
    ASSERT_TRUE(lock) << lock.error().message();
    const Result<FolderLock> second = FolderLock::acquire(region);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kBusy);
    EXPECT_NE(second.error().detail.find(std::to_string(getpid())), std::string::npos) << second.error().detail;
    EXPECT_NE(second.error().detail.find(region), std::string::npos);
  }
  EXPECT_TRUE(FolderLock::acquire(region)) << "the lock goes with its owner";
  EXPECT_EQ(std::filesystem::status(region).permissions(), std::filesystem::perms::owner_all);
}

meta::pb::Attachment attachment_of(const ProcessIdentity& identity) {
  meta::pb::Attachment attachment;
  attachment.set_host(identity.host);
  attachment.set_boot_id(identity.boot_id);
  attachment.set_pid(identity.pid);
  attachment.set_process_start(identity.start_ticks);
  return attachment;
}

TEST(Process, IsDeadOnlyWhenThatIsSure) {
  const ProcessIdentity self = this_process();
  EXPECT_EQ(self.pid, static_cast<uint64_t>(getpid()));
  EXPECT_NE(self.start_ticks, 0u);
  EXPECT_FALSE(surely_dead(attachment_of(self)));

  ProcessIdentity other = self;
  other.start_ticks += 1;
  EXPECT_TRUE(surely_dead(attachment_of(other))) << "the pid was given to another process";
  other.boot_id = "another boot";
  EXPECT_FALSE(surely_dead(attachment_of(other))) << "another boot's pids mean nothing here";
  other = self;
  other.host = "elsewhere";
  other.start_ticks += 1;
  EXPECT_FALSE(surely_dead(attachment_of(other)));
  EXPECT_FALSE(surely_dead(meta::pb::Attachment()));

  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t ended;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  ProcessIdentity zombie = self;
  zombie.pid = static_cast<uint64_t>(child);
  EXPECT_TRUE(surely_dead(attachment_of(zombie))) << "a zombie does no more I/O";
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(surely_dead(attachment_of(zombie)));
}

}  // namespace
}  // namespace foreshard::app
