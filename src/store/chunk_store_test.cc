// Proves that the store on disk (a simulated and a real one) and the store in memory keep one contract: page states,
// data, zeroing, erasing, versions, notes, guards, bounds, capacity; against a plain model of pages.
#include <gtest/gtest.h>

#include <map>

#include "base/buffer.h"
#include "index/rocks_index.h"
#include "runtime/real_runtime.h"
#include "runtime/test_folder.h"
#include "store/memory_store.h"
#include "store/store_world.h"

namespace foreshard::store {
namespace {

using runtime::Task;

struct Admit : WriteGuard {
  bool answer = true;
  bool admitted() const override { return answer; }
};

Buffer pages_of(uint64_t tag, uint32_t pages) {
  Buffer buffer = Buffer::allocate(pages * kPageBytes);
  for (size_t i = 0; i < buffer.size() / 8; ++i) {
    const uint64_t word = mix64(tag * 1000003 + i);
    std::memcpy(buffer.data() + i * 8, &word, 8);
  }
  return buffer;
}

enum class Kind { kMemory, kSimulatedDisk, kDisk };

constexpr uint64_t kSlots = 24;

DiskStoreOptions small_options() {
  return {.capacity_bytes = kSlots * kChunkBytes,
          .slot_file_bytes = 16 * kChunkBytes,
          .growth_bytes = 4 * kChunkBytes,
          .free_bytes_min = 0,
          .dirty_log_bytes = 64 * kPageBytes,
          .scrub_bytes_per_second = 0};
}

// Where a store of one kind lives, and how its tasks are run.
class Home {
 public:
  virtual ~Home() = default;
  virtual ChunkStore& store() = 0;
  virtual void run(Task<void> task) = 0;
};

// The store in memory needs no executor; it borrows the simulated one.
class SimulatedHome : public Home {
 public:
  explicit SimulatedHome(bool memory) : memory_(memory) {
    const Result<void> opened = world_.open();
    EXPECT_TRUE(opened) << opened.error().message();
  }
  ChunkStore& store() override {
    if (memory_) return memory_store_;
    return world_.store();
  }
  void run(Task<void> task) override { EXPECT_TRUE(world_.run(std::move(task))); }

 private:
  const bool memory_;
  MemoryStore memory_store_{StoreUuid{1}, kSlots* kChunkBytes};
  StoreWorld world_{7, small_options()};
};

class RealHome : public Home {
 public:
  RealHome() {
    auto runtime = runtime::RealRuntime::create();
    EXPECT_TRUE(runtime) << runtime.error().message();
    runtime_ = std::move(*runtime);
    auto disk = runtime_->open_disk(folder_.path());
    EXPECT_TRUE(disk) << disk.error().message();
    disk_ = std::move(*disk);
    runtime_->run(open(this));
  }
  ~RealHome() override {
    runtime_->run(close(this));
    runtime_->reactor().close();
    store_.reset();
    disk_.reset();
  }
  ChunkStore& store() override { return *store_; }
  void run(Task<void> task) override { runtime_->run(std::move(task)); }

 private:
  static Task<void> open(RealHome* home) {
    Result<std::unique_ptr<ChunkStore>> store =
        co_await DiskStore::open(*home->runtime_, *home->disk_, index::rocks_index_opener(), small_options());
    EXPECT_TRUE(store) << store.error().message();
    home->store_ = std::move(*store);
  }
  static Task<void> close(RealHome* home) {
    const Result<void> closed = co_await home->store_->close();
    EXPECT_TRUE(closed);
  }
  runtime::TestFolder folder_;
  std::unique_ptr<runtime::RealRuntime> runtime_;
  std::unique_ptr<runtime::Disk> disk_;
  std::unique_ptr<ChunkStore> store_;
};

class ChunkStoreContract : public testing::TestWithParam<Kind> {
 public:
  ChunkStoreContract() {
    if (GetParam() == Kind::kDisk) {
      home_ = std::make_unique<RealHome>();
    } else {
      home_ = std::make_unique<SimulatedHome>(GetParam() == Kind::kMemory);
    }
  }
  ChunkStore& store() { return home_->store(); }
  void run(Task<void> task) { home_->run(std::move(task)); }
  // Syncs of a real disk take their time.
  int steps() const { return GetParam() == Kind::kDisk ? 500 : 3000; }

