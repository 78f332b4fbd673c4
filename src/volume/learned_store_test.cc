// Proves that what was learned comes back as it was, that damage is refused and that it is bounded: a state that is too
// large loses its oldest parts, and a region that holds too many loses the oldest states.
#include "volume/learned_store.h"

#include <gtest/gtest.h>

#include <cmath>

#include "meta/records.h"
#include "policy/prefetch/prefetcher.h"
#include "volume/test_region.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

policy::LearnedState random_state(uint64_t seed, size_t requests, size_t recordings, size_t recorded) {
  Random random(seed);
  policy::LearnedState state;
  state.experts = "log,near";
  state.filter_examples = 123'456;
  for (uint32_t place = 0; place < 32768; place += 1 + static_cast<uint32_t>(random.below(5))) {
    state.filter.push_back({static_cast<uint16_t>(place), static_cast<float>(random.fraction() * 8 - 4),
                            static_cast<float>(1 + random.fraction() * 3999)});
  }
  const auto fill = [&random](policy::Recalibration::Bins& bins) {
    for (policy::Recalibration::Bin& bin : bins)
      bin = {static_cast<double>(random.below(400)), random.fraction() - 0.5};
  };
  fill(state.recalibration.common);
  for (policy::Recalibration::Bins& bins : state.recalibration.sized) fill(bins);
  state.budget = "frugal";
  state.threshold = 0.7;
  state.precision = 0.55;
  state.outcomes = 4711;
  for (size_t i = 0; i < requests; ++i) {
    state.log.push_back({random.below(1ull << 40), 1 + static_cast<uint32_t>(random.below(64))});
  }
  for (size_t i = 0; i < recordings; ++i) {
    policy::Recording& recording = state.recordings.emplace_back();
    recording.at_attach = i % 2 == 0;
    for (size_t k = 0; k < recorded; ++k) {
      recording.requests.push_back({random.below(1ull << 40), 1, static_cast<uint32_t>(random.next())});
    }
  }
  return state;
}

TEST(LearnedStore, ComesBackAsItWas) {
  const policy::LearnedState state = random_state(1, 2000, 3, 100);
  const Result<policy::LearnedState> back = unpack_learned(pack_learned(state));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->experts, state.experts);
  EXPECT_EQ(back->filter_examples, state.filter_examples);
  EXPECT_EQ(back->log, state.log);
  EXPECT_EQ(back->recordings, state.recordings);
  EXPECT_EQ(back->budget, state.budget);
  EXPECT_EQ(back->threshold, state.threshold);
  EXPECT_EQ(back->precision, state.precision);
  EXPECT_EQ(back->outcomes, state.outcomes);
  ASSERT_EQ(back->filter.size(), state.filter.size());
  for (size_t i = 0; i < state.filter.size(); ++i) {
    EXPECT_EQ(back->filter[i].place, state.filter[i].place);
    EXPECT_NEAR(back->filter[i].value, state.filter[i].value, 1e-3);
    EXPECT_NEAR(back->filter[i].squares / state.filter[i].squares, 1, 0.03);
  }
  const auto expect_same = [](const policy::Recalibration::Bins& got, const policy::Recalibration::Bins& wanted) {
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_NEAR(got[i].bias, wanted[i].bias, 1e-4);
      EXPECT_EQ(got[i].samples, wanted[i].samples);
    }
  };
  expect_same(back->recalibration.common, state.recalibration.common);
  for (size_t size = 0; size < state.recalibration.sized.size(); ++size)
    expect_same(back->recalibration.sized[size], state.recalibration.sized[size]);
}

TEST(LearnedStore, TooMuchLosesItsOldestParts) {
  const policy::LearnedState state = random_state(2, policy::LearnedState::kLoggedMax, 16, 4096);
  const std::string packed = pack_learned(state);
  EXPECT_LE(packed.size(), kLearnedStateBytesMax);
  const Result<policy::LearnedState> back = unpack_learned(packed);
  ASSERT_TRUE(back);
  ASSERT_FALSE(back->recordings.empty());
  EXPECT_EQ(back->recordings.back(), state.recordings.back());
  ASSERT_FALSE(back->log.empty());
  EXPECT_EQ(back->log.back(), state.log.back());
}

// Whatever bit is wrong: refused, or something that a prefetcher can begin with.
TEST(LearnedStore, DamageNeverHarms) {
  const std::string good = pack_learned(random_state(3, 50, 2, 40));
  Random random(4);
  size_t refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    bad[random.below(bad.size())] ^= static_cast<char>(1u << random.below(8));
    if (i % 3 == 0) bad.resize(random.below(bad.size()));
    const Result<policy::LearnedState> state = unpack_learned(bad);
    refused += !state;
    if (!state) continue;
    policy::Prefetcher prefetcher({.cache_pages = 1024}, [](uint64_t) { return false; });
    prefetcher.restore(*state);
    prefetcher.teach(state->log);
    std::vector<policy::PageRange> to_fetch;
    for (uint64_t page = 0; page < 200; ++page) {
      policy::Observation seen;
      seen.first_page = page * 7;
      seen.pages = 1;
      seen.missed_pages = 1;
      prefetcher.on_access(seen, to_fetch);
    }
    EXPECT_TRUE(std::isfinite(prefetcher.statistics().threshold));
  }
  EXPECT_GE(refused, 50u);
}

