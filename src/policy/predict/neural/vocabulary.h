// Vocabulary: the commonest symbols of the data that a model was trained on, numbered. A symbol is what a model
// predicts: of block requests the distance in pages from the end of the previous request, of file accesses the file.
// Owner: a Model. Memory: kSymbolsMax * 8 bytes. Invariant: values ascend strictly, so that a symbol has one number.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace foreshard::policy {

class Vocabulary {
 public:
  static constexpr uint32_t kSymbolsMax = 4096;

  Vocabulary() = default;
  // The values ascend strictly and are at most kSymbolsMax; the decoder has checked that of foreign ones.
  explicit Vocabulary(std::vector<int64_t> values);
  // The `symbols_max` commonest; of equally common ones the smaller.
  static Vocabulary commonest(const std::unordered_map<int64_t, uint64_t>& counts, uint32_t symbols_max);
  static bool is_valid(const std::vector<int64_t>& values);

  std::optional<uint32_t> find(int64_t symbol) const;
  int64_t symbol(uint32_t number) const { return values_[number]; }
  uint32_t size() const { return static_cast<uint32_t>(values_.size()); }
  const std::vector<int64_t>& values() const { return values_; }
  bool operator==(const Vocabulary&) const = default;

 private:
  std::vector<int64_t> values_;
};

}  // namespace foreshard::policy
