// neural_replay: what a model's proposals are worth in a cache: replays a trace through an LRU cache of a share of its
// pages, fetches what the expert proposes at a stated confidence, and prints the read-request miss ratio and the
// precision on the last part of the trace, which models made by `foreshard train` were not trained on. Beside it no
// prefetch, and readahead with strides, in the same cache and on the same part.
//
// All pages of a request are looked up before prefetch may fire. A request misses if any of its pages does; writes are
// put into the cache and never miss. Prefetched pages arrive at once. Precision = prefetched pages found before they
// left / prefetched pages that were found or left, of those fetched in the last part.
//
//   neural_replay [--cache 0.05] [--from 0.7] TRACE [MODEL...]
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "app/model_file.h"
#include "app/trace_input.h"
#include "base/bytes.h"
#include "policy/predict/neural/neural_predictor.h"
#include "policy/predict/sequential.h"
#include "policy/predict/stride.h"

using namespace foreshard;
using namespace foreshard::policy;

namespace {

constexpr uint32_t kSpaceLog2 = 40;      // volumes lie this far apart in the keys
constexpr uint32_t kFilePagesLog2 = 20;  // files so

struct Request {
  uint64_t time_ns;
  uint64_t first_page;
  uint32_t pages;
  bool write;
};

struct Trace {
  std::vector<Request> requests;
  uint64_t unique_pages = 0;
  bool files = false;
};

Result<Trace> load(const std::string& path) {
  Trace trace;
  std::unordered_set<uint64_t> seen;
  TRY(app::TraceInput input, app::TraceInput::open(path));
  app::TraceSink sink;
  sink.begin = [&](TraceFormat format) { trace.files = format == TraceFormat::kFileCsv; };
  sink.request = [&](const TraceRequest& request) {
    if (request.op == TraceOp::kOther) return;
    const uint64_t first = request.offset / kPageBytes, last = (request.offset + request.size - 1) / kPageBytes;
    const uint64_t base = trace.files ? request.file << kFilePagesLog2 : uint64_t{request.volume} << kSpaceLog2;
    for (uint64_t page = first; page <= last; ++page) seen.insert(base + page);
    const uint64_t time_ns = request.time_ns ? *request.time_ns + 1000 : 0;
    trace.requests.push_back(
        {time_ns, base + first, static_cast<uint32_t>(last - first + 1), request.op == TraceOp::kWrite});
  };
  TRY_VOID(app::read_trace(input, {}, sink));
  trace.unique_pages = seen.size();
  return trace;
}

// LRU; counts what became of prefetched pages that were fetched while counting.
class Cache {
 public:
  explicit Cache(size_t pages_max) : pages_max_(pages_max) {}
  bool contains(uint64_t page) const { return places_.contains(page); }
  // Whether it was there; `first_use` if thanks to a prefetch.
  bool find(uint64_t page, bool& first_use) {
    const auto at = places_.find(page);
    if (at == places_.end()) return false;
    if (at->second->prefetched) {
      first_use = true;
      used += at->second->counted;
      at->second->prefetched = false;
    }
    order_.splice(order_.begin(), order_, at->second);
    return true;
  }
  void insert(uint64_t page, bool prefetched, bool counted) {
    order_.push_front({page, prefetched, counted});
    places_[page] = order_.begin();
    if (order_.size() <= pages_max_) return;
    if (order_.back().prefetched) wasted += order_.back().counted;
    places_.erase(order_.back().page);
    order_.pop_back();
  }
  uint64_t used = 0, wasted = 0;

