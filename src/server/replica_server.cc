#include "server/replica_server.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/planted.h"
#include "meta/records.h"

namespace foreshard::server {
namespace {

using runtime::Task;
using store::ChunkKey;

// Pages of all volumes in one cache: the volume in the high bits.
constexpr int kPageKeyBits = 40;

// A part of a scrub whose caller is gone ends in seconds.
constexpr uint64_t kScrubBytesPerSecondMin = 1u << 20;

constexpr uint64_t kDamageLineNs = 60'000'000'000;  // between lines on damage that was found by reading ahead

// Where in its volume a page lies.
uint64_t byte_offset(uint64_t chunk, uint64_t page) { return chunk * kChunkBytes + page * kPageBytes; }
uint64_t page_key(uint64_t volume, uint64_t page) { return volume << kPageKeyBits | page; }
uint64_t first_key(const SessionName& name, uint64_t chunk, uint32_t first_page) {
  return page_key(name.volume, chunk * kPagesPerChunk + first_page);
}

template <class T>
Result<T> parse(const rpc::Request& request) {
  if (request.control.size() < sizeof(T))
    return fail(ErrorCode::kInvalid, "replica service: request too short", request.control.size());
  return load_object<T>(request.control);
}

template <class T>
rpc::Reply reply_with(const T& value) {
  rpc::Reply reply;
  reply.control = Buffer::copy_of(object_bytes(value));
  return reply;
}

// Whether pages [first, first + pages) lie in one chunk.
bool within_chunk(uint64_t first_page, uint64_t pages) {
  return pages > 0 && pages <= kPagesPerChunk && first_page <= kPagesPerChunk - pages;
}

}  // namespace

ReplicaServer::ReplicaServer(runtime::Runtime& runtime, store::ChunkStore& store, meta::Meta& meta,
                             ReplicaServerOptions options)
    : runtime_(runtime),
      store_(store),
      meta_(meta),
      options_(options),
      sessions_(runtime, store, options.grant_ns),
      ranges_(store),
      cache_(options.cache_bytes),
      service_(rpc::Service::create(runtime)),
      failed_(runtime.executor()),
      stopping_(runtime.executor()),
      gate_(runtime.executor()),
      looking_(runtime.executor()) {
  add(kMethodOpen, &ReplicaServer::on_open);
  add(kMethodClose, &ReplicaServer::on_close);
  add(kMethodHeartbeat, &ReplicaServer::on_heartbeat);
  add(kMethodRead, &ReplicaServer::on_read);
  add(kMethodWrite, &ReplicaServer::on_write);
  add(kMethodZero, &ReplicaServer::on_zero);
  add(kMethodFlush, &ReplicaServer::on_flush);
  add(kMethodStates, &ReplicaServer::on_states);
  add(kMethodPrepare, &ReplicaServer::on_prepare);
  add(kMethodLook, &ReplicaServer::on_look);
  add(kMethodStats, &ReplicaServer::on_stats);
  add(kMethodScrub, &ReplicaServer::on_scrub);
  add(kMethodUsage, &ReplicaServer::on_usage);
}

ReplicaServer::~ReplicaServer() = default;

void ReplicaServer::add(uint16_t method, Method member) {
  service_->handle(method,
                   [this, member](rpc::Peer& peer, rpc::Request& request) { return (this->*member)(peer, request); });
}

Task<Result<void>> ReplicaServer::start() {
  CO_TRY_VOID(co_await sessions_.load());
  CO_TRY_VOID(co_await ranges_.load());
  if (store_.incomplete()) {
    LOG_WARN("server {}: the store came back without all of its index; what it hosts is not whole", options_.id.value);
    CO_TRY_VOID(co_await ranges_.mark_all_incomplete());
    CO_TRY_VOID(co_await store_.settle_incomplete());
  }
  runtime_.executor().spawn(look_now_and_then());
  co_return Result<void>();
}

void ReplicaServer::serve(std::unique_ptr<runtime::Listener> listener) { service_->serve(std::move(listener)); }

Task<void> ReplicaServer::stop() {
  stopping_.set();
  co_await service_->stop();
  co_await gate_.close();
}

Error ReplicaServer::from_store(Error error) {
  const bool fatal = error.code == ErrorCode::kLossy || error.code == ErrorCode::kIo;
  if (fatal && !failed_.is_set()) {
    LOG_WARN("server {}: the store failed: {}", options_.id.value, error.message());
    failed_.set();
  }
  return fatal ? Error{ErrorCode::kLossy, "the server's store has failed", error.id, {}} : error;
}

Result<void> ReplicaServer::check_hosted(VolumeId volume, uint64_t first_chunk, uint64_t chunks) const {
  if (!ranges_.hosts(volume, first_chunk, chunks) && !PLANTED("absent = zero"))
    return fail(ErrorCode::kNotHere, "range not hosted complete", first_chunk);
  return {};
}

// ---- sessions

Task<Result<rpc::Reply>> ReplicaServer::on_open(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const OpenRequest r, parse<OpenRequest>(request));
  if (!ranges_.hosts_any(VolumeId{r.name.volume}) && !PLANTED("absent = zero"))
    co_return fail(ErrorCode::kNotHere, "open: volume not hosted here");
  const Result<void> opened = co_await sessions_.open(r.name);
  if (!opened) {
    const bool refused = opened.error().code == ErrorCode::kFenced || opened.error().code == ErrorCode::kStaleSession;
    co_return fail(refused ? opened.error() : from_store(opened.error()));
  }
  OpenReply reply{};
  reply.store_uuid = store_.uuid().value;
  reply.loss = store_.loss();
  reply.grant_ns = options_.grant_ns;
  reply.incomplete = ranges_.complete(VolumeId{r.name.volume}) || PLANTED("absent = zero") ? 0 : 1;
  co_return reply_with(reply);
}

