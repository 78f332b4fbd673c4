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

VolumeModel::Version* VolumeModel::Sector::find(uint64_t number) {
  for (Version& version : versions) {
    if (version.number == number) return &version;
  }
  return nullptr;
}

VolumeModel::VolumeModel(uint64_t size_bytes, uint64_t tag) : size_bytes_(0), tag_(tag) { grow(size_bytes); }

void VolumeModel::grow(uint64_t size_bytes) {
  ASSERT(size_bytes >= size_bytes_ && size_bytes % kSectorBytes == 0, size_bytes);
  size_bytes_ = size_bytes;
  sectors_.resize(size_bytes / kSectorBytes);
  unflushed_.resize(sectors_.size());
}

void VolumeModel::make_blank(Sector& sector) {
  Version& blank = sector.versions.emplace_back();
  blank.settled = 0;
  blank.zero = blank.acknowledged = blank.flushed = true;
}

std::optional<uint64_t> VolumeModel::recognise(uint64_t index, const std::byte* bytes) const {
  uint64_t number;
  std::memcpy(&number, bytes, 8);
  if (number == 0 || number > writes_) return std::nullopt;
  std::byte expected[kSectorBytes];
  fill_sector(tag_, number, index, expected);
  if (std::memcmp(expected, bytes, kSectorBytes) != 0) return std::nullopt;
  return number;
}

// ---- writes

