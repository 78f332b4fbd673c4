// Tokens: how requests look to a neural model. The one place where they are made: training and inference, block and
// file models use the same TokenStream, so that they cannot differ.
//
// Owner: who feeds a stream of requests, one TokenStream for each stream. It is small and copied to look ahead; the
// History behind it belongs to the volume. Invariant: nothing of a request is used before take() was given it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "policy/predict/neural/history.h"
#include "policy/predict/neural/model.h"

namespace foreshard::policy {

enum class Operation : uint8_t { kRead, kReadAfterWrites };

struct Access {
  uint64_t time_ns = 0;      // 0: not recorded
  uint64_t position = 0;     // block: the first page; files: the file's number, below 2^63
  uint64_t first_page = 0;   // files: within the file
  uint32_t pages = 1;
  Operation operation = Operation::kRead;
};

// For each feature its row of the model's table.
using Token = std::array<uint32_t, kFeatures>;

// For each head the number that would have been right; kNoAnswer: nothing to learn from.
using Answer = std::array<int32_t, kHeads>;
inline constexpr int32_t kNoAnswer = -1;

// What an answer means in the place where it was given.
struct Target {
  uint64_t position = 0;
  uint64_t first_page = 0;
  uint32_t pages = 0;
};

uint32_t length_class(uint32_t pages);
// The most pages of the class; of the last one kLengthPagesMax.
uint32_t pages_of_length_class(uint32_t length);
inline constexpr uint32_t kLengthPagesMax = 512;
inline constexpr uint64_t kPositionsMax = 1ull << 52;  // pages of a volume

// Of a workload type or a VM's label; 0: none. The same on every machine, as models travel.
uint64_t label_hash(std::string_view label);

class TokenStream {
 public:
  // What is the same for all of its requests, as any 64 bits; 0: unknown.
  struct Labels {
    uint64_t workload = 0;
    uint64_t vm = 0;
  };
  // The shape and the vocabulary outlive it.
  TokenStream(const ModelShape& shape, const Vocabulary& vocabulary, Labels labels);

  bool started() const { return started_; }
  // Of the last access; 0 when it was not recorded.
  uint64_t time_ns() const { return time_ns_; }
  // What should have been answered before this access came; all kNoAnswer for the first.
  Answer answer_for(const Access& access, const History& history) const;
  // Takes the access in, and into the history.
  Token take(const Access& access, History& history);
  // The same for one that is only supposed: the history stays as it is.
  Token suppose(const Access& access, const History& history);
  // Where the answers of the heads point to now; nothing where they name no place.
  std::optional<Target> target(uint32_t symbol, uint32_t length, uint32_t place, const History& history) const;
  // What an answer of the symbol head stands for.
  std::optional<int64_t> symbol_of_answer(uint32_t answer) const;
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  // The symbol of an access that would come now.
  int64_t symbol_of(const Access& access) const;

 private:
  struct Remembered {
    std::optional<int64_t> next, next_before;
    uint32_t followed = 0;
  };
  Token token(const Access& access, int64_t symbol, uint32_t place, uint64_t gap_ns) const;
  Token advance(const Access& access, uint32_t place, const History::Entry* entry);
  uint32_t place_of(const Access& access, const History::Entry* entry) const;
  uint32_t row(Feature feature, uint32_t value) const { return offsets_[static_cast<uint32_t>(feature)] + value; }
  uint32_t bucket(Feature feature, uint64_t value, uint32_t buckets) const;

  const ModelShape* shape_;
  const Vocabulary* vocabulary_;
  std::array<uint32_t, kFeatures> offsets_;
  Labels labels_;
  bool started_ = false;
  uint64_t position_ = 0;    // of the last access
  uint64_t end_ = 0;         // block: the page behind it
  uint64_t time_ns_ = 0;
  uint32_t run_ = 0;         // how many times in a row `next` was right
  Remembered remembered_;    // of the last access's position
};

}  // namespace foreshard::policy