Task<Result<rpc::Reply>> ReplicaServer::on_close(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const CloseRequest r, parse<CloseRequest>(request));
  const Result<void> closed = co_await sessions_.close(r.name);
  if (!closed) co_return fail(from_store(closed.error()));
  co_return rpc::Reply();
}

Task<Result<rpc::Reply>> ReplicaServer::on_heartbeat(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const HeartbeatRequest r, parse<HeartbeatRequest>(request));
  CO_TRY(Sessions::Work work, sessions_.enter(r.name));
  if (failed_.is_set()) co_return fail(ErrorCode::kLossy, "the server's store has failed");
  work.grant();
  co_return rpc::Reply();
}

// ---- data

// In the planted bugs of R-DRAIN an admitted request may wait before it takes its page locks, as in a server that
// queues; here the locks are taken at once, and would hide that the rule is missing.
uint64_t ReplicaServer::queueing_ns() {
  constexpr uint64_t kLongNs = 12'000'000'000, kShortNs = 5'000'000;
  return runtime_.random().below(runtime_.random().chance(0.02) ? kLongNs : kShortNs);
}

bool ReplicaServer::queues() { return PLANTED("no drain at open") || PLANTED("no session check at apply"); }

bool ReplicaServer::read_cached(const ReadRequest& r, ByteSpan into) {
  const uint64_t first = first_key(r.name, r.chunk, r.first_page);
  for (uint32_t i = 0; i < r.pages; ++i)
    if (!cache_.contains(first + i)) return false;
  for (uint32_t i = 0; i < r.pages; ++i)
    std::memcpy(into.data() + i * kPageBytes, cache_.find(first + i).data, kPageBytes);
  return true;
}

void ReplicaServer::fill_cache(const ReadRequest& r, ConstByteSpan data, policy::FillGuard::Ticket ticket) {
  const uint64_t first = first_key(r.name, r.chunk, r.first_page);
  const bool warming = (r.flags & kReadIsWarming) != 0;
  for (uint32_t i = 0; i < r.pages; ++i) {
    if (!fill_guard_.unchanged(ticket, first + i)) continue;
    if (warming && cache_.contains(first + i)) continue;
    if (!warming && !cache_.worth_inserting(first + i)) continue;  // the drivers have caches of their own
    std::byte* place = cache_.insert(first + i, warming ? policy::Origin::kPrefetch : policy::Origin::kDemand);
    if (place != nullptr) std::memcpy(place, data.data() + i * kPageBytes, kPageBytes);
  }
}

