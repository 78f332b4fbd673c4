#include "server/hosted_ranges.h"

#include <fmt/format.h>

#include "server/format.h"

namespace foreshard::server {

runtime::Task<Result<void>> HostedRanges::load() {
  CO_TRY(std::vector<store::ChunkStore::Note> notes, co_await store_.notes(std::string(kRangeNotePrefix)));
  for (const store::ChunkStore::Note& note : notes) {
    const auto parsed = decode_range_note(note.key, note.value ? *note.value : std::string());
    if (!parsed) co_return fail(parsed.error());
    volumes_[parsed->volume][parsed->first_chunk] = HostedRange{parsed->chunks, parsed->replica, parsed->complete};
  }
  co_return Result<void>();
}

Result<void> HostedRanges::check_free(VolumeId volume, const Placed& placed) const {
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return {};
  const Ranges& ranges = found->second;
  auto next = ranges.lower_bound(placed.first_chunk);
  if (next != ranges.end() && next->first < placed.first_chunk + placed.range.chunks) {
    const bool same = next->first == placed.first_chunk && next->second.chunks == placed.range.chunks &&
                      next->second.replica == placed.range.replica;
    if (!same) return fail(ErrorCode::kExists, "prepare: another replica's range is there", next->first);
  }
  if (next != ranges.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second.chunks > placed.first_chunk)
      return fail(ErrorCode::kExists, "prepare: another replica's range is there", before->first);
  }
  return {};
}

runtime::Task<Result<void>> HostedRanges::add(VolumeId volume, std::vector<Placed> placed) {
  std::vector<store::ChunkStore::Note> notes;
  for (const Placed& one : placed) {
    CO_TRY_VOID(check_free(volume, one));
    // Preparing an incomplete range again does not make it whole.
    if (hosted(volume, one.first_chunk)) continue;
    notes.push_back(encode_range_note({volume, one.first_chunk, one.range.chunks, one.range.replica, true}));
  }
  if (notes.empty()) co_return Result<void>();
  CO_TRY_VOID(co_await store_.put_notes(std::move(notes)));
  for (const Placed& one : placed) volumes_[volume].try_emplace(one.first_chunk, one.range);
  co_return Result<void>();
}

bool HostedRanges::hosted(VolumeId volume, uint64_t first_chunk) const {
  const auto found = volumes_.find(volume);
  return found != volumes_.end() && found->second.contains(first_chunk);
}

runtime::Task<Result<void>> HostedRanges::mark_all_incomplete() {
  std::vector<store::ChunkStore::Note> notes;
  for (auto& [volume, ranges] : volumes_) {
    for (auto& [first, range] : ranges) {
      range.complete = false;
      notes.push_back(encode_range_note({volume, first, range.chunks, range.replica, false}));
    }
  }
  if (notes.empty()) co_return Result<void>();
  co_return co_await store_.put_notes(std::move(notes));
}

bool HostedRanges::complete(VolumeId volume) const {
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return true;
  for (const auto& [first, range] : found->second)
    if (!range.complete) return false;
  return true;
}

runtime::Task<Result<void>> HostedRanges::remove(VolumeId volume, std::vector<uint64_t> first_chunks) {
  std::vector<store::ChunkStore::Note> notes;
  for (uint64_t first : first_chunks) notes.push_back({range_note_key(volume, first), std::nullopt});
  CO_TRY_VOID(co_await store_.put_notes(std::move(notes)));
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) co_return Result<void>();
  for (uint64_t first : first_chunks) found->second.erase(first);
  if (found->second.empty()) volumes_.erase(found);
  co_return Result<void>();
}

bool HostedRanges::hosts(VolumeId volume, uint64_t first_chunk, uint64_t chunks) const {
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return false;
  const Ranges& ranges = found->second;
  const uint64_t end = first_chunk + chunks;
  while (first_chunk < end) {
    auto range = ranges.upper_bound(first_chunk);
    if (range == ranges.begin()) return false;
    --range;
    const uint64_t range_end = range->first + range->second.chunks;
    if (range_end <= first_chunk || !range->second.complete) return false;
    first_chunk = range_end;
  }
  return true;
}

std::vector<VolumeId> HostedRanges::volumes() const {
  std::vector<VolumeId> ids;
  for (const auto& [id, ranges] : volumes_) ids.push_back(id);
  return ids;
}

std::vector<HostedRanges::Placed> HostedRanges::ranges(VolumeId volume) const {
  std::vector<Placed> all;
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return all;
  for (const auto& [first, range] : found->second) all.push_back({first, range});
  return all;
}

uint64_t HostedRanges::range_count() const {
  uint64_t count = 0;
  for (const auto& [id, ranges] : volumes_) count += ranges.size();
  return count;
}

}  // namespace foreshard::server
