// The driver's data path: ordering, routing, retrying, caching.
#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/planted.h"
#include "store/chunk_store.h"
#include "volume/driver_core.h"
#include "volume/join.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kNotHereRetries = 5;
constexpr uint64_t kNotHerePauseNs = 50'000'000;
constexpr uint64_t kMetaPauseNs = 100'000'000;

// Whether the call may be made again once the server is back under a new session.
bool worth_retrying(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kStaleSession:
    case ErrorCode::kLossy:
    case ErrorCode::kClosed:
    case ErrorCode::kCancelled: return true;
    default: return false;
  }
}

// What is counted while a read is under way.
class Outstanding {
 public:
  Outstanding(uint64_t& count, uint64_t number) : count_(count), number_(number) { count_ += number_; }
  ~Outstanding() { count_ -= number_; }
  Outstanding(const Outstanding&) = delete;
  Outstanding& operator=(const Outstanding&) = delete;

 private:
  uint64_t& count_;
  const uint64_t number_;
};

}  // namespace

uint64_t DriverCore::io_deadline_ns() const {
  return options_.io_timeout_ns == UINT64_MAX ? UINT64_MAX : runtime_.now_ns() + options_.io_timeout_ns;
}

// ---- routing

Task<Result<Volumelet*>> DriverCore::route(uint64_t chunk, uint64_t deadline_ns) {
  for (;;) {
    if (ended_.is_set()) co_return fail(end_reason_);
    Volumelet* known = map_.find(chunk);
    if (known != nullptr && known->link != nullptr) co_return known;
    const Result<Volumelet*> loaded = co_await map_.load(chunk);
    if (loaded) {
      for (auto& [first, volumelet] : map_.volumelets()) adopt(volumelet);
      if ((*loaded)->link != nullptr) co_return *loaded;
      // A server that joined the volume after the attach (grow).
      const Result<void> servers = co_await load_servers();
      if (!servers) LOG_DEBUG("driver: {}", servers.error().message());
    } else if (!worth_retrying(loaded.error().code)) {
      co_return fail(loaded.error());
    }
    if (runtime_.now_ns() >= deadline_ns) co_return fail(ErrorCode::kTimeout, "the shard map cannot be read", chunk);
    co_await runtime_.executor().sleep_for(kMetaPauseNs);
  }
}

Task<Result<rpc::Reply>> DriverCore::perform(Part& part) {
  const uint64_t deadline_ns = io_deadline_ns();
  uint64_t not_here = 0;
  for (;;) {
    CO_TRY(Volumelet* const volumelet, co_await route(part.chunk, deadline_ns));
    ServerLink& link = *volumelet->link;
    if (!link.ready()) {
      const bool in_time = co_await link.wait_ready(deadline_ns);
      if (ended_.is_set()) co_return fail(end_reason_);
      if (!in_time)
        co_return fail(ErrorCode::kTimeout, "no answer from the server within --io-timeout", link.server().value);
      if (link.given_up()) co_return fail(ErrorCode::kCancelled, "the driver is detached");
      continue;
    }
    const uint64_t session = link.session();
    Result<rpc::Reply> reply = co_await link.call(part.method, part.control, part.data, part.data_into);
    if (reply) {
      // An answer of a session that has ended since counts for nothing: the server may have forgotten (R-LOSS).
      part.link = &link;
      const bool current = link.ready() && link.session() == session;
      if (!current && !PLANTED("skip loss check")) {
        part.in_doubt = true;
        continue;
      }
      part.session = session;
      co_return reply;
    }
    const ErrorCode code = reply.error().code;
    const bool as_failure = code == ErrorCode::kFenced && PLANTED("FENCED as failure");
    if (code == ErrorCode::kFenced && !as_failure) {
      end(reply.error());
      co_return reply;
    }
    part.link = &link;
    // A stale session's request is refused unheard, and a server without room has done nothing, now or before.
    if (worth_retrying(code) && code != ErrorCode::kStaleSession) part.in_doubt = true;
    if (code == ErrorCode::kNoSpace) part.in_doubt = false;
    if (worth_retrying(code) || as_failure) {
      link.broken(session);
    } else if (code == ErrorCode::kNotHere && ++not_here < kNotHereRetries) {
      map_.doubt(part.chunk);
      co_await runtime_.executor().sleep_for(kNotHerePauseNs);
    } else {
      co_return reply;
    }
  }
}

// ---- reads

