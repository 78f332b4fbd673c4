// Proves that what a disk does wrong is found and said: flipped bits, lost, misdirected and swapped pages, rotten
// superblocks, a full disk; and that the store keeps what it holds over clean and unclean stops on a real disk.
#include "store/disk_store.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/buffer.h"
#include "index/rocks_index.h"
#include "runtime/real_runtime.h"
#include "runtime/test_folder.h"
#include "store/crash_model.h"
#include "store/store_world.h"

namespace foreshard::store {
namespace {

using runtime::Task;

struct Admit : WriteGuard {
  bool admitted() const override { return true; }
};

constexpr ChunkKey kKey{VolumeId{3}, 0, 5};

DiskStoreOptions small_options() {
  return {.capacity_bytes = 8 * kChunkBytes,
          .slot_file_bytes = 4 * kChunkBytes,
          .growth_bytes = kChunkBytes,
          .free_bytes_min = 0,
          .dirty_log_bytes = 64 * kPageBytes,
          .scrub_bytes_per_second = 0};
}

Buffer page_of(uint64_t number, uint32_t page) {
  Buffer buffer = Buffer::allocate(kPageBytes);
  CrashModel::fill(buffer.span(), number, kKey, page);
  return buffer;
}

Task<void> write_pages(ChunkStore* store, uint64_t number, uint32_t first, uint32_t pages) {
  const Admit guard;
  for (uint32_t page = first; page < first + pages; ++page) {
    const Buffer data = page_of(number, page);
    const Result<void> wrote = co_await store->write(kKey, {1, number}, page, data.span(), guard);
    EXPECT_TRUE(wrote) << wrote.error().message();
  }
  const Result<void> flushed = co_await store->flush();
  EXPECT_TRUE(flushed);
}

// The pages [0, 8) hold write `number`, but those that are listed say that they are corrupt; so does the scrubber.
Task<void> expect_pages(ChunkStore* store, uint64_t number, std::vector<uint32_t> corrupt) {
  std::vector<uint32_t> found;
  for (uint32_t page = 0; page < 8; ++page) {
    Buffer into = Buffer::allocate(kPageBytes);
    const Result<PageMap> read = co_await store->read(kKey, page, into.span());
    if (!read) {
      EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
      EXPECT_EQ(read.error().id, page);
      found.push_back(page);
      continue;
    }
    const Buffer wanted = page_of(number, page);
    EXPECT_EQ(as_text(into.span()), as_text(wanted.span())) << page;
  }
  EXPECT_EQ(found, corrupt);
  const Result<std::vector<PageFault>> faults = co_await scrub_all(*store);
  EXPECT_TRUE(faults);
  std::vector<uint32_t> scrubbed;
  for (const PageFault& fault : *faults) scrubbed.push_back(fault.page);
  EXPECT_EQ(scrubbed, corrupt);
}

class DiskFaults : public testing::Test {
 public:
  DiskFaults() {
    EXPECT_TRUE(world_.open());
    run(write_pages(&store(), 1, 0, 8));
  }
  ChunkStore& store() { return world_.store(); }
  void run(Task<void> task) { EXPECT_TRUE(world_.run(std::move(task))); }
  StoreWorld world_{11, small_options()};
};

TEST_F(DiskFaults, AFlippedBitIsFound) {
  ASSERT_TRUE(world_.storage().corrupt_file("slots/0", 3 * kPageBytes, kPageBytes));
  run(expect_pages(&store(), 1, {3}));
  EXPECT_GE(store().stats().corrupt_pages, 2u);
}

TEST_F(DiskFaults, ALostOverwriteIsFound) {
  world_.storage().knobs().lost_write_chance = 1;
  run(write_pages(&store(), 2, 2, 2));
  world_.storage().knobs().lost_write_chance = 0;
  run(write_pages(&store(), 2, 0, 2));
  run(write_pages(&store(), 2, 4, 4));
  run(expect_pages(&store(), 2, {2, 3}));
}

Task<void> swap_on_disk(runtime::Runtime* runtime, uint32_t a, uint32_t b) {
  const Result<std::unique_ptr<runtime::Disk>> disk = runtime->open_disk("store");
  const Result<std::unique_ptr<runtime::File>> file = (*disk)->open("slots/0", runtime::Disk::Open::kExisting);
  Buffer first = Buffer::allocate(kPageBytes), second = Buffer::allocate(kPageBytes);
  Result<void> done = co_await (*file)->read(a * kPageBytes, first.span());
  EXPECT_TRUE(done);
  done = co_await (*file)->read(b * kPageBytes, second.span());
  EXPECT_TRUE(done);
  done = co_await (*file)->write(b * kPageBytes, first.span());
  EXPECT_TRUE(done);
  done = co_await (*file)->write(a * kPageBytes, second.span());
  EXPECT_TRUE(done);
}

TEST_F(DiskFaults, SwappedPagesAreFound) {
  run(swap_on_disk(&world_.runtime(), 1, 6));
  run(expect_pages(&store(), 1, {1, 6}));
}

TEST_F(DiskFaults, AMisdirectedWriteIsFoundInBothPlaces) {
  world_.storage().knobs().misdirect_chance = 1;
  run(write_pages(&store(), 2, 4, 1));
  world_.storage().knobs().misdirect_chance = 0;
  auto body = [](ChunkStore* store) -> Task<void> {
    Buffer into = Buffer::allocate(kPageBytes);
    const Result<PageMap> read = co_await store->read(kKey, 4, into.span());
    EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
    const Result<std::vector<PageFault>> faults = co_await scrub_all(*store);
    EXPECT_GE(faults->size(), 1u);
  };
  run(body(&store()));
}

Task<void> zero_pages(ChunkStore* store, uint32_t first, uint32_t pages) {
  const Admit guard;
  const Result<void> zeroed = co_await store->zero(kKey, {1, 9}, first, pages, guard);
  EXPECT_TRUE(zeroed);
  const Result<void> flushed = co_await store->flush();
  EXPECT_TRUE(flushed);
}

// A dirty record counts once: it must not excuse what happens after the recovery that heard it, also when none of its
// pages was data by then. They are written anew, without a record, as pages are that the index does not show.
TEST_F(DiskFaults, RotAfterARecoveryIsFoundThoughADirtyRecordNamesThePage) {
  run(write_pages(&store(), 2, 3, 1));  // an overwrite, which is named
  run(zero_pages(&store(), 3, 1));
  world_.crash(runtime::Crash::kProcess);
  ASSERT_TRUE(world_.open());
  run(write_pages(&store(), 1, 3, 1));
  run(expect_pages(&store(), 1, {}));
  world_.crash(runtime::Crash::kProcess);
  ASSERT_TRUE(world_.storage().corrupt_file("slots/0", 3 * kPageBytes, kPageBytes));
  ASSERT_TRUE(world_.open());
  run(expect_pages(&store(), 1, {3}));
}

TEST_F(DiskFaults, AReadErrorLeavesTheStoreOpen) {
  world_.storage().knobs().read_error_chance = 1;
  auto body = [](ChunkStore* store) -> Task<void> {
    Buffer into = Buffer::allocate(kPageBytes);
    const Result<PageMap> read = co_await store->read(kKey, 4, into.span());
    EXPECT_EQ(read.error().code, ErrorCode::kIo);
  };
  run(body(&store()));
  world_.storage().knobs().read_error_chance = 0;
  run(expect_pages(&store(), 1, {}));
}

TEST_F(DiskFaults, OneRottenSuperblockRaisesLossTwoAreRefused) {
  const uint64_t loss = store().loss();
  ASSERT_TRUE(world_.close());
  ASSERT_TRUE(world_.open());
  EXPECT_EQ(store().loss(), loss);
  ASSERT_TRUE(world_.close());
  ASSERT_TRUE(world_.storage().corrupt_file("superblock", 0, kPageBytes));
  ASSERT_TRUE(world_.open());
  EXPECT_EQ(store().loss(), loss + 2);
  run(expect_pages(&store(), 1, {}));
  ASSERT_TRUE(world_.close());
  ASSERT_TRUE(world_.storage().corrupt_file("superblock", 0, kPageBytes));
  ASSERT_TRUE(world_.storage().corrupt_file("superblock", kPageBytes, kPageBytes));
  const Result<void> opened = world_.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
}

TEST_F(DiskFaults, AFullDiskRefusesNewChunksAndNothingElse) {
  world_.storage().knobs().capacity_bytes = world_.storage().used_bytes();
  auto body = [](ChunkStore* store) -> Task<void> {
    const Admit guard;
    const Buffer data = page_of(2, 0);
    Result<void> wrote = co_await store->write({VolumeId{4}, 0, 0}, {1, 2}, 0, data.span(), guard);
    EXPECT_EQ(wrote.error().code, ErrorCode::kNoSpace);
    wrote = co_await store->write(kKey, {1, 2}, 20, data.span(), guard);
    EXPECT_TRUE(wrote);
    const Result<void> erased = co_await store->erase(kKey.volume, 0, UINT64_MAX);
    EXPECT_TRUE(erased);
    wrote = co_await store->write({VolumeId{4}, 0, 0}, {1, 2}, 0, data.span(), guard);
    EXPECT_TRUE(wrote);
  };
  run(body(&store()));
}

// Fills a slot of each of 6 chunks, scrubs them at 1 MiB a second, one volume's by itself, and stops in the middle.
TEST_F(DiskFaults, AScrubIsOfOneVolumeAtAPaceAndEndsWhenToldTo) {
  static constexpr VolumeId kOther{4};
  ASSERT_TRUE(world_.storage().corrupt_file("slots/0", 3 * kPageBytes, kPageBytes));
  auto body = [](ChunkStore* store, runtime::Runtime* runtime) -> Task<void> {
    const Admit guard;
    Buffer data = Buffer::zeroed(kChunkBytes);
    for (uint64_t chunk = 0; chunk < 6; ++chunk) {
      const Result<void> wrote = co_await store->write({kOther, 0, chunk}, {1, 1}, 0, data.span(), guard);
      EXPECT_TRUE(wrote);
    }
    const std::vector<VolumeUsage> usage = store->usage();
    EXPECT_EQ(usage.size(), 2u);
    EXPECT_EQ(usage[0].volume, kKey.volume);
    EXPECT_EQ(usage[0].bytes, kChunkBytes);
    EXPECT_EQ(usage[1].bytes, 6 * kChunkBytes);

    runtime::Signal stop(runtime->executor());
    const ChunkKey begin{kOther, 0, 0};
    const uint64_t started_ns = runtime->now_ns();
    const Result<ScrubPart> other = co_await store->scrub(begin, kChunkKeysEnd, kChunkBytes, &stop);
    EXPECT_TRUE(other);
    EXPECT_EQ(other->bytes, 6 * kChunkBytes);
    EXPECT_EQ(other->slots, 6u);
    EXPECT_TRUE(other->faults.empty());
    EXPECT_FALSE(other->next);
    EXPECT_GE(runtime->now_ns() - started_ns, 6'000'000'000u);
    const Result<ScrubPart> first = co_await store->scrub(ChunkKey(), begin, 0, &stop);
    EXPECT_EQ(first->faults.size(), 1u);

    auto stop_later = [](runtime::Signal* signal, runtime::Runtime* world) -> Task<void> {
      (void)co_await signal->wait_until(world->now_ns() + 2'500'000'000);
      signal->set();
    };
    runtime->executor().spawn(stop_later(&stop, runtime));
    const uint64_t again_ns = runtime->now_ns();
    const Result<ScrubPart> stopped = co_await store->scrub(begin, kChunkKeysEnd, kChunkBytes, &stop);
    EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
    EXPECT_LT(runtime->now_ns() - again_ns, 2'600'000'000u);
  };
  run(body(&store(), &world_.runtime()));
  ASSERT_TRUE(world_.close());
  ASSERT_TRUE(world_.open());
  EXPECT_EQ(store().usage().at(1).bytes, 6 * kChunkBytes);
  auto erase = [](ChunkStore* store) -> Task<void> {
    const Result<void> erased = co_await store->erase(kOther, 0, UINT64_MAX);
    EXPECT_TRUE(erased);
  };
  run(erase(&store()));
  EXPECT_EQ(store().usage().size(), 1u);
}

// More than one call can carry: all of it is found all the same.
TEST_F(DiskFaults, AScrubGoesOnWhereItsLastPartEnded) {
  world_.options().capacity_bytes = 400 * kChunkBytes;
  ASSERT_TRUE(world_.close());
  ASSERT_TRUE(world_.open());
  auto body = [](ChunkStore* store) -> Task<void> {
    const Admit guard;
    const Buffer data = Buffer::zeroed(kPageBytes);
    for (uint64_t chunk = 0; chunk < 300; ++chunk) {
      const Result<void> wrote = co_await store->write({VolumeId{4}, 0, chunk}, {1, 1}, 7, data.span(), guard);
      EXPECT_TRUE(wrote);
    }
    uint64_t slots = 0, parts = 0;
    std::optional<ChunkKey> at = ChunkKey();
    while (at) {
      const Result<ScrubPart> part = co_await store->scrub(*at, kChunkKeysEnd, 0, nullptr);
      slots += part->slots;
      ++parts;
      at = part->next;
    }
    EXPECT_EQ(slots, 301u);
    EXPECT_EQ(parts, 2u);
  };
  run(body(&store()));
}

// A flush between a write's taking of a slot and its end: the index must not name a slot whose place in the file is not
// durable, or what is written there after a power loss lies beyond the file.
TEST(DiskStoreWorld, ASlotThatHadNoDataAtAPowerLossHoldsWhatIsWrittenLater) {
  static constexpr ChunkKey kNew{VolumeId{3}, 0, 6};
  auto flush_between = [](ChunkStore* store, StoreWorld* world) -> Task<void> {
    co_await write_pages(store, 1, 0, 1);
    static const Admit guard;
    Result<void> done = co_await store->zero(kNew, {1, 1}, 200, 1, guard);
    EXPECT_TRUE(done);
    auto write = [](ChunkStore* s) -> Task<void> {
      const Buffer data = page_of(2, 0);
      (void)co_await s->write(kNew, {1, 2}, 0, data.span(), guard);
    };
    world->spawn(write(store));
    co_await world->executor().yield();
    done = co_await store->flush();
    EXPECT_TRUE(done);
  };
  auto write_again = [](ChunkStore* store) -> Task<void> {
    const Admit guard;
    const Buffer data = page_of(3, 0);
    const Result<void> wrote = co_await store->write(kNew, {1, 3}, 0, data.span(), guard);
    EXPECT_TRUE(wrote) << wrote.error().message();
    Buffer into = Buffer::allocate(kPageBytes);
    const Result<PageMap> read = co_await store->read(kNew, 0, into.span());
    EXPECT_TRUE(read) << read.error().message();
    EXPECT_EQ(as_text(into.span()), as_text(data.span()));
  };
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    StoreWorld world(seed, small_options());
    ASSERT_TRUE(world.open());
    ASSERT_TRUE(world.run(flush_between(&world.store(), &world)));
    world.crash(runtime::Crash::kPower);
    ASSERT_TRUE(world.open());
    ASSERT_TRUE(world.run(write_again(&world.store())));
  }
}

TEST_F(DiskFaults, CallsAfterTheCloseAreRefused) {
  auto body = [](ChunkStore* store) -> Task<void> {
    Result<void> closed = co_await store->close();
    EXPECT_TRUE(closed);
    closed = co_await store->close();
    EXPECT_TRUE(closed);
    const Result<void> flushed = co_await store->flush();
    EXPECT_EQ(flushed.error().code, ErrorCode::kCancelled);
  };
  run(body(&store()));
}

// ---- the real disk

class RealStore : public testing::Test {
 public:
  // Opens the store, lets the task use it, and closes it or drops it where it stands.
  void session(Task<void> (*body)(ChunkStore*), bool clean) {
    auto runtime = runtime::RealRuntime::create();
    ASSERT_TRUE(runtime) << runtime.error().message();
    auto disk = (*runtime)->open_disk(folder_.path());
    ASSERT_TRUE(disk);
    std::unique_ptr<ChunkStore> store;
    (*runtime)->run(use(runtime->get(), disk->get(), &store, body, clean));
    (*runtime)->reactor().close();
  }
  uint64_t loss_ = 0;
  runtime::TestFolder folder_;

 private:
  Task<void> use(runtime::Runtime* runtime, runtime::Disk* disk, std::unique_ptr<ChunkStore>* store,
                 Task<void> (*body)(ChunkStore*), bool clean) {
    Result<std::unique_ptr<ChunkStore>> opened =
        co_await DiskStore::open(*runtime, *disk, index::rocks_index_opener(), small_options());
    EXPECT_TRUE(opened) << opened.error().message();
    if (!opened) co_return;
    *store = std::move(*opened);
    loss_ = (*store)->loss();
    EXPECT_FALSE((*store)->incomplete());
    co_await body(store->get());
    if (!clean) co_return;
    const Result<void> closed = co_await (*store)->close();
    EXPECT_TRUE(closed);
  }
};

TEST_F(RealStore, KeepsWhatWasFlushedOverCleanAndUncleanStops) {
  constexpr bool kClean = true;
  session([](ChunkStore* store) -> Task<void> { co_await write_pages(store, 1, 0, 8); }, kClean);
  EXPECT_EQ(loss_, 1u);
  session(
      [](ChunkStore* store) -> Task<void> {
        co_await expect_pages(store, 1, {});
        co_await write_pages(store, 2, 0, 8);
      },
      !kClean);
  EXPECT_EQ(loss_, 1u);
  session([](ChunkStore* store) -> Task<void> { co_await expect_pages(store, 2, {}); }, kClean);
  EXPECT_EQ(loss_, 2u);
  session([](ChunkStore* store) -> Task<void> { co_await expect_pages(store, 2, {}); }, kClean);
  EXPECT_EQ(loss_, 2u);
}

TEST_F(RealStore, AFileThatWasCutShortIsSaidAndHoldsWhatIsWrittenLater) {
  session([](ChunkStore* store) -> Task<void> { co_await write_pages(store, 1, 0, 8); }, true);
  std::filesystem::resize_file(folder_.path() + "/slots/0", 0);
  session(
      [](ChunkStore* store) -> Task<void> {
        co_await expect_pages(store, 1, {0, 1, 2, 3, 4, 5, 6, 7});
        co_await write_pages(store, 2, 0, 8);
        co_await expect_pages(store, 2, {});
      },
      true);
  session([](ChunkStore* store) -> Task<void> { co_await expect_pages(store, 2, {}); }, true);
}

}  // namespace
}  // namespace foreshard::store
