// The driver's side of prefetching: what the policy says is fetched, and filled into the cache under the fill guard.
#include <algorithm>
#include <cstring>

#include "base/planted.h"
#include "volume/driver_core.h"

namespace foreshard::volume {
namespace {

using runtime::Task;

constexpr uint64_t kHintPagesMax = 8192;  // of one hint: 32 MiB

// Whether what a read failed by is there the next time too.
bool lasts(ErrorCode code) {
  return code == ErrorCode::kCorrupt || code == ErrorCode::kIo || code == ErrorCode::kInvalid ||
         code == ErrorCode::kTooLarge;
}

}  // namespace

void DriverCore::observe(const policy::Observation& seen) {
  prefetcher_.on_access(seen, to_fetch_);
  const bool plain_hit = !seen.write && seen.missed_pages == 0 && !seen.hit_prefetched;
  if ((neural_ != nullptr || watcher_) && !plain_hit) show_to_others(seen);
}

// Those who are not among the prefetcher's experts: who takes its time, and who records.
void DriverCore::show_to_others(const policy::Observation& seen) {
  if (prefetcher_.mode() == policy::PrefetchMode::kOff) return;
  if (neural_ != nullptr) neural_->observe(seen);
  if (watcher_) watcher_(seen);
}

void DriverCore::set_model(std::shared_ptr<policy::RunnableModel> model, std::string name) {
  if (neural_ == nullptr) {
    policy::NeuralOptions options;
    options.labels.workload = policy::label_hash(claim_.volume.workload_type());
    const auto take = [this](const policy::Observation& seen, std::span<const policy::Candidate> candidates) {
      prefetcher_.on_candidates(seen, neural_number_, candidates, to_fetch_);
      start_prefetches();
    };
    neural_ = std::make_unique<NeuralExpert>(runtime_.executor(), options, take);
    neural_number_ = prefetcher_.add_expert(neural_->stand_in());
  }
  neural_->set_model(std::move(model), std::move(name));
}

// They are on their way from here on, so that the client's next requests do not ask for the same.
void DriverCore::start_prefetches() {
  for (const policy::PageRange& range : to_fetch_) {
    const bool here = range.destination == policy::Destination::kDriver;
    if (here) prefetching_[range.first_page] = range.first_page + range.pages;
    runtime_.executor().spawn(here ? prefetch_range(range) : warm_range(range));
  }
  to_fetch_.clear();
}

void DriverCore::prefetch(uint64_t offset, uint64_t bytes) {
  if (bytes == 0 || cache_.capacity_bytes() == 0) return;
  const uint64_t first = offset / kPageBytes;
  const uint64_t pages = (offset + bytes + kPageBytes - 1) / kPageBytes - first;
  const policy::PageRange range{first, static_cast<uint32_t>(std::min<uint64_t>(pages, kHintPagesMax))};
  prefetcher_.hint(range, to_fetch_);
  start_prefetches();
}

Task<void> DriverCore::prefetch_range(policy::PageRange range) {
  const std::optional<runtime::Gate::Pass> pass = background_.enter();
  const uint64_t asked_ns = runtime_.now_ns();
  Result<void> fetched = fail(ErrorCode::kCancelled, "prefetch: the driver ends");
  if (pass) fetched = co_await prefetch_pages(range);
  // Readers who wait look into the cache once this has run on.
  prefetching_.erase(range.first_page);
  prefetch_ended_.wake_all();
  if (fetched) {
    prefetcher_.on_fetched(range, std::max<uint64_t>(runtime_.now_ns() - asked_ns, 1));
  } else {
    note_failed_fetch(range, fetched.error());
    prefetcher_.on_dropped(range);
  }
}

// What failed for a server's sake or the map's may be had as soon as that is back in order. Where one page is damaged
// all of its range fails, and the rest can be fetched without it.
void DriverCore::note_failed_fetch(policy::PageRange range, const Error& error) {
  if (!lasts(error.code)) return;
  const uint64_t page = chunk_of(range.first_page) * kPagesPerChunk + error.id;
  const bool is_one = error.code == ErrorCode::kCorrupt && page - range.first_page < range.pages;
  prefetcher_.on_failed(is_one ? policy::PageRange{page, 1} : range, runtime_.now_ns());
}

void DriverCore::note_server_read(const ServerLink& link, uint64_t pages, uint64_t asked_ns,
                                  const server::ReadReply& answered) {
  if (answered.all_zero != 0) return;  // there was nothing to read
  const uint64_t now_ns = runtime_.now_ns();
  prefetcher_.on_read({link.server().value, pages, now_ns - asked_ns, answered.disk_ns}, now_ns);
}

// Into the server's memory. Nothing comes back, and nobody waits: what fails is left out.
Task<void> DriverCore::warm_range(policy::PageRange range) {
  if (const std::optional<runtime::Gate::Pass> pass = background_.enter()) {
    const uint64_t end = range.first_page + range.pages;
    for (uint64_t page = range.first_page; page < end;) {
      const uint64_t part_end = std::min(end, chunk_end_page(page));
      Volumelet* volumelet = map_.find(chunk_of(page));
      if (volumelet == nullptr || volumelet->link == nullptr || !volumelet->link->ready()) break;
      server::ReadRequest request{};
      request.chunk = chunk_of(page);
      request.first_page = static_cast<uint32_t>(page % kPagesPerChunk);
      request.pages = static_cast<uint32_t>(part_end - page);
      request.flags = server::kReadIsPrefetch | server::kReadIsWarming;
      const Result<rpc::Reply> answer = co_await volumelet->link->call(server::kMethodRead, bytes_of(request), {}, {});
      if (!answer) note_failed_fetch({page, request.pages}, answer.error());
      page = part_end;
    }
  }
  prefetcher_.on_warmed(range);
}

bool DriverCore::on_its_way(uint64_t page) const {
  auto range = prefetching_.upper_bound(page);
  return range != prefetching_.begin() && page < (--range)->second;
}

// A reader that comes while its page is on the way waits for it instead of asking twice. True: it has ended.
Task<bool> DriverCore::wait_for_prefetch(uint64_t page) {
  if (!on_its_way(page)) co_return false;
  while (on_its_way(page)) co_await prefetch_ended_.wait();
  co_return true;
}

// A prefetch takes no place in the interval table and waits for nobody: the fill guard keeps old contents out, and
// a server that is not there is not asked. All of one chunk, as the prefetcher says what to fetch.
Task<Result<void>> DriverCore::prefetch_pages(policy::PageRange range) {
  const uint64_t first = range.first_page, pages = range.pages;
  Volumelet* volumelet = map_.find(chunk_of(first));
  if (volumelet == nullptr || volumelet->link == nullptr || !volumelet->link->ready())
    co_return fail(ErrorCode::kUnavailable, "prefetch: server not ready");
  ServerLink& link = *volumelet->link;
  server::ReadRequest request{};
  request.chunk = chunk_of(first);
  request.first_page = static_cast<uint32_t>(first % kPagesPerChunk);
  request.pages = static_cast<uint32_t>(pages);
  request.flags = server::kReadIsPrefetch;
  Buffer data = Buffer::allocate(pages * kPageBytes);
  const uint64_t session = link.session();
  const uint64_t asked_ns = runtime_.now_ns();
  const policy::FillGuard::Ticket ticket = fill_guard_.issue();
  Result<rpc::Reply> answer = co_await link.call(server::kMethodRead, bytes_of(request), {}, data.span());
  CO_TRY(const rpc::Reply reply, std::move(answer));
  if (!link.ready() || link.session() != session) co_return fail(ErrorCode::kStaleSession, "prefetch: old session");
  if (reply.control.size() < sizeof(server::ReadReply)) co_return fail(ErrorCode::kInvalid, "read: short answer");
  const auto answered = load_object<server::ReadReply>(reply.control.span());
  note_server_read(link, pages, asked_ns, answered);
  if (answered.all_zero != 0) {
    std::memset(data.data(), 0, data.size());
  } else if (reply.data_size != data.size()) {
    co_return fail(ErrorCode::kInvalid, "read: short answer", reply.data_size);
  }
  for (uint64_t page = first; page < first + pages; ++page) {
    const bool overtaken = !PLANTED("late fill") && !fill_guard_.unchanged(ticket, page);
    if (overtaken || cache_.contains(page)) {  // or a reader who had asked before has brought it
      prefetcher_.on_dropped({page, 1});
      continue;
    }
    insert_in_cache(page, data.data() + (page - first) * kPageBytes,
                    range.hinted ? policy::Origin::kHint : policy::Origin::kPrefetch);
  }
  co_return Result<void>();
}

void DriverCore::observe_write(uint64_t first, uint64_t pages) {
  policy::Observation seen;
  seen.time_ns = runtime_.now_ns();
  seen.volume = volume_id();
  seen.first_page = first;
  seen.pages = static_cast<uint32_t>(pages);
  seen.write = true;
  observe(seen);
  start_prefetches();
}

}  // namespace foreshard::volume
