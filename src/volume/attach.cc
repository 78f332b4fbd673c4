#include "volume/attach.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/planted.h"
#include "meta/records.h"
#include "meta/settle.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kClaimTimeoutNs = 30'000'000'000;
constexpr uint64_t kHintPollNs = 200'000'000;

Result<void> check_state(const meta::pb::Volume& volume, const DriverOptions& options) {
  using meta::pb::VolumeState;
  const std::string& name = volume.name();
  if (volume.state() == VolumeState::VOLUME_READY && !options.importing) return {};
  if (volume.state() == VolumeState::VOLUME_IMPORTING) {
    if (options.importing) return {};
    return fail(ErrorCode::kConflict, "attach",
                fmt::format("volume '{0}' is not whole: its import has not finished. Run the import again, or "
                            "'foreshard volume rm {0}'",
                            name));
  }
  return fail(ErrorCode::kConflict, "attach",
              fmt::format("volume '{0}' is not ready to attach: what made or removes it has not finished. Run that "
                          "again, or 'foreshard volume rm {0}'",
                          name));
}

std::string holder(const meta::pb::Attachment& a) {
  return fmt::format("attached by process {} on host '{}'{}", a.pid(), a.host(),
                     a.export_uri().empty() ? std::string() : " (" + a.export_uri() + ")");
}

// Waits until the driver before is surely gone; kBusy when its hint is there and stays.
Task<Result<void>> wait_for_death(runtime::Runtime& runtime, meta::Meta& meta, meta::pb::Attachment held,
                                  VolumeId volume, uint64_t hint_ttl_ns, bool pid_says_alive) {
  const uint64_t give_up_ns = runtime.now_ns() + (pid_says_alive ? 0 : hint_ttl_ns + hint_ttl_ns / 2);
  CO_TRY(const bool gone, co_await driver_is_gone(runtime, meta, volume, hint_ttl_ns, give_up_ns));
  if (gone) co_return Result<void>();
  co_return fail(ErrorCode::kBusy, "attach",
                 holder(held) + "; detach it there first, or use --force if that driver is surely gone");
}

meta::Transaction claim_transaction(const Claim& claim, meta::Revision before) {
  const VolumeId id{claim.volume.id()};
  meta::Transaction transaction;
  transaction.compares.push_back({meta::Compare::Target::kModified, meta::attachment_key(id), before, {}});
  meta::Compare exists;
  exists.target = meta::Compare::Target::kValue;
  exists.key = meta::volume_exists_key(id);
  exists.value = claim.volume.name();
  transaction.compares.push_back(exists);
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::attachment_key(id), claim.attachment.SerializeAsString(), 0});
  meta::pb::DriverHint hint;
  hint.set_driver(claim.attachment.driver());
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::alive_key(id), hint.SerializeAsString(), claim.hint_lease});
  return transaction;
}

}  // namespace

Task<Result<bool>> driver_is_gone(runtime::Runtime& runtime, meta::Meta& meta, VolumeId volume, uint64_t hint_ttl_ns,
                                  uint64_t give_up_ns) {
  std::optional<uint64_t> absent_since_ns;
  for (;;) {
    CO_TRY(const std::optional<meta::Entry> hint, co_await meta.get(meta::alive_key(volume)));
    const uint64_t now_ns = runtime.now_ns();
    if (hint) {
      absent_since_ns.reset();
      if (now_ns >= give_up_ns) co_return false;
    } else {
      if (!absent_since_ns) absent_since_ns = now_ns;
      if (now_ns - *absent_since_ns >= hint_ttl_ns) co_return true;
    }
    co_await runtime.executor().sleep_for(kHintPollNs);
  }
}

meta::Compare claim_guard(const Claim& claim) {
  if (PLANTED("CAS without epoch")) {
    return {meta::Compare::Target::kValue, meta::volume_exists_key(VolumeId{claim.volume.id()}), 0,
            claim.volume.name()};
  }
  return {meta::Compare::Target::kModified, meta::attachment_key(VolumeId{claim.volume.id()}), claim.revision, {}};
}

