#include "policy/predict/neural/evaluation.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "policy/predict/neural/ranking.h"

namespace foreshard::policy {
namespace {

constexpr size_t kWarmUpSteps = 20'000;  // of the state before what is judged; the history takes everything
const double kUnnamedLoss = std::log(1 << 20);  // one of a million: so that models with other vocabularies compare
constexpr uint64_t kToldEverySteps = 1024;

size_t part_begin(const AccessSequence& sequence, EvaluatedPart part) {
  return part == EvaluatedPart::kTest ? sequence.validation_end : sequence.train_end;
}
size_t part_end(const AccessSequence& sequence, EvaluatedPart part) {
  return part == EvaluatedPart::kTest ? sequence.accesses.size() : sequence.validation_end;
}

bool ends_in_part(const AccessSequence& sequence, EvaluatedPart part) {
  const size_t end = part_end(sequence, part);
  return sequence.ended && end == sequence.accesses.size() && part_begin(sequence, part) < end;
}

// Counts of symbols, and the commonest of them.
class SymbolCounts {
 public:
  void add(int64_t symbol) { ++counts_[symbol]; }
  const std::vector<int64_t>& best() {
    if (!best_.empty() || counts_.empty()) return best_;
    std::vector<std::pair<uint64_t, int64_t>> order;
    for (const auto& [symbol, count] : counts_) order.push_back({count, symbol});
    const size_t kept = std::min<size_t>(order.size(), kEvaluatedAnswers);
    std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(kept), order.end(), std::greater<>());
    for (size_t i = 0; i < kept; ++i) best_.push_back(order[i].second);
    return best_;
  }

 private:
  std::unordered_map<int64_t, uint32_t> counts_;
  std::vector<int64_t> best_;
};

void count(Accuracy& accuracy, const std::vector<int64_t>& best, int64_t symbol) {
  const auto at = std::find(best.begin(), best.end(), symbol);
  accuracy.top1 += at == best.begin() && at != best.end();
  accuracy.top_k += at != best.end();
}

// Adds up what a model's answers were worth.
class Judge {
 public:
  Judge(const SequenceModel& runnable, Evaluation& evaluation)
      : runnable_(runnable), evaluation_(evaluation), symbols_(runnable.answer_room(Head::kSymbol)),
        lengths_(runnable.answer_room(Head::kLength)) {}

  // What was to be answered, as number and as symbol; nothing: that the stream ends. The loss.
  float answer(const TokenStream& stream, const Answer& answer, std::optional<int64_t> symbol,
               const SequenceState& state) {
    runnable_.probabilities(state, Head::kSymbol, symbols_);
    const std::span<float> symbols(symbols_.data(), runnable_.answers(Head::kSymbol));
    const auto right = static_cast<size_t>(answer[static_cast<uint32_t>(Head::kSymbol)]);
    double loss = -std::log(std::max(symbols[right], 1e-9f));
    if (right == kAnswerOther && symbol) loss += kUnnamedLoss;
    evaluation_.log_loss += loss;

    rank_answers(stream, symbols, kEvaluatedAnswers, ranked_);
    size_t place = 0;
    while (place < ranked_.size() && (!symbol || stream.symbol_of_answer(ranked_[place].answer) != symbol)) ++place;
    const bool first = place == 0 && !ranked_.empty();
    evaluation_.model.top1 += first;
    evaluation_.model.top_k += place < ranked_.size();
    const double best = ranked_.empty() ? 0 : ranked_[0].probability;
    evaluation_.brier += (best - first) * (best - first);
    const auto bin = static_cast<size_t>(best * Evaluation::kBins);
    Evaluation::Bin& chosen = evaluation_.bins[std::min<size_t>(bin, Evaluation::kBins - 1)];
    ++chosen.count;
    chosen.right += first;
    chosen.probability += best;

    runnable_.scores(state, Head::kLength, lengths_);
    const uint32_t length = likeliest({lengths_.data(), runnable_.answers(Head::kLength)});
    evaluation_.length_right += length == static_cast<uint32_t>(answer[static_cast<uint32_t>(Head::kLength)]);
    ++evaluation_.answers;
    return static_cast<float>(loss);
  }

