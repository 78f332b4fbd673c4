#include "sim/model.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/assert.h"
#include "base/random.h"

namespace foreshard::sim {

namespace {

constexpr uint64_t kWords = kSectorBytes / 8;
constexpr uint64_t kSectorsPerPage = kPageBytes / kSectorBytes;

// The contents of a sector written by write `number`: the number, the sector, and noise drawn from both.
void fill_sector(uint64_t tag, uint64_t number, uint64_t sector, std::byte* into) {
  uint64_t words[kWords];
  words[0] = number;
  words[1] = sector;
  uint64_t noise = mix64(tag ^ mix64(number ^ mix64(sector)));
  for (uint64_t i = 2; i < kWords; ++i) {
    noise = noise * 6364136223846793005u + 1442695040888963407u;
    words[i] = noise;
  }
  std::memcpy(into, words, kSectorBytes);
}

}  // namespace

void VolumeModel::violate(std::string what) {
  if (!violation_) violation_ = std::move(what);
}

VolumeModel::Version* VolumeModel::Extent::find(uint64_t number) {
  for (Version& version : versions) {
    if (version.number == number) return &version;
  }
  return nullptr;
}

VolumeModel::VolumeModel(uint64_t size_bytes, uint64_t tag) : size_bytes_(0), tag_(tag) { grow(size_bytes); }

void VolumeModel::grow(uint64_t size_bytes) {
  ASSERT(size_bytes >= size_bytes_ && size_bytes % kSectorBytes == 0, size_bytes);
  const uint64_t first = size_bytes_ / kSectorBytes, end = size_bytes / kSectorBytes;
  size_bytes_ = size_bytes;
  if (end == first) return;
  extents_[first].sectors = end - first;
  cut_at_volumelets();
}

// ---- extents

VolumeModel::Extents::const_iterator VolumeModel::holding(uint64_t sector) const {
  return std::prev(extents_.upper_bound(sector));
}

VolumeModel::Extents::iterator VolumeModel::cut(uint64_t sector) {
  const auto next = extents_.lower_bound(sector);
  if (next != extents_.end() && next->first == sector) return next;
  if (sector * kSectorBytes >= size_bytes_) return extents_.end();
  const auto before = std::prev(next);
  const uint64_t kept = sector - before->first;
  const auto made = extents_.emplace_hint(next, sector, before->second);
  made->second.sectors -= kept;
  before->second.sectors = kept;
  return made;
}

template <class Visit>
void VolumeModel::each(uint64_t first_sector, uint64_t sectors, const Visit& visit) {
  if (sectors == 0) return;
  const auto end = cut(first_sector + sectors);
  for (auto it = cut(first_sector); it != end; ++it) visit(it->first, it->second);
}

template <class Visit>
void VolumeModel::each_unflushed(const Visit& visit) {
  for (auto& [first, extent] : extents_) {
    if (extent.unflushed) visit(first, extent);
  }
}

void VolumeModel::cut_at_volumelets() {
  if (volumelet_sectors_ == UINT64_MAX) return;
  for (uint64_t at = 0; at * kSectorBytes < size_bytes_; at += volumelet_sectors_) cut(at);
}

// Extents whose history has come down to the same one write, or to none, need not be told apart any more.
void VolumeModel::join_equal() {
  const auto equal = [](const Extent& left, const Extent& right) {
    if (left.unflushed || right.unflushed || left.lost != right.lost) return false;
    if (left.versions.size() != right.versions.size() || left.versions.size() > 1) return false;
    if (left.versions.empty()) return true;
    const Version &of_left = left.versions[0], &of_right = right.versions[0];
    return of_left.killers.empty() && of_right.killers.empty() && of_left.same_but_for_killers(of_right);
  };
  for (auto it = extents_.begin(); it != extents_.end();) {
    const auto next = std::next(it);
    if (next == extents_.end()) return;
    Extent &left = it->second, &right = next->second;
    if (!equal(left, right) || (volumelet_sectors_ != UINT64_MAX && next->first % volumelet_sectors_ == 0)) {
      it = next;
      continue;
    }
    left.sectors += right.sectors;
    extents_.erase(next);
  }
}

void VolumeModel::make_blank(Extent& extent) {
  if (!extent.versions.empty()) return;
  Version& blank = extent.versions.emplace_back();
  blank.settled = 0;
  blank.zero = blank.acknowledged = blank.flushed = true;
}

std::optional<uint64_t> VolumeModel::recognise(uint64_t sector, const std::byte* bytes) const {
  uint64_t number;
  std::memcpy(&number, bytes, 8);
  if (number == 0 || number > writes_) return std::nullopt;
  std::byte expected[kSectorBytes];
  fill_sector(tag_, number, sector, expected);
  if (std::memcmp(expected, bytes, kSectorBytes) != 0) return std::nullopt;
  return number;
}

// ---- writes

VolumeModel::Pending VolumeModel::begin_write(uint64_t driver, uint64_t offset, uint64_t bytes, Kind kind) {
  ASSERT(offset % kSectorBytes == 0 && bytes % kSectorBytes == 0 && offset + bytes <= size_bytes_, offset, bytes);
  Pending write{driver, ++writes_, offset / kSectorBytes, bytes / kSectorBytes, ++clock_};
  each(write.first_sector, write.sectors, [&](uint64_t, Extent& extent) {
    make_blank(extent);
    Version& version = extent.versions.emplace_back();
    version.number = write.number;
    version.driver = driver;
    version.start = write.start;
    version.zero = kind == Kind::kZero;
    extent.unflushed = true;
  });
  in_flight_[write.number] = write;
  each_damaged(write, [](Damage& damage) { damage.at_stake = true; });
  return write;
}

void VolumeModel::fill(const Pending& write, ByteSpan contents) const {
  ASSERT(contents.size() == write.sectors * kSectorBytes);
  for (uint64_t i = 0; i < write.sectors; ++i) {
    fill_sector(tag_, write.number, write.first_sector + i, contents.data() + i * kSectorBytes);
  }
}

// The first few killers are enough: a flush that covers a later one covers them. A flushed one always counts.
void VolumeModel::kill_version(Version& version, uint64_t killer, bool flushed) {
  version.dead = std::min(version.dead, clock_);
  Followers& known = version.killers;
  const uint64_t* const end = known.singles + known.count;
  if (std::find(static_cast<const uint64_t*>(known.singles), end, killer) != end) return;
  if (known.count < Followers::kSinglesMax)
    known.singles[known.count++] = killer;
  else if (flushed)
    known.singles[known.count - 1] = killer;
}

void VolumeModel::kill_version(Version& version, const Follower& killer, bool flushed) {
  if (killer.size() == 1) return kill_version(version, killer.front(), flushed);
  version.dead = std::min(version.dead, clock_);
  std::vector<Follower>& known = version.killers.groups;
  if (version.killers.size() >= Followers::kSinglesMax && !flushed) return;
  if (std::find(known.begin(), known.end(), killer) == known.end()) known.push_back(killer);
}

// The version surely took effect by now: whatever had before it began is dead.
void VolumeModel::settle_write(Extent& extent, Version& version) {
  version.settled = std::min(version.settled, clock_);
  for (Version& other : extent.versions) {
    // A driver is answered by a server only after what its predecessors had under way there has ended.
    const bool before = other.settled <= version.start || other.driver < version.driver;
    if (&other != &version && before) kill_version(other, version.number, version.flushed);
  }
}

void VolumeModel::refuse_write(const Pending& write) {
  ++clock_;
  in_flight_.erase(write.number);
  each(write.first_sector, write.sectors, [&](uint64_t, Extent& extent) {
    Version* version = extent.find(write.number);
    if (version != nullptr) version->settled = std::min(version->settled, clock_);
  });
}

void VolumeModel::end_write(const Pending& write, bool acknowledged, bool durable) {
  ++clock_;
  in_flight_.erase(write.number);
  if (!acknowledged) return;  // it may yet happen, until the next driver is attached
  answered(write, write.first_sector, write.sectors, "write");
  each(write.first_sector, write.sectors, [&](uint64_t first, Extent& extent) {
    Version* version = extent.find(write.number);
    if (version == nullptr) return;  // long dead: a successor's writes followed it
    // The answer was on its way when the driver was superseded and the server forgot: the write may be lost.
    if (newest_driver_ > write.driver && version->doubtful && !durable) return;
    check_late_acknowledgement(first, extent, *version);
    version->acknowledged = true;
    if (durable) version->flushed = true;
    settle_write(extent, *version);
    prune(extent);
  });
}

// A write acknowledged after another driver had taken over, and had found it missing.
void VolumeModel::check_late_acknowledgement(uint64_t first_sector, Extent& extent, const Version& version) {
  if (version.dead == kNever || extent.lost >= version.start) return;
  const auto earlier = [&](uint64_t killer) {
    const Version* by = extent.find(killer);
    return by != nullptr && by->number < version.number && by->settled <= version.start;
  };
  const Followers& killers = version.killers;
  const bool missing = std::any_of(killers.singles, killers.singles + killers.count, earlier) ||
                       std::any_of(killers.groups.begin(), killers.groups.end(), [&](const Follower& group) {
                         return std::all_of(group.begin(), group.end(), earlier);
                       });
  if (!missing) return;
  violate(fmt::format("write {} was acknowledged, though it was not there when read before: {}", version.number,
                      describe(first_sector)));
}

// ---- reads

VolumeModel::Pending VolumeModel::begin_read(uint64_t driver, uint64_t offset, uint64_t bytes) {
  ASSERT(offset % kSectorBytes == 0 && bytes % kSectorBytes == 0 && offset + bytes <= size_bytes_, offset, bytes);
  Pending read{driver, 0, offset / kSectorBytes, bytes / kSectorBytes, ++clock_};
  pending_reads_.insert(read.start);
  return read;
}

void VolumeModel::forget(const Pending& pending) {
  const auto found = pending_reads_.find(pending.start);
  if (found != pending_reads_.end()) pending_reads_.erase(found);
}

void VolumeModel::end_read(const Pending& read, ConstByteSpan contents) {
  ++clock_;
  answered(read, read.first_sector, read.sectors, "read");
  observe_all(read, read.first_sector, read.sectors, [&](uint64_t sector) -> Seen {
    const std::byte* bytes = contents.data() + (sector - read.first_sector) * kSectorBytes;
    if (is_all_zero({bytes, kSectorBytes})) return 0;
    if (const Seen number = recognise(sector, bytes)) return number;
    uint64_t words[2];
    std::memcpy(words, bytes, sizeof(words));
    violate(fmt::format("sector {} holds what was never written there (looks like write {} of sector {}): {}", sector,
                        words[0], words[1], describe(sector)));
    return std::nullopt;
  });
  forget(read);
}

void VolumeModel::end_read_zero(const Pending& read, uint64_t offset, uint64_t bytes) {
  ++clock_;
  answered(read, offset / kSectorBytes, bytes / kSectorBytes, "status");
  observe_all(read, offset / kSectorBytes, bytes / kSectorBytes, [](uint64_t) -> Seen { return 0; });
}

// Sectors in which the same was seen are gone through together.
template <class SeenOf>
void VolumeModel::observe_all(const Pending& read, uint64_t first_sector, uint64_t sectors, const SeenOf& seen_of) {
  const uint64_t end = first_sector + sectors;
  const auto seen_at = [&](uint64_t sector) { return may_be_anything(sector) ? Seen() : seen_of(sector); };
  Seen seen = sectors > 0 ? seen_at(first_sector) : Seen();
  for (uint64_t first = first_sector, next = first + 1; first < end; ++next) {
    const Seen other = next < end ? seen_at(next) : Seen();
    if (next < end && other == seen) continue;
    if (seen) each(first, next - first, [&](uint64_t at, Extent& extent) { observe(at, extent, read, *seen); });
    seen = other;
    first = next;
  }
}

// A read saw that write, or (0) zeros.
void VolumeModel::observe(uint64_t first_sector, Extent& extent, const Pending& read, uint64_t number) {
  if (extent.versions.empty() && number == 0) return;
  make_blank(extent);
  const auto matches = [&](const Version& v) { return number > 0 ? v.number == number : v.zero; };
  Version* seen = nullptr;
  Follower candidates;
  bool flushed = true;
  for (Version& version : extent.versions) {
    if (!matches(version) || version.dead <= read.start) continue;
    seen = &version;
    candidates.push_back(version.number);
    flushed = flushed && version.flushed;
  }
  if (candidates.empty()) {
    violate(fmt::format("driver {} read {} from sector {} (read began at {}): {}", read.driver,
                        number > 0 ? fmt::format("write {}", number) : std::string("zeros"), first_sector, read.start,
                        describe(first_sector)));
    return;
  }
  for (Version& other : extent.versions) {
    const bool before = other.settled <= read.start || other.driver < read.driver;
    const bool same = candidates.size() == 1 ? &other == seen : matches(other);
    if (before && !same) kill_version(other, candidates, flushed);
  }
  if (candidates.size() == 1) settle_write(extent, *seen);
  prune(extent);
}

// ---- flushes

VolumeModel::Pending VolumeModel::begin_flush(uint64_t driver) { return Pending{driver, 0, 0, 0, ++clock_}; }

void VolumeModel::end_flush(const Pending& flush, bool succeeded) {
  ++clock_;
  if (!succeeded) return;
  each_unflushed([&](uint64_t, Extent& extent) {
    bool all = true;
    for (Version& version : extent.versions) {
      if (version.acknowledged && version.settled <= flush.start) version.flushed = true;
      all = all && version.flushed;
    }
    prune(extent);
    extent.unflushed = !all;
  });
  join_equal();
}

// ---- crashes

void VolumeModel::set_layout(uint64_t volumelet_bytes, std::vector<uint32_t> servers) {
  volumelet_sectors_ = volumelet_bytes / kSectorBytes;
  layout_ = std::move(servers);
  cut_at_volumelets();
}

uint32_t VolumeModel::server_of(uint64_t sector) const { return layout_[sector / volumelet_sectors_]; }

void VolumeModel::answered(const Pending& pending, uint64_t first_sector, uint64_t sectors, const char* what) {
  const uint64_t end = first_sector + sectors;
  for (uint64_t at = first_sector; at < end;
       at = volumelet_sectors_ == UINT64_MAX ? end : (at / volumelet_sectors_ + 1) * volumelet_sectors_) {
    const uint32_t server = server_of(at);
    const Server& known = servers_[server];
    if (known.driver < pending.driver) opened(server, pending.driver);
    if (known.driver > pending.driver && known.since < pending.start) {
      violate(fmt::format("driver {} served a {} of sector {} that was asked when driver {} had the server",
                          pending.driver, what, at, known.driver));
    }
  }
}

// A driver has the server: what its predecessors had under way there has happened or never will.
void VolumeModel::opened(uint32_t server, uint64_t driver) {
  servers_[server] = Server{driver, clock_};
  each_unflushed([&](uint64_t first, Extent& extent) {
    if (server_of(first) != server) return;
    for (Version& version : extent.versions) {
      if (version.driver >= driver) continue;
      version.settled = std::min(version.settled, clock_);
      version.exposed = false;
    }
  });
}

void VolumeModel::driver_gone() {
  ++clock_;
  if (!driver_present_) return;
  driver_present_ = false;
  each_unflushed([&](uint64_t, Extent& extent) { revive(extent, false); });
}

void VolumeModel::driver_attached(uint64_t driver) {
  ++clock_;
  // A driver that was still alive when this one began could answer from its cache until its grants ran out, also
  // what a server had forgotten meanwhile; fenced, it restores that no more.
  each_unflushed([&](uint64_t, Extent& extent) { revive(extent, false); });
  driver_present_ = true;
  newest_driver_ = driver;
}

void VolumeModel::server_lost(uint32_t server) {
  ++clock_;
  for (auto& [page, damage] : damage_) {
    if (damage.at_stake && server_of(page * kSectorsPerPage) == server) damage.anything = true;
  }
  const bool restorable = driver_present_ && servers_[server].driver == newest_driver_;
  each_unflushed([&](uint64_t first, Extent& lost) {
    if (server_of(first) != server) return;
    for (Version& version : lost.versions) {
      if (version.flushed) continue;
      version.exposed = true;
      version.doubtful = version.doubtful || !restorable;
    }
    if (!restorable) revive(lost, true);
  });
}

// What followed a version may have been forgotten: then it is what a read finds again. `all`: every follower that
// was not flushed; otherwise those exposed by a server's loss.
void VolumeModel::revive(Extent& extent, bool all) {
  bool lost = all;
  for (Version& version : extent.versions) version.doubtful = version.doubtful || version.exposed;
  for (Version& version : extent.versions) {
    if (version.killers.empty()) continue;
    const auto may_be_gone = [&](uint64_t killer) {
      const Version* by = extent.find(killer);
      return by != nullptr && !by->flushed && (all || by->exposed);
    };
    const Followers& killers = version.killers;
    const bool gone = std::all_of(killers.singles, killers.singles + killers.count, may_be_gone) &&
                      std::all_of(killers.groups.begin(), killers.groups.end(), [&](const Follower& group) {
                        return std::any_of(group.begin(), group.end(), may_be_gone);
                      });
    if (!gone) continue;
    version.killers.clear();
    version.dead = kNever;
    lost = true;
  }
  if (lost) extent.lost = clock_;
}

// ---- spoilt pages

void VolumeModel::damage(uint64_t page, bool at_stake) {
  if (page * kPageBytes >= size_bytes_) return;
  Damage& damage = damage_[page];
  damage.at_stake = damage.at_stake || at_stake;
}

template <class Visit>
void VolumeModel::each_damaged(const Pending& write, const Visit& visit) {
  const uint64_t end = (write.first_sector + write.sectors + kSectorsPerPage - 1) / kSectorsPerPage;
  const auto last = damage_.lower_bound(end);
  for (auto it = damage_.lower_bound(write.first_sector / kSectorsPerPage); it != last; ++it) visit(it->second);
}

void VolumeModel::damage_is_settled(uint32_t server) {
  for (auto& [page, damage] : damage_) {
    if (server_of(page * kSectorsPerPage) == server) damage.at_stake = false;
  }
  for (const auto& [number, write] : in_flight_) each_damaged(write, [](Damage& damage) { damage.at_stake = true; });
}

bool VolumeModel::damaged(uint64_t offset, uint64_t bytes) const {
  const auto found = damage_.lower_bound(offset / kPageBytes);
  return found != damage_.end() && found->first * kPageBytes < offset + bytes;
}

bool VolumeModel::may_be_anything(uint64_t sector) const {
  if (damage_.empty()) return false;
  const auto found = damage_.find(sector / kSectorsPerPage);
  return found != damage_.end() && found->second.anything;
}

Stamp VolumeModel::oldest_pending() const { return pending_reads_.empty() ? kNever : *pending_reads_.begin(); }

// Forgets versions that no read may return any more and no crash can bring back.
void VolumeModel::prune(Extent& extent) {
  if (extent.versions.size() < 2) return;
  const Stamp oldest = oldest_pending();
  std::erase_if(extent.versions, [&](const Version& version) {
    if (version.dead > oldest || version.killers.empty()) return false;
    if (version.dead == kNever || in_flight_.contains(version.number)) return false;
    const auto stays = [&](uint64_t killer) {
      const Version* by = extent.find(killer);
      return by == nullptr || by->flushed;
    };
    const Followers& killers = version.killers;
    return std::any_of(killers.singles, killers.singles + killers.count, stays) ||
           std::any_of(killers.groups.begin(), killers.groups.end(),
                       [&](const Follower& group) { return std::all_of(group.begin(), group.end(), stays); });
  });
}

std::string VolumeModel::describe(uint64_t sector) const {
  const Extent& extent = holding(sector)->second;
  if (extent.versions.empty()) return fmt::format("sector {} was never written: zeros expected", sector);
  std::string text = fmt::format("sector {} may be", sector);
  const char* separator = " ";
  for (const Version& version : extent.versions) {
    std::vector<std::string> followers;
    for (uint32_t i = 0; i < version.killers.count; ++i)
      followers.push_back(fmt::format("{}", version.killers.singles[i]));
    for (const Follower& group : version.killers.groups)
      followers.push_back(fmt::format("{}", fmt::join(group, " or ")));
    text += fmt::format("{}{}{}{}{}{}{}", separator, version.zero ? "zeros of write " : "write ", version.number,
                        version.acknowledged ? " acknowledged" : " unanswered", version.flushed ? " flushed" : "",
                        version.exposed ? " exposed" : "",
                        version.dead == kNever ? std::string()
                                               : fmt::format(" (not after {}, followed by {})", version.dead,
                                                             fmt::join(followers, ",")));
    text += fmt::format(" begun {}", version.start);
    if (version.settled != kNever) text += fmt::format(" settled {}", version.settled);
    separator = "; ";
  }
  return text;
}

}  // namespace foreshard::sim