// Before a change is applied, and after: a fill that read between the two must not stay, nor come later (R-FILL).
void ReplicaServer::forget_cached(uint64_t first_key, uint64_t pages) {
  cache_.erase_range(first_key, pages);
  fill_guard_.changed(first_key, pages);
}

// Of what is read on demand each time, with its reader waiting. Of what is read ahead a line now and then: nobody waits
// for it, and it may be much, and come again.
void ReplicaServer::tell_damage(const ReadRequest& r, const Error& error) {
  std::string more;
  if ((r.flags & kReadIsPrefetch) != 0) {
    const uint64_t now_ns = runtime_.now_ns();
    if (now_ns < damage_quiet_until_ns_) {
      ++damage_untold_;
      return;
    }
    damage_quiet_until_ns_ = now_ns + kDamageLineNs;
    more = fmt::format("; read ahead, {} more since the last such line", std::exchange(damage_untold_, 0));
  }
  LOG_WARN("server {}: volume {} offset {}: {}{}", options_.id.value, r.name.volume, byte_offset(r.chunk, error.id),
           error.message(), more);
}

// From the store, and into the cache what that wants. Whether there is any data; else all of it reads as zero.
Task<Result<bool>> ReplicaServer::read_stored(const ReadRequest& r, ByteSpan into) {
  const policy::FillGuard::Ticket ticket = fill_guard_.issue();
  const ChunkKey key{VolumeId{r.name.volume}, r.layer, r.chunk};
  const Result<store::PageMap> states = co_await store_.read(key, r.first_page, into);
  if (!states) {
    if (states.error().code == ErrorCode::kLossy) co_return fail(from_store(states.error()));
    if (states.error().code == ErrorCode::kCorrupt) tell_damage(r, states.error());
    co_return fail(states.error());
  }
  if (!states->any_data()) co_return false;
  fill_cache(r, into, ticket);
  co_return true;
}

uint32_t ReplicaServer::disk_ns_since(uint64_t begin_ns) {
  return static_cast<uint32_t>(std::min<uint64_t>(runtime_.now_ns() - begin_ns, UINT32_MAX));
}

// Into the cache only. Nobody waits for it, and others wait for the disk: where there are many it is left out.
Task<Result<rpc::Reply>> ReplicaServer::warm(const ReadRequest& r) {
  const uint64_t first = first_key(r.name, r.chunk, r.first_page);
  uint32_t cached = 0;
  while (cached < r.pages && cache_.contains(first + cached)) ++cached;
  ReadReply answer{0, 0};
  if (cached < r.pages && warming_ < kWarmingMax) {
    Buffer into = Buffer::allocate(r.pages * kPageBytes);
    const uint64_t begin_ns = runtime_.now_ns();
    ++warming_;
    const Result<bool> any_data = co_await read_stored(r, into.span());
    --warming_;
    if (!any_data) co_return fail(any_data.error());
    answer.all_zero = *any_data ? 0 : 1;
    if (*any_data) answer.disk_ns = disk_ns_since(begin_ns);
  }
  rpc::Reply reply;
  reply.control = Buffer::copy_of(object_bytes(answer));
  co_return reply;
}

Task<Result<rpc::Reply>> ReplicaServer::on_read(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const ReadRequest r, parse<ReadRequest>(request));
  if (!within_chunk(r.first_page, r.pages) || r.layer != 0) co_return fail(ErrorCode::kInvalid, "read: bad range");
  CO_TRY(Sessions::Work work, sessions_.enter(r.name));
  CO_TRY_VOID(check_hosted(VolumeId{r.name.volume}, r.chunk, 1));
  rpc::Reply reply;
  if ((r.flags & kReadIsWarming) != 0) {
    CO_TRY(reply, co_await warm(r));
    work.grant();
    co_return reply;
  }
  const size_t bytes = r.pages * kPageBytes;
  const bool in_place = request.reply_into.size() >= bytes;
  if (!in_place) reply.data = Buffer::allocate(bytes);
  const ByteSpan into = in_place ? request.reply_into.first(bytes) : reply.data.span();
  ReadReply answer{0, 0};
  if (!read_cached(r, into)) {
    const uint64_t begin_ns = runtime_.now_ns();
    CO_TRY(const bool any_data, co_await read_stored(r, into));
    answer.all_zero = any_data ? 0 : 1;
    if (any_data) answer.disk_ns = disk_ns_since(begin_ns);
  }
  if (answer.all_zero != 0) {
    reply.data = Buffer();
  } else {
    reply.data_size = bytes;
  }
  reply.control = Buffer::copy_of(object_bytes(answer));
  work.grant();
  co_return reply;
}

