#include "volume/volume_admin.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/log.h"
#include "base/units.h"
#include "meta/records.h"
#include "meta/settle.h"
#include "policy/place/rendezvous.h"
#include "rpc/rpc.h"
#include "server/message.h"
#include "volume/attach.h"
#include "volume/learned_store.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kSizeBytesMax = uint64_t{4} << 50;
constexpr uint64_t kVolumeletBytesMin = 1u << 20;
constexpr uint64_t kVolumeletBytesMax = uint64_t{1} << 40;
constexpr uint64_t kVolumeletsMax = 4u << 20;
constexpr size_t kRecordsPerCommit = 2000;
constexpr uint64_t kCallTimeoutNs = 10'000'000'000;
constexpr uint64_t kCommitTimeoutNs = 30'000'000'000;

Error no_such_volume(const std::string& name) {
  return Error{ErrorCode::kNotFound, "volume", 0,
               fmt::format("there is no volume '{}'; 'foreshard volume ls' lists those that there are", name)};
}

struct VolumeEntry {
  meta::pb::Volume volume;
  meta::Revision revision = 0;
};

Task<Result<VolumeEntry>> read_volume(meta::Meta& meta, std::string name) {
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta.get(meta::volume_key(name)));
  if (!entry) co_return fail(no_such_volume(name));
  CO_TRY(meta::pb::Volume volume, meta::decode<meta::pb::Volume>(*entry));
  co_return VolumeEntry{std::move(volume), entry->modified};
}

Result<void> check_size(uint64_t size_bytes) {
  if (size_bytes > 0 && size_bytes % kSectorBytes == 0 && size_bytes <= kSizeBytesMax) return {};
  return fail(ErrorCode::kInvalid, "volume size",
              fmt::format("{} bytes will not do; a size is a multiple of 512, at least 512 and at most {}", size_bytes,
                          format_size(kSizeBytesMax)));
}

Result<void> check_volumelet_size(uint64_t bytes, uint64_t size_bytes) {
  if (!std::has_single_bit(bytes) || bytes < kVolumeletBytesMin || bytes > kVolumeletBytesMax)
    return fail(ErrorCode::kInvalid, "volumelet size",
                fmt::format("{} will not do; use a power of two from 1M to 1T", format_size(bytes)));
  if (size_bytes / bytes >= kVolumeletsMax)
    return fail(ErrorCode::kInvalid, "volumelet size",
                fmt::format("{} in volumelets of {} are too many; use larger volumelets", format_size(size_bytes),
                            format_size(bytes)));
  return {};
}

uint64_t volumelet_count(uint64_t size_bytes, uint64_t volumelet_bytes) {
  return (size_bytes + volumelet_bytes - 1) / volumelet_bytes;
}

// One control call to a server, on a connection of its own.
Task<Result<rpc::Reply>> call_server(runtime::Runtime& runtime, std::string address, uint16_t method, Buffer control) {
  const uint64_t deadline_ns = runtime.now_ns() + kCallTimeoutNs;
  CO_TRY(const std::shared_ptr<rpc::Channel> channel, co_await rpc::Channel::connect(runtime, address, deadline_ns));
  rpc::Call call;
  call.method = method;
  call.control = control.span();
  call.deadline_ns = deadline_ns;
  Result<rpc::Reply> reply = co_await channel->call(call);
  co_await channel->close();
  co_return reply;
}

// A server that answered, with what the volume's records must say of it.
struct Candidate {
  meta::pb::Server record;
  uint64_t store_uuid = 0;
  uint64_t loss = 0;
};

Task<Result<std::vector<Candidate>>> reachable_servers(runtime::Runtime& runtime, meta::Meta& meta, std::string zone) {
  CO_TRY(const std::vector<meta::pb::Server> servers, co_await list_servers(meta));
  std::vector<Candidate> candidates;
  for (const meta::pb::Server& record : servers) {
    if (!zone.empty() && record.zone() != zone) continue;
    const Result<rpc::Reply> reply = co_await call_server(runtime, record.address(), server::kMethodStats, Buffer());
    if (!reply || reply->control.size() < sizeof(server::StatsReply)) {
      LOG_WARN("server {} does not answer and is left out", record.id());
      continue;
    }
    const auto stats = load_object<server::StatsReply>(reply->control.span());
    candidates.push_back({record, stats.store_uuid, stats.loss});
  }
  if (candidates.empty())
    co_return fail(ErrorCode::kUnavailable, "placement",
                   zone.empty() ? std::string("no server answers; see 'foreshard server ls'")
                                : fmt::format("no server of zone '{}' answers; see 'foreshard server ls'", zone));
  co_return candidates;
}

