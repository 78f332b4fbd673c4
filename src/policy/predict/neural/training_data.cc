#include "policy/predict/neural/training_data.h"

#include <algorithm>
#include <list>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "base/random.h"

namespace foreshard::policy {
namespace {

constexpr uint64_t kPagesEach = 1024;  // of one request that go through the filter

// Least recently used pages go first.
class LruPages {
 public:
  explicit LruPages(size_t pages_max) : pages_max_(pages_max) {}
  // Whether it was there.
  bool touch(uint64_t page) {
    if (const auto at = places_.find(page); at != places_.end()) {
      order_.splice(order_.begin(), order_, at->second);
      return true;
    }
    order_.push_front(page);
    places_.emplace(page, order_.begin());
    if (order_.size() > pages_max_) {
      places_.erase(order_.back());
      order_.pop_back();
    }
    return false;
  }

 private:
  size_t pages_max_;
  std::list<uint64_t> order_;
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> places_;
};

}  // namespace

void SequenceBuilder::add(uint32_t stream, const Access& access, bool write) {
  requests_.push_back({access, stream, write});
}

// Of its first page; files are shared by all streams.
uint64_t SequenceBuilder::page_key(const Request& request) const {
  const Access& access = request.access;
  if (symbols_ == SymbolKind::kFile) return mix64(access.position) + access.first_page;
  return mix64(request.stream) + access.position;
}

void SequenceBuilder::keep_misses() {
  std::unordered_set<uint64_t> unique;
  for (const Request& request : requests_) {
    const uint64_t pages = std::min<uint64_t>(request.access.pages, kPagesEach);
    for (uint64_t page = 0; page < pages; ++page) unique.insert(page_key(request) + page);
  }
  LruPages cache(static_cast<size_t>(cache_share_ * static_cast<double>(unique.size())));
  for (Request& request : requests_) {
    bool missed = false;
    const uint64_t pages = std::min<uint64_t>(request.access.pages, kPagesEach);
    for (uint64_t page = 0; page < pages; ++page) {
      missed |= !cache.touch(page_key(request) + page);
    }
    // A hit is marked by having no pages.
    if (!missed && !request.write) request.access.pages = 0;
  }
}

void SequenceBuilder::finish(TokenStream::Labels labels, const TrainingSplit& split,
                             std::vector<AccessSequence>& sequences) {
  if (cache_share_ > 0) keep_misses();
  std::map<uint32_t, AccessSequence> streams;
  std::unordered_map<uint32_t, bool> wrote;
  const auto count = static_cast<double>(requests_.size());
  const auto train_end = static_cast<size_t>(split.train * count);
  const auto validation_end = static_cast<size_t>((split.train + split.validation) * count);
  for (size_t i = 0; i < requests_.size(); ++i) {
    Request& request = requests_[i];
    if (request.write) {
      wrote[request.stream] = true;
      continue;
    }
    if (request.access.pages == 0) continue;
    bool& after_write = wrote[request.stream];
    if (after_write && request.access.operation == Operation::kRead) {
      request.access.operation = Operation::kReadAfterWrites;
    }
    after_write = false;
    AccessSequence& sequence = streams[request.stream];
    sequence.accesses.push_back(request.access);
    if (i < train_end) sequence.train_end = sequence.accesses.size();
    if (i < validation_end) sequence.validation_end = sequence.accesses.size();
  }
  for (auto& [stream, sequence] : streams) {
    sequence.labels = labels;
    sequences.push_back(std::move(sequence));
  }
  requests_.clear();
}

Vocabulary learn_vocabulary(const std::vector<AccessSequence>& sequences, SymbolKind symbols, uint32_t symbols_max) {
  std::unordered_map<int64_t, uint64_t> counts;
  for (const AccessSequence& sequence : sequences) {
    uint64_t end = 0;
    for (size_t i = 0; i < sequence.train_end; ++i) {
      const Access& access = sequence.accesses[i];
      const auto symbol = static_cast<int64_t>(access.position - (symbols == SymbolKind::kFile ? 0 : end));
      if (i > 0 || symbols == SymbolKind::kFile) ++counts[symbol];
      end = access.position + access.pages;
    }
  }
  return Vocabulary::commonest(counts, symbols_max);
}

void tokenize(const std::vector<AccessSequence>& sequences, const ModelShape& shape, const Vocabulary& vocabulary,
              TokenData& train, TokenData& validation) {
  constexpr Answer kNone = {kNoAnswer, kNoAnswer, kNoAnswer};
  for (const AccessSequence& sequence : sequences) {
    TokenStream stream(shape, vocabulary, sequence.labels);
    History history(shape.history_entries);
    for (size_t i = 0; i < sequence.validation_end; ++i) {
      const Access& access = sequence.accesses[i];
      TokenData& data = i < sequence.train_end ? train : validation;
      if (i != 0 && i != sequence.train_end) data.answers.back() = stream.answer_for(access, history);
      data.tokens.push_back(stream.take(access, history));
      data.answers.push_back(kNone);
    }
  }
}

}  // namespace foreshard::policy