bool DriverCore::granted(uint64_t first_page, uint64_t pages) {
  const uint64_t now_ns = runtime_.now_ns();
  const uint64_t end_chunk = chunk_of(first_page + pages - 1) + 1;
  for (uint64_t chunk = chunk_of(first_page); chunk < end_chunk;) {
    const Volumelet* volumelet = map_.find(chunk);
    if (volumelet == nullptr || volumelet->link == nullptr) return false;
    if (now_ns >= volumelet->link->granted_until_ns()) return false;
    chunk = volumelet->first_chunk + volumelet->chunks;
  }
  return true;
}

// Whether all pages were there. Missed are those that only a server has.
bool DriverCore::copy_from_cache(uint64_t first, ByteSpan into, policy::Observation& seen) {
  bool all = true;
  for (uint64_t i = 0; i < seen.pages; ++i) {
    const policy::PageCache::Hit found = cache_.find(first + i);
    if (found.data == nullptr) {
      all = false;
      if (flash_ == nullptr || !flash_->look_up(first + i)) ++seen.missed_pages;
      continue;
    }
    if (found.first_use) {
      seen.hit_prefetched = true;
      prefetcher_.on_first_use(first + i);
    }
    std::memcpy(into.data() + i * kPageBytes, found.data, kPageBytes);
  }
  return all;
}

Task<Result<void>> DriverCore::read_pages(uint64_t first, ByteSpan into) {
  policy::Observation seen;
  seen.time_ns = runtime_.now_ns();
  seen.volume = volume_id();
  seen.first_page = first;
  seen.pages = static_cast<uint32_t>(into.size() / kPageBytes);
  const bool all_cached = copy_from_cache(first, into, seen);
  const bool waits = seen.missed_pages != 0;
  const Outstanding outstanding(outstanding_pages_, waits ? seen.pages : 0);
  const Outstanding outstanding_request(outstanding_requests_, waits ? 1 : 0);
  seen.outstanding_pages = outstanding_pages_;
  seen.outstanding_requests = outstanding_requests_;
  observe(seen);
  start_prefetches();
  // As if it were enough that the grants ran when the pages came in.
  if (all_cached && PLANTED("check before sample")) co_return Result<void>();
  if (all_cached && granted(first, seen.pages)) co_return Result<void>();
  // After the contents were obtained the grants must still run (R-GRANT); else they are fetched again.
  bool whole = all_cached;
  const bool keep = all_cached || !scans_.is_scan(first, seen.pages);
  do {
    for (uint64_t page = 0; page < seen.pages;) {
      if (!whole && cache_.contains(first + page) && granted(first + page, 1)) {
        const policy::PageCache::Hit found = cache_.find(first + page);
        if (found.first_use) prefetcher_.on_first_use(first + page);
        std::memcpy(into.data() + page * kPageBytes, found.data, kPageBytes);
        ++page;
        continue;
      }
      if (!whole && in_flash(first + page) && granted(first + page, 1)) {
        const uint64_t found = co_await read_flash(first + page, into.subspan(page * kPageBytes), keep);
        page += found;
        if (found > 0) continue;
      }
      if (!whole) {
        const bool waited = co_await wait_for_prefetch(first + page);
        if (waited && cache_.contains(first + page)) continue;
      }
      uint64_t end = page + 1;
      while (end < seen.pages && (whole || !held(first + end))) ++end;
      CO_TRY_VOID(co_await read_run(first + page, into.subspan(page * kPageBytes, (end - page) * kPageBytes), keep));
      page = end;
    }
    whole = true;
  } while (!granted(first, seen.pages));
  co_return Result<void>();
}

// Leading pages that the cache file has and memory lacks; how many came out. The reader's place in the interval table
// keeps changes of them away meanwhile, so that they are not older than what the servers have.
Task<uint64_t> DriverCore::read_flash(uint64_t first, ByteSpan into, bool keep) {
  uint64_t pages = 0;
  while (pages < into.size() / kPageBytes && !cache_.contains(first + pages) && in_flash(first + pages)) ++pages;
  const policy::FillGuard::Ticket ticket = fill_guard_.issue();
  const uint64_t found = co_await flash_->read(first, into.first(pages * kPageBytes));
  if (keep) fill_cache(first, into.first(found * kPageBytes), ticket);
  co_return found;
}