// One life of a volumelet at a server. The same for a rerun of the same work, so that preparing twice is fine.
uint64_t replica_id(VolumeId volume, uint64_t first_chunk, ServerId server) {
  return mix64(mix64(mix64(volume.value) ^ first_chunk) ^ server.value) | 1;
}

struct Placed {
  uint64_t first_chunk = 0;
  uint64_t chunks = 0;
};
using Placement = std::map<ServerId, std::vector<Placed>>;

Task<Result<void>> prepare_server(runtime::Runtime& runtime, const Candidate& candidate, VolumeId volume,
                                  const std::vector<Placed>& placed) {
  for (size_t begin = 0; begin < placed.size(); begin += server::kRangesPerPrepareMax) {
    const size_t count = std::min<size_t>(placed.size() - begin, server::kRangesPerPrepareMax);
    Buffer control = Buffer::zeroed(sizeof(server::PrepareRequest) + count * sizeof(server::RangeItem));
    const server::PrepareRequest request{volume.value, static_cast<uint32_t>(count), 0};
    std::memcpy(control.data(), &request, sizeof request);
    for (size_t i = 0; i < count; ++i) {
      const Placed& one = placed[begin + i];
      const server::RangeItem item{one.first_chunk, one.chunks,
                                   replica_id(volume, one.first_chunk, ServerId{candidate.record.id()})};
      std::memcpy(control.data() + sizeof request + i * sizeof item, &item, sizeof item);
    }
    CO_TRY_VOID(co_await call_server(runtime, candidate.record.address(), server::kMethodPrepare, std::move(control)));
  }
  co_return Result<void>();
}

meta::Operation put(std::string key, std::string value) {
  return {meta::Operation::Kind::kPut, std::move(key), std::move(value), 0};
}

meta::Compare unchanged(std::string key, meta::Revision revision) {
  return {meta::Compare::Target::kModified, std::move(key), revision, {}};
}

// Puts new records in several transactions, each only while the guard holds and none of them is there.
Task<Result<void>> put_records(runtime::Runtime& runtime, meta::Meta& meta, std::vector<meta::Operation> puts,
                               meta::Compare guard) {
  for (size_t begin = 0; begin < puts.size(); begin += kRecordsPerCommit) {
    const size_t end = std::min(puts.size(), begin + kRecordsPerCommit);
    meta::Transaction transaction;
    transaction.compares.push_back(guard);
    for (size_t i = begin; i < end; ++i) {
      transaction.compares.push_back(unchanged(puts[i].key, 0));
      transaction.operations.push_back(puts[i]);
    }
    CO_TRY(const meta::TransactionResult result,
           co_await meta::commit_settled(runtime, meta, std::move(transaction), runtime.now_ns() + kCommitTimeoutNs));
    if (!result.succeeded) co_return fail(ErrorCode::kConflict, "the volume changed meanwhile; run it again");
  }
  co_return Result<void>();
}

// The records of the new volumelets, and of the servers that are new to the volume.
std::vector<meta::Operation> placement_records(const meta::pb::Volume& volume, const std::vector<Candidate>& candidates,
                                               const Placement& placement, const std::vector<ServerId>& known) {
  const VolumeId id{volume.id()};
  std::vector<meta::Operation> puts;
  for (const Candidate& candidate : candidates) {
    const ServerId server{candidate.record.id()};
    const auto placed = placement.find(server);
    if (placed == placement.end()) continue;
    if (std::find(known.begin(), known.end(), server) == known.end()) {
      meta::pb::VolumeServer in_sync;
      in_sync.set_generation(1);
      in_sync.set_store_uuid(candidate.store_uuid);
      in_sync.set_loss(candidate.loss);
      puts.push_back(put(meta::volume_server_key(id, server), in_sync.SerializeAsString()));
    }
    for (const Placed& one : placed->second) {
      meta::pb::Volumelet volumelet;
      volumelet.set_first_chunk(one.first_chunk);
      volumelet.set_chunks(one.chunks);
      volumelet.set_map_version(1);
      meta::pb::Replica* replica = volumelet.add_replicas();
      replica->set_server(server.value);
      replica->set_generation(1);
      replica->set_state(meta::pb::REPLICA_IN_SYNC);
      replica->set_replica_id(replica_id(id, one.first_chunk, server));
      puts.push_back(put(meta::volumelet_key(id, one.first_chunk), volumelet.SerializeAsString()));
    }
  }
  return puts;
}

