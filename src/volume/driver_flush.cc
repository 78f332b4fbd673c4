// Flushing on every server, and restoring one that may have forgotten (R-RETAIN, R-LOSS).
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/log.h"
#include "base/planted.h"
#include "meta/records.h"
#include "meta/settle.h"
#include "volume/driver_core.h"
#include "volume/join.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kReplaysAtOnce = 64;
constexpr uint64_t kRestoreCallNs = 30'000'000'000;
constexpr uint64_t kIdentityTimeoutNs = 60'000'000'000;

}  // namespace

Task<Result<void>> DriverCore::flush() {
  const std::optional<runtime::Gate::Pass> pass = requests_.enter();
  if (!pass || ended_.is_set()) co_return fail(end_reason_);
  ++flushes_;
  co_return co_await flush_all();
}

// Flushes asked for while one runs share the next one: it covers what was acknowledged before it started.
Task<Result<void>> DriverCore::flush_all() {
  const uint64_t mine = ++flush_asked_;
  const uint64_t deadline_ns = io_deadline_ns();  // from here on, also for those who wait behind others
  for (;;) {
    while (flushing_) co_await flush_ended_.wait();
    if (flush_done_ >= mine) co_return Result<void>();
    if (ended_.is_set()) co_return fail(end_reason_);
    flushing_ = true;
    const uint64_t covers = flush_asked_;
    const uint64_t tick = retained_.newest_tick();
    const uint64_t ended = sequences_.ended_through();
    Join join(runtime_.executor());
    for (auto& [id, entry] : servers_)
      if (entry.link && entry.link->written_tick > entry.link->durable_tick)
        join.add(flush_link(*entry.link, tick, deadline_ns));
    const Result<void> flushed = co_await join.wait();
    flushing_ = false;
    flush_ended_.wake_all();
    if (!flushed) co_return flushed;
    // Every server is durable up to tick.
    retained_.drop_through(tick);
    durable_sequence_ = std::max(durable_sequence_, ended);
    flush_done_ = std::max(flush_done_, covers);
  }
}

Task<Result<void>> DriverCore::flush_link(ServerLink& link, uint64_t tick, uint64_t deadline_ns) {
  for (;;) {
    if (!link.ready()) {
      const bool in_time = co_await link.wait_ready(deadline_ns);
      if (ended_.is_set()) co_return fail(end_reason_);
      if (!in_time)
        co_return fail(ErrorCode::kTimeout, "no answer from the server within --io-timeout", link.server().value);
      if (link.given_up()) co_return fail(ErrorCode::kCancelled, "the driver is detached");
    }
    // A session that came after is as good: what its server had forgotten has been restored and flushed.
    if (link.durable_tick >= tick) co_return Result<void>();
    server::FlushRequest request{};
    request.durable_sequence = durable_sequence_;
    const uint64_t session = link.session();
    const Result<rpc::Reply> reply = co_await link.call(server::kMethodFlush, bytes_of(request), {}, {});
    if (reply && link.ready() && link.session() == session) {
      link.durable_tick = std::max(link.durable_tick, tick);
      co_return Result<void>();
    }
    if (!reply && reply.error().code == ErrorCode::kFenced && !PLANTED("FENCED as failure")) {
      end(reply.error());
      co_return fail(reply.error());
    }
    if (!reply && reply.error().code == ErrorCode::kNoSpace) co_return fail(reply.error());
    link.broken(session);
  }
}

// ---- restoring

Task<Result<void>> DriverCore::restore(ServerLink& link, server::OpenReply opened) {
  const auto found = servers_.find(link.server());
  ASSERT(found != servers_.end());
  ServerEntry& entry = found->second;
  if (opened.store_uuid != entry.in_sync.store_uuid() || opened.incomplete != 0) {
    Error reason{ErrorCode::kCorrupt, "a server came back without its data", link.server().value,
                 fmt::format("server {} at {} has store {:016x}{}, the volume was on store {:016x}; put the right disk "
                             "back and attach again",
                             link.server().value, link.record().address(), opened.store_uuid,
                             opened.incomplete != 0 ? " (incomplete)" : "", entry.in_sync.store_uuid())};
    end(reason);
    co_return fail(std::move(reason));
  }
  const bool forgot = opened.loss != entry.in_sync.loss() && !PLANTED("skip loss check");
  if (forgot) {
    LOG_INFO("server {} came back and may have forgotten writes: {} retained bytes are written again",
             link.server().value, retained_.bytes());
    ++link.replays;
    CO_TRY_VOID(co_await replay(link, Replayed::kAll));
    CO_TRY_VOID(co_await record_identity(entry, opened));
  }
  // What was given up is settled before anybody reads it: here it happens, and stays. More may be given up meanwhile.
  // Nothing else may be written again to a server that has forgotten nothing: should the driver end before it is
  // through, what was acknowledged first would be left on top of what was acknowledged later.
  while (link.unanswered_tick > link.durable_tick) {
    CO_TRY_VOID(co_await replay(link, Replayed::kUnanswered));
  }
  co_return Result<void>();
}

