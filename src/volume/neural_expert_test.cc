// Shows that the expert on its own thread proposes what the same model proposes at once, in the order of the reads;
// that it runs another model from the moment one is given; leaves out reads when its thread is behind, and ranges that
// were asked for meanwhile; and can be destroyed with a batch under way.
#include "volume/neural_expert.h"

#include <gtest/gtest.h>

#include "policy/predict/neural/model_testing.h"
#include "runtime/manual_executor.h"

namespace foreshard::volume {
namespace {

using policy::Candidate;
using policy::Observation;

std::shared_ptr<policy::RunnableModel> runnable(policy::Model model) {
  return std::make_shared<policy::RunnableModel>(std::move(model));
}

Observation read_of(uint64_t page) {
  Observation seen;
  seen.first_page = page;
  seen.pages = seen.missed_pages = 1;
  return seen;
}

policy::NeuralOptions options() {
  policy::NeuralOptions options;
  options.cpu_share_max = 1;
  return options;
}

struct Heard {
  uint64_t after = 0;
  std::vector<uint64_t> pages;
  bool operator==(const Heard&) const = default;
};

class NeuralExpertTest : public testing::Test {
 protected:
  NeuralExpertTest() { make(); }
  ~NeuralExpertTest() override {
    expert_.reset();
    executor_.run_until([this] { return executor_.root_count() == 0; });
  }
  void make() {
    expert_ = std::make_unique<NeuralExpert>(executor_, options(),
                                             [this](const Observation& seen, std::span<const Candidate> candidates) {
                                               Heard heard{seen.first_page, {}};
                                               for (const Candidate& candidate : candidates)
                                                 heard.pages.push_back(candidate.first_page);
                                               heard_.push_back(std::move(heard));
                                             });
  }
  void wait_for(uint64_t observed) {
    executor_.run_until([&] { return expert_->status().counters.observed >= observed; });
  }

  runtime::ManualExecutor executor_;
  std::unique_ptr<NeuralExpert> expert_;
  std::vector<Heard> heard_;
};

TEST_F(NeuralExpertTest, ProposesWhatTheModelProposesAtOnce) {
  policy::NeuralPredictor at_once(policy::ModelKind::kLstm, runnable(policy::history_model()), options());
  expert_->set_model(runnable(policy::history_model()), "one");
  std::vector<Heard> expected;
  for (uint64_t i = 0; i < 200; ++i) {
    const Observation seen = read_of((i * i) % 7 * 1000);
    Observation write = seen;
    write.write = true;
    std::vector<Candidate> candidates;
    if (i % 3 == 0) {
      at_once.observe(write, candidates);
      expert_->observe(write);
      expert_->observe(write);
    }
    at_once.observe(seen, candidates);
    Heard heard{seen.first_page, {}};
    for (const Candidate& candidate : candidates) heard.pages.push_back(candidate.first_page);
    if (!candidates.empty()) expected.push_back(heard);
    expert_->observe(seen);
    wait_for(i + 1);
  }
  EXPECT_EQ(heard_, expected);
  EXPECT_GT(heard_.size(), 150u);
  const NeuralStatus status = expert_->status();
  EXPECT_EQ(status.model, "one");
  EXPECT_EQ(status.counters.observed, 200u);
  EXPECT_EQ(status.counters.steps, at_once.counters().steps);
  EXPECT_GT(status.counters.cpu_ns, 0u);
  EXPECT_EQ(status.dropped, 0u);
  EXPECT_EQ(expert_->stand_in()->name(), "lstm");
  EXPECT_EQ(expert_->stand_in()->memory_bytes_max(), at_once.memory_bytes_max());
}

TEST_F(NeuralExpertTest, WithoutAModelNothingHappensAndALaterOneIsTaken) {
  expert_->observe(read_of(1));
  executor_.run();
  EXPECT_EQ(executor_.root_count(), 0u);
  EXPECT_EQ(expert_->status().models, 0u);
  expert_->set_model(runnable(policy::history_model()), "one");
  for (uint64_t i = 0; i < 8; ++i) expert_->observe(read_of(i % 2 * 100));
  wait_for(8);
  EXPECT_EQ(expert_->status().model, "one");
  expert_->set_model(runnable(policy::history_model()), "two");
  EXPECT_EQ(expert_->status().model, "two");
  expert_->observe(read_of(100));
  wait_for(9);
  expert_->set_model(nullptr, "");
  expert_->observe(read_of(0));
  executor_.run();
  EXPECT_EQ(expert_->status().models, 2u);
  EXPECT_EQ(expert_->status().counters.observed, 9u);
  EXPECT_EQ(expert_->status().model, "");
}

TEST_F(NeuralExpertTest, ReadsAreLeftOutWhenItIsBehind) {
  expert_->set_model(runnable(policy::history_model()), "one");
  for (uint64_t i = 0; i < NeuralExpert::kQueueMax * 3; ++i) expert_->observe(read_of(i * 10));
  const uint64_t dropped = expert_->status().dropped;
  EXPECT_GE(dropped, NeuralExpert::kQueueMax * 2);
  wait_for(NeuralExpert::kQueueMax * 3 - dropped);
  EXPECT_EQ(expert_->status().dropped, dropped);
}

// All of the loop is there at once: what it proposes has been asked for already.
TEST_F(NeuralExpertTest, WhatIsAskedForMeanwhileIsNotProposed) {
  expert_->set_model(runnable(policy::history_model()), "one");
  for (uint64_t i = 0; i < 200; ++i) expert_->observe(read_of(i % 4 * 1000));
  wait_for(200);
  EXPECT_GT(expert_->status().overtaken, 300u);
  EXPECT_LE(heard_.size(), 8u);  // after the last ones of the loop
}

TEST_F(NeuralExpertTest, CanBeDestroyedWithABatchUnderWay) {
  for (int round = 0; round < 20; ++round) {
    make();
    expert_->set_model(runnable(policy::history_model()), "one");
    for (uint64_t i = 0; i < 200; ++i) expert_->observe(read_of(i % 4 * 1000 + static_cast<uint64_t>(round)));
    executor_.run();  // the thread has the first batch
    const size_t heard = heard_.size();
    const std::unique_ptr<policy::Predictor> stand_in = expert_->stand_in();
    expert_.reset();
    executor_.run_until([this] { return executor_.root_count() == 0; });
    EXPECT_EQ(heard_.size(), heard);
    (void)stand_in->memory_bytes_max();
  }
}

runtime::Task<void> stop(NeuralExpert& expert, bool& stopped) {
  co_await expert.stop();
  stopped = true;
}

TEST_F(NeuralExpertTest, StoppingWaitsForTheBatchAndEndsIt) {
  bool stopped = false;
  expert_->set_model(runnable(policy::history_model()), "one");
  for (uint64_t i = 0; i < 200; ++i) expert_->observe(read_of(i % 4 * 1000));
  executor_.spawn(stop(*expert_, stopped));
  executor_.run_until([&] { return stopped; });
  const size_t heard = heard_.size();
  expert_->observe(read_of(1));
  expert_->set_model(runnable(policy::history_model()), "two");
  executor_.run();
  EXPECT_EQ(heard_.size(), heard);
  EXPECT_EQ(expert_->status().model, "one");
}

}  // namespace
}  // namespace foreshard::volume
