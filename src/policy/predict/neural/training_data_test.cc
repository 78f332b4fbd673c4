// Shows that data are cut by time, that what is later changes nothing of what is earlier, that the filter of misses is
// an LRU cache's, and that vocabularies hold the commonest.
#include "policy/predict/neural/training_data.h"

#include <gtest/gtest.h>

#include <list>

#include "base/random.h"

namespace foreshard::policy {
namespace {

Access page(uint64_t position, uint32_t pages = 1) {
  Access access;
  access.position = position;
  access.pages = pages;
  return access;
}

std::vector<AccessSequence> sequences_of(const std::vector<uint64_t>& pages, double cache_share) {
  SequenceBuilder builder(SymbolKind::kDelta, cache_share);
  for (const uint64_t position : pages) builder.add(0, page(position), false);
  std::vector<AccessSequence> sequences;
  builder.finish({}, {}, 0, sequences);
  return sequences;
}

TEST(SequenceBuilder, CutsByTheTimeOfTheTrace) {
  SequenceBuilder builder(SymbolKind::kDelta, 0);
  for (uint64_t i = 0; i < 100; ++i) builder.add(i < 60 ? 1 : i % 2, page(i), false);
  std::vector<AccessSequence> sequences;
  builder.finish({}, {}, 0, sequences);
  ASSERT_EQ(sequences.size(), 2u);
  EXPECT_EQ(sequences[0].train_end, 0u);  // of stream 0, which began later
  EXPECT_EQ(sequences[0].validation_end, 5u);
  EXPECT_EQ(sequences[0].accesses.size(), 20u);
  EXPECT_EQ(sequences[1].train_end, 60u);
  EXPECT_EQ(sequences[1].validation_end, 65u);
  EXPECT_EQ(sequences[1].accesses.size(), 80u);
}

TEST(SequenceBuilder, WritesMarkTheReadBehindThem) {
  SequenceBuilder builder(SymbolKind::kDelta, 0);
  builder.add(0, page(1), false);
  builder.add(0, page(2), true);
  builder.add(0, page(3), false);
  builder.add(0, page(4), false);
  std::vector<AccessSequence> sequences;
  builder.finish({}, {}, 0, sequences);
  ASSERT_EQ(sequences[0].accesses.size(), 3u);
  EXPECT_EQ(sequences[0].accesses[1].operation, Operation::kReadAfterWrites);
  EXPECT_EQ(sequences[0].accesses[2].operation, Operation::kRead);
}

TEST(SequenceBuilder, KeepsWhatAnLruCacheMisses) {
  Random random(1);
  std::vector<uint64_t> pages;
  for (int i = 0; i < 4000; ++i) pages.push_back(random.below(100) * random.below(100) / 100);
  std::list<uint64_t> cache;
  std::vector<uint64_t> expected;
  std::vector<bool> seen(100);
  for (const uint64_t one : pages) seen[one] = true;
  const auto size = static_cast<size_t>(0.2 * static_cast<double>(std::count(seen.begin(), seen.end(), true)));
  for (const uint64_t one : pages) {
    const auto at = std::find(cache.begin(), cache.end(), one);
    if (at != cache.end()) {
      cache.erase(at);
    } else {
      expected.push_back(one);
    }
    cache.push_front(one);
    if (cache.size() > size) cache.pop_back();
  }
  std::vector<uint64_t> kept;
  const std::vector<AccessSequence> sequences = sequences_of(pages, 0.2);
  for (const Access& access : sequences[0].accesses) kept.push_back(access.position);
  EXPECT_EQ(kept, expected);
}

// Two runs, interleaved, then many others that push both out: their ends are answers too.
TEST(SequenceBuilder, NearStreamsAreSequencesThatEnd) {
  SequenceBuilder builder(SymbolKind::kDelta, 0);
  for (uint64_t i = 0; i < 20; ++i) builder.add(0, page(i % 2 == 0 ? 1000 + i : 900'000 + i), false);
  for (uint64_t i = 0; i < kNearStreams; ++i) builder.add(0, page((i + 2) << 21), false);
  for (uint64_t i = 0; i < 100; ++i) builder.add(0, page(7'000'000), false);
  std::vector<AccessSequence> sequences;
  builder.finish({}, {}, 32, sequences);
  ASSERT_GT(sequences.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(sequences[i].accesses.size(), 10u);
    EXPECT_TRUE(sequences[i].ended);
    EXPECT_EQ(sequences[i].train_end, 10u);
  }
  ModelShape shape;
  shape.history_entries = 2;
  TokenData train, validation;
  tokenize({sequences[0]}, shape, {}, train, validation);
  EXPECT_EQ(train.answers.back()[0], static_cast<int32_t>(kAnswerOther));
  EXPECT_EQ(train.answers.back()[1], kNoAnswer);
}

TEST(Vocabulary, HoldsTheCommonestOfThePartToLearnFrom) {
  std::vector<uint64_t> pages;
  for (uint64_t i = 0; i < 60; ++i) pages.push_back(i * 3);          // distance 2 from the end
  for (uint64_t i = 0; i < 40; ++i) pages.push_back(1000 - i * 10);  // seen only later
  const Vocabulary vocabulary = learn_vocabulary(sequences_of(pages, 0), SymbolKind::kDelta, 4);
  EXPECT_EQ(vocabulary.values(), std::vector<int64_t>{2});
}

TEST(TrainingData, LaterRequestsChangeNothingEarlier) {
  Random random(2);
  std::vector<uint64_t> pages;
  for (int i = 0; i < 1000; ++i) pages.push_back(random.below(50));
  const auto tokens_of = [](const std::vector<uint64_t>& all, TokenData& train, TokenData& validation) {
    const auto sequences = sequences_of(all, 0);
    const Vocabulary vocabulary = learn_vocabulary(sequences, SymbolKind::kDelta, 16);
    ModelShape shape;
    shape.vocabulary = vocabulary.size();
    tokenize(sequences, shape, vocabulary, train, validation);
    return vocabulary;
  };
  TokenData train, validation, train_again, validation_again;
  const Vocabulary first = tokens_of(pages, train, validation);
  for (size_t i = 700; i < pages.size(); ++i) pages[i] = 7;
  const Vocabulary second = tokens_of(pages, train_again, validation_again);
  EXPECT_EQ(first, second);
  EXPECT_EQ(train.tokens, train_again.tokens);
  EXPECT_EQ(train.answers, train_again.answers);
  EXPECT_EQ(validation.answers, validation_again.answers);
  EXPECT_EQ(train.tokens.size(), 600u);
  EXPECT_EQ(validation.tokens.size(), 100u);
  // Nothing of the next part is an answer in this one.
  EXPECT_EQ(train.answers.back()[0], kNoAnswer);
}

}  // namespace
}  // namespace foreshard::policy
