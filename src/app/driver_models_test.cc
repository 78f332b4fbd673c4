// Shows which model a driver comes to run: the newest whole one of the region at once, a later one only if it does
// better on the driver's own requests and when there are enough of these; none, with the driver waiting a bounded time,
// where the region is empty or does not answer; and that damaged and hostile ones are passed over. What is trained
// online goes live and into the region. The models have weights set by hand: one says "as the last time", which is
// right on the requests here, one says nothing.
#include "app/driver_models.h"

#include <gtest/gtest.h>

#include "app/model_training.h"
#include "base/log.h"
#include "base/random.h"
#include "index/map_index.h"
#include "meta/embedded_meta.h"
#include "meta/records.h"
#include "policy/predict/neural/model_format.h"
#include "policy/predict/neural/model_testing.h"
#include "runtime/real_runtime.h"

namespace foreshard::app {
namespace {

using runtime::Task;

constexpr uint64_t kMs = 1'000'000;

policy::Model good_model() { return policy::history_model(); }
policy::Model bad_model() {
  policy::Model model = policy::history_model();
  std::fill(model.weights.begin(), model.weights.end(), 0.0f);
  return model;
}

// A region that answers when it is let.
class SlowMeta final : public meta::Meta {
 public:
  SlowMeta(runtime::Executor& executor, meta::Meta& inner) : answers(executor), inner_(inner) {}
  Task<Result<std::optional<meta::Entry>>> get(std::string key) override {
    co_await answers.wait();
    co_return co_await inner_.get(std::move(key));
  }
  Task<Result<meta::RangeResult>> range(std::string begin, std::string end, size_t limit, bool backward) override {
    co_await answers.wait();
    co_return co_await inner_.range(std::move(begin), std::move(end), limit, backward);
  }
  Task<Result<meta::TransactionResult>> commit(meta::Transaction transaction) override {
    co_await answers.wait();
    co_return co_await inner_.commit(std::move(transaction));
  }
  Task<Result<std::unique_ptr<meta::Watch>>> watch(std::string prefix, meta::Revision from) override {
    co_await answers.wait();
    co_return co_await inner_.watch(std::move(prefix), from);
  }
  Task<Result<meta::LeaseId>> grant_lease(uint64_t ttl_ns) override { return inner_.grant_lease(ttl_ns); }
  Task<Result<void>> renew_lease(meta::LeaseId lease) override { return inner_.renew_lease(lease); }
  Task<Result<void>> revoke_lease(meta::LeaseId lease) override { return inner_.revoke_lease(lease); }
  runtime::Signal answers;

 private:
  meta::Meta& inner_;
};

class DriverModelsTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    runtime_ = *runtime::RealRuntime::create();
    auto index = std::make_unique<index::MapIndex>(runtime_->executor(), index_state_, index::MapIndexOptions{});
    meta_ = std::move(*run(meta::EmbeddedMeta::open(*runtime_, std::move(index))));
    slow_ = std::make_unique<SlowMeta>(runtime_->executor(), *meta_);
    slow_->answers.set();
    options_.from_region = true;
    options_.volume = "disk";
    options_.look_every_ns = 5 * kMs;
    options_.training.shape = default_model_shape(policy::ModelKind::kLstm, policy::SymbolKind::kDelta);
  }
  void TearDown() override {
    if (models_ != nullptr) run(models_->stop());
    models_.reset();
    EXPECT_TRUE(run(meta_->close()));
  }
  template <class T>
  T run(Task<T> task) {
    return runtime_->run(std::move(task));
  }
  void start() {
    const auto set_model = [this](std::shared_ptr<policy::RunnableModel> model, std::string name) {
      EXPECT_NE(model, nullptr);
      live_.push_back(std::move(name));
    };
    models_ = std::make_unique<DriverModels>(*runtime_, *slow_, options_, set_model);
    run(models_->start());
  }
  uint64_t add(const policy::Model& model) { return add(model, policy::encode_model(model)); }
  uint64_t add(const policy::Model& model, std::vector<std::byte> file) {
    RegionModels models(*runtime_, *meta_);
    const Result<meta::pb::Model> added = run(models.add(model, std::move(file), ""));
    EXPECT_TRUE(added) << added.error().message();
    return added ? added->number() : 0;
  }
  static Task<void> until(runtime::Executor& executor, std::function<bool()> done) {
    const uint64_t deadline_ns = executor.now_ns() + 300'000 * kMs;
    runtime::Signal never(executor);  // what is waited for tells nobody when it comes
    while (!done() && executor.now_ns() < deadline_ns) co_await never.wait_until(executor.now_ns() + kMs);
    EXPECT_TRUE(done());
  }
  void wait_until(std::function<bool()> done) { run(until(runtime_->executor(), std::move(done))); }
  // A loop in an order that only its past tells.
  void ask(uint64_t reads) {
    Random random(5);
    std::vector<uint64_t> loop(50);
    for (uint64_t& page : loop) page = random.below(1u << 20);
    for (uint64_t i = 0; i < reads; ++i) {
      policy::Observation seen;
      seen.first_page = loop[i % loop.size()];
      seen.pages = seen.missed_pages = 1;
      models_->record(seen);
    }
  }

