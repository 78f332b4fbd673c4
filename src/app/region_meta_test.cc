// Shows that metadata which has lost its end is not served, as it would be after a damaged log, and that the mark which
// tells it is no hindrance: where it is missing, damaged or older, or was removed to go on with what is left.
#include "app/region_meta.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "index/map_index.h"
#include "runtime/real_runtime.h"
#include "runtime/test_folder.h"

namespace foreshard::app {
namespace {

using runtime::Task;

class RegionMetaTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    runtime_ = *runtime::RealRuntime::create();
    disk_ = *runtime_->open_disk(folder_.path());
  }
  template <class T>
  T run(Task<T> task) {
    return runtime_->run(std::move(task));
  }
  Result<std::unique_ptr<RegionMeta>> open() {
    return run(RegionMeta::open(*runtime_, *disk_, index::map_index_opener(state_)));
  }
  // Opens, makes so many changes, and closes.
  void change(uint32_t count) {
    Result<std::unique_ptr<RegionMeta>> meta = open();
    ASSERT_TRUE(meta) << meta.error().message();
    for (uint32_t i = 0; i < count; ++i) {
      meta::Transaction transaction;
      transaction.operations.push_back({meta::Operation::Kind::kPut, "/key", std::to_string(i), 0});
      ASSERT_TRUE(run((*meta)->commit(std::move(transaction))));
    }
    ASSERT_TRUE(run((*meta)->close()));
  }
  std::string mark() const { return folder_.path() + "/" + RevisionMark::kPath; }

  std::unique_ptr<runtime::RealRuntime> runtime_;
  runtime::TestFolder folder_;
  std::unique_ptr<runtime::Disk> disk_;
  index::MapIndexState state_;
};

TEST_F(RegionMetaTest, WithoutItsEndItIsNotServed) {
  change(3);
  const index::MapIndexState older = state_;
  change(1);
  const index::MapIndexState whole = std::exchange(state_, older);
  for (int again = 0; again < 2; ++again) {
    const Result<std::unique_ptr<RegionMeta>> meta = open();
    ASSERT_FALSE(meta);
    EXPECT_EQ(meta.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(meta.error().detail.find("revision 3 and was at 4"), std::string::npos) << meta.error().detail;
  }
  state_ = whole;
  change(1);
}

TEST_F(RegionMetaTest, NothingAtAllIsNotItsBeginning) {
  change(1);
  state_ = index::MapIndexState();
  EXPECT_FALSE(open());
}

TEST_F(RegionMetaTest, RemovingTheMarkGoesOnWithWhatIsLeft) {
  change(3);
  state_ = index::MapIndexState();
  std::filesystem::remove(mark());
  change(1);
  state_ = index::MapIndexState();
  EXPECT_FALSE(open()) << "it is marked anew";
}

TEST_F(RegionMetaTest, AMarkThatIsDamagedOrOlderIsNoHindrance) {
  change(3);
  const std::string older = folder_.path() + "/older";
  std::filesystem::copy_file(mark(), older);
  change(2);
  std::filesystem::copy_file(older, mark(), std::filesystem::copy_options::overwrite_existing);
  change(1);
  for (const std::string& damage : {std::string(), std::string("cut"), std::string(kPageBytes, 'x')}) {
    std::ofstream(mark(), std::ios::binary | std::ios::trunc) << damage;
    change(1);
    const index::MapIndexState whole = std::exchange(state_, index::MapIndexState());
    EXPECT_FALSE(open()) << "it is marked anew";
    state_ = whole;
  }
}

}  // namespace
}  // namespace foreshard::app