Task<Result<Claim>> claim_volume(runtime::Runtime& runtime, meta::Meta& meta, const DriverOptions& options,
                                 uint64_t driver_id) {
  Claim claim;
  CO_TRY(const std::optional<meta::Entry> entry, co_await meta.get(meta::volume_key(options.volume)));
  if (!entry)
    co_return fail(
        ErrorCode::kNotFound, "attach",
        fmt::format("there is no volume '{}'; 'foreshard volume ls' lists those that there are", options.volume));
  CO_TRY(claim.volume, meta::decode<meta::pb::Volume>(*entry));
  CO_TRY_VOID(check_state(claim.volume, options));
  const VolumeId id{claim.volume.id()};
  CO_TRY(const std::optional<meta::Entry> before, co_await meta.get(meta::attachment_key(id)));
  uint64_t epoch = 0;
  if (before) {
    CO_TRY(const meta::pb::Attachment held, meta::decode<meta::pb::Attachment>(*before));
    epoch = held.epoch();
    const bool dead = options.surely_dead && options.surely_dead(held);
    const bool alive_here = options.surely_dead && !dead && held.host() == options.host && !options.host.empty();
    if (held.held() && !options.force && !dead) {
      CO_TRY_VOID(co_await wait_for_death(runtime, meta, held, id, options.hint_ttl_ns, alive_here));
    }
  }
  CO_TRY(claim.hint_lease, co_await meta.grant_lease(options.hint_ttl_ns));
  meta::pb::Attachment& mine = claim.attachment;
  mine.set_epoch(epoch + 1);
  mine.set_held(true);
  mine.set_driver(driver_id);
  mine.set_zone(options.zone);
  mine.set_address(options.control_address);
  mine.set_host(options.host);
  mine.set_pid(options.pid);
  mine.set_boot_id(options.boot_id);
  mine.set_process_start(options.process_start);
  mine.set_export_uri(options.export_uri);
  mine.mutable_nonce()->set_writer(driver_id);
  mine.mutable_nonce()->set_n(1);
  meta::Transaction transaction = claim_transaction(claim, before ? before->modified : 0);
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime, meta, std::move(transaction), runtime.now_ns() + kClaimTimeoutNs));
  if (!result.succeeded)
    co_return fail(ErrorCode::kBusy, "attach", "another driver claimed the volume at the same moment; try again");
  claim.revision = result.revision;
  // What counts is the record at a revision after the claim (R-CLAIM).
  CO_TRY(const std::optional<meta::Entry> after, co_await meta.get(meta::volume_key(options.volume)));
  if (!after) co_return fail(ErrorCode::kNotFound, "attach: the volume was removed meanwhile");
  CO_TRY(claim.volume, meta::decode<meta::pb::Volume>(*after));
  co_return claim;
}

Task<Result<void>> release_volume(runtime::Runtime& runtime, meta::Meta& meta, const Claim& claim) {
  const VolumeId id{claim.volume.id()};
  meta::pb::Attachment released = claim.attachment;
  released.set_held(false);
  released.mutable_nonce()->set_n(2);
  meta::Transaction transaction;
  transaction.compares.push_back(claim_guard(claim));
  transaction.operations.push_back(
      {meta::Operation::Kind::kPut, meta::attachment_key(id), released.SerializeAsString(), 0});
  transaction.operations.push_back({meta::Operation::Kind::kErase, meta::alive_key(id), {}, 0});
  CO_TRY(const meta::TransactionResult result,
         co_await meta::commit_settled(runtime, meta, std::move(transaction), runtime.now_ns() + kClaimTimeoutNs));
  if (!result.succeeded) co_return fail(ErrorCode::kFenced, "detach: another driver has claimed the volume");
  co_return Result<void>();
}

}  // namespace foreshard::volume