  std::unique_ptr<runtime::RealRuntime> runtime_;
  index::MapIndexState index_state_;
  std::unique_ptr<meta::EmbeddedMeta> meta_;
  std::unique_ptr<SlowMeta> slow_;
  DriverModelsOptions options_;
  std::unique_ptr<DriverModels> models_;
  std::vector<std::string> live_;  // in their order
};

using Names = std::vector<std::string>;

TEST_F(DriverModelsTest, TheNewestWholeOneIsTakenAtTheStart) {
  add(bad_model());
  add(good_model());
  std::vector<std::byte> garbage(5000, std::byte{7});
  add(good_model(), garbage);  // whole, and no model
  policy::Model of_files = policy::history_model(policy::ModelKind::kLstm, policy::SymbolKind::kFile);
  of_files.shape.symbols = policy::SymbolKind::kDelta;  // as its record says
  add(of_files, policy::encode_model(policy::history_model(policy::ModelKind::kLstm, policy::SymbolKind::kFile)));
  start();
  EXPECT_EQ(live_, Names{"region:2"});
  EXPECT_EQ(models_->status().damaged, 2u);
  EXPECT_EQ(models_->status().adopted, 1u);
}

TEST_F(DriverModelsTest, ADamagedOneIsPassedOver) {
  add(bad_model());
  const uint64_t damaged = add(good_model());
  meta::pb::ModelPart part;
  part.set_data("other");
  meta::Transaction transaction;
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::model_part_key(damaged, 0), meta::encode(part), 0});
  EXPECT_TRUE(run(meta_->commit(std::move(transaction))));
  start();
  EXPECT_EQ(live_, Names{"region:1"});
  EXPECT_EQ(models_->status().damaged, 1u);
}

// Once each, however often the driver looks.
TEST_F(DriverModelsTest, RecordsThatMakeNoSenseAreCounted) {
  for (const uint64_t number : {5u, 7u}) {
    meta::Transaction transaction;
    transaction.operations.push_back({meta::Operation::Kind::kPut, meta::model_key(number), "no record", 0});
    EXPECT_TRUE(run(meta_->commit(std::move(transaction))));
  }
  start();
  EXPECT_TRUE(live_.empty());
  EXPECT_EQ(models_->status().damaged, 2u);
  EXPECT_EQ(add(bad_model()), 8u);
  wait_until([this] { return !live_.empty(); });
  EXPECT_EQ(models_->status().damaged, 2u);
}

TEST_F(DriverModelsTest, WithoutAnyTheFirstIsTakenWhenItComes) {
  start();
  EXPECT_TRUE(live_.empty());
  add(bad_model());
  wait_until([this] { return !live_.empty(); });
  EXPECT_EQ(live_, Names{"region:1"});
}