Task<Result<std::vector<ServerId>>> servers_of(meta::Meta& meta, VolumeId volume) {
  const std::string prefix = meta::volume_servers_prefix(volume);
  CO_TRY(const meta::RangeResult range, co_await meta.range(prefix, meta::prefix_end(prefix), 0));
  std::vector<ServerId> ids;
  for (const meta::Entry& entry : range.entries) {
    const std::optional<uint64_t> id = meta::parse_hex_id(std::string_view(entry.key).substr(prefix.size()));
    if (id) ids.push_back(ServerId{*id});
  }
  co_return ids;
}

// Which of the volumelets [from, to) have no record yet. A broken-off growth may have left some, and a driver may
// have used them: they stay where they are.
Task<Result<std::vector<uint64_t>>> missing_volumelets(meta::Meta& meta, const meta::pb::Volume& volume, uint64_t from,
                                                       uint64_t to) {
  const VolumeId id{volume.id()};
  const uint64_t chunks = volume.volumelet_bytes() / kChunkBytes;
  std::set<std::string> present;
  std::string begin = meta::volumelet_key(id, from * chunks);
  const std::string end = meta::volumelet_key(id, to * chunks);
  for (bool more = true; more;) {
    CO_TRY(const meta::RangeResult range, co_await meta.range(begin, end, kRecordsPerCommit));
    for (const meta::Entry& entry : range.entries) present.insert(entry.key);
    more = range.entries.size() == kRecordsPerCommit;
    if (more) begin = range.entries.back().key + '\0';
  }
  std::vector<uint64_t> missing;
  for (uint64_t index = from; index < to; ++index)
    if (!present.contains(meta::volumelet_key(id, index * chunks))) missing.push_back(index);
  co_return missing;
}

// Places volumelets [from, to): servers are prepared first, then the map names them (R-GC).
Task<Result<void>> add_volumelets(runtime::Runtime& runtime, meta::Meta& meta, const meta::pb::Volume& volume,
                                  uint64_t from, uint64_t to, meta::Compare guard) {
  if (from >= to) co_return Result<void>();
  const VolumeId id{volume.id()};
  CO_TRY(const std::vector<Candidate> candidates, co_await reachable_servers(runtime, meta, volume.zone()));
  CO_TRY(const std::vector<ServerId> known, co_await servers_of(meta, id));
  std::vector<ServerId> ids;
  for (const Candidate& candidate : candidates) ids.push_back(ServerId{candidate.record.id()});
  const uint64_t chunks = volume.volumelet_bytes() / kChunkBytes;
  Placement placement;
  CO_TRY(const std::vector<uint64_t> missing, co_await missing_volumelets(meta, volume, from, to));
  for (uint64_t index : missing)
    placement[policy::place_by_rendezvous(id, index, ids)].push_back({index * chunks, chunks});
  for (const Candidate& candidate : candidates) {
    const auto placed = placement.find(ServerId{candidate.record.id()});
    if (placed == placement.end()) continue;
    CO_TRY_VOID(co_await prepare_server(runtime, candidate, id, placed->second));
  }
  co_return co_await put_records(runtime, meta, placement_records(volume, candidates, placement, known), guard);
}

