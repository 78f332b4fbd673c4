#include "meta/key_space.h"

#include <utility>

namespace foreshard::meta {
namespace {

// Of a map node and two strings beside their characters.
constexpr uint64_t kEntryOverheadBytes = 160;

}  // namespace

// ---- KeySpace

uint64_t KeySpace::bytes_of(const Entry& entry) {
  return entry.key.size() * 2 + entry.value.size() + kEntryOverheadBytes;
}

const Entry* KeySpace::find(const std::string& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

void KeySpace::forget(const Entry& entry) {
  bytes_ -= bytes_of(entry);
  if (entry.lease == 0) return;
  const auto held = by_lease_.find(entry.lease);
  held->second.erase(entry.key);
  if (held->second.empty()) by_lease_.erase(held);
}

void KeySpace::put(Entry entry) {
  bytes_ += bytes_of(entry);
  const auto [place, is_new] = entries_.try_emplace(entry.key);
  if (!is_new) forget(place->second);
  if (entry.lease != 0) by_lease_[entry.lease].insert(entry.key);
  place->second = std::move(entry);
}

void KeySpace::erase(const std::string& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  forget(found->second);
  entries_.erase(found);
}

RangeResult KeySpace::range(const std::string& begin, const std::string& end, size_t limit, bool backward) const {
  RangeResult result;
  if (!end.empty() && end <= begin) return result;
  const auto first = entries_.lower_bound(begin);
  const auto last = end.empty() ? entries_.end() : entries_.lower_bound(end);
  if (backward) {
    auto at = last;
    while (at != first && result.entries.size() < limit) result.entries.push_back((--at)->second);
    result.more = at != first;
  } else {
    auto at = first;
    for (; at != last && result.entries.size() < limit; ++at) result.entries.push_back(at->second);
    result.more = at != last;
  }
  return result;
}

std::vector<std::string> KeySpace::keys_with_prefix(const std::string& prefix) const {
  std::vector<std::string> keys;
  for (auto at = entries_.lower_bound(prefix); at != entries_.end() && at->first.starts_with(prefix); ++at)
    keys.push_back(at->first);
  return keys;
}

std::vector<std::string> KeySpace::keys_of_lease(LeaseId lease) const {
  const auto found = by_lease_.find(lease);
  if (found == by_lease_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

std::vector<LeaseId> KeySpace::leases() const {
  std::vector<LeaseId> leases;
  for (const auto& [lease, keys] : by_lease_) leases.push_back(lease);
  return leases;
}

// ---- StagedChanges

const Entry* StagedChanges::find_below(const std::string& key) const {
  return below_ != nullptr ? below_->find(key) : base_.find(key);
}

const Entry* StagedChanges::find(const std::string& key) const {
  const auto found = changes_.find(key);
  if (found == changes_.end()) return find_below(key);
  return found->second ? &*found->second : nullptr;
}

bool StagedChanges::holds(const Compare& compare) const {
  const Entry* entry = find(compare.key);
  switch (compare.target) {
    case Compare::Target::kModified: return (entry != nullptr ? entry->modified : 0) == compare.revision;
    case Compare::Target::kCreated: return (entry != nullptr ? entry->created : 0) == compare.revision;
    case Compare::Target::kValue: return entry != nullptr && entry->value == compare.value;
  }
  return false;
}

void StagedChanges::set(const std::string& key, std::optional<Entry> entry) {
  const Entry* before = find(key);
  if (before != nullptr) bytes_added_ -= static_cast<int64_t>(KeySpace::bytes_of(*before));
  if (entry) bytes_added_ += static_cast<int64_t>(KeySpace::bytes_of(*entry));
  changes_[key] = std::move(entry);
}

void StagedChanges::erase(const std::string& key) {
  if (find(key) != nullptr) set(key, std::nullopt);
}

std::set<std::string> StagedChanges::keys_with_prefix(const std::string& prefix) const {
  std::set<std::string> keys;
  if (below_ != nullptr) {
    keys = below_->keys_with_prefix(prefix);
  } else {
    for (std::string& key : base_.keys_with_prefix(prefix)) keys.insert(std::move(key));
  }
  for (auto at = changes_.lower_bound(prefix); at != changes_.end() && at->first.starts_with(prefix); ++at) {
    if (at->second) keys.insert(at->first);
    else keys.erase(at->first);
  }
  return keys;
}

void StagedChanges::apply(const Operation& operation, Revision revision) {
  switch (operation.kind) {
    case Operation::Kind::kPut: {
      const Entry* before = find(operation.key);
      Entry entry{operation.key, operation.value, before != nullptr ? before->created : revision, revision,
                  operation.lease};
      set(operation.key, std::move(entry));
      return;
    }
    case Operation::Kind::kErase: return erase(operation.key);
    case Operation::Kind::kErasePrefix:
      for (const std::string& key : keys_with_prefix(operation.key)) set(key, std::nullopt);
      return;
  }
}

std::vector<std::string> StagedChanges::keys_of_lease(LeaseId lease) const {
  std::set<std::string> keys;
  for (std::string& key : base_.keys_of_lease(lease)) keys.insert(std::move(key));
  for (const auto& [key, entry] : changes_) {
    if (entry && entry->lease == lease) keys.insert(key);
    else keys.erase(key);
  }
  return {keys.begin(), keys.end()};
}

void StagedChanges::merge(StagedChanges above) {
  bytes_added_ += above.bytes_added_;
  for (auto& [key, entry] : above.changes_) changes_[key] = std::move(entry);
}

std::vector<Event> StagedChanges::events(Revision revision) const {
  std::vector<Event> events;
  for (const auto& [key, entry] : changes_) {
    if (entry) {
      events.push_back({Event::Kind::kPut, *entry});
    } else if (find_below(key) != nullptr) {
      Entry erased;
      erased.key = key;
      erased.modified = revision;
      events.push_back({Event::Kind::kErase, std::move(erased)});
    }
  }
  return events;
}

}  // namespace foreshard::meta
