// Shows that models put into a region come out as they were, also after it was closed and opened again; that the newest
// three of a kind stay; that one which was not added to its end is never seen and is cleaned away later; that parts
// which were changed, cut, or went are told from whole ones; and that additions at the same time get numbers of their
// own.
#include "app/region_models.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/log.h"
#include "index/map_index.h"
#include "meta/embedded_meta.h"
#include "meta/records.h"
#include "policy/predict/neural/model_format.h"
#include "policy/predict/neural/model_testing.h"
#include "runtime/real_runtime.h"

namespace foreshard::app {
namespace {

using runtime::Task;

policy::Model model_of(uint64_t seed, uint32_t width = 4, policy::ModelKind kind = policy::ModelKind::kLstm) {
  policy::ModelShape shape;
  shape.kind = kind;
  shape.vocabulary = 3;
  shape.regions = shape.pages = shape.workloads = shape.labels = 2;
  shape.width = shape.hidden = width;
  shape.history_entries = 4;
  return policy::random_model(shape, seed);
}

class RegionModelsTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    runtime_ = *runtime::RealRuntime::create();
    open();
  }
  void TearDown() override { EXPECT_TRUE(run(meta_->close())); }
  template <class T>
  T run(Task<T> task) {
    return runtime_->run(std::move(task));
  }
  void open() {
    auto index = std::make_unique<index::MapIndex>(runtime_->executor(), index_state_, index::MapIndexOptions{});
    Result<std::unique_ptr<meta::EmbeddedMeta>> meta = run(meta::EmbeddedMeta::open(*runtime_, std::move(index)));
    ASSERT_TRUE(meta);
    meta_ = std::move(*meta);
    models_ = std::make_unique<RegionModels>(*runtime_, *meta_);
  }
  Result<meta::pb::Model> add(const policy::Model& model, std::string summary = "s") {
    return run(models_->add(model, policy::encode_model(model), std::move(summary)));
  }
  Result<policy::Model> read(uint64_t number) {
    TRY(const meta::pb::Model record, run(models_->find(number)));
    TRY(const std::vector<std::byte> file, run(models_->get(record)));
    return policy::decode_model(file);
  }
  void change(meta::Operation::Kind kind, std::string key, std::string value) {
    meta::Transaction transaction;
    transaction.operations.push_back({kind, std::move(key), std::move(value), 0});
    const Result<meta::TransactionResult> done = run(meta_->commit(std::move(transaction)));
    ASSERT_TRUE(done && done->succeeded);
  }
  void put(std::string key, std::string value) {
    change(meta::Operation::Kind::kPut, std::move(key), std::move(value));
  }
  size_t keys_under(const std::string& prefix) {
    return run(meta_->range(prefix, meta::prefix_end(prefix), 0))->entries.size();
  }

  std::unique_ptr<runtime::RealRuntime> runtime_;
  index::MapIndexState index_state_;
  std::unique_ptr<meta::EmbeddedMeta> meta_;
  std::unique_ptr<RegionModels> models_;
};

TEST_F(RegionModelsTest, ComesOutAsItWentInAlsoAfterARestart) {
  const policy::Model large = model_of(1, 256);  // several parts
  const Result<meta::pb::Model> added = add(large, "good\x01\xff");
  ASSERT_TRUE(added) << added.error().message();
  EXPECT_EQ(added->number(), 1u);
  EXPECT_EQ(added->kind(), "lstm");
  EXPECT_EQ(added->summary(), "good..");
  EXPECT_GT(meta::model_parts(added->file_bytes()), 1u);
  EXPECT_TRUE(run(meta_->close()));
  open();
  const Result<policy::Model> again = read(1);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(*again, large);
  EXPECT_EQ(read(2).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(run(models_->remove(1)));
  EXPECT_EQ(keys_under(meta::models_prefix()) + keys_under(meta::model_parts_prefix()), 0u);
  EXPECT_EQ(run(models_->remove(1)).error().code, ErrorCode::kNotFound);
}

TEST_F(RegionModelsTest, TheNewestThreeOfAKindStay) {
  ASSERT_TRUE(add(model_of(9, 4, policy::ModelKind::kTransformer)));
  for (uint64_t seed = 1; seed <= 5; ++seed) ASSERT_TRUE(add(model_of(seed)));
  const Result<std::vector<RegionModels::Listed>> listed = run(models_->list());
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->size(), 4u);
  EXPECT_EQ((*listed)[0].model.kind(), "transformer");
  for (uint64_t i = 1; i <= 3; ++i) EXPECT_EQ((*listed)[i].model.number(), i + 3);
  EXPECT_EQ(*read(6), model_of(5));
  EXPECT_EQ(keys_under(meta::model_parts_prefix()), 4u);
}

