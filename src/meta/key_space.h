// KeySpace: the keys of a metadata store in memory, by key and by lease. Plain data: no I/O, no time.
// StagedChanges: changes on top of it, checked and collected before they are durable.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "meta/meta.h"

namespace foreshard::meta {

class KeySpace {
 public:
  const Entry* find(const std::string& key) const;
  void put(Entry entry);
  void erase(const std::string& key);
  // As Meta::range, without the revision.
  RangeResult range(const std::string& begin, const std::string& end, size_t limit, bool backward) const;
  std::vector<std::string> keys_with_prefix(const std::string& prefix) const;
  std::vector<std::string> keys_of_lease(LeaseId lease) const;
  // All leases that hold keys.
  std::vector<LeaseId> leases() const;
  uint64_t bytes() const { return bytes_; }
  // What an entry counts for in the bound of memory.
  static uint64_t bytes_of(const Entry& entry);

 private:
  void forget(const Entry& entry);
  std::map<std::string, Entry> entries_;
  std::map<LeaseId, std::set<std::string>> by_lease_;
  uint64_t bytes_ = 0;
};

// Changes of one transaction or of several, over a KeySpace or over earlier staged ones; what is below must not
// change while it lives. The last change of a key counts.
class StagedChanges {
 public:
  explicit StagedChanges(const KeySpace& base) : base_(base) {}
  StagedChanges(const KeySpace& base, const StagedChanges& below) : base_(base), below_(&below) {}

  // What the key holds with all changes; null when nothing.
  const Entry* find(const std::string& key) const;
  bool holds(const Compare& compare) const;
  // Makes the operation's change at this revision.
  void apply(const Operation& operation, Revision revision);
  void erase(const std::string& key);
  std::vector<std::string> keys_of_lease(LeaseId lease) const;
  // Takes over changes staged on top of this.
  void merge(StagedChanges above);
  // An event for each key that differs from below, in key order.
  std::vector<Event> events(Revision revision) const;
  bool empty() const { return changes_.empty(); }
  const std::map<std::string, std::optional<Entry>>& changes() const { return changes_; }
  // How the bytes of the key space change, with what is below.
  int64_t bytes_added() const { return bytes_added_ + (below_ != nullptr ? below_->bytes_added() : 0); }

 private:
  const Entry* find_below(const std::string& key) const;
  std::set<std::string> keys_with_prefix(const std::string& prefix) const;
  void set(const std::string& key, std::optional<Entry> entry);
  const KeySpace& base_;
  const StagedChanges* below_ = nullptr;
  std::map<std::string, std::optional<Entry>> changes_;
  int64_t bytes_added_ = 0;
};

}  // namespace foreshard::meta
