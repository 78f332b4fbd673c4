// VolumeModel: what a volume may answer, kept per sector of 512 bytes (those with the same history together) beside
// the real thing, from what its clients were told. It knows nothing of how the volume works.
//
// Every write has a number, and its contents name the number and the sector, so that any content read is
// recognised. A sector is a register that survives crashes: each write of it takes effect at one instant between
// its beginning and its end. From what clients saw some writes must come before others ("w settled before x
// began"); a write that is surely followed by another is dead, and a read that began afterwards must not return it.
//   - nothing acknowledged is lost while a driver lives, whatever servers do;
//   - a write of an earlier driver takes effect before the next driver's first answer from that server, or never;
//   - when a server lost its memory and the driver that could have restored it is gone, a sector is any of the
//     writes since (and with) the last that was flushed; once read it stays;
//   - a driver serves nothing of a server that was asked after its successor's first answer from it.
// Stamps are a counter of events, not times, so that nothing is simultaneous.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/bytes.h"

namespace foreshard::sim {

using Stamp = uint64_t;
inline constexpr Stamp kNever = UINT64_MAX;

class VolumeModel {
 public:
  VolumeModel(uint64_t size_bytes, uint64_t tag);
  // Which server holds each volumelet. Without a layout one server holds all.
  void set_layout(uint64_t volumelet_bytes, std::vector<uint32_t> servers);
  // The volume is that large now; what was added reads as zeros. The layout covers it already.
  void grow(uint64_t size_bytes);

  uint64_t size_bytes() const { return size_bytes_; }
  // The first violation, if any: what was expected and what was seen.
  const std::optional<std::string>& violation() const { return violation_; }
  void violate(std::string what);

  // ---- what clients do; `driver` counts the attachments, 1, 2, ...
  struct Pending {
    uint64_t driver = 0;
    uint64_t number = 0;  // of a write
    uint64_t first_sector = 0, sectors = 0;
    Stamp start = 0;
  };
  enum class Kind : uint8_t { kData, kZero };
  Pending begin_write(uint64_t driver, uint64_t offset, uint64_t bytes, Kind kind);
  void fill(const Pending& write, ByteSpan contents) const;
  void end_write(const Pending& write, bool acknowledged, bool durable);
  // It ended with an error that is the end of it: what it did of the write is done, and no more will be.
  void refuse_write(const Pending& write);
  Pending begin_read(uint64_t driver, uint64_t offset, uint64_t bytes);
  void end_read(const Pending& read, ConstByteSpan contents);
  // The device said that the part of the read's range reads as zeros.
  void end_read_zero(const Pending& read, uint64_t offset, uint64_t bytes);
  Pending begin_flush(uint64_t driver);
  void end_flush(const Pending& flush, bool succeeded);
  // The read or flush came to nothing.
  void forget(const Pending& pending);

  // ---- what happens around them
  // Driver n was killed, or another one begins to take over: it restores nothing any more.
  void driver_gone();
  void driver_attached(uint64_t driver);
  // The server forgot what it had not made durable (or may have).
  void server_lost(uint32_t server);

  // The disk has spoilt that page of 4 KiB: a read of it may fail. `at_stake`: a crash of its server before
  // damage_is_settled() may take what it finds for written (R-TORN), and from then on it may be anything.
  void damage(uint64_t page, bool at_stake);
  void damage_is_settled(uint32_t server);
  // Whether a page with one of these bytes in it has been spoilt.
  bool damaged(uint64_t offset, uint64_t bytes) const;

  // Which server holds the sector.
  uint32_t server_of(uint64_t sector) const;

 private:
  bool may_be_anything(uint64_t sector) const;
  // The spoilt pages that the write touches, in any part.
  template <class Visit>
  void each_damaged(const Pending& write, const Visit& visit);

