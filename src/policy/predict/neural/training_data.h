// Training data: recorded requests cut by time into a part to learn from, one to choose by and one to judge by, and
// turned into tokens. What is later is never used for what is earlier. Pure; sizes are the caller's to bound.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/predict/neural/model.h"
#include "policy/predict/neural/token.h"

namespace foreshard::policy {

// How many streams of a volume are told apart at a time.
inline constexpr uint32_t kNearStreams = 64;

// The reads of one stream (a volume) in their order.
struct AccessSequence {
  TokenStream::Labels labels;
  std::vector<Access> accesses;
  // [0, train_end) to learn from, [train_end, validation_end) to choose by, the rest to judge by.
  size_t train_end = 0, validation_end = 0;
  bool ended = false;  // the stream did not go on, as was known within the last access's part
};

struct TrainingSplit {
  double train = 0.6, validation = 0.1;
};

// Collects the requests of one trace in their order.
class SequenceBuilder {
 public:
  // cache_share: only what a cache of this share of the trace's pages would have missed is kept, since that is what a
  // predictor is shown; 0: every read.
  SequenceBuilder(SymbolKind symbols, double cache_share) : symbols_(symbols), cache_share_(cache_share) {}
  // Writes leave a mark on the read behind them, and their pages in the cache.
  void add(uint32_t stream, const Access& access, bool write);
  uint64_t requests() const { return requests_.size(); }
  // Appends a sequence for each stream that read anything; the split is by the trace's requests. near_pages: as in the
  // model's shape; then each stream that is told apart is a sequence.
  void finish(TokenStream::Labels labels, const TrainingSplit& split, uint32_t near_pages,
              std::vector<AccessSequence>& sequences);

 private:
  struct Request {
    Access access;
    uint32_t stream;
    bool write;
  };
  void keep_misses();
  uint64_t page_key(const Request& request) const;

  SymbolKind symbols_;
  double cache_share_;
  std::vector<Request> requests_;
};

// The commonest symbols of the parts to learn from.
Vocabulary learn_vocabulary(const std::vector<AccessSequence>& sequences, SymbolKind symbols, uint32_t symbols_max);

struct TokenData {
  std::vector<Token> tokens;
  std::vector<Answer> answers;  // to each token: what came next
};
static_assert(sizeof(Token) == kFeatures * sizeof(uint32_t) && sizeof(Answer) == kHeads * sizeof(int32_t));

// All sequences one behind the other; the last token of each part has no answer.
void tokenize(const std::vector<AccessSequence>& sequences, const ModelShape& shape, const Vocabulary& vocabulary,
              TokenData& train, TokenData& validation);

}  // namespace foreshard::policy