struct StoreProcess : runtime::SimProcess {
  explicit StoreProcess(runtime::SimRuntime& r) : runtime(r), region(r) { r.executor().spawn(run()); }
  Task<Result<void>> save(uint64_t volume, std::string subject, size_t bytes, uint64_t keep_others_ns = 0) {
    LearnedToSave learned{std::move(subject), VolumeId{volume}, std::string(bytes, 'x'), keep_others_ns};
    meta::Compare guard{meta::Compare::Target::kModified, "/nothing", 0, {}};
    co_return co_await save_learned(runtime, region.meta(), std::move(learned), guard, UINT64_MAX);
  }
  Task<size_t> states() {
    const std::string prefix = meta::learned_state_key("");
    const Result<meta::RangeResult> range = co_await region.meta().range(prefix, meta::prefix_end(prefix), 0);
    co_return range ? range->entries.size() : 0;
  }
  Task<void> run() {
    const Result<void> opened = co_await region.open({});
    EXPECT_TRUE(opened);
    constexpr uint64_t kFit = kLearnedBytesMax / kLearnedStateBytesMax;
    for (uint64_t volume = 1; volume <= kFit + 3; ++volume) {
      const Result<void> saved = co_await save(volume, learned_subject(VolumeId{volume}), kLearnedStateBytesMax);
      EXPECT_TRUE(saved);
      co_await runtime.executor().sleep_for(1'000'000);
    }
    EXPECT_EQ(co_await states(), kFit);
    for (const auto& [volume, there] : {std::pair<uint64_t, bool>{1, false}, {3, false}, {4, true}, {kFit + 3, true}}) {
      const Result<std::optional<meta::Entry>> entry =
          co_await region.meta().get(meta::learned_state_key(learned_subject(VolumeId{volume})));
      EXPECT_EQ(entry && entry->has_value(), there) << volume;
    }
    // Images have room of their own, and a record that cannot be read goes first.
    meta::Transaction garbage;
    garbage.operations.push_back(
        {meta::Operation::Kind::kPut, meta::learned_key("v-damaged"), std::string("\xff\xff"), 0});
    const Result<meta::TransactionResult> put = co_await region.meta().commit(std::move(garbage));
    EXPECT_TRUE(put && put->succeeded);
    // Of an image, what another volume has saved lately stays.
    Result<void> saved = co_await save(1, "i-a", 10);
    EXPECT_TRUE(saved);
    saved = co_await save(2, "i-a", 20, 1'000'000'000);
    EXPECT_TRUE(saved);
    Result<std::optional<meta::Entry>> entry = co_await region.meta().get(meta::learned_state_key("i-a"));
    EXPECT_EQ((*entry)->value.size(), 10u);
    co_await runtime.executor().sleep_for(2'000'000'000);
    saved = co_await save(2, "i-a", 20, 1'000'000'000);
    EXPECT_TRUE(saved);
    entry = co_await region.meta().get(meta::learned_state_key("i-a"));
    EXPECT_EQ((*entry)->value.size(), 20u);
    saved = co_await save(999, learned_subject(VolumeId{999}), kLearnedStateBytesMax);
    EXPECT_TRUE(saved);
    entry = co_await region.meta().get(meta::learned_key("v-damaged"));
    EXPECT_TRUE(entry && !*entry);
    EXPECT_EQ(co_await states(), kFit + 1);
    // A damaged state of its own does not hide the image's.
    const std::string good = pack_learned(random_state(9, 100, 1, 40));
    for (const auto& [subject, state] : {std::pair{learned_subject(VolumeId{5}), std::string("junk")}, {"i-b", good}}) {
      meta::Transaction transaction;
      transaction.operations.push_back({meta::Operation::Kind::kPut, meta::learned_state_key(subject), state, 0});
      const Result<meta::TransactionResult> written = co_await region.meta().commit(std::move(transaction));
      EXPECT_TRUE(written);
    }
    const Result<std::optional<SavedLearned>> found = co_await load_learned(region.meta(), VolumeId{5}, "b");
    EXPECT_TRUE(found && *found && (*found)->subject == "i-b");
    done = true;
  }
  runtime::SimRuntime& runtime;
  TestRegion region;
  bool done = false;
};

TEST(LearnedStore, TheOldestMakesRoom) {
  runtime::SimWorld world(1);
  const runtime::NodeId node = world.add_node("region");
  world.start(node, [](runtime::SimRuntime& r) { return std::make_unique<StoreProcess>(r); });
  EXPECT_TRUE(world.run_until([&] { return static_cast<StoreProcess*>(world.process(node))->done; }, 600'000'000'000));
}

}  // namespace
}  // namespace foreshard::volume