 private:
  std::unique_ptr<Home> home_;
};

constexpr ChunkKey kKey{VolumeId{3}, 0, 5};

TEST_P(ChunkStoreContract, PagesAreInheritThenDataOrZero) {
  auto body = [](ChunkStore* store) -> Task<void> {
    const Admit guard;
    Buffer into = pages_of(99, 4);
    Result<PageMap> read = co_await store->read(kKey, 2, into.span());
    EXPECT_EQ(read->get(0), PageState::kInherit);
    EXPECT_TRUE(is_all_zero(into.span()));

    const Buffer data = pages_of(1, 2);
    Result<void> wrote = co_await store->write(kKey, {1, 1}, 3, data.span(), guard);
    EXPECT_TRUE(wrote);
    wrote = co_await store->zero(kKey, {1, 2}, 5, 2, guard);
    EXPECT_TRUE(wrote);
    into = pages_of(99, 6);
    read = co_await store->read(kKey, 2, into.span());
    EXPECT_TRUE(read);
    const PageState expected[] = {PageState::kInherit, PageState::kData, PageState::kData,
                                  PageState::kZero,    PageState::kZero, PageState::kInherit};
    for (uint32_t i = 0; i < 6; ++i) EXPECT_EQ(read->get(i), expected[i]) << i;
    EXPECT_TRUE(is_all_zero(into.subspan(0, kPageBytes)));
    EXPECT_EQ(as_text(into.subspan(kPageBytes, 2 * kPageBytes)), as_text(data.span()));
    EXPECT_TRUE(is_all_zero(into.subspan(3 * kPageBytes, 3 * kPageBytes)));

    const Result<PageMap> states = co_await store->states(kKey);
    EXPECT_EQ(states->get(3), PageState::kData);
    EXPECT_EQ(states->get(5), PageState::kZero);
    EXPECT_EQ(states->get(255), PageState::kInherit);
    Result<Version> version = co_await store->version(kKey);
    EXPECT_EQ(*version, (Version{1, 2}));
    version = co_await store->version({VolumeId{3}, 1, 5});
    EXPECT_EQ(*version, (Version{}));
  };
  run(body(&store()));
}

TEST_P(ChunkStoreContract, UnalignedMemoryIsTaken) {
  auto body = [](ChunkStore* store) -> Task<void> {
    const Admit guard;
    const Buffer data = pages_of(1, 2);
    std::string crooked(1, 'x');
    crooked.append(as_text(data.span()));
    const ConstByteSpan from = as_bytes(crooked).subspan(1);
    const Result<void> wrote = co_await store->write(kKey, {1, 1}, 9, from, guard);
    EXPECT_TRUE(wrote);
    std::string into(1 + 2 * kPageBytes, 'y');
    const ByteSpan to(reinterpret_cast<std::byte*>(into.data()) + 1, 2 * kPageBytes);
    const Result<PageMap> read = co_await store->read(kKey, 9, to);
    EXPECT_TRUE(read);
    EXPECT_EQ(into.substr(1), crooked.substr(1));
  };
  run(body(&store()));
}

TEST_P(ChunkStoreContract, ARefusedCallChangesNothing) {
  auto body = [](ChunkStore* store) -> Task<void> {
    Admit guard;
    guard.answer = false;
    const Buffer data = pages_of(1, 2);
    Result<void> wrote = co_await store->write(kKey, {1, 1}, 0, data.span(), guard);
    EXPECT_EQ(wrote.error().code, ErrorCode::kStaleSession);
    wrote = co_await store->zero(kKey, {1, 1}, 0, 1, guard);
    EXPECT_EQ(wrote.error().code, ErrorCode::kStaleSession);
    guard.answer = true;
    wrote = co_await store->write(kKey, {1, 1}, 255, data.span(), guard);
    EXPECT_EQ(wrote.error().code, ErrorCode::kInvalid);
    wrote = co_await store->write(kKey, {1, 1}, 0, data.subspan(0, 100), guard);
    EXPECT_EQ(wrote.error().code, ErrorCode::kInvalid);
    wrote = co_await store->zero(kKey, {1, 1}, 0, 0, guard);
    EXPECT_EQ(wrote.error().code, ErrorCode::kInvalid);
    const Result<PageMap> states = co_await store->states(kKey);
    EXPECT_EQ(*states, PageMap());
  };
  run(body(&store()));
}

TEST_P(ChunkStoreContract, AFullStoreRefusesWithoutEffectAndRecoversBySpaceGivenBack) {
  auto body = [](ChunkStore* store) -> Task<void> {
    const Admit guard;
    const Buffer data = pages_of(1, 1);
    for (uint64_t chunk = 0; chunk < kSlots; ++chunk) {
      const Result<void> wrote = co_await store->write({VolumeId{1}, 0, chunk}, {1, chunk + 1}, 0, data.span(), guard);
      EXPECT_TRUE(wrote) << chunk;
    }
    const ChunkKey more{VolumeId{1}, 0, kSlots};
    Result<void> wrote = co_await store->write(more, {1, 100}, 0, data.span(), guard);
    EXPECT_EQ(wrote.error().code, ErrorCode::kNoSpace);
    Result<PageMap> states = co_await store->states(more);
    EXPECT_EQ(*states, PageMap());
    // Old chunks can still be written, and zeroing needs no room.
    wrote = co_await store->write({VolumeId{1}, 0, 0}, {1, 101}, 7, data.span(), guard);
    EXPECT_TRUE(wrote);
    wrote = co_await store->zero(more, {1, 102}, 0, 1, guard);
    EXPECT_TRUE(wrote);
    wrote = co_await store->zero({VolumeId{1}, 0, 1}, {1, 103}, 0, 1, guard);
    EXPECT_TRUE(wrote);
    const Result<void> flushed = co_await store->flush();
    EXPECT_TRUE(flushed);
    wrote = co_await store->write(more, {1, 104}, 0, data.span(), guard);
    EXPECT_TRUE(wrote);
    EXPECT_EQ(store->stats().slots_used, kSlots);
    const Result<void> erased = co_await store->erase(VolumeId{1}, 0, UINT64_MAX);
    EXPECT_TRUE(erased);
    EXPECT_EQ(store->stats().slots_used, 0u);
    states = co_await store->states(more);
    EXPECT_EQ(*states, PageMap());
  };
  run(body(&store()));
}

TEST_P(ChunkStoreContract, EraseTakesARangeInAllLayersAndNothingElse) {
  auto body = [](ChunkStore* store) -> Task<void> {
    const Admit guard;
    const Buffer data = pages_of(1, 1);
    for (uint64_t volume = 1; volume <= 2; ++volume)
      for (uint32_t layer = 0; layer < 2; ++layer)
        for (uint64_t chunk = 10; chunk < 14; ++chunk) {
          const Result<void> wrote =
              co_await store->write({VolumeId{volume}, layer, chunk}, {1, 1}, 0, data.span(), guard);
          EXPECT_TRUE(wrote);
        }
    const Result<void> erased = co_await store->erase(VolumeId{1}, 11, 2);
    EXPECT_TRUE(erased);
    for (uint64_t volume = 1; volume <= 2; ++volume)
      for (uint32_t layer = 0; layer < 2; ++layer)
        for (uint64_t chunk = 10; chunk < 14; ++chunk) {
          const Result<PageMap> states = co_await store->states({VolumeId{volume}, layer, chunk});
          const bool gone = volume == 1 && chunk >= 11 && chunk < 13;
          EXPECT_EQ(states->get(0), gone ? PageState::kInherit : PageState::kData);
        }
  };
  run(body(&store()));
}

TEST_P(ChunkStoreContract, NotesAreKeptByPrefix) {
  auto body = [](ChunkStore* store) -> Task<void> {
    using Note = ChunkStore::Note;
    std::vector<Note> notes{{"range/a", "1"}, {"range/b", "2"}, {"rangf", "3"}, {"fence/a", ""}};
    Result<void> put = co_await store->put_notes(notes);
    EXPECT_TRUE(put);
    Result<std::vector<Note>> found = co_await store->notes("range/");
    EXPECT_EQ(found->size(), 2u);
    EXPECT_EQ((*found)[0].key, "range/a");
    EXPECT_EQ(*(*found)[1].value, "2");
    notes = {{"range/a", std::nullopt}, {"range/b", "4"}};
    put = co_await store->put_notes(notes);
    EXPECT_TRUE(put);
    found = co_await store->notes("");
    EXPECT_EQ(found->size(), 3u);
    EXPECT_EQ((*found)[1].key, "range/b");
    EXPECT_EQ(*(*found)[1].value, "4");
  };
  run(body(&store()));
}

TEST_P(ChunkStoreContract, AnyCallsAgreeWithAModelOfPages) {
  auto body = [](ChunkStore* store, int steps) -> Task<void> {
    const Admit guard;
    Random random(42);
    struct Page {
      PageState state = PageState::kInherit;
      uint64_t tag = 0;
    };
    std::map<ChunkKey, std::array<Page, kPagesPerChunk>> model;
    uint64_t sequence = 0;
    for (int step = 0; step < steps; ++step) {
      const ChunkKey key{VolumeId{1 + random.below(2)}, static_cast<uint32_t>(random.below(2)), random.below(5)};
      const auto first = static_cast<uint32_t>(random.below(kPagesPerChunk));
      const auto count = static_cast<uint32_t>(random.between(1, std::min<uint64_t>(12, kPagesPerChunk - first)));
      auto& pages = model[key];
      const uint64_t kind = random.below(100);
      ++sequence;
      if (kind < 40) {
        Buffer data = Buffer::allocate(count * kPageBytes);
        for (uint32_t i = 0; i < count; ++i) {
          const Buffer page = pages_of(sequence * 1000 + i, 1);
          std::memcpy(data.data() + i * kPageBytes, page.data(), kPageBytes);
          pages[first + i] = {PageState::kData, sequence * 1000 + i};
        }
        const Result<void> wrote = co_await store->write(key, {1, sequence}, first, data.span(), guard);
        EXPECT_TRUE(wrote);
      } else if (kind < 55) {
        const bool all = random.chance(0.3);
        const uint32_t from = all ? 0 : first, n = all ? kPagesPerChunk : count;
        for (uint32_t i = from; i < from + n; ++i) pages[i] = {PageState::kZero, 0};
        const Result<void> wrote = co_await store->zero(key, {1, sequence}, from, n, guard);
        EXPECT_TRUE(wrote);
      } else if (kind < 58) {
        const Result<void> erased = co_await store->erase(key.volume, key.chunk, 1);
        EXPECT_TRUE(erased);
        for (uint32_t layer = 0; layer < 2; ++layer) model[{key.volume, layer, key.chunk}] = {};
      } else if (kind < 65) {
        const Result<void> flushed = co_await store->flush();
        EXPECT_TRUE(flushed);
      } else {
        Buffer into = pages_of(1, count);
        const Result<PageMap> read = co_await store->read(key, first, into.span());
        EXPECT_TRUE(read);
        for (uint32_t i = 0; i < count; ++i) {
          const Page& page = pages[first + i];
          EXPECT_EQ(read->get(i), page.state);
          const Buffer expected = page.state == PageState::kData ? pages_of(page.tag, 1) : Buffer::zeroed(kPageBytes);
          EXPECT_EQ(as_text(into.subspan(i * kPageBytes, kPageBytes)), as_text(expected.span()));
        }
      }
    }
    const Result<std::vector<PageFault>> faults = co_await scrub_all(*store);
    EXPECT_TRUE(faults && faults->empty());
  };
  run(body(&store(), steps()));
}

std::string name_of(const testing::TestParamInfo<Kind>& info) {
  constexpr const char* kNames[] = {"Memory", "SimulatedDisk", "Disk"};
  return kNames[static_cast<int>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(All, ChunkStoreContract, testing::Values(Kind::kMemory, Kind::kSimulatedDisk, Kind::kDisk),
                         name_of);

}  // namespace
}  // namespace foreshard::store