  // Of these writes at least one is known to follow: several where a read could not tell them apart (zeros).
  using Follower = std::vector<uint64_t>;
  // A few followers, nearly always of one write each; kept without allocation for those.
  struct Followers {
    static constexpr size_t kSinglesMax = 4;
    uint64_t singles[kSinglesMax];
    uint32_t count = 0;
    std::vector<Follower> groups;
    bool empty() const { return count == 0 && groups.empty(); }
    size_t size() const { return count + groups.size(); }
    void clear() {
      count = 0;
      groups.clear();
    }
  };
  struct Version {
    uint64_t number = 0;
    uint64_t driver = 0;
    Stamp start = 0;
    Stamp settled = kNever;  // by then it had taken effect, or never will
    Stamp dead = kNever;     // a read that began at or after this must not return it
    bool zero = false;
    bool acknowledged = false;
    bool flushed = false;
    bool exposed = false;  // its server forgot things since; only the driver's memory still vouches
    bool doubtful = false;  // ... and that driver is gone, or not asked any more
    Followers killers;
    bool same_but_for_killers(const Version& other) const {
      const auto all = [](const Version& v) {
        return std::tuple(v.number, v.driver, v.start, v.settled, v.dead, v.zero, v.acknowledged, v.flushed, v.exposed,
                          v.doubtful);
      };
      return all(*this) == all(other);
    }
  };
  // Neighbouring sectors of one volumelet with one and the same history.
  struct Extent {
    uint64_t sectors = 0;
    std::vector<Version> versions;  // by start; none when never written
    Stamp lost = 0;                 // the last loss without a driver to restore
    bool unflushed = false;         // has versions that no flush has covered
    Version* find(uint64_t number);
  };
  using Extents = std::map<uint64_t, Extent>;  // by first sector

  // Cuts the extent that holds the sector, so that one begins there; gives that one, or the end.
  Extents::iterator cut(uint64_t sector);
  // Those that make up the sectors; visit(first sector, extent).
  template <class Visit>
  void each(uint64_t first_sector, uint64_t sectors, const Visit& visit);
  template <class Visit>
  void each_unflushed(const Visit& visit);
  Extents::const_iterator holding(uint64_t sector) const;
  void cut_at_volumelets();
  void join_equal();
  static void make_blank(Extent& extent);
  void settle_write(Extent& extent, Version& version);
  // What a read saw of a sector: that write, or (0) zeros; nothing when it does not count.
  using Seen = std::optional<uint64_t>;
  template <class SeenOf>
  void observe_all(const Pending& read, uint64_t first_sector, uint64_t sectors, const SeenOf& seen_of);
  void observe(uint64_t first_sector, Extent& extent, const Pending& read, uint64_t number);
  void check_late_acknowledgement(uint64_t first_sector, Extent& extent, const Version& version);
  void revive(Extent& extent, bool all);
  void prune(Extent& extent);
  void kill_version(Version& version, uint64_t killer, bool flushed);
  void kill_version(Version& version, const Follower& killer, bool flushed);
  // An answer of the pending's driver about these sectors has come.
  void answered(const Pending& pending, uint64_t first_sector, uint64_t sectors, const char* what);
  void opened(uint32_t server, uint64_t driver);
  Stamp oldest_pending() const;
  std::string describe(uint64_t sector) const;
  std::optional<uint64_t> recognise(uint64_t sector, const std::byte* bytes) const;

  uint64_t size_bytes_;
  const uint64_t tag_;
  std::optional<std::string> violation_;
  Stamp clock_ = 1;
  uint64_t writes_ = 0;
  bool driver_present_ = false;
  uint64_t newest_driver_ = 0;
  struct Server {
    uint64_t driver = 0;  // the newest that got an answer from it
    Stamp since = 0;
  };
  std::map<uint32_t, Server> servers_;
  uint64_t volumelet_sectors_ = UINT64_MAX;
  std::vector<uint32_t> layout_{0};
  Extents extents_;  // which cover the volume
  std::multiset<Stamp> pending_reads_;
  std::map<uint64_t, Pending> in_flight_;  // writes by number
  struct Damage {
    bool at_stake = false;
    bool anything = false;
  };
  std::map<uint64_t, Damage> damage_;  // by page
};

}  // namespace foreshard::sim