// Takes the next id and puts the record of a volume in creation, in one transaction.
Task<Result<meta::pb::Volume>> begin_volume(runtime::Runtime& runtime, meta::Meta& meta, const CreateOptions& options) {
  for (;;) {
    CO_TRY(const std::optional<meta::Entry> present, co_await meta.get(meta::volume_key(options.name)));
    if (present) {
      CO_TRY(const meta::pb::Volume there, meta::decode<meta::pb::Volume>(*present));
      std::string detail = fmt::format("a volume '{}' exists already; use another name", options.name);
      if (there.state() == meta::pb::VOLUME_CREATING)
        detail =
            fmt::format("the creation of '{0}' was broken off; 'foreshard volume rm {0}', then again", options.name);
      co_return fail(ErrorCode::kExists, "volume create", std::move(detail));
    }
    CO_TRY(const std::optional<meta::Entry> entry, co_await meta.get(meta::region_key()));
    if (!entry) co_return fail(ErrorCode::kNotFound, "the region has no record; is it the right address?");
    CO_TRY(meta::pb::Region region, meta::decode<meta::pb::Region>(*entry));
    meta::pb::Volume volume;
    volume.set_id(std::max<uint64_t>(region.next_volume_id(), 1));
    volume.set_name(options.name);
    volume.set_size_bytes(options.size_bytes);
    volume.set_volumelet_bytes(options.volumelet_bytes);
    volume.set_replicas(1);
    volume.set_zone(options.zone);
    volume.set_workload_type(options.workload_type);
    volume.set_image(options.image);
    volume.set_state(meta::pb::VOLUME_CREATING);
    volume.set_created_wall_ns(runtime.wall_ns());
    volume.mutable_nonce()->set_writer(runtime.random().next());
    region.set_next_volume_id(volume.id() + 1);
    const VolumeId id{volume.id()};
    meta::Transaction transaction;
    transaction.compares.push_back(unchanged(meta::region_key(), entry->modified));
    transaction.compares.push_back(unchanged(meta::volume_key(options.name), 0));
    // First what carries this transaction's nonce: it settles an unknown outcome.
    transaction.operations.push_back(put(meta::volume_key(options.name), volume.SerializeAsString()));
    transaction.operations.push_back(put(meta::region_key(), region.SerializeAsString()));
    transaction.operations.push_back(put(meta::volume_exists_key(id), options.name));
    CO_TRY(const meta::TransactionResult result,
           co_await meta::commit_settled(runtime, meta, std::move(transaction), runtime.now_ns() + kCommitTimeoutNs));
    if (result.succeeded) co_return volume;
  }
}

// Sets a volume's record to `volume` if it is still at `revision` and the guard holds.
Task<Result<void>> put_volume(runtime::Runtime& runtime, meta::Meta& meta, meta::pb::Volume volume,
                              meta::Revision revision, std::optional<meta::Compare> guard) {
  volume.mutable_nonce()->set_writer(runtime.random().next());
  const std::string key = meta::volume_key(volume.name());
  meta::Transaction transaction;
  transaction.compares.push_back(unchanged(key, revision));
  if (guard) transaction.compares.push_back(*guard);
  transaction.operations.push_back(put(key, volume.SerializeAsString()));
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime, meta, std::move(transaction), runtime.now_ns() + kCommitTimeoutNs));
  if (!result.succeeded) co_return fail(ErrorCode::kConflict, "the volume changed meanwhile; run it again");
  co_return Result<void>();
}

meta::Compare volume_still_exists(const meta::pb::Volume& volume) {
  return {meta::Compare::Target::kValue, meta::volume_exists_key(VolumeId{volume.id()}), 0, volume.name()};
}

}  // namespace

Task<Result<meta::pb::Volume>> create_volume(runtime::Runtime& runtime, meta::Meta& meta, CreateOptions options) {
  CO_TRY_VOID(check_name(options.name));
  if (!options.image.empty()) {
    CO_TRY_VOID(check_name(options.image));
  }
  CO_TRY_VOID(check_size(options.size_bytes));
  CO_TRY_VOID(check_volumelet_size(options.volumelet_bytes, options.size_bytes));
  if (!options.zone.empty()) {
    CO_TRY_VOID(co_await reachable_servers(runtime, meta, options.zone));
  }
  CO_TRY(meta::pb::Volume volume, co_await begin_volume(runtime, meta, options));
  const uint64_t count = volumelet_count(volume.size_bytes(), volume.volumelet_bytes());
  CO_TRY_VOID(co_await add_volumelets(runtime, meta, volume, 0, count, volume_still_exists(volume)));
  CO_TRY(const VolumeEntry now, co_await read_volume(meta, options.name));
  volume.set_state(options.importing ? meta::pb::VOLUME_IMPORTING : meta::pb::VOLUME_READY);
  CO_TRY_VOID(co_await put_volume(runtime, meta, volume, now.revision, volume_still_exists(volume)));
  co_return volume;
}

