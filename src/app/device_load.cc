#include "app/device_load.h"

#include <algorithm>

namespace foreshard::app {

using runtime::Task;

namespace {

constexpr size_t kLatenciesMax = 4u << 20;  // beyond it requests count but are not measured

uint64_t quantile(const std::vector<uint64_t>& sorted, double fraction) {
  if (sorted.empty()) return 0;
  const auto at = static_cast<size_t>(fraction * static_cast<double>(sorted.size()));
  return sorted[std::min(at, sorted.size() - 1)];
}

}  // namespace

DeviceLoad::DeviceLoad(runtime::Runtime& runtime, volume::BlockDevice& device, LoadOptions options)
    : runtime_(runtime), device_(device), options_(options), random_(runtime.random().fork()) {
  const uint64_t range =
      options.range_bytes == 0 ? device.size_bytes() : std::min(options.range_bytes, device.size_bytes());
  places_ = std::max<uint64_t>(1, range / options.request_bytes);
}

Task<Result<LoadResult>> DeviceLoad::run() {
  const uint64_t began_ns = runtime_.now_ns();
  end_ns_ = began_ns + options_.duration_ns;
  latencies_ns_.reserve(65536);
  runtime::Gate gate(runtime_.executor());
  for (uint32_t i = 0; i < options_.depth; ++i) runtime_.executor().spawn(lane(*gate.enter()));
  co_await gate.close();
  if (!result_) co_return fail(result_.error());
  if (cancelled_) co_return fail(ErrorCode::kCancelled, "bench", std::string("interrupted"));

  LoadResult result;
  result.elapsed_ns = runtime_.now_ns() - began_ns;
  result.requests = bytes_ / options_.request_bytes;
  result.bytes = bytes_;
  std::sort(latencies_ns_.begin(), latencies_ns_.end());
  result.latency_ns_p50 = quantile(latencies_ns_, 0.50);
  result.latency_ns_p99 = quantile(latencies_ns_, 0.99);
  result.latency_ns_max = quantile(latencies_ns_, 1.0);
  co_return result;
}

Task<void> DeviceLoad::lane(runtime::Gate::Pass pass) {
  Buffer buffer = Buffer::allocate(options_.request_bytes);
  // Random content: zeros would be told apart and cost nothing.
  for (size_t at = 0; at + sizeof(uint64_t) <= buffer.size(); at += sizeof(uint64_t)) {
    const uint64_t word = random_.next();
    std::memcpy(buffer.data() + at, &word, sizeof word);
  }
  while (result_ && !cancelled_ && bytes_ < options_.bytes_max) {
    const uint64_t began_ns = runtime_.now_ns();
    if (began_ns >= end_ns_) co_return;
    const Result<void> done = co_await request(next_offset(), buffer);
    if (!done) {
      if (result_) result_ = fail(done.error());
      co_return;
    }
    bytes_ += options_.request_bytes;
    if (latencies_ns_.size() < kLatenciesMax) latencies_ns_.push_back(runtime_.now_ns() - began_ns);
    co_await runtime_.executor().yield();
  }
}

Task<Result<void>> DeviceLoad::request(uint64_t offset, Buffer& buffer) {
  if (!options_.write) co_return co_await device_.read(offset, buffer.span());
  CO_TRY_VOID(co_await device_.write(offset, buffer.span(), false));
  if (options_.flush_after_each) co_return co_await device_.flush();
  co_return Result<void>();
}

uint64_t DeviceLoad::next_offset() {
  const uint64_t place = options_.random ? random_.below(places_) : next_place_++ % places_;
  return place * options_.request_bytes;
}

}  // namespace foreshard::app