Task<Result<void>> DriverCore::read_run(uint64_t first, ByteSpan into, bool keep) {
  const uint64_t end = first + into.size() / kPageBytes;
  if (end <= chunk_end_page(first)) co_return co_await read_part(first, into, keep);
  Join join(runtime_.executor());
  for (uint64_t page = first; page < end;) {
    const uint64_t part_end = std::min(end, chunk_end_page(page));
    join.add(read_part(page, into.subspan((page - first) * kPageBytes, (part_end - page) * kPageBytes), keep));
    page = part_end;
  }
  co_return co_await join.wait();
}

Task<Result<void>> DriverCore::read_part(uint64_t first, ByteSpan into, bool keep) {
  server::ReadRequest request{};
  request.chunk = chunk_of(first);
  request.first_page = static_cast<uint32_t>(first % kPagesPerChunk);
  request.pages = static_cast<uint32_t>(into.size() / kPageBytes);
  Part part;
  part.method = server::kMethodRead;
  part.chunk = request.chunk;
  part.control = bytes_of(request);
  part.data_into = into;
  const policy::FillGuard::Ticket ticket = fill_guard_.issue();
  const uint64_t asked_ns = runtime_.now_ns();
  const Result<rpc::Reply> answer = co_await perform(part);
  if (!answer) {
    tell_damage(part, answer.error());
    co_return fail(answer.error());
  }
  const rpc::Reply& reply = *answer;
  if (reply.control.size() < sizeof(server::ReadReply)) co_return fail(ErrorCode::kInvalid, "read: short answer");
  const auto answered = load_object<server::ReadReply>(reply.control.span());
  if (part.link != nullptr) note_server_read(*part.link, request.pages, asked_ns, answered);
  if (answered.all_zero != 0) {
    std::memset(into.data(), 0, into.size());
  } else if (reply.data_size != into.size()) {
    co_return fail(ErrorCode::kInvalid, "read: short answer", reply.data_size);
  }
  if (keep) fill_cache(first, into, ticket);
  co_return Result<void>();
}

// The client gets EIO; which page of which volume it was stands in the log.
void DriverCore::tell_damage(const Part& part, const Error& error) const {
  if (error.code != ErrorCode::kCorrupt) return;
  LOG_WARN("volume {} offset {}: damaged on server {}: {}", options_.volume,
           part.chunk * kChunkBytes + error.id * kPageBytes, part.link == nullptr ? 0 : part.link->server().value,
           error.message());
}

void DriverCore::insert_in_cache(uint64_t page, const std::byte* data, policy::Origin origin) {
  std::byte* place = cache_.insert(page, origin);
  if (place != nullptr) std::memcpy(place, data, kPageBytes);
}

// What a reader fetched since the ticket was issued.
void DriverCore::fill_cache(uint64_t first, ConstByteSpan data, policy::FillGuard::Ticket ticket) {
  for (uint64_t i = 0; i < data.size() / kPageBytes; ++i) {
    if (fill_guard_.unchanged(ticket, first + i))
      insert_in_cache(first + i, data.data() + i * kPageBytes, policy::Origin::kDemand);
  }
}

Task<Result<void>> DriverCore::read(uint64_t offset, ByteSpan into) {
  const std::optional<runtime::Gate::Pass> pass = requests_.enter();
  if (!pass || ended_.is_set()) co_return fail(end_reason_);
  if (into.empty()) co_return Result<void>();
  count_access(offset, into.size(), false);
  const uint64_t first = offset / kPageBytes;
  const uint64_t end = (offset + into.size() + kPageBytes - 1) / kPageBytes;
  IntervalTable::Place place(intervals_, first, end, IntervalTable::Kind::kShared);
  co_await place.entered();
  if (offset % kPageBytes == 0 && into.size() % kPageBytes == 0) {
    CO_TRY_VOID(co_await read_pages(first, into));
  } else {
    Buffer pages = Buffer::allocate((end - first) * kPageBytes);
    CO_TRY_VOID(co_await read_pages(first, pages.span()));
    std::memcpy(into.data(), pages.data() + offset % kPageBytes, into.size());
  }
  count_heat(offset, into.size(), false);
  co_return Result<void>();
}

// ---- writes

void DriverCore::before_change(uint64_t first, uint64_t pages) {
  fill_guard_.changed(first, pages);
  cache_.erase_range(first, pages);
  if (flash_ != nullptr) flash_->erase(first, pages);
}

void DriverCore::after_change(uint64_t first, uint64_t pages) {
  // A fill that was let in while the change was under way goes.
  if (!PLANTED("late fill")) cache_.erase_range(first, pages);
  if (flash_ != nullptr) flash_->erase(first, pages);
  fill_guard_.changed(first, pages);
}