Task<Result<meta::pb::Volume>> get_volume(meta::Meta& meta, std::string name) {
  CO_TRY(VolumeEntry entry, co_await read_volume(meta, std::move(name)));
  co_return std::move(entry.volume);
}

Task<Result<std::vector<meta::pb::Volume>>> list_volumes(meta::Meta& meta) {
  const std::string prefix = meta::volumes_prefix();
  CO_TRY(const meta::RangeResult range, co_await meta.range(prefix, meta::prefix_end(prefix), 0));
  std::vector<meta::pb::Volume> volumes;
  for (const meta::Entry& entry : range.entries) {
    CO_TRY(meta::pb::Volume volume, meta::decode<meta::pb::Volume>(entry));
    volumes.push_back(std::move(volume));
  }
  co_return volumes;
}

Task<Result<std::optional<meta::pb::Attachment>>> get_attachment(meta::Meta& meta, VolumeId volume) {
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta.get(meta::attachment_key(volume)));
  if (!entry) co_return std::optional<meta::pb::Attachment>();
  CO_TRY(meta::pb::Attachment attachment, meta::decode<meta::pb::Attachment>(*entry));
  if (!attachment.held()) co_return std::optional<meta::pb::Attachment>();
  co_return std::optional<meta::pb::Attachment>(std::move(attachment));
}

Task<Result<bool>> driver_seems_alive(meta::Meta& meta, VolumeId volume) {
  CO_TRY(const std::optional<meta::Entry> hint, co_await meta.get(meta::alive_key(volume)));
  co_return hint.has_value();
}

Task<Result<std::vector<meta::pb::Server>>> list_servers(meta::Meta& meta) {
  const std::string prefix = meta::servers_prefix();
  CO_TRY(const meta::RangeResult range, co_await meta.range(prefix, meta::prefix_end(prefix), 0));
  std::vector<meta::pb::Server> servers;
  for (const meta::Entry& entry : range.entries) {
    CO_TRY(meta::pb::Server record, meta::decode<meta::pb::Server>(entry));
    servers.push_back(std::move(record));
  }
  co_return servers;
}

Task<Result<std::vector<meta::pb::Volumelet>>> list_volumelets(meta::Meta& meta, VolumeId volume) {
  std::vector<meta::pb::Volumelet> all;
  const std::string end = meta::prefix_end(meta::volumelets_prefix(volume));
  std::string begin = meta::volumelets_prefix(volume);
  for (;;) {
    CO_TRY(const meta::RangeResult range, co_await meta.range(begin, end, kRecordsPerCommit));
    for (const meta::Entry& entry : range.entries) {
      CO_TRY(meta::pb::Volumelet volumelet, meta::decode<meta::pb::Volumelet>(entry));
      all.push_back(std::move(volumelet));
    }
    if (range.entries.size() < kRecordsPerCommit) co_return all;
    begin = range.entries.back().key + '\0';
  }
}

Task<Result<meta::pb::Volume>> grow_volume(runtime::Runtime& runtime, meta::Meta& meta, std::string name,
                                           uint64_t size_bytes, meta::Compare guard) {
  CO_TRY(VolumeEntry entry, co_await read_volume(meta, name));
  meta::pb::Volume& volume = entry.volume;
  const uint64_t from = volumelet_count(volume.size_bytes(), volume.volumelet_bytes());
  const uint64_t to = volumelet_count(size_bytes, volume.volumelet_bytes());
  CO_TRY_VOID(co_await add_volumelets(runtime, meta, volume, from, to, guard));
  volume.set_size_bytes(size_bytes);
  if (volume.wanted_size_bytes() <= size_bytes) volume.set_wanted_size_bytes(0);
  CO_TRY_VOID(co_await put_volume(runtime, meta, volume, entry.revision, guard));
  co_return volume;
}

