#include "policy/replay/prefetch_adapter.h"

#include "policy/predict/predictor_set.h"
#include "policy/replay/replay.h"

namespace foreshard::policy {
namespace {

PrefetcherOptions options_of(const PrefetchChoice& choice) {
  PrefetcherOptions options;
  options.cache_pages = choice.cache_pages;
  options.experts = choice.experts;
  options.budget = choice.budget;
  options.warms_server = choice.warms_server;
  options.watch_hits = choice.whole_files;
  return options;
}

class PrefetchAdapter final : public ReplayPrefetch {
 public:
  // Like the driver, which asks for nothing that is on its way.
  PrefetchAdapter(const PrefetchChoice& choice, const View& view)
      : prefetcher_(
            options_of(choice), [view](uint64_t page) { return view.cached(page) || view.in_flight(page); },
            view.expect, view.pays) {
    if (choice.model == nullptr || !choice.experts.empty()) return;
    NeuralOptions neural;
    neural.file_pages_log2 = kVolumePagesLog2;
    prefetcher_.add_expert(std::make_unique<NeuralPredictor>(choice.model->model.shape.kind, choice.model, neural));
  }
  void on_access(const Observation& observation, std::vector<PageRange>& to_fetch) override {
    prefetcher_.on_access(observation, to_fetch);
  }
  void on_fetched(PageRange range, uint64_t latency_ns) override { prefetcher_.on_fetched(range, latency_ns); }
  void on_dropped(PageRange range) override { prefetcher_.on_dropped(range); }
  void on_first_use(uint64_t page) override { prefetcher_.on_first_use(page); }
  void on_wasted(uint64_t page, bool evicted) override { prefetcher_.on_wasted(page, evicted); }
  void on_read(uint64_t latency_ns, uint64_t disk_ns) override {
    prefetcher_.on_read({.latency_ns = latency_ns, .disk_ns = disk_ns}, 0);  // of no size: a replay has no queues
  }
  void on_warmed(PageRange range) override { prefetcher_.on_warmed(range); }
  PrefetchFacts facts() const override {
    const PrefetchStatistics statistics = prefetcher_.statistics();
    PrefetchFacts facts;
    facts.ece = statistics.ece;
    facts.brier = statistics.brier;
    facts.brier_base = statistics.brier_base;
    facts.reliability = statistics.reliability;
    facts.warming = statistics.warming;
    facts.memory_bytes = statistics.memory_bytes;
    return facts;
  }

 private:
  Prefetcher prefetcher_;
};

}  // namespace

std::vector<std::string> expert_names() {
  const auto names = PredictorSet::names();
  return {names.begin(), names.end()};
}

std::unique_ptr<ReplayPrefetch> make_prefetch_adapter(const PrefetchChoice& choice, const ReplayPrefetch::View& view) {
  return std::make_unique<PrefetchAdapter>(choice, view);
}

}  // namespace foreshard::policy