 private:
  struct Entry {
    uint64_t page;
    bool prefetched, counted;
  };
  size_t pages_max_;
  std::list<Entry> order_;
  std::unordered_map<uint64_t, std::list<Entry>::iterator> places_;
};

struct Score {
  uint64_t reads = 0, missed = 0, fetched = 0, demanded = 0;
};

void replay(const Trace& trace, double cache_share, double from, const std::string& name,
            const std::vector<Predictor*>& experts, float confidence_min) {
  Cache cache(static_cast<size_t>(cache_share * static_cast<double>(trace.unique_pages)));
  const auto begin = static_cast<size_t>(from * static_cast<double>(trace.requests.size()));
  Score score;
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < trace.requests.size(); ++i) {
    const Request& request = trace.requests[i];
    const bool counted = i >= begin;
    Observation observation;
    observation.time_ns = request.time_ns;
    observation.first_page = request.first_page;
    observation.pages = request.pages;
    observation.write = request.write;
    // Volumes apart, as each driver sees its own.
    if (!trace.files) observation.volume = VolumeId{(request.first_page >> kSpaceLog2) + 1};
    for (uint64_t page = request.first_page; page < request.first_page + request.pages; ++page) {
      if (cache.find(page, observation.hit_prefetched)) continue;
      if (!request.write) ++observation.missed_pages;
      cache.insert(page, false, false);
    }
    if (counted && !request.write) {
      ++score.reads;
      score.missed += observation.missed_pages > 0;
      score.demanded += request.pages;
    }
    if (!request.write && observation.missed_pages == 0 && !observation.hit_prefetched) continue;
    candidates.clear();
    for (Predictor* expert : experts) expert->observe(observation, candidates);
    for (const Candidate& candidate : candidates) {
      if (!(candidate.confidence >= confidence_min)) continue;
      for (uint64_t page = candidate.first_page; page < candidate.first_page + candidate.pages; ++page) {
        if (cache.contains(page)) continue;
        cache.insert(page, true, counted);
        score.fetched += counted;
      }
    }
  }
  const double decided = static_cast<double>(cache.used + cache.wasted);
  fmt::print("  {:<34} miss {:.4f} @ precision {:.3f}, fetched {:.3f} of demand\n", name,
             static_cast<double>(score.missed) / static_cast<double>(std::max<uint64_t>(score.reads, 1)),
             decided == 0 ? 0 : static_cast<double>(cache.used) / decided,
             static_cast<double>(score.fetched) / static_cast<double>(std::max<uint64_t>(score.demanded, 1)));
  std::fflush(stdout);
}

Result<std::shared_ptr<RunnableModel>> load_model(const std::string& path) {
  TRY(Model model, app::read_model_file(path));
  return std::make_shared<RunnableModel>(std::move(model));
}

Result<void> run(const std::string& path, double cache, double from, const std::vector<std::string>& models) {
  TRY(const Trace trace, load(path));
  fmt::print("{}: {} requests, cache {:.0f} % of {} pages, judged from {:.0f} % on\n", path, trace.requests.size(),
             cache * 100, trace.unique_pages, from * 100);
  replay(trace, cache, from, "no prefetch", {}, 0);
  {
    SequentialPredictor sequential;
    StridePredictor stride;
    replay(trace, cache, from, "readahead and strides", {&sequential, &stride}, 0.4f);
  }
  NeuralOptions options;
  options.streams_max = 2048;
  options.cpu_share_max = 1;
  options.file_pages_log2 = kFilePagesLog2;
  std::vector<std::shared_ptr<RunnableModel>> runnable;
  for (const std::string& file : models) {
    TRY(std::shared_ptr<RunnableModel> one, load_model(file));
    runnable.push_back(std::move(one));
  }
  // Each replay with experts that have seen nothing: their histories would know what comes.
  const auto replay_models = [&](float confidence, bool with_tables) {
    std::vector<std::unique_ptr<Predictor>> owned;
    for (const auto& one : runnable) {
      owned.push_back(std::make_unique<NeuralPredictor>(one->model.shape.kind, one, options));
    }
    if (with_tables) {
      owned.push_back(std::make_unique<SequentialPredictor>());
      owned.push_back(std::make_unique<StridePredictor>());
    }
    std::vector<Predictor*> experts;
    for (const auto& one : owned) experts.push_back(one.get());
    const char* const others = with_tables ? ", readahead, strides" : "";
    const std::string name = fmt::format("models{}, from {:.2f} on", others, confidence);
    replay(trace, cache, from, name, experts, confidence);
  };
  for (const float confidence : {0.15f, 0.3f, 0.5f, 0.7f}) replay_models(confidence, false);
  replay_models(0.4f, true);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  double cache = 0.05, from = 0.7;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--cache" && i + 1 < argc) {
      cache = std::atof(argv[++i]);
    } else if (flag == "--from" && i + 1 < argc) {
      from = std::atof(argv[++i]);
    } else {
      files.emplace_back(flag);
    }
  }
  if (files.empty()) {
    fmt::print(stderr, "usage: neural_replay [--cache SHARE] [--from SHARE] TRACE [MODEL...]\n");
    return 2;
  }
  const Result<void> done = run(files[0], cache, from, {files.begin() + 1, files.end()});
  if (!done) fmt::print(stderr, "{}\n", done.error().message());
  return done ? 0 : 1;
}
