#include "volume/shard_map.h"

#include "meta/records.h"
#include "meta/records.pb.h"

namespace foreshard::volume {
namespace {

// The server that holds the volumelet in-sync; one replica for now.
Result<ServerId> in_sync_server(const meta::pb::Volumelet& record) {
  for (const meta::pb::Replica& replica : record.replicas())
    if (replica.state() == meta::pb::REPLICA_IN_SYNC) return ServerId{replica.server()};
  return fail(ErrorCode::kCorrupt, "shard map: no in-sync replica", record.first_chunk());
}

}  // namespace

Volumelet* ShardMap::find(uint64_t chunk) {
  if (doubted_ && *doubted_ == chunk) return nullptr;
  if (last_ != nullptr && chunk - last_->first_chunk < last_->chunks) return last_;
  auto found = volumelets_.upper_bound(chunk);
  if (found == volumelets_.begin()) return nullptr;
  --found;
  if (chunk - found->second.first_chunk >= found->second.chunks) return nullptr;
  return last_ = &found->second;
}

void ShardMap::doubt(uint64_t chunk) { doubted_ = chunk; }

runtime::Task<Result<uint64_t>> ShardMap::first_chunk_of(uint64_t chunk) {
  CO_TRY(const meta::RangeResult below,
         co_await meta_.range(meta::volumelets_prefix(volume_), meta::volumelet_key(volume_, chunk + 1), 1, true));
  if (below.entries.empty()) co_return fail(ErrorCode::kNotFound, "shard map: no volumelet holds the chunk", chunk);
  const std::string& key = below.entries.front().key;
  const std::optional<uint64_t> first =
      meta::parse_hex_id(std::string_view(key).substr(meta::volumelets_prefix(volume_).size()));
  if (!first) co_return fail(ErrorCode::kCorrupt, "shard map: key", key);
  co_return *first;
}

runtime::Task<Result<Volumelet*>> ShardMap::load(uint64_t chunk) {
  CO_TRY(const uint64_t first, co_await first_chunk_of(chunk));
  const std::string end = meta::prefix_end(meta::volumelets_prefix(volume_));
  CO_TRY(const meta::RangeResult range,
         co_await meta_.range(meta::volumelet_key(volume_, first), end, kEntriesPerLoad));
  for (const meta::Entry& entry : range.entries) {
    meta::pb::Volumelet record;
    if (!record.ParseFromString(entry.value) || record.chunks() == 0)
      co_return fail(ErrorCode::kCorrupt, "shard map: record", entry.key);
    CO_TRY(const ServerId server, in_sync_server(record));
    Volumelet& volumelet = volumelets_[record.first_chunk()];
    volumelet.first_chunk = record.first_chunk();
    volumelet.chunks = record.chunks();
    if (volumelet.server != server) volumelet.link = nullptr;
    volumelet.server = server;
  }
  doubted_.reset();
  Volumelet* found = find(chunk);
  if (found == nullptr) co_return fail(ErrorCode::kNotFound, "shard map: no volumelet holds the chunk", chunk);
  co_return found;
}

}  // namespace foreshard::volume
