#include "store/crash_model.h"

#include <fmt/format.h>

#include "base/random.h"

namespace foreshard::store {
namespace {

struct SectorStamp {
  uint64_t number, volume, layer, chunk, page, sector;
};

uint64_t filler(const SectorStamp& stamp, uint64_t word) {
  return mix64(stamp.number * 131 + stamp.sector * 17 + word);
}

void fill_sector(ByteSpan sector, const SectorStamp& stamp) {
  std::memcpy(sector.data(), &stamp, sizeof(stamp));
  for (uint64_t at = sizeof(stamp); at < kSectorBytes; at += 8) {
    const uint64_t word = filler(stamp, at);
    std::memcpy(sector.data() + at, &word, 8);
  }
}

}  // namespace

void CrashModel::fill(ByteSpan page, uint64_t number, const ChunkKey& key, uint32_t index) {
  for (uint32_t sector = 0; sector < kSectorsPerPage; ++sector)
    fill_sector(page.subspan(sector * kSectorBytes, kSectorBytes),
                {number, key.volume.value, key.layer, key.chunk, index, sector});
}

CrashModel::History& CrashModel::history(const ChunkKey& key, uint32_t page) {
  History& history = histories_[{key, page}];
  if (history.empty()) history.push_back({0, Contents{}, Outcome::kDone});
  return history;
}

CrashModel::Place CrashModel::begin(const ChunkKey& key, uint32_t page, PageState state, uint64_t number) {
  Contents contents;
  contents.state = state;
  contents.writes.fill(number);
  history(key, page).push_back({++places_, contents, Outcome::kPending});
  return places_;
}

void CrashModel::end(const ChunkKey& key, uint32_t page, Place place, Outcome outcome) {
  for (Entry& entry : history(key, page))
    if (entry.place == place) entry.outcome = outcome;
}

CrashModel::Place CrashModel::newest(const ChunkKey& key, uint32_t page) { return history(key, page).back().place; }

CrashModel::Contents CrashModel::expected(const ChunkKey& key, uint32_t page, Place place) {
  Contents contents;
  for (const Entry& entry : history(key, page))
    if (entry.place <= place && entry.outcome == Outcome::kDone) contents = entry.contents;
  return contents;
}

std::string CrashModel::differs(const ChunkKey& key, uint32_t page, const Contents& wanted, PageState state,
                                ConstByteSpan bytes) {
  const std::string where =
      fmt::format("volume {} layer {} chunk {} page {}", key.volume.value, key.layer, key.chunk, page);
  if (state != wanted.state)
    return fmt::format("{}: state {}, not {}", where, static_cast<int>(state), static_cast<int>(wanted.state));
  for (uint32_t sector = 0; sector < kSectorsPerPage; ++sector) {
    const ConstByteSpan part = bytes.subspan(sector * kSectorBytes, kSectorBytes);
    std::array<std::byte, kSectorBytes> expected{};
    const uint64_t number = wanted.writes[sector];
    if (number != 0) fill_sector(expected, {number, key.volume.value, key.layer, key.chunk, page, sector});
    if (std::memcmp(expected.data(), part.data(), kSectorBytes) != 0)
      return fmt::format("{} sector {}: write {}, not {}", where, sector, load_object<SectorStamp>(part).number,
                         number);
  }
  return {};
}

CrashModel::Covered CrashModel::cover() const {
  Covered covered;
  for (const auto& [where, history] : histories_) {
    Place place = 0;
    for (const Entry& entry : history)
      if (entry.outcome == Outcome::kDone) place = entry.place;
    covered[where] = place;
  }
  return covered;
}

void CrashModel::flushed(const Covered& covered) {
  for (const auto& [where, place] : covered) {
    History& history = histories_[where];
    while (history.size() > 1 && history.front().place < place) history.pop_front();
  }
}

std::string CrashModel::settle(const ChunkKey& key, uint32_t page, PageState state, ConstByteSpan bytes) {
  History& past = history(key, page);
  Contents found;
  found.state = state;
  bool state_possible = false;
  for (const Entry& entry : past)
    if (entry.outcome != Outcome::kRefused && entry.contents.state == state) state_possible = true;
  const std::string where =
      fmt::format("volume {} layer {} chunk {} page {}", key.volume.value, key.layer, key.chunk, page);
  if (!state_possible) return fmt::format("{}: state {} was never possible", where, static_cast<int>(state));
  for (uint32_t sector = 0; sector < kSectorsPerPage; ++sector) {
    const ConstByteSpan part = bytes.subspan(sector * kSectorBytes, kSectorBytes);
    bool possible = false;
    for (const Entry& entry : past) {
      if (entry.outcome == Outcome::kRefused || entry.contents.state != state) continue;
      const uint64_t number = entry.contents.writes[sector];
      std::array<std::byte, kSectorBytes> wanted{};
      if (number != 0) fill_sector(wanted, {number, key.volume.value, key.layer, key.chunk, page, sector});
      if (std::memcmp(wanted.data(), part.data(), kSectorBytes) != 0) continue;
      found.writes[sector] = number;
      possible = true;
    }
    if (possible) continue;
    const auto stamp = load_object<SectorStamp>(part);
    return fmt::format(
        "{} sector {}: not a possible value (looks like write {} of volume {} chunk {} page {}; oldest {})", where,
        sector, stamp.number, stamp.volume, stamp.chunk, stamp.page, past.front().contents.writes[sector]);
  }
  past.clear();
  past.push_back({++places_, found, Outcome::kDone, true});
  return {};
}

void CrashModel::set_zero(const ChunkKey& key, uint32_t page) {
  History& past = history(key, page);
  past.clear();
  Contents contents;
  contents.state = PageState::kZero;
  past.push_back({++places_, contents, Outcome::kDone, false});
}

std::vector<std::pair<ChunkKey, uint32_t>> CrashModel::pages() const {
  std::vector<std::pair<ChunkKey, uint32_t>> pages;
  for (const auto& [where, history] : histories_) pages.push_back(where);
  return pages;
}

std::vector<std::pair<ChunkKey, uint32_t>> CrashModel::untouched_data_pages() const {
  std::vector<std::pair<ChunkKey, uint32_t>> pages;
  for (const auto& [where, history] : histories_)
    if (history.size() == 1 && history[0].settled && history[0].contents.state == PageState::kData)
      pages.push_back(where);
  return pages;
}

}  // namespace foreshard::store
