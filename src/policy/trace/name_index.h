// NameIndex: numbers names in the order in which they appear. Bounded by who uses it (kTraceVolumesMax).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace foreshard::policy {

class NameIndex {
 public:
  uint32_t of(std::string_view name) {
    // Most requests are of the volume of the one before.
    if (last_ != names_.end() && last_->first == name) return last_->second;
    last_ = names_.find(name);
    if (last_ == names_.end()) last_ = names_.emplace(std::string(name), static_cast<uint32_t>(names_.size())).first;
    return last_->second;
  }

 private:
  std::map<std::string, uint32_t, std::less<>> names_;
  std::map<std::string, uint32_t, std::less<>>::const_iterator last_ = names_.end();
};

}  // namespace foreshard::policy