Task<Result<rpc::Reply>> ReplicaServer::on_write(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const WriteRequest r, parse<WriteRequest>(request));
  const uint64_t pages = request.data.size() / kPageBytes;
  if (request.data.size() % kPageBytes != 0 || !within_chunk(r.first_page, pages) || r.layer != 0)
    co_return fail(ErrorCode::kInvalid, "write: bad range");
  CO_TRY(Sessions::Work work, sessions_.enter(r.name));
  if (queues()) co_await runtime_.executor().sleep_for(queueing_ns());
  CO_TRY_VOID(check_hosted(VolumeId{r.name.volume}, r.chunk, 1));
  const uint64_t first = first_key(r.name, r.chunk, r.first_page);
  forget_cached(first, pages);
  const ChunkKey key{VolumeId{r.name.volume}, r.layer, r.chunk};
  const store::Version version{r.name.epoch, r.sequence};
  const Result<void> written = co_await store_.write(key, version, r.first_page, request.data, work);
  forget_cached(first, pages);
  if (!written) co_return fail(from_store(written.error()));
  work.grant();
  co_return rpc::Reply();
}

Task<Result<rpc::Reply>> ReplicaServer::on_zero(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const ZeroRequest r, parse<ZeroRequest>(request));
  const uint64_t end = r.first_page + r.pages;
  if (r.pages == 0 || end < r.first_page || end > uint64_t{1} << kPageKeyBits || r.layer != 0)
    co_return fail(ErrorCode::kInvalid, "zero: bad range");
  CO_TRY(Sessions::Work work, sessions_.enter(r.name));
  if (queues()) co_await runtime_.executor().sleep_for(queueing_ns());
  const uint64_t first_chunk = r.first_page / kPagesPerChunk;
  CO_TRY_VOID(check_hosted(VolumeId{r.name.volume}, first_chunk, (end - 1) / kPagesPerChunk - first_chunk + 1));
  const uint64_t first = page_key(r.name.volume, r.first_page);
  forget_cached(first, r.pages);
  const store::Version version{r.name.epoch, r.sequence};
  for (uint64_t page = r.first_page; page < end;) {
    const ChunkKey key{VolumeId{r.name.volume}, r.layer, page / kPagesPerChunk};
    const auto in_chunk = static_cast<uint32_t>(page % kPagesPerChunk);
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(kPagesPerChunk - in_chunk, end - page));
    const Result<void> zeroed = co_await store_.zero(key, version, in_chunk, count, work);
    if (!zeroed) {
      forget_cached(first, r.pages);
      co_return fail(from_store(zeroed.error()));
    }
    page += count;
  }
  forget_cached(first, r.pages);
  work.grant();
  co_return rpc::Reply();
}

Task<Result<rpc::Reply>> ReplicaServer::on_flush(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const FlushRequest r, parse<FlushRequest>(request));
  CO_TRY(Sessions::Work work, sessions_.enter(r.name));
  const Result<void> flushed = co_await store_.flush();
  if (!flushed) co_return fail(from_store(flushed.error()));
  work.grant();
  co_return rpc::Reply();
}

