// Proves that FlashCache gives back what was put and nothing older, whatever a simulated disk does to its file; that it
// is a FIFO of the stated size; that a failed write turns it off and a damaged page is absent; that a disk that hangs
// holds nobody up, is asked for a bounded number of reads and is used again afterwards; that its writes stay within
// their budget.
#include "volume/flash_cache.h"

#include <map>

#include <gtest/gtest.h>

#include "runtime/sim_world.h"

namespace foreshard::volume {
namespace {

using runtime::SimRuntime;
using runtime::Task;

constexpr uint64_t kMiB = 1u << 20;
constexpr uint64_t kFileBytes = 8 * kMiB;
constexpr uint64_t kSegments = kFileBytes / FlashCache::kSegmentBytes - 1;
constexpr uint64_t kSegmentPages = FlashCache::kSegmentBytes / kPageBytes;
constexpr uint64_t kFast = uint64_t{1} << 40;  // bytes a second: no bound

void fill(ByteSpan into, uint64_t page, uint64_t version) {
  Random random(page * 1'000'003 + version);
  for (size_t i = 0; i < into.size(); i += 8) {
    const uint64_t word = random.next();
    std::memcpy(into.data() + i, &word, 8);
  }
}

bool holds(ConstByteSpan data, uint64_t page, uint64_t version) {
  Buffer expected = Buffer::allocate(kPageBytes);
  fill(expected.span(), page, version);
  return std::memcmp(expected.data(), data.data(), kPageBytes) == 0;
}

void put(FlashCache& cache, uint64_t page, uint64_t version = 0, bool used_again = true) {
  Buffer data = Buffer::allocate(kPageBytes);
  fill(data.span(), page, version);
  cache.put(page, data.span(), used_again);
}

struct Story;
using Plot = Task<void> (*)(Story&);

// A process on a simulated host with one cache file.
struct Story : runtime::SimProcess {
  Story(SimRuntime& r, runtime::SimStorage& s, uint64_t rate, Plot plot) : runtime(r), storage(s) {
    r.executor().spawn(run(rate, plot));
  }
  Task<void> run(uint64_t rate, Plot plot) {
    Result<std::shared_ptr<FlashCache>> opened = co_await FlashCache::open(runtime, "disk/cache", kFileBytes, rate);
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().message());
    if (opened) {
      cache = std::move(*opened);
      co_await plot(*this);
      if (cache != nullptr) co_await cache->close();
    }
    done = true;
  }
  Task<void> pause() { co_await runtime.executor().sleep_for(50'000'000); }
  // As many leading pages as came out; each of them must be as it was put.
  Task<uint64_t> checked_read(uint64_t first, uint64_t pages) {
    Buffer into = Buffer::allocate(pages * kPageBytes);
    const uint64_t found = co_await cache->read(first, into.span());
    for (uint64_t i = 0; i < found; ++i)
      EXPECT_TRUE(holds(into.subspan(i * kPageBytes, kPageBytes), first + i, versions[first + i])) << first + i;
    co_return found;
  }
  SimRuntime& runtime;
  runtime::SimStorage& storage;
  std::shared_ptr<FlashCache> cache;
  std::map<uint64_t, uint64_t> versions;
  uint64_t actors = 0;
  bool done = false;
};

void tell(Plot plot, uint64_t seed = 1, uint64_t rate = kFast, const runtime::SimDiskKnobs& knobs = {}) {
  runtime::SimWorld world(seed);
  const runtime::NodeId node = world.add_node("host");
  runtime::SimStorage& storage = world.storage(node, "disk/");
  storage.knobs() = knobs;
  world.start(node, [&](SimRuntime& r) { return std::make_unique<Story>(r, storage, rate, plot); });
  EXPECT_TRUE(world.run_until([&] { return static_cast<Story*>(world.process(node))->done; }, 600'000'000'000));
}

// Pages in order fill twice what there is room for.
Task<void> first_in_first_out(Story& s) {
  constexpr uint64_t kPages = 2 * kSegments * kSegmentPages;
  for (uint64_t page = 0; page < kPages; ++page) {
    put(*s.cache, page);
    if (page % 128 == 0) co_await s.pause();
  }
  const FlashStatistics statistics = s.cache->statistics();
  EXPECT_EQ(statistics.put, kPages);
  EXPECT_EQ(statistics.dropped + statistics.skipped, 0u);
  EXPECT_EQ(statistics.bytes_max, kSegments * FlashCache::kSegmentBytes);
  EXPECT_LE(statistics.used_bytes, statistics.bytes_max);
  // The last segments are there, but for the one that was given up to be written over.
  constexpr uint64_t kThere = (kSegments - 1) * kSegmentPages;
  for (uint64_t page = 0; page < kPages; ++page) EXPECT_EQ(s.cache->contains(page), page >= kPages - kThere) << page;
  const uint64_t found = co_await s.checked_read(kPages - kThere, kThere);
  EXPECT_EQ(found, kThere);
  const uint64_t absent = co_await s.checked_read(0, 10);
  EXPECT_EQ(absent, 0u);
  EXPECT_FALSE(s.cache->look_up(0));
  EXPECT_EQ(s.cache->statistics().hits, kThere);
  EXPECT_EQ(s.cache->statistics().misses, 1u);
  put(*s.cache, kPages - 1);
  EXPECT_EQ(s.cache->statistics().put, kPages) << "what is there is not written again";
}

TEST(FlashCache, KeepsTheNewestPagesThatThereIsRoomFor) { tell(first_in_first_out); }

// A page that was changed is never found as it was before, while several users of other pages make the ring turn over.
Task<void> act(Story& s, uint64_t actor, uint64_t actors) {
  Random random(actor + 77);
  for (int i = 0; i < 400; ++i) {
    const uint64_t first = (actor << 32) + random.below(600);
    const uint64_t pages = 1 + random.below(20);
    const uint64_t kind = random.below(10);
    if (kind < 6) {
      for (uint64_t page = first; page < first + pages; ++page)
        put(*s.cache, page, s.versions[page], random.chance(0.5));
    } else if (kind < 8) {
      (void)co_await s.checked_read(first, pages);
    } else {
      s.cache->erase(first, pages);
      for (uint64_t page = first; page < first + pages; ++page) ++s.versions[page];
    }
    if (random.chance(0.3)) co_await s.runtime.executor().sleep_for(random.below(200'000));
  }
  if (++s.actors == actors) EXPECT_GT(s.cache->statistics().hits, 0u);
}

Task<void> many_users(Story& s) {
  constexpr uint64_t kActors = 6;
  for (uint64_t actor = 0; actor < kActors; ++actor) s.runtime.executor().spawn(act(s, actor, kActors));
  while (s.actors < kActors) co_await s.pause();
}

TEST(FlashCache, NeverGivesOutWhatHasChanged) {
  for (uint64_t seed = 1; seed <= 10; ++seed) tell(many_users, seed);
}

TEST(FlashCache, GivesOutNothingThatADiskHasSpoilt) {
  runtime::SimDiskKnobs knobs;
  knobs.read_error_chance = knobs.lost_write_chance = knobs.misdirect_chance = knobs.corrupt_chance = 0.05;
  for (uint64_t seed = 1; seed <= 10; ++seed) tell(many_users, seed, kFast, knobs);
  knobs.slow_chance = 0.003;  // nor one that hangs now and then
  knobs.slow_ns_max = 3'000'000'000;
  for (uint64_t seed = 1; seed <= 10; ++seed) tell(many_users, seed, kFast, knobs);
}

Task<void> damage(Story& s) {
  for (uint64_t page = 0; page < 2 * kSegmentPages; ++page) put(*s.cache, page);
  co_await s.pause();
  EXPECT_TRUE(s.storage.corrupt_file("cache", FlashCache::kSegmentBytes + 7 * kPageBytes, kPageBytes));
  const uint64_t before = co_await s.checked_read(0, 20);
  EXPECT_EQ(before, 7u);
  EXPECT_FALSE(s.cache->contains(7));
  const uint64_t behind = co_await s.checked_read(8, 20);
  EXPECT_EQ(behind, 20u);
  EXPECT_EQ(s.cache->statistics().mismatches, 1u);
  put(*s.cache, 7);
  const uint64_t again = co_await s.checked_read(0, 20);
  EXPECT_EQ(again, 20u) << "it may be put again";
}

TEST(FlashCache, ADamagedPageIsAbsentAndItsNeighboursAreNot) { tell(damage); }

Task<void> failed_write(Story& s) {
  s.storage.fail_next_write();
  for (uint64_t page = 0; page < kSegmentPages; ++page) put(*s.cache, page);
  const uint64_t under_way = co_await s.checked_read(0, 10);
  EXPECT_EQ(under_way, 10u) << "from memory while it is written";
  co_await s.pause();
  EXPECT_TRUE(s.cache->statistics().failed);
  EXPECT_EQ(s.cache->statistics().used_bytes, 0u);
  put(*s.cache, 5000);
  EXPECT_FALSE(s.cache->contains(5000));
  const uint64_t found = co_await s.checked_read(0, 10);
  EXPECT_EQ(found, 0u);
}

TEST(FlashCache, AFailedWriteTurnsItOff) { tell(failed_write); }

Task<void> budget(Story& s) {
  for (uint64_t page = 0; page < 1000; ++page) put(*s.cache, page, 0, false);
  EXPECT_EQ(s.cache->statistics().put, kSegmentPages / 2) << "half of a second's worth is kept for what was used again";
  for (uint64_t page = 2000; page < 3000; ++page) put(*s.cache, page, 0, true);
  EXPECT_EQ(s.cache->statistics().put, kSegmentPages);
  EXPECT_EQ(s.cache->statistics().skipped, 2000 - kSegmentPages);
  co_await s.runtime.executor().sleep_for(250'000'000);
  for (uint64_t page = 4000; page < 5000; ++page) put(*s.cache, page, 0, true);
  EXPECT_NEAR(static_cast<double>(s.cache->statistics().put), kSegmentPages * 1.25, 2);
}

TEST(FlashCache, WritesStayWithinTheirBudget) { tell(budget, 1, FlashCache::kWriteRateMin); }

Task<void> too_fast(Story& s) {
  for (uint64_t page = 0; page < 1000; ++page) put(*s.cache, page);
  EXPECT_EQ(s.cache->statistics().put, 2 * kSegmentPages);
  EXPECT_EQ(s.cache->statistics().dropped, 1000 - 2 * kSegmentPages);
  const uint64_t found = co_await s.checked_read(0, 1000);
  EXPECT_EQ(found, 2 * kSegmentPages);
}

TEST(FlashCache, NobodyWaitsForTheFile) { tell(too_fast); }

constexpr uint64_t kHangNs = 20'000'000'000;

void hang(Story& s) { s.storage.knobs().read_ns_min = s.storage.knobs().read_ns_max = kHangNs; }

// In this order each page is a run of its own.
constexpr uint64_t kScattered[] = {3, 0, 5, 1, 4, 2};

// From another one's point of view.
Task<void> waits_in_vain(Story& s, uint64_t first, uint64_t pages) {
  const uint64_t begun_ns = s.runtime.now_ns();
  const uint64_t found = co_await s.checked_read(first, pages);
  EXPECT_EQ(found, 0u);
  EXPECT_LE(s.runtime.now_ns() - begun_ns - FlashCache::kPatienceNs, 1'000'000u);
  ++s.actors;
}

Task<void> finds_all(Story& s, uint64_t first, uint64_t pages) {
  const uint64_t found = co_await s.checked_read(first, pages);
  EXPECT_EQ(found, pages);
  ++s.actors;
}

Task<void> hanging_reads(Story& s) {
  for (const uint64_t page : kScattered) put(*s.cache, page);
  for (uint64_t page = 6; page < kSegmentPages + 10; ++page) put(*s.cache, page);
  co_await s.pause();
  const runtime::SimDiskKnobs healthy = s.storage.knobs();
  hang(s);
  s.runtime.executor().spawn(waits_in_vain(s, 100, 10));
  s.runtime.executor().spawn(waits_in_vain(s, 0, 20));
  while (s.actors < 2) co_await s.pause();
  EXPECT_EQ(s.cache->statistics().overdue, 2u);
  EXPECT_TRUE(s.cache->statistics().hangs);
  for (uint64_t i = 0; i < 3; ++i) {
    const uint64_t begun_ns = s.runtime.now_ns();
    const uint64_t found = co_await s.checked_read(0, 20);
    EXPECT_EQ(found, 0u);
    EXPECT_EQ(s.runtime.now_ns(), begun_ns) << "who comes now does not wait";
    EXPECT_FALSE(s.cache->contains(5));
    EXPECT_FALSE(s.cache->contains(kSegmentPages + 5)) << "in memory, and not worth telling apart";
  }
  // What changes meanwhile is not there afterwards, and what is put goes in once.
  s.cache->erase(103, 1);
  put(*s.cache, 104);
  s.storage.knobs() = healthy;
  co_await s.runtime.executor().sleep_for(kHangNs + FlashCache::kRestNs / 2);
  EXPECT_FALSE(s.cache->contains(5)) << "it rests";
  co_await s.runtime.executor().sleep_for(FlashCache::kRestNs / 2);
  EXPECT_FALSE(s.cache->statistics().hangs);
  const uint64_t scattered = co_await s.checked_read(0, 20);
  EXPECT_EQ(scattered, 20u);
  const uint64_t front = co_await s.checked_read(100, 20);
  EXPECT_EQ(front, 3u);
  const uint64_t rest = co_await s.checked_read(104, 20);
  EXPECT_EQ(rest, 20u);
  EXPECT_EQ(s.cache->statistics().put, kSegmentPages + 10);
  EXPECT_EQ(s.cache->statistics().overdue, 2u);
}

TEST(FlashCache, ADiskThatHangsHoldsNobodyUpAndIsUsedAgain) { tell(hanging_reads); }

// With more under way than a disk takes, the kernel would stop the driver. Once the disk answers, everybody has his
// turn.
Task<void> many_hanging_reads(Story& s) {
  constexpr uint64_t kReaders = 100;
  for (uint64_t page = 0; page < 3 * kSegmentPages; ++page) {
    put(*s.cache, page);
    if (page % 128 == 0) co_await s.pause();
  }
  const runtime::SimDiskKnobs healthy = s.storage.knobs();
  hang(s);
  for (uint64_t i = 0; i < kReaders; ++i) s.runtime.executor().spawn(waits_in_vain(s, i * 5, 5));
  while (s.actors < kReaders) co_await s.pause();
  EXPECT_EQ(s.cache->statistics().under_way, uint64_t{FlashCache::kReadsMax});
  EXPECT_EQ(s.cache->statistics().overdue, kReaders);
  EXPECT_TRUE(s.cache->statistics().hangs);
  s.storage.knobs() = healthy;
  co_await s.runtime.executor().sleep_for(kHangNs + FlashCache::kRestNs);
  s.actors = 0;
  for (uint64_t i = 0; i < kReaders; ++i) s.runtime.executor().spawn(finds_all(s, i * 5, 5));
  while (s.actors < kReaders) co_await s.pause();
  EXPECT_EQ(s.cache->statistics().hits, 5 * kReaders);
  EXPECT_EQ(s.cache->statistics().under_way, 0u);
  EXPECT_EQ(s.cache->statistics().overdue, kReaders);
}

TEST(FlashCache, ADiskThatHangsIsNotAskedForMoreThanItTakes) { tell(many_hanging_reads); }

// Some of a read's runs come in time and some do not, and in the end they fail: what cannot be read is forgotten.
Task<void> fails_after_a_while(Story& s) {
  for (const uint64_t page : kScattered) put(*s.cache, page);
  for (uint64_t page = 6; page < kSegmentPages; ++page) put(*s.cache, page);
  co_await s.pause();
  const runtime::SimDiskKnobs healthy = s.storage.knobs();
  s.storage.knobs().slow_chance = 0.5;
  s.storage.knobs().slow_ns_max = kHangNs;
  s.storage.knobs().read_error_chance = 1;
  const uint64_t found = co_await s.checked_read(0, 6);
  EXPECT_EQ(found, 0u);
  EXPECT_EQ(s.cache->statistics().overdue, 1u);
  co_await s.runtime.executor().sleep_for(kHangNs);
  s.storage.knobs() = healthy;
  co_await s.runtime.executor().sleep_for(FlashCache::kRestNs);
  EXPECT_EQ(s.cache->statistics().read_errors, 6u);
  for (uint64_t page = 0; page < 6; ++page) EXPECT_FALSE(s.cache->contains(page));
  EXPECT_TRUE(s.cache->contains(6));
}

TEST(FlashCache, WhatFailsAfterItWasGivenUpIsForgotten) { tell(fails_after_a_while); }

Task<void> scattered_damage(Story& s) {
  for (const uint64_t page : kScattered) put(*s.cache, page);
  for (uint64_t page = 6; page < kSegmentPages; ++page) put(*s.cache, page);
  co_await s.pause();
  for (const uint64_t slot : {0, 1, 2})  // of pages 3, 0 and 5
    EXPECT_TRUE(s.storage.corrupt_file("cache", FlashCache::kSegmentBytes + slot * kPageBytes, kPageBytes));
  const uint64_t found = co_await s.checked_read(0, 6);
  EXPECT_EQ(found, 0u);
  EXPECT_EQ(s.cache->statistics().mismatches, 3u) << "one read finds all that it read damaged";
  for (uint64_t page = 0; page < 6; ++page) EXPECT_EQ(s.cache->contains(page), page != 3 && page != 0 && page != 5);
}

TEST(FlashCache, OneReadForgetsAllThatIsDamaged) { tell(scattered_damage); }

// The Story closes the cache, and the read ends after that.
Task<void> closed_while_it_hangs(Story& s) {
  for (uint64_t page = 0; page < kSegmentPages; ++page) put(*s.cache, page);
  co_await s.pause();
  hang(s);
  s.storage.knobs().write_ns_min = s.storage.knobs().write_ns_max = kHangNs;
  const uint64_t found = co_await s.checked_read(0, 20);
  EXPECT_EQ(found, 0u);
  for (uint64_t page = 0; page < 2 * kSegmentPages; ++page) put(*s.cache, 1000 + page);
  const uint64_t begun_ns = s.runtime.now_ns();
  co_await s.cache->close();
  EXPECT_EQ(s.runtime.now_ns() - begun_ns, FlashCache::kCloseWaitNs);
  EXPECT_TRUE(s.cache->statistics().hangs);
  s.cache = nullptr;
  co_await s.runtime.executor().sleep_for(2 * kHangNs);
}

TEST(FlashCache, ClosingDoesNotWaitForADiskThatHangs) { tell(closed_while_it_hangs); }

}  // namespace
}  // namespace foreshard::volume
