#include "store/crash_run.h"

#include <fmt/format.h>

namespace foreshard::store {

using runtime::Crash;
using runtime::Task;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;

}  // namespace

DiskStoreOptions CrashRun::options_for(uint64_t seed) {
  Random random(mix64(seed ^ 0x0b710));
  DiskStoreOptions options;
  options.capacity_bytes = random.between(3, 8) * kChunkBytes;
  options.slot_file_bytes = random.between(2, 6) * kChunkBytes;
  options.growth_bytes = kChunkBytes;
  options.free_bytes_min = 0;
  options.chunk_cache_bytes = random.chance(0.5) ? 4096 : 1u << 20;
  options.changed_chunks_max = random.between(2, 12);
  options.named_pages_max = random.between(4, 64);
  options.dirty_log_bytes = random.between(16, 40) * kPageBytes;
  options.checkpoint_interval_ns = random.between(1, 40) * kMillisecond;
  options.prepared_slots = random.chance(0.3) ? 2 : 0;
  options.scrub_bytes_per_second = 0;
  return options;
}

CrashRun::CrashRun(uint64_t seed, Faults faults)
    : seed_(seed), faults_(faults), random_(seed), world_(seed, options_for(seed)) {
  pages_used_ = static_cast<uint32_t>(random_.between(2, 14));
}

void CrashRun::fail(std::string why) {
  if (error_.empty()) error_ = fmt::format("seed {} at {} ns: {}", seed_, world_.world().now_ns(), why);
  stopping_ = true;
}

ChunkKey CrashRun::random_key(Random& random) const {
  return {VolumeId{1 + random.below(2)}, static_cast<uint32_t>(random.below(2)), random.below(3)};
}

std::string CrashRun::run() {
  if (!open_again()) return error_;
  const uint64_t lives = random_.between(2, 6);
  for (uint64_t life = 0; life < lives && error_.empty(); ++life) {
    stopping_ = store_failed_ = false;
    clients_ = random_.between(1, 8);
    for (uint64_t n = clients_; n > 0; --n) world_.spawn(client(this, random_.fork()));
    arm_faults();
    world_.world().run_until([this] { return !error_.empty() || clients_ == 0; },
                             world_.world().now_ns() + random_.between(1, 60 * kMillisecond));
    end_life();
    if (!error_.empty() || !open_again()) break;
    if (!world_.run(compare(this))) fail("comparing never ends");
  }
  if (error_.empty() && !world_.run(erase_all(this))) fail("erasing never ends");
  if (error_.empty()) {
    if (const Result<void> closed = world_.close(); !closed) return error_;
    clean_ = true;
    if (open_again() && world_.store().stats().slots_used != 0) fail("slots are used by nothing");
  }
  return error_;
}

void CrashRun::arm_faults() {
  if (faults_.disk_errors && random_.chance(0.5)) {
    const uint64_t at_ns = world_.world().now_ns() + random_.below(20 * kMillisecond);
    const bool sync = random_.chance(0.6);
    world_.world().at(at_ns,
                      [this, sync] { sync ? world_.storage().fail_next_sync() : world_.storage().fail_next_write(); });
  }
  if (faults_.index_errors && random_.chance(0.5)) world_.index_state().fail_after(random_.below(60));
}

