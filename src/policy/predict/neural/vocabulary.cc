#include "policy/predict/neural/vocabulary.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace foreshard::policy {

Vocabulary::Vocabulary(std::vector<int64_t> values) : values_(std::move(values)) {
  ASSERT(is_valid(values_), values_.size());
}

bool Vocabulary::is_valid(const std::vector<int64_t>& values) {
  const auto not_ascending = [](int64_t a, int64_t b) { return a >= b; };
  return values.size() <= kSymbolsMax &&
         std::adjacent_find(values.begin(), values.end(), not_ascending) == values.end();
}

Vocabulary Vocabulary::commonest(const std::unordered_map<int64_t, uint64_t>& counts, uint32_t symbols_max) {
  std::vector<std::pair<uint64_t, int64_t>> order;
  order.reserve(counts.size());
  for (const auto& [symbol, count] : counts) order.push_back({count, symbol});
  // A total order, so that the map's own order decides nothing.
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  order.resize(std::min<size_t>({order.size(), symbols_max, kSymbolsMax}));
  std::vector<int64_t> values;
  for (const auto& [count, symbol] : order) values.push_back(symbol);
  std::sort(values.begin(), values.end());
  return Vocabulary(std::move(values));
}

std::optional<uint32_t> Vocabulary::find(int64_t symbol) const {
  const auto at = std::lower_bound(values_.begin(), values_.end(), symbol);
  if (at == values_.end() || *at != symbol) return std::nullopt;
  return static_cast<uint32_t>(at - values_.begin());
}

}  // namespace foreshard::policy