// Writes retained entries of this server again, in order; entries on different chunks go together. Entries
// already durable there need not be: a flush that has succeeded is never forgotten. No acknowledged entry follows an
// unanswered one that is not settled: from when that is given up until it is settled here, the link is not ready.
Task<Result<void>> DriverCore::replay(ServerLink& link, Replayed replayed) {
  uint64_t tick = link.durable_tick;
  const RetainedEntry* next = retained_.after(tick);
  while (next != nullptr) {
    Join join(runtime_.executor());
    std::set<uint64_t> chunks;
    uint64_t started = 0;
    for (; next != nullptr && started < kReplaysAtOnce; next = retained_.after(tick)) {
      const uint64_t chunk = next->first_page / kPagesPerChunk;
      const bool wanted = replayed == Replayed::kAll || !next->answered;
      const bool here = next->link == &link && next->pages != 0 && wanted;
      const bool alone = next->data.empty();
      if (here && (alone ? started > 0 : !chunks.insert(chunk).second)) break;
      tick = next->tick;
      if (!here) continue;
      join.add(replay_entry(link, *next));
      ++started;
      if (alone) break;
    }
    CO_TRY_VOID(co_await join.wait());
    next = retained_.after(tick);
  }
  server::FlushRequest request{};
  request.durable_sequence = durable_sequence_;
  CO_TRY_VOID(co_await link.call(server::kMethodFlush, bytes_of(request), {}, {}, runtime_.now_ns() + kRestoreCallNs));
  link.durable_tick = std::max(link.durable_tick, tick);
  co_return Result<void>();
}

Task<Result<void>> DriverCore::replay_entry(ServerLink& link, const RetainedEntry& entry) {
  const uint64_t deadline_ns = runtime_.now_ns() + kRestoreCallNs;
  if (entry.data.empty()) {
    server::ZeroRequest request{};
    request.sequence = entry.sequence;
    request.first_page = entry.first_page;
    request.pages = entry.pages;
    request.may_unmap = entry.may_unmap ? 1 : 0;
    CO_TRY_VOID(co_await link.call(server::kMethodZero, bytes_of(request), {}, {}, deadline_ns));
    co_return Result<void>();
  }
  const uint64_t tick = entry.tick;
  const bool answered = entry.answered;
  server::WriteRequest request{};
  request.sequence = entry.sequence;
  request.chunk = entry.first_page / kPagesPerChunk;
  request.first_page = static_cast<uint32_t>(entry.first_page % kPagesPerChunk);
  const Result<rpc::Reply> reply =
      co_await link.call(server::kMethodWrite, bytes_of(request), entry.data.span(), {}, deadline_ns);
  if (reply) co_return Result<void>();
  const ErrorCode code = reply.error().code;
  if (answered || (code != ErrorCode::kNoSpace && code != ErrorCode::kCorrupt)) co_return fail(reply.error());
  // Nobody was promised it, and nobody can have read it: what needs room now had been carried out in no session since,
  // and a chunk whose record is damaged is read by nobody.
  retained_.void_entry(tick);
  co_return Result<void>();
}

// From now on the server is in-sync under its new loss counter.
Task<Result<void>> DriverCore::record_identity(ServerEntry& entry, server::OpenReply opened) {
  const std::string key = meta::volume_server_key(volume_id(), entry.link->server());
  meta::pb::VolumeServer next = entry.in_sync;
  next.set_store_uuid(opened.store_uuid);
  next.set_loss(opened.loss);
  next.mutable_nonce()->set_writer(claim_.attachment.driver());
  next.mutable_nonce()->set_n(++nonce_);
  meta::Transaction transaction;
  transaction.compares.push_back(claim_guard(claim_));
  transaction.compares.push_back({meta::Compare::Target::kModified, key, entry.revision, {}});
  transaction.operations.push_back({meta::Operation::Kind::kPut, key, next.SerializeAsString(), 0});
  CO_TRY(const meta::TransactionResult result, co_await meta::commit_settled(runtime_, meta_, std::move(transaction),
                                                                             runtime_.now_ns() + kIdentityTimeoutNs));
  if (!result.succeeded) {
    // The record changes under the attachment only: somebody else holds it, or an earlier try of ours got through.
    CO_TRY(const std::optional<meta::Entry> now, co_await meta_.get(key));
    CO_TRY(const std::optional<meta::Entry> attachment, co_await meta_.get(meta::attachment_key(volume_id())));
    if (!attachment || attachment->modified != claim_.revision) {
      Error reason{ErrorCode::kFenced, "another driver has claimed the volume", 0, {}};
      end(reason);
      co_return fail(std::move(reason));
    }
    if (now && entry.in_sync.ParseFromString(now->value)) entry.revision = now->modified;
    co_return fail(ErrorCode::kConflict, "a server's record changed; it is opened anew", entry.link->server().value);
  }
  entry.in_sync = next;
  entry.revision = result.revision;
  co_return Result<void>();
}

}  // namespace foreshard::volume