TEST_F(DriverModelsTest, ALaterOneMustDoBetterOnEnoughOfItsOwnRequests) {
  add(bad_model());
  start();
  ASSERT_EQ(live_, Names{"region:1"});
  ask(2000);
  add(good_model());
  wait_until([this] { return models_->status().waiting == 2; });
  EXPECT_EQ(live_.size(), 1u) << "a fifth of 2,000 is too little";
  ask(8000);
  wait_until([this] { return live_.size() == 2; });
  EXPECT_EQ(live_[1], "region:2");
  EXPECT_EQ(models_->status().waiting, 0u);
  // A worse one is not taken; the same again is no other one.
  add(bad_model());
  wait_until([this] { return models_->status().refused == 1; });
  add(good_model());
  policy::Model near = good_model();
  near.shape.near_pages = 64;
  add(near);
  wait_until([this] { return models_->status().refused == 2; });
  EXPECT_EQ(live_.size(), 2u);
  EXPECT_EQ(models_->status().adopted, 2u);
}

TEST_F(DriverModelsTest, OneOfAFileIsThePresentOne) {
  options_.present = std::make_shared<const policy::Model>(good_model());
  add(bad_model());
  start();
  ask(10'000);
  wait_until([this] { return models_->status().refused == 1; });
  EXPECT_TRUE(live_.empty());
}

Task<void> release(SlowMeta& meta, runtime::Executor& executor) {
  runtime::Signal never(executor);
  co_await never.wait_until(executor.now_ns() + 50 * kMs);
  meta.answers.set();
}

TEST_F(DriverModelsTest, ASlowRegionIsNotWaitedFor) {
  add(good_model());
  slow_ = std::make_unique<SlowMeta>(runtime_->executor(), *meta_);
  options_.first_wait_ns = 20 * kMs;
  const uint64_t began_ns = runtime_->executor().now_ns();
  start();
  EXPECT_LT(runtime_->executor().now_ns() - began_ns, 5'000 * kMs);
  EXPECT_TRUE(live_.empty());
  runtime_->executor().spawn(release(*slow_, runtime_->executor()));
  wait_until([this] { return !live_.empty(); });
  EXPECT_EQ(live_, Names{"region:1"});
}

TEST_F(DriverModelsTest, StoppingEndsAComparison) {
  add(bad_model());
  start();
  ask(100'000);
  add(good_model());
  wait_until([this] { return models_->status().waiting == 2; });
}  // TearDown stops it

TEST_F(DriverModelsTest, WithoutTheModuleThereIsNoTraining) {
  options_.from_region = false;
  options_.train = true;
  options_.training.module = "/nowhere/module.so";
  start();
  EXPECT_FALSE(models_->status().training);
  EXPECT_NE(models_->status().training_fault.find("/nowhere"), std::string::npos);
}

TEST_F(DriverModelsTest, WhatIsTrainedGoesLiveAndIntoTheRegion) {
  const Result<std::string> module = TrainModule::find();
  if (!module) GTEST_SKIP() << module.error().message();
  options_.train = true;
  OnlineTrainerOptions& training = options_.training;
  training.shape.vocabulary = 16;
  training.shape.regions = training.shape.pages = 2;
  training.shape.width = 16;
  training.shape.hidden = 16;
  training.shape.history_entries = 256;
  training.requests_min = 2000;
  options_.rule.answers_min = 300;
  training.look_every_ns = 5 * kMs;
  training.training.epochs = 1;
  training.training.lanes = 4;
  start();
  ask(2000);
  wait_until([this] { return models_->status().published == 1; });
  EXPECT_EQ(live_, Names{"trained here"});
  const DriverModelsStatus status = models_->status();
  EXPECT_EQ(status.trained.trainings, 1u);
  EXPECT_EQ(status.trained.replaced, 1u);
  EXPECT_EQ(status.trained.recorded, 2000u);
  RegionModels models(*runtime_, *meta_);
  const Result<std::vector<RegionModels::Listed>> listed = run(models.list());
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ((*listed)[0].model.summary(), "trained online on volume disk");
  // It comes back from the region and is known.
  run(until(runtime_->executor(), [this] { return models_->status().waiting == 0; }));
  EXPECT_EQ(live_.size(), 1u);
  EXPECT_EQ(models_->status().adopted, 0u);
}

}  // namespace
}  // namespace foreshard::app