 private:
  const SequenceModel& runnable_;
  Evaluation& evaluation_;
  std::vector<float> symbols_, lengths_;
  std::vector<RankedAnswer> ranked_;
};

}  // namespace

double Evaluation::calibration_error() const {
  double error = 0;
  for (const Bin& bin : bins) error += std::fabs(bin.probability - static_cast<double>(bin.right));
  return answers == 0 ? 0 : error / static_cast<double>(answers);
}

Accuracy Evaluation::confident(double probability_min, uint64_t& said) const {
  Accuracy accuracy;
  said = 0;
  for (auto bin = static_cast<uint32_t>(probability_min * kBins + 0.5); bin < kBins; ++bin) {
    said += bins[bin].count;
    accuracy.top1 += bins[bin].right;
  }
  return accuracy;
}

Evaluation evaluate(SequenceModel& runnable, const Model& model, const std::vector<AccessSequence>& sequences,
                    EvaluatedPart part, const std::function<bool(uint64_t, uint64_t)>& on_progress,
                    std::vector<float>* losses) {
  Evaluation evaluation;
  Judge judge(runnable, evaluation);
  uint64_t steps = 0, total = 0;
  History history(model.shape.history_entries);
  for (const AccessSequence& sequence : sequences) total += part_end(sequence, part);
  for (const AccessSequence& sequence : sequences) {
    if (part_begin(sequence, part) == part_end(sequence, part)) continue;
    TokenStream stream(model.shape, model.vocabulary, sequence.labels);
    history.clear();
    SequenceState state = runnable.begin();
    for (size_t i = 0; i < part_end(sequence, part); ++i) {
      const Access& access = sequence.accesses[i];
      if (i > 0 && i >= part_begin(sequence, part)) {
        const float loss = judge.answer(stream, stream.answer_for(access, history), stream.symbol_of(access), state);
        if (losses != nullptr) losses->push_back(loss);
      }
      const Token token = stream.take(access, history);
      if (i + kWarmUpSteps >= part_begin(sequence, part)) runnable.step(token, state);
      if (++steps % kToldEverySteps == 0 && on_progress && !on_progress(steps, total)) return evaluation;
    }
    if (ends_in_part(sequence, part)) {
      const float loss = judge.answer(stream, {kAnswerOther, kNoAnswer, kNoAnswer}, std::nullopt, state);
      if (losses != nullptr) losses->push_back(loss);
    }
  }
  return evaluation;
}

void evaluate_baselines(const Model& model, const std::vector<AccessSequence>& sequences, EvaluatedPart part,
                        Evaluation& evaluation) {
  SymbolCounts all;
  std::unordered_map<int64_t, SymbolCounts> after;
  for (const AccessSequence& sequence : sequences) {
    TokenStream stream(model.shape, model.vocabulary, sequence.labels);
    History none(2);
    int64_t last = 0;
    for (size_t i = 0; i < sequence.train_end; ++i) {
      const int64_t symbol = stream.symbol_of(sequence.accesses[i]);
      if (i > 0) all.add(symbol);
      if (i > 1) after[last].add(symbol);
      last = symbol;
      stream.take(sequence.accesses[i], none);
    }
  }
  History history(model.shape.history_entries);
  for (const AccessSequence& sequence : sequences) {
    if (part_begin(sequence, part) == part_end(sequence, part)) continue;
    TokenStream stream(model.shape, model.vocabulary, sequence.labels);
    history.clear();
    int64_t last = 0;
    for (size_t i = 0; i < part_end(sequence, part); ++i) {
      const Access& access = sequence.accesses[i];
      const int64_t symbol = stream.symbol_of(access);
      if (i > 0 && i >= part_begin(sequence, part)) {
        count(evaluation.commonest, all.best(), symbol);
        const auto known = after.find(last);
        count(evaluation.markov, known == after.end() ? all.best() : known->second.best(), symbol);
        const bool latest = stream.symbol_of_answer(kAnswerHistory) == symbol;
        evaluation.history.top1 += latest;
        evaluation.history.top_k += latest || stream.symbol_of_answer(kAnswerHistory2) == symbol;
      }
      last = symbol;
      stream.take(access, history);
    }
  }
}

}  // namespace foreshard::policy