Task<Result<void>> DriverCore::wait_for_room() {
  while (retained_.bytes() > 2 * options_.retained_bytes_max) {
    if (ended_.is_set()) co_return fail(end_reason_);
    CO_TRY_VOID(co_await flush_all());
  }
  co_return Result<void>();
}

// Right after perform(), without a suspension: the entry is there before the session can end. What was given up after
// it had been sent is retained as well (R-RETAIN): it may have been carried out, and be read.
void DriverCore::retain(const Part& part, RetainedEntry entry, bool answered) {
  entry.time_ns = runtime_.now_ns();
  entry.link = part.link;
  entry.answered = answered;
  retained_.append(std::move(entry));
  part.link->written_tick = retained_.newest_tick();
  if (answered) return;
  part.link->unanswered_tick = retained_.newest_tick();
  // It is settled before anything else happens there, also where the server refused a second attempt.
  part.link->broken(part.link->session());
}

Task<Result<void>> DriverCore::write_part(uint64_t first, ConstByteSpan data, uint64_t sequence) {
  server::WriteRequest request{};
  request.sequence = sequence;
  request.chunk = chunk_of(first);
  request.first_page = static_cast<uint32_t>(first % kPagesPerChunk);
  Part part;
  part.method = server::kMethodWrite;
  part.chunk = request.chunk;
  part.control = bytes_of(request);
  part.data = data;
  const Result<rpc::Reply> answer = co_await perform(part);
  if (answer || part.in_doubt) {
    RetainedEntry entry;
    entry.sequence = sequence;
    entry.first_page = first;
    entry.pages = data.size() / kPageBytes;
    entry.data = Buffer::copy_of(data);
    retain(part, std::move(entry), answer.has_value());
  }
  if (!answer) co_return fail(answer.error());
  co_return Result<void>();
}

Task<Result<void>> DriverCore::write_pages(uint64_t first, ConstByteSpan data) {
  const uint64_t pages = data.size() / kPageBytes;
  const uint64_t end = first + pages;
  const uint64_t sequence = sequences_.begin();
  if (prefetcher_.mode() != policy::PrefetchMode::kOff) observe_write(first, pages);
  before_change(first, pages);
  Result<void> written;
  if (end <= chunk_end_page(first)) {
    written = co_await write_part(first, data, sequence);
  } else {
    Join join(runtime_.executor());
    for (uint64_t page = first; page < end;) {
      const uint64_t part_end = std::min(end, chunk_end_page(page));
      join.add(write_part(page, data.subspan((page - first) * kPageBytes, (part_end - page) * kPageBytes), sequence));
      page = part_end;
    }
    written = co_await join.wait();
  }
  sequences_.end(sequence);
  after_change(first, pages);
  if (written && !scans_.is_scan(first, pages)) {
    for (uint64_t i = 0; i < pages; ++i)
      insert_in_cache(first + i, data.data() + i * kPageBytes, policy::Origin::kWrite);
  }
  co_return written;
}

// Whole pages around [offset, offset + from.size()), the edges read first; under an exclusive place (R-PAGE).
Task<Result<void>> DriverCore::write_edge(uint64_t offset, ConstByteSpan from) {
  const uint64_t first = offset / kPageBytes;
  const uint64_t end = (offset + from.size() + kPageBytes - 1) / kPageBytes;
  Buffer pages = Buffer::zeroed((end - first) * kPageBytes);
  const bool head = offset % kPageBytes != 0;
  const bool tail = (offset + from.size()) % kPageBytes != 0;
  if (!PLANTED("partial page")) {
    if (head || (tail && end - first == 1)) {
      CO_TRY_VOID(co_await read_pages(first, pages.subspan(0, kPageBytes)));
    }
    if (tail && end - first > 1) {
      CO_TRY_VOID(co_await read_pages(end - 1, pages.subspan((end - 1 - first) * kPageBytes, kPageBytes)));
    }
  }
  std::memcpy(pages.data() + offset % kPageBytes, from.data(), from.size());
  co_return co_await write_pages(first, pages.span());
}