Task<Result<bool>> resize_volume(runtime::Runtime& runtime, meta::Meta& meta, std::string name, uint64_t size_bytes) {
  CO_TRY_VOID(check_size(size_bytes));
  CO_TRY(VolumeEntry entry, co_await read_volume(meta, name));
  CO_TRY_VOID(check_volumelet_size(entry.volume.volumelet_bytes(), size_bytes));
  if (entry.volume.state() != meta::pb::VOLUME_READY)
    co_return fail(ErrorCode::kInvalid, "volume resize",
                   fmt::format("'{}' is not ready; finish its import first", name));
  const uint64_t present = std::max(entry.volume.size_bytes(), entry.volume.wanted_size_bytes());
  if (size_bytes < present)
    co_return fail(ErrorCode::kInvalid, "volume resize",
                   fmt::format("'{}' has {} and cannot shrink to {}; volumes only grow", name, format_size(present),
                               format_size(size_bytes)));
  if (size_bytes == entry.volume.size_bytes()) co_return true;
  const std::string key = meta::attachment_key(VolumeId{entry.volume.id()});
  CO_TRY(const std::optional<meta::Entry> attachment, co_await meta.get(key));
  bool held = false;
  if (attachment) {
    CO_TRY(const meta::pb::Attachment record, meta::decode<meta::pb::Attachment>(*attachment));
    held = record.held();
  }
  if (!held) {
    meta::Compare guard = unchanged(key, attachment ? attachment->modified : 0);
    CO_TRY_VOID(co_await grow_volume(runtime, meta, name, size_bytes, std::move(guard)));
    co_return true;
  }
  entry.volume.set_wanted_size_bytes(size_bytes);
  CO_TRY_VOID(co_await put_volume(runtime, meta, entry.volume, entry.revision, std::nullopt));
  co_return false;
}

Task<Result<void>> remove_volume(runtime::Runtime& runtime, meta::Meta& meta, std::string name) {
  CO_TRY(const VolumeEntry entry, co_await read_volume(meta, name));
  const VolumeId id{entry.volume.id()};
  CO_TRY(const std::optional<meta::Entry> attached, co_await meta.get(meta::attachment_key(id)));
  if (attached) {
    CO_TRY(const meta::pb::Attachment attachment, meta::decode<meta::pb::Attachment>(*attached));
    bool gone = !attachment.held();
    if (!gone) {
      CO_TRY(gone, co_await driver_is_gone(runtime, meta, id, kDriverHintTtlNs, runtime.now_ns()));
    }
    if (!gone)
      co_return fail(ErrorCode::kBusy, "volume rm",
                     fmt::format("'{0}' is attached by process {1} on host '{2}'; 'foreshard detach {0}' first", name,
                                 attachment.pid(), attachment.host()));
  }
  CO_TRY(const std::vector<meta::pb::Server> servers, co_await list_servers(meta));
  meta::Transaction transaction;
  transaction.compares.push_back(unchanged(meta::volume_key(name), entry.revision));
  transaction.compares.push_back(unchanged(meta::attachment_key(id), attached ? attached->modified : 0));
  transaction.operations.push_back({meta::Operation::Kind::kErase, meta::volume_key(name), {}, 0});
  transaction.operations.push_back({meta::Operation::Kind::kErasePrefix, meta::volume_prefix(id), {}, 0});
  append_learned_removal(id, transaction);
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime, meta, std::move(transaction), runtime.now_ns() + kCommitTimeoutNs));
  if (!result.succeeded)
    co_return fail(ErrorCode::kConflict, "volume rm", "the volume changed meanwhile; run it again");
  for (const meta::pb::Server& record : servers) {
    const server::LookRequest look{id.value};
    const Result<rpc::Reply> looked =
        co_await call_server(runtime, record.address(), server::kMethodLook, Buffer::copy_of(object_bytes(look)));
    if (!looked) LOG_DEBUG("server {} will delete later: {}", record.id(), looked.error().message());
  }
  co_return Result<void>();
}

Task<Result<void>> finish_import(runtime::Runtime& runtime, meta::Meta& meta, meta::pb::Volume imported,
                                 std::string image) {
  CO_TRY(VolumeEntry entry, co_await read_volume(meta, imported.name()));
  if (entry.volume.id() != imported.id())
    co_return fail(ErrorCode::kConflict, "volume import", "the volume was removed and made anew by another import");
  if (entry.volume.state() == meta::pb::VOLUME_READY) co_return Result<void>();
  if (entry.volume.state() != meta::pb::VOLUME_IMPORTING)
    co_return fail(ErrorCode::kInvalid, "the volume is not importing");
  entry.volume.set_state(meta::pb::VOLUME_READY);
  if (entry.volume.image().empty()) entry.volume.set_image(std::move(image));
  co_return co_await put_volume(runtime, meta, entry.volume, entry.revision, volume_still_exists(imported));
}

}  // namespace foreshard::volume