TEST_F(RegionModelsTest, HalfAddedIsNotSeenAndGoesLater) {
  meta::pb::ModelPart part;
  part.set_data("half");
  put(meta::model_part_key(1, 0), meta::encode(part));
  EXPECT_TRUE(run(models_->list())->empty());
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const Result<meta::pb::Model> added = add(model_of(seed));
    ASSERT_TRUE(added);
    EXPECT_EQ(added->number(), seed + 1) << "its number is not used again";
    EXPECT_EQ(keys_under(meta::model_parts_prefix(1)), seed < 3 ? 1u : 0u) << seed;
  }
  // One that makes no sense hides no other.
  put(meta::model_key(100), "nonsense");
  EXPECT_EQ(run(models_->list())->size(), 3u);
}

TEST_F(RegionModelsTest, DamageIsTold) {
  ASSERT_TRUE(add(model_of(1, 256)));
  const std::string key = meta::model_part_key(1, 1);
  const std::optional<meta::Entry> entry = *run(meta_->get(key));
  ASSERT_TRUE(entry);
  const meta::pb::ModelPart good = *meta::decode<meta::pb::ModelPart>(*entry);
  meta::pb::ModelPart flipped = good, cut = good;
  (*flipped.mutable_data())[100] ^= 4;
  cut.mutable_data()->pop_back();
  for (const std::string& value : {meta::encode(flipped), meta::encode(cut), std::string("nonsense")}) {
    put(key, value);
    EXPECT_EQ(read(1).error().code, ErrorCode::kCorrupt);
  }
  change(meta::Operation::Kind::kErase, key, {});
  EXPECT_EQ(read(1).error().code, ErrorCode::kCorrupt);
  put(key, meta::encode(good));
  EXPECT_TRUE(read(1));
}

Task<void> add_one(RegionModels& models, uint64_t seed, std::vector<uint64_t>& numbers, runtime::Signal& all) {
  const policy::Model model = model_of(seed);
  std::vector<std::byte> file = policy::encode_model(model);
  const Result<meta::pb::Model> added = co_await models.add(model, std::move(file), "");
  numbers.push_back(added ? added->number() : 0);
  if (numbers.size() == 3) all.set();
}

TEST_F(RegionModelsTest, AdditionsAreBoundedAndApart) {
  std::vector<std::byte> long_file(meta::kModelBytesMax + 1);
  const Result<meta::pb::Model> too_large = run(models_->add(model_of(1), std::move(long_file), ""));
  EXPECT_EQ(too_large.error().code, ErrorCode::kTooLarge);
  std::vector<uint64_t> numbers;
  runtime::Signal all(runtime_->executor());
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    runtime_->executor().spawn(add_one(*models_, seed, numbers, all));
  }
  run(all.wait());
  std::sort(numbers.begin(), numbers.end());
  EXPECT_EQ(numbers, (std::vector<uint64_t>{1, 2, 3}));
}

TEST_F(RegionModelsTest, AWatchWakesForWholeOnes) {
  const Result<std::unique_ptr<meta::Watch>> watch = run(models_->watch());
  ASSERT_TRUE(watch);
  ASSERT_TRUE(add(model_of(1, 256)));
  const Result<std::vector<meta::Event>> events = run((*watch)->next());
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 1u);
  EXPECT_EQ((*events)[0].entry.key, meta::model_key(1));
}

}  // namespace
}  // namespace foreshard::app