Task<Result<void>> DriverCore::write(uint64_t offset, ConstByteSpan from, bool fua) {
  const std::optional<runtime::Gate::Pass> pass = requests_.enter();
  if (!pass || ended_.is_set()) co_return fail(end_reason_);
  if (from.empty()) co_return Result<void>();
  CO_TRY_VOID(co_await wait_for_room());
  count_access(offset, from.size(), true);
  {
    const uint64_t first = offset / kPageBytes;
    const uint64_t end = (offset + from.size() + kPageBytes - 1) / kPageBytes;
    IntervalTable::Place place(intervals_, first, end, IntervalTable::Kind::kExclusive);
    co_await place.entered();
    Result<void> written;
    if (offset % kPageBytes == 0 && from.size() % kPageBytes == 0) {
      written = co_await write_pages(first, from);
    } else {
      written = co_await write_edge(offset, from);
    }
    CO_TRY_VOID(std::move(written));
  }
  count_heat(offset, from.size(), true);
  if (fua) co_return co_await flush_all();
  co_return Result<void>();
}

// ---- zeroes and discards

Task<Result<void>> DriverCore::zero_part(uint64_t first, uint64_t pages, bool may_unmap, uint64_t sequence) {
  server::ZeroRequest request{};
  request.sequence = sequence;
  request.first_page = first;
  request.pages = pages;
  request.may_unmap = may_unmap ? 1 : 0;
  Part part;
  part.method = server::kMethodZero;
  part.chunk = chunk_of(first);
  part.control = bytes_of(request);
  const Result<rpc::Reply> answer = co_await perform(part);
  if (answer || part.in_doubt) {
    RetainedEntry entry;
    entry.sequence = sequence;
    entry.first_page = first;
    entry.pages = pages;
    entry.may_unmap = may_unmap;
    retain(part, std::move(entry), answer.has_value());
  }
  if (!answer) co_return fail(answer.error());
  co_return Result<void>();
}

// Volumelet by volumelet; each is one call, however many chunks it covers.
Task<Result<void>> DriverCore::zero_pages(uint64_t first, uint64_t pages, bool may_unmap) {
  const uint64_t sequence = sequences_.begin();
  const uint64_t end = first + pages;
  before_change(first, pages);
  Result<void> zeroed;
  for (uint64_t page = first; page < end && zeroed;) {
    const Result<Volumelet*> volumelet = co_await route(chunk_of(page), io_deadline_ns());
    if (!volumelet) {
      zeroed = fail(volumelet.error());
      break;
    }
    const uint64_t volumelet_end = ((*volumelet)->first_chunk + (*volumelet)->chunks) * kPagesPerChunk;
    const uint64_t part_end = std::min(end, volumelet_end);
    zeroed = co_await zero_part(page, part_end - page, may_unmap, sequence);
    page = part_end;
  }
  sequences_.end(sequence);
  after_change(first, pages);
  co_return zeroed;
}

Task<Result<void>> DriverCore::zero_edge(uint64_t offset, uint64_t bytes) {
  const Buffer zeros = Buffer::zeroed(bytes);
  co_return co_await write_edge(offset, zeros.span());
}

Task<Result<void>> DriverCore::zero(uint64_t offset, uint64_t bytes, ZeroMode mode, bool fua) {
  const std::optional<runtime::Gate::Pass> pass = requests_.enter();
  if (!pass || ended_.is_set()) co_return fail(end_reason_);
  if (bytes == 0) co_return Result<void>();
  CO_TRY_VOID(co_await wait_for_room());
  ++zeroes_;
  const uint64_t first_whole = (offset + kPageBytes - 1) / kPageBytes;
  const uint64_t end_whole = (offset + bytes) / kPageBytes;
  {
    IntervalTable::Place place(intervals_, offset / kPageBytes, (offset + bytes + kPageBytes - 1) / kPageBytes,
                               IntervalTable::Kind::kExclusive);
    co_await place.entered();
    if (first_whole > end_whole) {
      CO_TRY_VOID(co_await zero_edge(offset, bytes));
    } else {
      const uint64_t head = first_whole * kPageBytes - offset;
      const uint64_t tail = offset + bytes - end_whole * kPageBytes;
      if (head > 0) {
        CO_TRY_VOID(co_await zero_edge(offset, head));
      }
      if (end_whole > first_whole) {
        CO_TRY_VOID(co_await zero_pages(first_whole, end_whole - first_whole, mode == ZeroMode::kMayUnmap));
      }
      if (tail > 0) {
        CO_TRY_VOID(co_await zero_edge(end_whole * kPageBytes, tail));
      }
    }
  }
  if (fua) co_return co_await flush_all();
  co_return Result<void>();
}