Task<Result<rpc::Reply>> ReplicaServer::on_states(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const StatesRequest r, parse<StatesRequest>(request));
  if (r.chunks == 0 || r.chunks > kStatesChunksMax || r.layer != 0)
    co_return fail(ErrorCode::kInvalid, "states: bad range");
  CO_TRY(Sessions::Work work, sessions_.enter(r.name));
  CO_TRY_VOID(check_hosted(VolumeId{r.name.volume}, r.first_chunk, r.chunks));
  rpc::Reply reply;
  reply.data = Buffer::allocate(r.chunks * sizeof(store::PageMap));
  for (uint32_t i = 0; i < r.chunks; ++i) {
    const ChunkKey key{VolumeId{r.name.volume}, r.layer, r.first_chunk + i};
    const Result<store::PageMap> map = co_await store_.states(key);
    if (!map) co_return fail(from_store(map.error()));
    std::memcpy(reply.data.data() + i * sizeof(store::PageMap), &*map, sizeof(store::PageMap));
  }
  reply.data_size = reply.data.size();
  work.grant();
  co_return reply;
}

// ---- hosting

Task<Result<rpc::Reply>> ReplicaServer::on_prepare(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const PrepareRequest r, parse<PrepareRequest>(request));
  const ConstByteSpan items = request.control.subspan(sizeof r);
  if (r.ranges == 0 || r.ranges > kRangesPerPrepareMax || items.size() != r.ranges * sizeof(RangeItem))
    co_return fail(ErrorCode::kInvalid, "prepare: bad list of ranges");
  std::vector<HostedRanges::Placed> placed;
  for (uint32_t i = 0; i < r.ranges; ++i) {
    const auto item = load_object<RangeItem>(items.subspan(i * sizeof(RangeItem)));
    if (item.chunks == 0 || item.first_chunk + item.chunks < item.first_chunk)
      co_return fail(ErrorCode::kInvalid, "prepare: bad range");
    placed.push_back({item.first_chunk, HostedRange{item.chunks, ReplicaId{item.replica_id}}});
  }
  const Result<void> added = co_await ranges_.add(VolumeId{r.volume}, std::move(placed));
  if (!added) co_return fail(from_store(added.error()));
  co_return rpc::Reply();
}

Task<Result<rpc::Reply>> ReplicaServer::on_look(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const LookRequest r, parse<LookRequest>(request));
  if (r.volume != 0) {
    CO_TRY_VOID(co_await look(VolumeId{r.volume}));
    co_return rpc::Reply();
  }
  const std::vector<VolumeId> volumes = ranges_.volumes();
  for (VolumeId volume : volumes) {
    CO_TRY_VOID(co_await look(volume));
  }
  co_return rpc::Reply();
}

Task<Result<bool>> ReplicaServer::volume_exists(VolumeId volume) {
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta_.get(meta::volume_exists_key(volume)));
  co_return entry.has_value();
}

Task<Result<void>> ReplicaServer::look(VolumeId volume) {
  runtime::Mutex::Guard guard = co_await looking_.lock();
  CO_TRY(const bool exists, co_await volume_exists(volume));
  if (exists) co_return Result<void>();
  // Volume ids are never given twice: what does not exist now never will again.
  const Result<void> forgotten = co_await sessions_.forget(volume);
  if (!forgotten) co_return fail(from_store(forgotten.error()));
  const std::vector<HostedRanges::Placed> ranges = ranges_.ranges(volume);
  std::vector<uint64_t> first_chunks;
  for (const HostedRanges::Placed& placed : ranges) {
    const Result<void> erased = co_await store_.erase(volume, placed.first_chunk, placed.range.chunks);
    if (!erased) co_return fail(from_store(erased.error()));
    const uint64_t pages = placed.range.chunks * kPagesPerChunk;
    cache_.erase_range(page_key(volume.value, placed.first_chunk * kPagesPerChunk), pages);
    first_chunks.push_back(placed.first_chunk);
  }
  if (!first_chunks.empty()) LOG_INFO("server {}: deleted volume {}", options_.id.value, volume.value);
  const Result<void> removed = co_await ranges_.remove(volume, std::move(first_chunks));
  if (!removed) co_return fail(from_store(removed.error()));
  co_return Result<void>();
}

