// Shows that a model is trained from recorded requests on a thread of its own and goes live only if it is better on
// later ones, that it is there again after a restart, that there is one training at a time, and that stopping ends it.
#include "app/online_trainer.h"

#include <gtest/gtest.h>

#include "app/model_training.h"
#include "base/log.h"
#include "base/random.h"
#include "runtime/real_runtime.h"
#include "runtime/test_folder.h"

namespace foreshard::app {
namespace {

using runtime::Task;
using Verdict = policy::Comparison::Verdict;

OnlineTrainerOptions small_options(const std::string& folder) {
  OnlineTrainerOptions options;
  options.folder = folder;
  options.shape = default_model_shape(policy::ModelKind::kLstm, policy::SymbolKind::kDelta);
  options.shape.vocabulary = 16;
  options.shape.regions = options.shape.pages = 2;
  options.shape.width = 16;
  options.shape.hidden = 32;
  options.shape.history_entries = 64;
  options.training.epochs = 4;
  options.training.lanes = 4;
  options.training.chunk = 16;
  options.training.learning_rate = 0.01f;
  options.rule.answers_min = 500;
  return options;
}

// Steps of which each is the opposite of the one two before; `other`: other steps than those of the first kind.
void record_walk(RequestRing& ring, int requests, bool other, uint64_t seed) {
  Random random(seed);
  const uint64_t sum = other ? 30 : 8;
  uint64_t before = other ? 13 : 3, last = before, page = 1 << 20;
  for (int i = 0; i < requests; ++i) {
    policy::Observation observation;
    observation.first_page = page;
    observation.pages = observation.missed_pages = 1;
    ring.record(observation);
    uint64_t next = sum - before;
    if (random.chance(0.05)) next = sum - next;
    before = last;
    last = next;
    page += next;
  }
}

class OnlineTrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kOff);
    const Result<TrainModule> module = TrainModule::load();
    // train_module_test.cc sees to it that it is there in continuous integration.
    if (!module) GTEST_SKIP() << module.error().message();
    runtime_ = std::move(*runtime::RealRuntime::create());
  }
  template <class T>
  T run(Task<T> task) {
    return runtime_->run(std::move(task));
  }
  std::unique_ptr<runtime::RealRuntime> runtime_;
  runtime::TestFolder folder_;
  RequestRing requests_{8000};
};

TEST_F(OnlineTrainerTest, ABetterModelGoesLiveAnEqualOneDoesNot) {
  uint64_t handed = 0;
  const auto on_model = [&](std::shared_ptr<const policy::Model> model) { handed += model != nullptr; };
  std::shared_ptr<const policy::Model> last;
  {
    OnlineTrainer trainer(runtime_->executor(), requests_, small_options(folder_.path()), on_model);
    EXPECT_EQ(handed, 0u);
    record_walk(requests_, 5000, false, 1);
    const Result<policy::Comparison> first = run(trainer.train_once());
    ASSERT_TRUE(first) << first.error().message();
    EXPECT_EQ(first->verdict, Verdict::kReplace);
    EXPECT_EQ(handed, 1u);
    // More of the same: nothing to gain.
    record_walk(requests_, 3000, false, 2);
    const Result<policy::Comparison> second = run(trainer.train_once());
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_EQ(second->verdict, Verdict::kKeep) << second->gain << " +- " << second->deviation;
    EXPECT_EQ(handed, 1u);
    EXPECT_EQ(trainer.counters().last.gain, second->gain);
    EXPECT_EQ(trainer.counters().last.answers, second->answers);
    // Another walk altogether.
    record_walk(requests_, 8000, true, 3);
    const Result<policy::Comparison> third = run(trainer.train_once());
    ASSERT_TRUE(third) << third.error().message();
    EXPECT_EQ(third->verdict, Verdict::kReplace);
    EXPECT_EQ(handed, 2u);
    EXPECT_EQ(trainer.counters().replaced, 2u);
    EXPECT_EQ(trainer.counters().kept, 1u);
    EXPECT_GT(trainer.counters().cpu_seconds, 0);
    last = trainer.model();
    run(trainer.stop());
  }
  OnlineTrainer again(runtime_->executor(), requests_, small_options(folder_.path()), on_model);
  EXPECT_EQ(handed, 3u);
  ASSERT_NE(again.model(), nullptr);
  EXPECT_EQ(*again.model(), *last);
}

Task<void> note(OnlineTrainer& trainer, std::vector<ErrorCode>& codes) {
  const Result<policy::Comparison> trained = co_await trainer.train_once();
  codes.push_back(trained ? ErrorCode{} : trained.error().code);
}

TEST_F(OnlineTrainerTest, OneAtATimeAndStoppingEndsIt) {
  OnlineTrainerOptions options = small_options(folder_.path());
  options.training.epochs = 100'000;
  OnlineTrainer trainer(runtime_->executor(), requests_, options, {});
  record_walk(requests_, 8000, false, 1);
  std::vector<ErrorCode> codes;
  runtime_->executor().spawn(note(trainer, codes));
  runtime_->executor().spawn(note(trainer, codes));
  run(trainer.stop());
  ASSERT_EQ(codes.size(), 2u);
  EXPECT_EQ(codes[0], ErrorCode::kBusy);
  EXPECT_EQ(codes[1], ErrorCode::kCancelled);
  EXPECT_EQ(run(trainer.train_once()).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(trainer.model(), nullptr);
}

TEST_F(OnlineTrainerTest, TooLittleDataChangesNothing) {
  OnlineTrainer trainer(runtime_->executor(), requests_, small_options(folder_.path()), {});
  EXPECT_FALSE(run(trainer.train_once()));
  record_walk(requests_, 1000, false, 1);
  const Result<policy::Comparison> trained = run(trainer.train_once());
  ASSERT_TRUE(trained);
  EXPECT_EQ(trained->verdict, Verdict::kTooLittle);
  EXPECT_EQ(trainer.model(), nullptr);
}

// Its loop trains when there is enough, and leaves the CPU alone in between.
TEST_F(OnlineTrainerTest, RunsByItselfWithinItsShare) {
  OnlineTrainerOptions options = small_options(folder_.path());
  options.requests_min = 4000;
  options.look_every_ns = 5'000'000;
  options.cpu_share_max = 0.01;
  bool handed = false;
  runtime::Signal live(runtime_->executor());
  OnlineTrainer trainer(runtime_->executor(), requests_, options, [&](std::shared_ptr<const policy::Model>) {
    handed = true;
    live.set();
  });
  runtime_->executor().spawn(trainer.run());
  record_walk(requests_, 8000, false, 1);
  run(live.wait());
  EXPECT_TRUE(handed);
  // Enough has come again, but the share is used up for long.
  record_walk(requests_, 8000, true, 2);
  runtime::Signal never(runtime_->executor());
  run(never.wait_until(runtime_->executor().now_ns() + 50'000'000));
  EXPECT_EQ(trainer.counters().trainings, 1u);
  run(trainer.stop());
}

}  // namespace
}  // namespace foreshard::app