Task<Result<void>> DriverCore::discard(uint64_t offset, uint64_t bytes, bool fua) {
  const std::optional<runtime::Gate::Pass> pass = requests_.enter();
  if (!pass || ended_.is_set()) co_return fail(end_reason_);
  CO_TRY_VOID(co_await wait_for_room());
  ++zeroes_;
  const uint64_t first = (offset + kPageBytes - 1) / kPageBytes;
  const uint64_t end = (offset + bytes) / kPageBytes;
  if (end > first) {
    IntervalTable::Place place(intervals_, first, end, IntervalTable::Kind::kExclusive);
    co_await place.entered();
    // As advice, some would be followed and some not.
    const bool ignored = PLANTED("trim as advice") && sequences_.ended_through() % 2 == 0;
    if (!ignored) {
      CO_TRY_VOID(co_await zero_pages(first, end - first, true));
    } else {
      before_change(first, end - first);
    }
  }
  if (fua) co_return co_await flush_all();
  co_return Result<void>();
}

// ---- accounting

void DriverCore::count_access(uint64_t offset, uint64_t bytes, bool write) {
  (write ? writes_ : reads_) += 1;
  (write ? written_bytes_ : read_bytes_) += bytes;
  if (access_sink_) access_sink_(Access{runtime_.now_ns(), offset, bytes, write});
}

// After the request: the first one of a volumelet has loaded its part of the map by then.
void DriverCore::count_heat(uint64_t offset, uint64_t bytes, bool write) {
  Volumelet* const volumelet = map_.find(offset / kChunkBytes);
  if (volumelet == nullptr) return;
  (write ? volumelet->heat.writes : volumelet->heat.reads) += 1;
  (write ? volumelet->heat.written_bytes : volumelet->heat.read_bytes) += bytes;
}

// ---- allocation

Task<Result<std::vector<Extent>>> DriverCore::extents(uint64_t first_page, uint64_t pages, uint32_t extents_max) {
  std::vector<Extent> found;
  const uint64_t end = first_page + pages;
  for (uint64_t page = first_page; page < end;) {
    CO_TRY(Volumelet* const volumelet, co_await route(chunk_of(page), io_deadline_ns()));
    const uint64_t chunk = chunk_of(page);
    const uint64_t chunks_left = volumelet->first_chunk + volumelet->chunks - chunk;
    server::StatesRequest request{};
    request.first_chunk = chunk;
    request.chunks = static_cast<uint32_t>(
        std::min({chunks_left, uint64_t{server::kStatesChunksMax}, chunk_of(end - 1) - chunk + 1}));
    Part part;
    part.method = server::kMethodStates;
    part.chunk = chunk;
    part.control = bytes_of(request);
    CO_TRY(const rpc::Reply reply, co_await perform(part));
    if (reply.data.size() != request.chunks * sizeof(store::PageMap))
      co_return fail(ErrorCode::kInvalid, "states: short answer");
    const uint64_t known_end = std::min(end, (chunk + request.chunks) * kPagesPerChunk);
    if (!granted(page, known_end - page)) continue;  // as for reads (R-GRANT): asked again
    for (; page < known_end; ++page) {
      const size_t place = (chunk_of(page) - chunk) * sizeof(store::PageMap);
      const auto map = load_object<store::PageMap>(reply.data.subspan(place, sizeof(store::PageMap)));
      const bool hole = map.get(static_cast<uint32_t>(page % kPagesPerChunk)) != store::PageState::kData;
      if (!found.empty() && found.back().hole == hole) {
        found.back().bytes += kPageBytes;
        continue;
      }
      if (found.size() == extents_max) co_return found;
      found.push_back({kPageBytes, hole, hole});
    }
  }
  co_return found;
}

Task<Result<std::vector<Extent>>> DriverCore::block_status(uint64_t offset, uint64_t bytes, uint32_t extents_max) {
  const std::optional<runtime::Gate::Pass> pass = requests_.enter();
  if (!pass || ended_.is_set()) co_return fail(end_reason_);
  const uint64_t first = offset / kPageBytes;
  const uint64_t end = (offset + bytes + kPageBytes - 1) / kPageBytes;
  IntervalTable::Place place(intervals_, first, end, IntervalTable::Kind::kShared);
  co_await place.entered();
  CO_TRY(std::vector<Extent> found, co_await extents(first, end - first, std::max(extents_max, 1u)));
  // From whole pages to the bytes asked for.
  found.front().bytes -= offset - first * kPageBytes;
  uint64_t left = bytes;
  for (Extent& extent : found) {
    extent.bytes = std::min(extent.bytes, left);
    left -= extent.bytes;
  }
  co_return found;
}

}  // namespace foreshard::volume
