// Shows what tokens say and answers mean: that an answer, asked for its target, points to the access it was made from;
// that history answers what followed the last two times; and that nothing of a request is used before it came.
#include "policy/predict/neural/token.h"

#include <gtest/gtest.h>

#include <map>

#include "policy/predict/neural/model_testing.h"

namespace foreshard::policy {
namespace {

ModelShape shape_of(SymbolKind symbols, const Vocabulary& vocabulary) {
  ModelShape shape;
  shape.symbols = symbols;
  shape.vocabulary = vocabulary.size();
  return shape;
}

Access access_at(uint64_t position, uint32_t pages = 1, uint64_t first_page = 0) {
  Access access;
  access.position = position;
  access.pages = pages;
  access.first_page = first_page;
  return access;
}

TEST(LengthClass, IsTheSmallestThatHoldsThePages) {
  for (uint32_t pages = 1; pages <= kLengthPagesMax; ++pages) {
    const uint32_t length = length_class(pages);
    ASSERT_GE(pages_of_length_class(length), pages);
    if (length > 0) ASSERT_LT(pages_of_length_class(length - 1), pages);
  }
  EXPECT_EQ(length_class(UINT32_MAX), kLengthClasses - 1);
}

// Against a map that remembers everything.
TEST(TokenStream, AnswersPointBackToTheirAccess) {
  const Vocabulary vocabulary({-4, 0, 1, 7});
  const ModelShape shape = shape_of(SymbolKind::kDelta, vocabulary);
  TokenStream stream(shape, vocabulary, {});
  History history(1 << 12);
  Random random(1);
  std::map<uint64_t, std::vector<int64_t>> followed;
  std::map<int32_t, int> answers;
  uint64_t last = 0, end = 0;
  for (int i = 0; i < 3000; ++i) {
    const Access access = access_at(random.below(40) * 2, static_cast<uint32_t>(random.between(1, 3)));
    const Answer answer = stream.answer_for(access, history);
    const auto delta = static_cast<int64_t>(access.position - end);
    if (i == 0) {
      ASSERT_EQ(answer[0], kNoAnswer);
    } else {
      const std::vector<int64_t>& known = followed[last];
      const size_t n = known.size();
      const auto id = vocabulary.find(delta);
      const int32_t expected = n > 0 && known[n - 1] == delta   ? kAnswerHistory
                               : n > 1 && known[n - 2] == delta ? kAnswerHistory2
                               : id                             ? static_cast<int32_t>(kAnswerVocabulary + *id)
                                                                : kAnswerOther;
      ASSERT_EQ(answer[0], expected);
      ASSERT_EQ(answer[1], static_cast<int32_t>(length_class(access.pages)));
      ++answers[answer[0]];
      const auto target = stream.target(answer[0], answer[1], 0, history);
      ASSERT_EQ(target.has_value(), answer[0] != static_cast<int32_t>(kAnswerOther));
      if (target) {
        ASSERT_EQ(target->position, access.position);
        ASSERT_EQ(target->pages, access.pages);
      }
      followed[last].push_back(delta);
    }
    stream.take(access, history);
    last = access.position;
    end = access.position + access.pages;
  }
  EXPECT_EQ(answers.size(), 7u) << "some kind of answer never came up";
}

// Classes of sizes are wide; what was read there before says it exactly.
TEST(TokenStream, RememberedSizesAreExact) {
  const Vocabulary vocabulary({0});
  const ModelShape shape = shape_of(SymbolKind::kDelta, vocabulary);
  TokenStream stream(shape, vocabulary, {});
  History history(64);
  for (int round = 0; round < 2; ++round) {
    stream.take(access_at(100, 9), history);
    stream.take(access_at(500, 1), history);
  }
  const auto target = stream.target(kAnswerHistory, length_class(9), 0, history);
  ASSERT_TRUE(target);
  EXPECT_EQ(target->position, 100u);
  EXPECT_EQ(target->pages, 9u);
  EXPECT_EQ(stream.target(kAnswerHistory, length_class(3), 0, history)->pages, 3u);
}

TEST(TokenStream, TokensStayWithinTheirTable) {
  const Vocabulary vocabulary({0, 5});
  for (const SymbolKind symbols : {SymbolKind::kDelta, SymbolKind::kFile}) {
    const ModelShape shape = shape_of(symbols, vocabulary);
    const auto offsets = shape.feature_offsets();
    TokenStream stream(shape, vocabulary, {7, 9});
    History history(16);
    Random random(2);
    for (int i = 0; i < 5000; ++i) {
      Access access = access_at(random.next() >> random.between(12, 63), 1 + static_cast<uint32_t>(random.next() >> 40),
                                random.next() >> random.between(32, 63));
      access.time_ns = random.next() >> random.between(0, 63);
      access.operation = random.chance(0.5) ? Operation::kRead : Operation::kReadAfterWrites;
      const Token token = random.chance(0.3) ? stream.suppose(access, history) : stream.take(access, history);
      for (uint32_t feature = 0; feature < kFeatures; ++feature) {
        ASSERT_GE(token[feature], offsets[feature]);
        ASSERT_LT(token[feature], offsets[feature] + shape.feature_values(static_cast<Feature>(feature)));
      }
    }
  }
}

// A stream that is only supposed to go on leaves the history as it is, and says the same as one that does.
TEST(TokenStream, SupposingSaysWhatTakingWould) {
  const Vocabulary vocabulary({0, 1});
  const ModelShape shape = shape_of(SymbolKind::kDelta, vocabulary);
  TokenStream stream(shape, vocabulary, {});
  History history(256);
  Random random(3);
  for (int i = 0; i < 500; ++i) {
    const Access access = access_at(random.below(30));
    TokenStream ahead = stream;
    const Token supposed = ahead.suppose(access, history);
    // Taking it also notes what followed the position before, which counts if that is the same position.
    const bool same = stream.started() && stream.symbol_of(access) == -1;
    const Token taken = stream.take(access, history);
    if (!same) ASSERT_EQ(supposed, taken);
  }
}

TEST(TokenStream, FilesAreNamedWithTheirPlace) {
  const Vocabulary vocabulary({10, 20});
  const ModelShape shape = shape_of(SymbolKind::kFile, vocabulary);
  TokenStream stream(shape, vocabulary, {});
  History history(64);
  stream.take(access_at(10, 4), history);
  const Access goes_on = access_at(10, 4, 4);
  const Answer answer = stream.answer_for(goes_on, history);
  const auto target = stream.target(answer[0], answer[1], answer[2], history);
  ASSERT_TRUE(target);
  EXPECT_EQ(target->position, 10u);
  EXPECT_EQ(target->first_page, 4u);
  stream.take(goes_on, history);
  const Answer other = stream.answer_for(access_at(20, 1), history);
  EXPECT_EQ(other[0], static_cast<int32_t>(kAnswerVocabulary + 1));
  EXPECT_EQ(stream.target(other[0], other[1], other[2], history)->first_page, 0u);
}

// Foreign vocabularies hold any number.
TEST(TokenStream, TargetsOutsideOfAnyVolumeAreNone) {
  const Vocabulary vocabulary({INT64_MIN, -1000, 0, INT64_MAX});
  for (const SymbolKind symbols : {SymbolKind::kDelta, SymbolKind::kFile}) {
    const ModelShape shape = shape_of(symbols, vocabulary);
    TokenStream stream(shape, vocabulary, {});
    History history(16);
    stream.take(access_at(5), history);
    EXPECT_FALSE(stream.target(kAnswerVocabulary, 0, 0, history));
    EXPECT_FALSE(stream.target(kAnswerVocabulary + 1, 0, 0, history));
    EXPECT_TRUE(stream.target(kAnswerVocabulary + 2, 0, 0, history));
    EXPECT_FALSE(stream.target(kAnswerVocabulary + 4, 0, 0, history));
    EXPECT_FALSE(stream.target(UINT32_MAX, 0, 0, history));
  }
}

TEST(History, KeepsWhatWasTouchedLastWithinItsBound) {
  History history(8);
  for (uint64_t position = 0; position < 1000; ++position) {
    history.find_or_add(position).next = static_cast<int64_t>(position);
    ASSERT_NE(history.find(position), nullptr);
    ASSERT_EQ(history.find(position)->next, static_cast<int64_t>(position));
  }
  EXPECT_EQ(history.memory_bytes_max(), 8u * 32);
}

}  // namespace
}  // namespace foreshard::policy
