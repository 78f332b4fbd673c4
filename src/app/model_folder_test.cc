// Shows that the newest whole model is found again, that damaged, foreign and half-written files are passed over, and
// that old ones go.
#include "app/model_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "app/model_file.h"
#include "base/log.h"
#include "policy/predict/neural/model_testing.h"
#include "runtime/test_folder.h"

namespace foreshard::app {
namespace {

policy::Model small_model(uint64_t seed, policy::ModelKind kind = policy::ModelKind::kLstm) {
  policy::ModelShape shape;
  shape.kind = kind;
  shape.vocabulary = 3;
  shape.regions = shape.pages = shape.workloads = shape.labels = 2;
  shape.width = shape.hidden = 4;
  shape.history_entries = 4;
  return policy::random_model(shape, seed);
}

void damage(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(200);
  file.put('x');
}

TEST(ModelFolder, TheNewestWholeOneCounts) {
  set_log_level(LogLevel::kOff);
  const runtime::TestFolder folder;
  ModelFolder models(folder / "models", policy::ModelKind::kLstm);
  EXPECT_FALSE(models.newest());
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Result<uint64_t> number = models.add(small_model(seed));
    ASSERT_TRUE(number);
    EXPECT_EQ(*number, seed);
  }
  ASSERT_TRUE(models.newest());
  EXPECT_EQ(models.newest()->model, small_model(5));
  EXPECT_FALSE(std::filesystem::exists(models.path(2)));
  EXPECT_TRUE(std::filesystem::exists(models.path(3)));

  // After a restart, with damage.
  const ModelFolder again(folder / "models", policy::ModelKind::kLstm);
  damage(again.path(5));
  std::ofstream(again.path(6)) << "no model";
  std::filesystem::create_directory(again.path(7));
  std::ofstream(again.path(8) + ".part") << "half";
  std::ofstream(folder / "models" + "/lstm-x.model") << "odd";
  ASSERT_TRUE(again.newest());
  EXPECT_EQ(again.newest()->number, 4u);
  EXPECT_EQ(again.newest()->model, small_model(4));
  for (uint64_t number = 3; number <= 4; ++number) damage(again.path(number));
  EXPECT_FALSE(again.newest());
}

TEST(ModelFolder, KindsDoNotMeet) {
  set_log_level(LogLevel::kOff);
  const runtime::TestFolder folder;
  ModelFolder lstm(folder.path(), policy::ModelKind::kLstm);
  ModelFolder transformer(folder.path(), policy::ModelKind::kTransformer);
  ASSERT_TRUE(lstm.add(small_model(1)));
  EXPECT_FALSE(transformer.newest());
  std::filesystem::copy(lstm.path(1), transformer.path(1));
  EXPECT_FALSE(transformer.newest());
}

TEST(ModelFile, WhatCannotBeReadIsAnError) {
  const runtime::TestFolder folder;
  EXPECT_EQ(read_model_file(folder / "none").error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(read_model_file(folder.path()));
  EXPECT_FALSE(read_model_file("/dev/zero"));
  std::ofstream(folder / "large").close();
  std::filesystem::resize_file(folder / "large", 1ull << 40);
  EXPECT_EQ(read_model_file(folder / "large").error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(write_model_file(folder / "no/such/folder", small_model(1)));
}

}  // namespace
}  // namespace foreshard::app
