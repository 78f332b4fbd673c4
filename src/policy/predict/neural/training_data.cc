#include "policy/predict/neural/training_data.h"

#include <algorithm>
#include <list>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/random.h"
#include "policy/predict/neural/stream_splitter.h"

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

namespace {

// The sequences of one volume: one, or one for each stream that is told apart.
class VolumeSequences {
 public:
  explicit VolumeSequences(uint32_t near_pages) : splitter_(near_pages, kNearStreams) {}

  // part: 0 to learn from, 1 to choose by, 2 to judge by.
  void add(const Access& access, uint32_t part) {
    const StreamSplitter::Choice choice = splitter_.choose(access.position, access.pages);
    if (choice.stream >= live_.size()) live_.resize(choice.stream + 1);
    Live& live = live_[choice.stream];
    if (choice.fresh && !live.sequence.accesses.empty()) {
      live.sequence.ended = live.last_part == part;
      done_.push_back(std::move(live.sequence));
      live.sequence = {};
    }
    live.last_part = part;
    live.sequence.accesses.push_back(access);
    if (part == 0) live.sequence.train_end = live.sequence.accesses.size();
    if (part <= 1) live.sequence.validation_end = live.sequence.accesses.size();
  }
  void finish(TokenStream::Labels labels, std::vector<AccessSequence>& sequences) {
    for (Live& live : live_) done_.push_back(std::move(live.sequence));
    for (AccessSequence& sequence : done_) {
      sequence.labels = labels;
      sequences.push_back(std::move(sequence));
    }
  }

 private:
  struct Live {
    AccessSequence sequence;
    uint32_t last_part = 0;
  };
  StreamSplitter splitter_;
  std::vector<Live> live_;
  std::vector<AccessSequence> done_;
};

}  // namespace

void SequenceBuilder::finish(TokenStream::Labels labels, const TrainingSplit& split, uint32_t near_pages,
                             std::vector<AccessSequence>& sequences) {
  if (cache_share_ > 0) keep_misses();
  std::map<uint32_t, VolumeSequences> volumes;
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
    if (std::exchange(wrote[request.stream], false)) request.access.operation = Operation::kReadAfterWrites;
    const uint32_t part = i < train_end ? 0 : i < validation_end ? 1 : 2;
    volumes.try_emplace(request.stream, near_pages).first->second.add(request.access, part);
  }
  for (auto& [stream, volume] : volumes) volume.finish(labels, sequences);
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
  History history(shape.history_entries);
  for (const AccessSequence& sequence : sequences) {
    TokenStream stream(shape, vocabulary, sequence.labels);
    history.clear();
    for (size_t i = 0; i < sequence.validation_end; ++i) {
      const Access& access = sequence.accesses[i];
      TokenData& data = i < sequence.train_end ? train : validation;
      if (i != 0 && i != sequence.train_end) data.answers.back() = stream.answer_for(access, history);
      data.tokens.push_back(stream.take(access, history));
      data.answers.push_back(kNone);
    }
    if (sequence.ended && sequence.validation_end == sequence.accesses.size()) {
      TokenData& data = sequence.train_end == sequence.accesses.size() ? train : validation;
      data.answers.back()[static_cast<uint32_t>(Head::kSymbol)] = kAnswerOther;
    }
  }
}

}  // namespace foreshard::policy