// A clean close, or a crash; now and then one more while it opens.
void CrashRun::end_life() {
  const uint64_t how = random_.below(100);
  if (how < 12 && error_.empty()) {
    stopping_ = true;
    world_.world().run_until([this] { return clients_ == 0; }, world_.world().now_ns() + 10'000 * kMillisecond);
    if (clients_ != 0) return fail("calls never end");
    const Result<void> closed = world_.close();
    clean_ = closed.has_value() && !store_failed_;
    if (clean_) {  // closing makes everything durable
      const CrashModel::Covered covered = model_.cover();
      model_.flushed(covered);
    }
    if (!closed) ++failures_;
    return;
  }
  ++crashes_;
  clean_ = false;
  world_.crash(how < 75 ? Crash::kPower : Crash::kProcess);
  if (faults_.index_loses_tail && random_.chance(0.5)) world_.index_state().lose_synced_tail(random_);
  if (faults_.rot) rot_some_pages();
  while (random_.chance(0.25))
    world_.open_and_crash(random_.below(3 * kMillisecond), random_.chance(0.7) ? Crash::kPower : Crash::kProcess);
}

// In pages that no dirty record can name: they were not written since the last recovery.
void CrashRun::rot_some_pages() {
  for (const auto& [key, page] : model_.untouched_data_pages())
    if (random_.chance(0.1) && rot_page(key, page)) rotten_.insert({key, page});
}

bool CrashRun::rot_page(const ChunkKey& key, uint32_t page) {
  const std::string text = chunk_key(key);
  const auto found = world_.index_state().content().find(text);
  if (found == world_.index_state().content().end()) return false;
  const Result<ParsedChunk> chunk = parse_chunk(text, found->second);
  if (!chunk || chunk->record.slot == kNoSlot) return false;
  const uint64_t slots_per_file = world_.options().slot_file_bytes / kChunkBytes;
  const uint64_t offset = chunk->record.slot % slots_per_file * kChunkBytes + page * kPageBytes;
  if (!world_.storage().corrupt_file(fmt::format("slots/{}", chunk->record.slot / slots_per_file), offset, kPageBytes))
    return false;
  ++rotten_pages_;
  return true;
}

bool CrashRun::open_again() {
  world_.index_state().repair();
  bool open_failed = false;
  for (int attempt = 0;; ++attempt) {
    const Result<void> opened = world_.open();
    if (opened) break;
    open_failed = true;
    const bool device_failed = opened.error().code == ErrorCode::kIo || opened.error().code == ErrorCode::kLossy;
    if (device_failed && faults_.disk_errors && attempt < 10) continue;  // an armed fault
    fail("open: " + opened.error().message());
    return false;
  }
  ChunkStore& store = world_.store();
  if (clean_ && !open_failed && loss_seen_ != 0 && store.loss() != loss_seen_) fail("loss was raised by a clean close");
  if (!clean_ && store.loss() <= loss_seen_) fail("loss was not raised by a crash");
  loss_seen_ = store.loss();
  if (store.incomplete()) ++incomplete_opens_;
  if (store.incomplete() && !faults_.index_loses_tail) fail("the index is said to be short");
  accepted_pages_ += store.stats().accepted_pages;
  return error_.empty();
}

// ---- clients

Task<void> CrashRun::client(CrashRun* run, Random random) {
  while (!run->stopping_) {
    ++run->operations_;
    const uint64_t kind = random.below(100);
    if (kind < 65) {
      co_await run->change(random);
    } else if (kind < 85) {
      co_await run->read(random);
    } else {
      co_await run->flush();
    }
    if (run->store_failed_) break;
    if (random.chance(0.2)) co_await run->world_.executor().sleep_for(random.below(2 * kMillisecond));
  }
  --run->clients_;
}

Task<void> CrashRun::change(Random& random) {
  const ChunkKey key = random_key(random);
  const uint64_t kind = random.below(100);
  uint32_t first = static_cast<uint32_t>(random.below(pages_used_));
  uint32_t count = static_cast<uint32_t>(random.between(1, pages_used_ - first));
  if (kind >= 85) first = 0, count = pages_used_;
  const bool write = kind < 75;
  const uint64_t number = write ? ++numbers_ : 0;
  Admit guard;
  guard.answer = !random.chance(0.05);
  Buffer data = Buffer::allocate(count * kPageBytes);
  for (uint32_t i = 0; i < count; ++i)
    if (write) CrashModel::fill(data.subspan(i * kPageBytes, kPageBytes), number, key, first + i);
  std::vector<CrashModel::Place> places;
  for (uint32_t i = 0; i < count; ++i)
    places.push_back(model_.begin(key, first + i, write ? PageState::kData : PageState::kZero, number));
  Result<void> done;
  const Version version{1, places.back()};
  if (write) {
    done = co_await world_.store().write(key, version, first, data.span(), guard);
  } else {
    done = co_await world_.store().zero(key, version, first, count, guard);
  }
  CrashModel::Outcome outcome = CrashModel::Outcome::kDone;
  if (!done) {
    const ErrorCode code = done.error().code;
    outcome = CrashModel::Outcome::kRefused;
    if (code == ErrorCode::kLossy) {
      outcome = CrashModel::Outcome::kUnknown;
      store_failed_ = true;
      ++failures_;
      if (!faults_.disk_errors && !faults_.index_errors) fail("change: " + done.error().message());
    } else if (!(code == ErrorCode::kStaleSession && !guard.answer) && !(code == ErrorCode::kNoSpace && write)) {
      fail("change: " + done.error().message());
    }
  } else if (!guard.answer) {
    fail("a superseded session changed something");
  }
  for (uint32_t i = 0; i < count; ++i) model_.end(key, first + i, places[i], outcome);
}

Task<void> CrashRun::read(Random& random) {
  const ChunkKey key = random_key(random);
  const auto first = static_cast<uint32_t>(random.below(pages_used_));
  const auto count = static_cast<uint32_t>(random.between(1, pages_used_ - first));
  std::vector<CrashModel::Place> places;
  for (uint32_t i = 0; i < count; ++i) places.push_back(model_.newest(key, first + i));
  Buffer into = Buffer::allocate(count * kPageBytes);
  const Result<PageMap> read = co_await world_.store().read(key, first, into.span());
  if (!read) {
    if (read.error().code == ErrorCode::kCorrupt && faults_.disk_errors) {
      // The disk may have dropped what a failing sync covered, a moment before the store hears of it.
      co_await world_.executor().sleep_for(20 * kMillisecond);
      const Result<void> flushed = co_await world_.store().flush();
      if (!flushed && flushed.error().code == ErrorCode::kLossy) co_return;
    }
    if (read.error().code != ErrorCode::kLossy || (!faults_.disk_errors && !faults_.index_errors))
      fail("read: " + read.error().message());
    co_return;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const CrashModel::Contents wanted = model_.expected(key, first + i, places[i]);
    if (store_failed_) co_return;
    std::string why = model_.differs(key, first + i, wanted, read->get(i), into.subspan(i * kPageBytes, kPageBytes));
    if (!why.empty()) co_return fail("read: " + why);
  }
}

Task<void> CrashRun::flush() {
  const CrashModel::Covered covered = model_.cover();
  const Result<void> flushed = co_await world_.store().flush();
  if (flushed) {
    model_.flushed(covered);
    co_return;
  }
  store_failed_ = true;
  ++failures_;
  if (flushed.error().code != ErrorCode::kLossy || (!faults_.disk_errors && !faults_.index_errors))
    fail("flush: " + flushed.error().message());
}

// ---- after each life

Task<void> CrashRun::compare(CrashRun* run) {
  ChunkStore& store = run->world_.store();
  bool incomplete = store.incomplete();
  Buffer page = Buffer::allocate(kPageBytes);
  for (const auto& [key, index] : run->model_.pages()) {
    if (run->rotten_.contains({key, index})) {
      co_await mend(run, key, index);
      continue;
    }
    const Result<PageMap> read = co_await store.read(key, index, page.span());
    if (incomplete) continue;  // what is found may be older than what was flushed; it must only be said
    if (!read) {
      // A lost dirty record alone is not noticed at the open, but its pages then do not match: that says it too.
      if (run->faults_.index_loses_tail && read.error().code == ErrorCode::kCorrupt) {
        incomplete = true;
        continue;
      }
      if (run->faults_.disk_errors && read.error().code == ErrorCode::kLossy) co_return;
      co_return run->fail(fmt::format("after a crash, chunk {} page {}: {}", key.chunk, index, read.error().message()));
    }
    std::string why = run->model_.settle(key, index, read->get(0), page.span());
    if (!why.empty()) co_return run->fail("after a crash, " + why);
  }
  if (incomplete) {
    (void)co_await store.settle_incomplete();
    (void)co_await store.erase(VolumeId{1}, 0, UINT64_MAX);
    (void)co_await store.erase(VolumeId{2}, 0, UINT64_MAX);
    run->model_ = CrashModel();
    co_return;
  }
  run->rotten_.clear();
  const Result<std::vector<PageFault>> faults = co_await scrub_all(store);
  if (faults && !faults->empty())
    run->fail(fmt::format("scrub: {} pages, first of chunk {} page {}", faults->size(), (*faults)[0].key.chunk,
                          (*faults)[0].page));
}

// A rotten page must say so, until it is written anew.
Task<void> CrashRun::mend(CrashRun* run, ChunkKey key, uint32_t page) {
  ChunkStore& store = run->world_.store();
  Buffer buffer = Buffer::allocate(kPageBytes);
  const Result<PageMap> read = co_await store.read(key, page, buffer.span());
  if (read || read.error().code != ErrorCode::kCorrupt)
    run->fail(fmt::format("rot of chunk {} page {} is not seen", key.chunk, page));
  const Result<void> zeroed = co_await store.zero(key, {1, 1}, page, 1, run->guard_);
  const Result<void> flushed = co_await store.flush();
  if (!zeroed || !flushed) run->fail("a rotten page cannot be zeroed");
  run->model_.set_zero(key, page);
}

Task<void> CrashRun::erase_all(CrashRun* run) {
  for (uint64_t volume = 1; volume <= 2; ++volume) {
    const Result<void> erased = co_await run->world_.store().erase(VolumeId{volume}, 0, UINT64_MAX);
    if (!erased && !run->faults_.disk_errors) run->fail("erase: " + erased.error().message());
  }
}

}  // namespace foreshard::store