Task<void> ReplicaServer::look_now_and_then() {
  std::optional<runtime::Gate::Pass> pass = gate_.enter();
  if (!pass) co_return;
  while (!stopping_.is_set()) {
    const std::vector<VolumeId> volumes = ranges_.volumes();
    for (VolumeId volume : volumes) {
      if (stopping_.is_set()) co_return;
      const Result<void> looked = co_await look(volume);
      if (!looked) LOG_DEBUG("server {}: look: {}", options_.id.value, looked.error().message());
    }
    const bool stopped = co_await stopping_.wait_until(runtime_.now_ns() + options_.look_interval_ns);
    if (stopped) co_return;
  }
}

// ---- for people

StatsReply ReplicaServer::stats() const {
  const store::StoreStats s = store_.stats();
  StatsReply reply{};
  reply.server = options_.id.value;
  reply.store_uuid = store_.uuid().value;
  reply.loss = store_.loss();
  reply.capacity_bytes = s.capacity_bytes;
  reply.slots = s.slots;
  reply.slots_used = s.slots_used;
  reply.reads = s.reads;
  reply.writes = s.writes;
  reply.flushes = s.flushes;
  reply.corrupt_pages = s.corrupt_pages;
  reply.cache_hits = cache_.statistics().hits;
  reply.cache_misses = cache_.statistics().misses;
  reply.cache_bytes = cache_.used_bytes();
  reply.volumes = ranges_.volume_count();
  reply.ranges = ranges_.range_count();
  reply.caches_bytes_max = options_.cache_bytes + options_.store_caches_bytes;
  return reply;
}

Task<Result<rpc::Reply>> ReplicaServer::on_stats(rpc::Peer&, rpc::Request&) { co_return reply_with(stats()); }

Task<Result<rpc::Reply>> ReplicaServer::on_scrub(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const ScrubRequest r, parse<ScrubRequest>(request));
  if (r.volume != 0 && r.begin.volume != r.volume) co_return fail(ErrorCode::kInvalid, "scrub: bad place");
  const ChunkKey begin{VolumeId{r.begin.volume}, r.begin.layer, r.begin.chunk};
  ChunkKey end = store::kChunkKeysEnd;
  if (r.volume != 0) end = ChunkKey{VolumeId{r.volume + 1}, 0, 0};
  const uint64_t pace = r.bytes_per_second == 0 ? 0 : std::max(r.bytes_per_second, kScrubBytesPerSecondMin);
  const Result<store::ScrubPart> part = co_await store_.scrub(begin, end, pace, &stopping_);
  if (!part) co_return fail(from_store(part.error()));
  rpc::Reply reply;
  reply.data_size = part->faults.size() * sizeof(ScrubFault);
  reply.data = Buffer::allocate(reply.data_size);
  size_t at = 0;
  for (const store::PageFault& fault : part->faults) {
    LOG_WARN("server {}: volume {} offset {}: {} bytes do not match their checksum (scrub)", options_.id.value,
             fault.key.volume.value, byte_offset(fault.key.chunk, fault.page), fault.pages * kPageBytes);
    const ScrubFault item{fault.key.volume.value, fault.key.chunk, fault.key.layer, fault.page, fault.pages, 0};
    std::memcpy(reply.data.data() + at, &item, sizeof item);
    at += sizeof item;
  }
  ScrubReply answer{};
  answer.bytes = part->bytes;
  answer.slots = part->slots;
  answer.done = part->next ? 0 : 1;
  if (part->next) answer.next = {part->next->volume.value, part->next->chunk, part->next->layer, 0};
  reply.control = Buffer::copy_of(object_bytes(answer));
  co_return reply;
}

Task<Result<rpc::Reply>> ReplicaServer::on_usage(rpc::Peer&, rpc::Request& request) {
  CO_TRY(const UsageRequest r, parse<UsageRequest>(request));
  std::vector<UsageItem> items;
  for (const store::VolumeUsage& usage : store_.usage()) {
    if (usage.volume.value >= r.first_volume && items.size() < kUsageItemsMax)
      items.push_back({usage.volume.value, usage.bytes});
  }
  rpc::Reply reply;
  reply.data_size = items.size() * sizeof(UsageItem);
  reply.data = Buffer::allocate(reply.data_size);
  if (!items.empty()) std::memcpy(reply.data.data(), items.data(), reply.data_size);
  co_return reply;
}

}  // namespace foreshard::server