VolumeModel::Pending VolumeModel::begin_write(uint64_t driver, uint64_t offset, uint64_t bytes, Kind kind) {
  ASSERT(offset % kSectorBytes == 0 && bytes % kSectorBytes == 0 && offset + bytes <= size_bytes_, offset, bytes);
  Pending write{driver, ++writes_, offset / kSectorBytes, bytes / kSectorBytes, ++clock_};
  for (uint64_t i = 0; i < write.sectors; ++i) {
    Version version;
    version.number = write.number;
    version.driver = driver;
    version.start = write.start;
    version.zero = kind == Kind::kZero;
    sector(write.first_sector + i).versions.push_back(std::move(version));
    unflushed_.insert(write.first_sector + i);
  }
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
void VolumeModel::settle_write(Sector& sector, Version& version) {
  version.settled = std::min(version.settled, clock_);
  for (Version& other : sector.versions) {
    // A driver is answered by a server only after what its predecessors had under way there has ended.
    const bool before = other.settled <= version.start || other.driver < version.driver;
    if (&other != &version && before) kill_version(other, version.number, version.flushed);
  }
}

void VolumeModel::refuse_write(const Pending& write) {
  ++clock_;
  in_flight_.erase(write.number);
  for (uint64_t i = 0; i < write.sectors; ++i) {
    Version* version = sector(write.first_sector + i).find(write.number);
    if (version != nullptr) version->settled = std::min(version->settled, clock_);
  }
}

void VolumeModel::end_write(const Pending& write, bool acknowledged, bool durable) {
  ++clock_;
  in_flight_.erase(write.number);
  if (!acknowledged) return;  // it may yet happen, until the next driver is attached
  answered(write, write.first_sector, write.sectors, "write");
  for (uint64_t i = 0; i < write.sectors; ++i) {
    Sector& sector = this->sector(write.first_sector + i);
    Version* version = sector.find(write.number);
    if (version == nullptr) continue;  // long dead: a successor's writes followed it
    // The answer was on its way when the driver was superseded and the server forgot: the write may be lost.
    if (newest_driver_ > write.driver && version->doubtful && !durable) continue;
    check_late_acknowledgement(write.first_sector + i, sector, *version);
    version->acknowledged = true;
    if (durable) version->flushed = true;
    settle_write(sector, *version);
    prune(sector);
  }
}

// A write acknowledged after another driver had taken over, and had found it missing.
void VolumeModel::check_late_acknowledgement(uint64_t index, Sector& sector, const Version& version) {
  if (version.dead == kNever || sector.lost >= version.start) return;
  const auto earlier = [&](uint64_t killer) {
    const Version* by = sector.find(killer);
    return by != nullptr && by->number < version.number && by->settled <= version.start;
  };
  const Followers& killers = version.killers;
  const bool missing = std::any_of(killers.singles, killers.singles + killers.count, earlier) ||
                       std::any_of(killers.groups.begin(), killers.groups.end(), [&](const Follower& group) {
                         return std::all_of(group.begin(), group.end(), earlier);
                       });
  if (!missing) return;
  violate(fmt::format("write {} was acknowledged, though it was not there when read before: {}", version.number,
                      describe(index)));
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
  for (uint64_t i = 0; i < read.sectors; ++i) {
    const std::byte* bytes = contents.data() + i * kSectorBytes;
    const uint64_t index = read.first_sector + i;
    if (is_all_zero({bytes, kSectorBytes})) {
      observe(index, read, std::nullopt);
      continue;
    }
    const std::optional<uint64_t> number = recognise(index, bytes);
    if (number) {
      observe(index, read, number);
      continue;
    }
    if (may_be_anything(index)) continue;
    uint64_t words[2];
    std::memcpy(words, bytes, sizeof(words));
    violate(fmt::format("sector {} holds what was never written there (looks like write {} of sector {}): {}", index,
                        words[0], words[1], describe(index)));
  }
  forget(read);
}

void VolumeModel::end_read_zero(const Pending& read, uint64_t offset, uint64_t bytes) {
  ++clock_;
  answered(read, offset / kSectorBytes, bytes / kSectorBytes, "status");
  for (uint64_t i = 0; i < bytes / kSectorBytes; ++i) observe(offset / kSectorBytes + i, read, std::nullopt);
}

// A read saw that write, or (nothing) zeros.
void VolumeModel::observe(uint64_t index, const Pending& read, std::optional<uint64_t> number) {
  if (sectors_[index].versions.empty() && !number) return;
  if (may_be_anything(index)) return;
  Sector& sector = this->sector(index);
  const auto matches = [&](const Version& v) { return number ? v.number == *number : v.zero; };
  Version* seen = nullptr;
  Follower candidates;
  bool flushed = true;
  for (Version& version : sector.versions) {
    if (!matches(version) || version.dead <= read.start) continue;
    seen = &version;
    candidates.push_back(version.number);
    flushed = flushed && version.flushed;
  }
  if (candidates.empty()) {
    violate(fmt::format("driver {} read {} from sector {} (read began at {}): {}", read.driver,
                        number ? fmt::format("write {}", *number) : std::string("zeros"), index, read.start,
                        describe(index)));
    return;
  }
  for (Version& other : sector.versions) {
    const bool before = other.settled <= read.start || other.driver < read.driver;
    const bool same = candidates.size() == 1 ? &other == seen : matches(other);
    if (before && !same) kill_version(other, candidates, flushed);
  }
  if (candidates.size() == 1) settle_write(sector, *seen);
  prune(sector);
}

// ---- flushes

VolumeModel::Pending VolumeModel::begin_flush(uint64_t driver) { return Pending{driver, 0, 0, 0, ++clock_}; }

void VolumeModel::end_flush(const Pending& flush, bool succeeded) {
  ++clock_;
  if (!succeeded) return;
  unflushed_.each([&](uint64_t index) {
    Sector& sector = this->sector(index);
    bool all = true;
    for (Version& version : sector.versions) {
      if (version.acknowledged && version.settled <= flush.start) version.flushed = true;
      all = all && version.flushed;
    }
    prune(sector);
    if (all) unflushed_.erase(index);
  });
}

// ---- crashes

void VolumeModel::set_layout(uint64_t volumelet_bytes, std::vector<uint32_t> servers) {
  volumelet_sectors_ = volumelet_bytes / kSectorBytes;
  layout_ = std::move(servers);
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
  unflushed_.each([&](uint64_t index) {
    if (server_of(index) != server) return;
    for (Version& version : sector(index).versions) {
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
  unflushed_.each([&](uint64_t index) { revive(sector(index), false); });
}

void VolumeModel::driver_attached(uint64_t driver) {
  ++clock_;
  // A driver that was still alive when this one began could answer from its cache until its grants ran out, also
  // what a server had forgotten meanwhile; fenced, it restores that no more.
  unflushed_.each([&](uint64_t index) { revive(sector(index), false); });
  driver_present_ = true;
  newest_driver_ = driver;
}

void VolumeModel::server_lost(uint32_t server) {
  ++clock_;
  for (auto& [page, damage] : damage_) {
    if (damage.at_stake && server_of(page * kSectorsPerPage) == server) damage.anything = true;
  }
  const bool restorable = driver_present_ && servers_[server].driver == newest_driver_;
  unflushed_.each([&](uint64_t index) {
    if (server_of(index) != server) return;
    Sector& lost = sector(index);
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
void VolumeModel::revive(Sector& sector, bool all) {
  bool lost = all;
  for (Version& version : sector.versions) version.doubtful = version.doubtful || version.exposed;
  for (Version& version : sector.versions) {
    if (version.killers.empty()) continue;
    const auto may_be_gone = [&](uint64_t killer) {
      const Version* by = sector.find(killer);
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
  if (lost) sector.lost = clock_;
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
void VolumeModel::prune(Sector& sector) {
  if (sector.versions.size() < 2) return;
  const Stamp oldest = oldest_pending();
  std::erase_if(sector.versions, [&](const Version& version) {
    if (version.dead > oldest || version.killers.empty()) return false;
    if (version.dead == kNever || in_flight_.contains(version.number)) return false;
    const auto stays = [&](uint64_t killer) {
      const Version* by = sector.find(killer);
      return by == nullptr || by->flushed;
    };
    const Followers& killers = version.killers;
    return std::any_of(killers.singles, killers.singles + killers.count, stays) ||
           std::any_of(killers.groups.begin(), killers.groups.end(),
                       [&](const Follower& group) { return std::all_of(group.begin(), group.end(), stays); });
  });
}

std::string VolumeModel::describe(uint64_t index) const {
  const Sector& sector = sectors_[index];
  if (sector.versions.empty()) return fmt::format("sector {} was never written: zeros expected", index);
  std::string text = fmt::format("sector {} may be", index);
  const char* separator = " ";
  for (const Version& version : sector.versions) {
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
