#include "policy/predict/neural/neural_predictor.h"

#include <algorithm>
#include <utility>

#include "policy/predict/neural/training_data.h"

namespace foreshard::policy {

RunnableModel::RunnableModel(Model from) : model(std::move(from)), network(SequenceModel::create(model)) {
  model.weights = {};
}

NeuralPredictor::NeuralPredictor(ModelKind kind, std::shared_ptr<RunnableModel> model, const NeuralOptions& options,
                                 std::function<uint64_t()> now_ns, std::string name,
                                 std::function<uint64_t()> work_ns)
    : kind_(kind), name_(name.empty() ? model_kind_name(kind) : std::move(name)), options_(options),
      budget_(options.cpu_share_max, std::move(now_ns), std::move(work_ns)) {
  set_model(std::move(model));
}

void NeuralPredictor::set_model(std::shared_ptr<RunnableModel> model) {
  if (model != nullptr && model->model.shape.kind != kind_) model = nullptr;
  streams_.clear();  // they point into the model
  model_ = std::move(model);
  if (model_ == nullptr) return;
  const uint32_t entries = model_->model.shape.history_entries;
  if (history_ == nullptr || history_->entries() != entries) history_ = std::make_unique<History>(entries);
  symbols_.resize(model_->network->answer_room(Head::kSymbol));
  lengths_.resize(model_->network->answer_room(Head::kLength));
  places_.resize(model_->network->answer_room(Head::kPlace));
}

uint64_t NeuralPredictor::memory_bytes_max() const {
  uint64_t bytes = sizeof(*this);
  if (model_ == nullptr) return bytes;
  bytes += model_->network->memory_bytes() + model_->model.vocabulary.size() * sizeof(int64_t);
  bytes += history_->memory_bytes_max();
  const uint64_t paths = model_->model.shape.near_pages == 0 ? 1 : kNearStreams;
  const uint64_t path_bytes = sizeof(Path) + model_->network->state_floats() * sizeof(float) + 24;
  bytes += options_.streams_max * (sizeof(Stream) + paths * path_bytes);
  return bytes + (symbols_.size() + lengths_.size() + places_.size()) * sizeof(float);
}

NeuralPredictor::Stream* NeuralPredictor::find(const Observation& observation) {
  for (Stream& stream : streams_) {
    if (stream.vm == observation.vm && stream.volume == observation.volume) return &stream;
  }
  return nullptr;
}

NeuralPredictor::Stream& NeuralPredictor::find_or_start(const Observation& observation) {
  if (Stream* known = find(observation)) return *known;
  Stream fresh{observation.vm, observation.volume, 0, false,
               StreamSplitter(model_->model.shape.near_pages, kNearStreams), {}};
  if (streams_.size() < options_.streams_max) return streams_.emplace_back(std::move(fresh));
  const auto older = [](const Stream& a, const Stream& b) { return a.last_used < b.last_used; };
  Stream& oldest = *std::min_element(streams_.begin(), streams_.end(), older);
  oldest = std::move(fresh);
  return oldest;
}

NeuralPredictor::Path NeuralPredictor::fresh_path() const {
  return {TokenStream(model_->model.shape, model_->model.vocabulary, options_.labels), model_->network->begin()};
}

NeuralPredictor::Path& NeuralPredictor::path_of(Stream& stream, const Access& access) {
  const StreamSplitter::Choice choice = stream.splitter.choose(access.position, access.pages);
  if (choice.stream >= stream.paths.size()) return stream.paths.emplace_back(fresh_path());
  Path& path = stream.paths[choice.stream];
  if (choice.fresh) path = fresh_path();
  return path;
}

bool NeuralPredictor::access_of(const Observation& observation, Access& access) const {
  if (observation.pages == 0 || observation.first_page >= kPositionsMax) return false;
  access.time_ns = observation.time_ns;
  access.position = observation.first_page;
  access.pages = std::min(observation.pages, kLengthPagesMax);
  if (model_->model.shape.symbols == SymbolKind::kFile) {
    access.position = observation.first_page >> options_.file_pages_log2;
    access.first_page = observation.first_page & ((1ull << options_.file_pages_log2) - 1);
  }
  return true;
}

void NeuralPredictor::observe(const Observation& observation, std::vector<Candidate>& candidates) {
  if (model_ == nullptr || options_.streams_max == 0) return;
  if (observation.write) {
    if (Stream* stream = find(observation)) stream->after_write = true;
    return;
  }
  // Hits that are shown for other experts' sake are none of what it was trained on.
  if (observation.missed_pages == 0 && !observation.hit_prefetched) return;
  Access access;
  if (!access_of(observation, access)) return;
  ++counters_.observed;
  Stream& stream = find_or_start(observation);
  stream.last_used = ++clock_;
  if (std::exchange(stream.after_write, false)) access.operation = Operation::kReadAfterWrites;
  Path& path = path_of(stream, access);
  const Token token = path.tokens.take(access, *history_);
  if (!budget_.begin()) {
    ++counters_.skipped;
    return;
  }
  model_->network->step(token, path.state);
  ++counters_.steps;
  propose(path, candidates);
  counters_.cpu_ns += budget_.end();
}

// Fills ranked_, length_ and place_.
void NeuralPredictor::answer(const TokenStream& tokens, const SequenceState& state, uint32_t count) {
  const SequenceModel& network = *model_->network;
  network.probabilities(state, Head::kSymbol, symbols_);
  rank_answers(tokens, {symbols_.data(), network.answers(Head::kSymbol)}, count, ranked_);
  network.probabilities(state, Head::kLength, lengths_);
  // The longest that is more likely reached than not.
  length_ = 0;
  float reached = 1 - lengths_[0];
  while (length_ + 1 < kLengthClasses && reached >= 0.5f) reached -= lengths_[++length_];
  place_ = 0;
  if (model_->model.shape.symbols != SymbolKind::kFile) return;
  network.scores(state, Head::kPlace, places_);
  place_ = likeliest({places_.data(), network.answers(Head::kPlace)});
}

bool NeuralPredictor::add(const Target& target, float confidence, std::vector<Candidate>& candidates) {
  Candidate candidate;
  candidate.first_page = target.position;
  if (model_->model.shape.symbols == SymbolKind::kFile) {
    const uint32_t shift = options_.file_pages_log2;
    if (target.position >= kPositionsMax >> shift || target.first_page >> shift != 0) return false;
    candidate.first_page = (target.position << shift) + target.first_page;
  }
  candidate.pages = target.pages;
  candidate.confidence = std::min(confidence, 1.0f);
  // What the model believes, coarse and fine: what that is worth the filter learns.
  candidate.context = static_cast<uint16_t>(candidate.confidence * 15);
  candidate.detail = static_cast<uint16_t>(candidate.confidence * 63);
  candidates.push_back(candidate);
  ++counters_.proposed;
  return true;
}

void NeuralPredictor::propose(const Path& path, std::vector<Candidate>& candidates) {
  answer(path.tokens, path.state, options_.answers_max);
  std::optional<Target> best;
  float best_confidence = 0;
  for (const RankedAnswer& ranked : ranked_) {
    if (!(ranked.probability >= options_.confidence_min)) break;
    const std::optional<Target> target = path.tokens.target(ranked.answer, length_, place_, *history_);
    if (!target || !add(*target, ranked.probability, candidates) || best) continue;
    best = target;
    best_confidence = ranked.probability;
  }
  if (best && best_confidence >= options_.follow_min) look_ahead(path, *best, best_confidence, candidates);
}

void NeuralPredictor::look_ahead(const Path& path, Target target, float confidence,
                                 std::vector<Candidate>& candidates) {
  TokenStream tokens = path.tokens;
  SequenceState state = path.state;
  for (uint32_t step = 1; step < options_.steps_ahead && confidence >= options_.follow_min; ++step) {
    Access access;
    access.time_ns = tokens.time_ns();  // soon
    access.position = target.position;
    access.first_page = target.first_page;
    access.pages = target.pages;
    model_->network->step(tokens.suppose(access, *history_), state);
    ++counters_.steps;
    answer(tokens, state, 1);
    if (ranked_.empty()) return;
    const std::optional<Target> next = tokens.target(ranked_[0].answer, length_, place_, *history_);
    confidence *= ranked_[0].probability;
    if (!next || confidence < options_.confidence_min || !add(*next, confidence, candidates)) return;
    target = *next;
  }
}

}  // namespace foreshard::policy
