#include "app/driver_control.h"

#include "app/access_recorder.h"

namespace foreshard::app {

using runtime::Task;

namespace {

// How long a take waits for accesses before it answers with none.
constexpr uint64_t kTakeWaitNs = 200'000'000;

void fill_counts(const policy::PrefetchCounts& counts, pb::PrefetchCounts& message) {
  message.set_issued(counts.issued);
  message.set_used(counts.used);
  message.set_late(counts.late);
  message.set_wasted(counts.wasted);
  message.set_dropped(counts.dropped);
  message.set_waiting(counts.waiting);
  message.set_in_flight(counts.in_flight);
  message.set_shadow_issued(counts.shadow_issued);
  message.set_shadow_used(counts.shadow_used);
  message.set_shadow_wasted(counts.shadow_wasted);
  message.set_shadow_waiting(counts.shadow_waiting);
}

void fill_prefetch(const policy::PrefetchStatistics& statistics, pb::Prefetch& message) {
  message.set_mode(std::string(policy::prefetch_mode_name(statistics.mode)));
  message.set_read_requests(statistics.read_requests);
  message.set_read_pages(statistics.read_pages);
  message.set_missed_pages(statistics.missed_pages);
  message.set_missed_requests(statistics.missed_requests);
  fill_counts(statistics.total, *message.mutable_total());
  message.set_refused_budget(statistics.refused_budget);
  message.set_refused_in_flight(statistics.refused_in_flight);
  message.set_crowded_requests(statistics.crowded);
  message.set_stops(statistics.stops);
  message.set_starts(statistics.starts);
  message.set_precision(statistics.precision());
  message.set_shadow_precision(statistics.shadow_precision());
  message.set_budget(std::string(policy::prefetch_budget_name(statistics.budget)));
  message.set_threshold(statistics.threshold);
  message.set_budget_tokens(statistics.budget_tokens);
  message.set_ece(statistics.ece);
  message.set_brier(statistics.brier);
  message.set_brier_base(statistics.brier_base);
  pb::Warming& warming = *message.mutable_warming();
  warming.set_pays(statistics.warming.pays);
  warming.set_disk_share(statistics.warming.disk_share);
  warming.set_threshold(statistics.warming.threshold);
  warming.set_budget_tokens(statistics.warming.budget_tokens);
  warming.set_issued(statistics.warming.issued);
  warming.set_used(statistics.warming.used);
  warming.set_wasted(statistics.warming.wasted);
  warming.set_taken(statistics.warming.taken);
  warming.set_in_flight(statistics.warming.in_flight);
  pb::Payback& payback = *message.mutable_payback();
  payback.set_watched(statistics.payback.watched);
  payback.set_pays(statistics.payback.pays);
  if (statistics.payback.gain) payback.set_gain(*statistics.payback.gain);
  payback.set_stops(statistics.payback.stops);
  message.set_fetch_latency_ns(statistics.fetch_latency_ns);
  message.set_memory_bytes(statistics.memory_bytes);
  message.set_recordings(statistics.recordings);
  message.set_recognised(statistics.recognised);
  for (const policy::CalibrationBin& bin : statistics.reliability) {
    pb::ReliabilityBin& to = *message.add_reliability();
    to.set_pages(bin.pages);
    to.set_used(bin.used);
    to.set_stated(bin.pages == 0 ? 0 : bin.stated / static_cast<double>(bin.pages));
  }
  for (uint32_t i = 0; i < statistics.experts; ++i) {
    pb::PrefetchExpert& expert = *message.add_experts();
    expert.set_name(std::string(statistics.expert[i].name));
    expert.set_active(statistics.expert[i].active);
    fill_counts(statistics.expert[i].counts, *expert.mutable_counts());
  }
}

void fill_neural(const volume::NeuralStatus& status, pb::Neural& message) {
  message.set_model(status.model);
  message.set_models(status.models);
  message.set_observed(status.counters.observed);
  message.set_steps(status.counters.steps);
  message.set_skipped(status.counters.skipped);
  message.set_proposed(status.counters.proposed);
  message.set_cpu_ns(status.counters.cpu_ns);
  message.set_dropped(status.dropped);
  message.set_overtaken(status.overtaken);
  message.set_cpu_share(status.cpu_share);
  message.set_cpu_share_max(status.cpu_share_max);
}

void fill_flash(const volume::FlashStatistics& status, pb::Flash& message) {
  message.set_hits(status.hits);
  message.set_misses(status.misses);
  message.set_bytes(status.used_bytes);
  message.set_bytes_max(status.bytes_max);
  message.set_memory_bytes(status.memory_bytes);
  message.set_put_pages(status.put);
  message.set_dropped_pages(status.dropped);
  message.set_skipped_pages(status.skipped);
  message.set_mismatches(status.mismatches);
  message.set_read_errors(status.read_errors);
  message.set_overdue_reads(status.overdue);
  message.set_written_bytes(status.written_bytes);
  message.set_failed(status.failed);
  message.set_hangs(status.hangs);
}

void fill_models(const DriverModelsStatus& status, pb::DriverStatus& message) {
  pb::RegionModels& models = *message.mutable_region_models();
  models.set_followed(status.from_region);
  models.set_adopted(status.adopted);
  models.set_refused(status.refused);
  models.set_damaged(status.damaged);
  models.set_waiting(status.waiting);
  models.set_published(status.published);
  if (!status.training && status.training_fault.empty()) return;
  pb::OnlineTraining& training = *message.mutable_training();
  training.set_fault(status.training_fault);
  training.set_recorded(status.trained.recorded);
  training.set_trainings(status.trained.trainings);
  training.set_replaced(status.trained.replaced);
  training.set_kept(status.trained.kept);
  training.set_failures(status.trained.failures);
  training.set_cpu_seconds(status.trained.cpu_seconds);
  training.set_answers(status.trained.last.answers);
  training.set_gain(status.trained.last.gain);
  training.set_deviation(status.trained.last.deviation);
}

}  // namespace

pb::DriverStatus status_message(const volume::DriverStatus& status, const FrontStatus& front, uint64_t now_ns) {
  pb::DriverStatus message;
  message.set_volume(status.volume);
  message.set_volume_id(status.volume_id);
  message.set_size_bytes(status.size_bytes);
  message.set_epoch(status.epoch);
  message.set_waiting_for(status.waiting_for);
  message.set_reads(status.reads);
  message.set_writes(status.writes);
  message.set_flushes(status.flushes);
  message.set_zeroes(status.zeroes);
  message.set_read_bytes(status.read_bytes);
  message.set_written_bytes(status.written_bytes);
  message.set_requests_in_flight(status.requests_in_flight);
  message.set_cache_hits(status.cache_hits);
  message.set_cache_misses(status.cache_misses);
  message.set_cache_bytes(status.cache_bytes);
  message.set_cache_bytes_max(status.cache_bytes_max);
  if (status.flash.bytes_max != 0) fill_flash(status.flash, *message.mutable_flash());
  message.set_retained_bytes(status.retained_bytes);
  fill_prefetch(status.prefetch, *message.mutable_prefetch());
  pb::Learned& learned = *message.mutable_learned();
  learned.set_from(status.learned.from);
  learned.set_requests(status.learned.requests);
  learned.set_recordings(status.learned.recordings);
  learned.set_saved(status.learned.saved_ns != 0);
  learned.set_saved_age_ns(now_ns - std::min(now_ns, status.learned.saved_ns));
  for (const volume::ServerStatus& server : status.servers) {
    pb::ServerLink& link = *message.add_servers();
    link.set_server(server.server);
    link.set_zone(server.zone);
    link.set_address(server.address);
    link.set_state(server.state);
    link.set_session(server.session);
    link.set_reconnects(server.reconnects);
    link.set_replays(server.replays);
  }
  for (const std::string& uri : front.exports) message.add_exports(uri);
  message.set_clients(front.clients);
  if (status.neural.models != 0) fill_neural(status.neural, *message.mutable_neural());
  if (front.models) fill_models(*front.models, message);
  return message;
}

Result<policy::PrefetchBudget> parse_prefetch_budget(std::string_view name) {
  for (const policy::PrefetchBudget budget : {policy::PrefetchBudget::kNormal, policy::PrefetchBudget::kFrugal}) {
    if (name == policy::prefetch_budget_name(budget)) return budget;
  }
  return fail(ErrorCode::kInvalid, "prefetch budget", "'" + std::string(name) + "' is not normal or frugal");
}

Result<policy::PrefetchMode> parse_prefetch_mode(std::string_view name) {
  for (const auto mode : {policy::PrefetchMode::kOff, policy::PrefetchMode::kShadow, policy::PrefetchMode::kOn}) {
    if (name == policy::prefetch_mode_name(mode)) return mode;
  }
  return fail(ErrorCode::kInvalid, "prefetch mode", "'" + std::string(name) + "' is not off, shadow or on");
}

DriverControl::DriverControl(runtime::Runtime& runtime, volume::Driver& driver, std::function<FrontStatus()> front,
                             std::function<void()> on_detach)
    : runtime_(runtime),
      driver_(driver),
      front_(std::move(front)),
      detach_(std::move(on_detach)),
      service_(rpc::Service::create(runtime)) {
  add(kMethodDriverStatus, &DriverControl::on_status);
  add(kMethodDriverHeat, &DriverControl::on_heat);
  add(kMethodDriverDetach, &DriverControl::on_detach);
  add(kMethodDriverPrefetchMode, &DriverControl::on_prefetch_mode);
  add(kMethodDriverExplain, &DriverControl::on_explain);
  add(kMethodDriverRecordStart, &DriverControl::on_record_start);
  add(kMethodDriverRecordTake, &DriverControl::on_record_take);
}

DriverControl::~DriverControl() = default;

void DriverControl::add(uint16_t method, Method member) {
  service_->handle(method,
                   [this, member](rpc::Peer& peer, rpc::Request& request) { return (this->*member)(peer, request); });
}

void DriverControl::serve(std::unique_ptr<runtime::Listener> listener) { service_->serve(std::move(listener)); }

Task<void> DriverControl::stop() { co_await service_->stop(); }

Task<Result<rpc::Reply>> DriverControl::on_status(rpc::Peer& peer, rpc::Request& request) {
  co_return reply_of(status_message(driver_.status(), front_(), runtime_.now_ns()));
}

Task<Result<rpc::Reply>> DriverControl::on_heat(rpc::Peer& peer, rpc::Request& request) {
  pb::HeatReply reply;
  for (const volume::VolumeletStatus& status : driver_.volumelets()) {
    pb::VolumeletHeat& heat = *reply.add_volumelets();
    heat.set_first_chunk(status.first_chunk);
    heat.set_chunks(status.chunks);
    heat.set_server(status.server);
    heat.set_zone(status.zone);
    heat.set_reads_per_s(status.reads_per_s);
    heat.set_writes_per_s(status.writes_per_s);
    heat.set_reads(status.reads);
    heat.set_writes(status.writes);
    heat.set_read_bytes(status.read_bytes);
    heat.set_written_bytes(status.written_bytes);
  }
  co_return reply_of(reply);
}

Task<Result<rpc::Reply>> DriverControl::on_detach(rpc::Peer& peer, rpc::Request& request) {
  detach_();
  co_return reply_of(pb::Empty());
}

Task<Result<rpc::Reply>> DriverControl::on_prefetch_mode(rpc::Peer& peer, rpc::Request& request) {
  CO_TRY(pb::PrefetchModeRequest message, from_control<pb::PrefetchModeRequest>(request.control));
  CO_TRY(policy::PrefetchMode mode, parse_prefetch_mode(message.mode()));
  driver_.set_prefetch_mode(mode);
  co_return reply_of(pb::Empty());
}

Task<Result<rpc::Reply>> DriverControl::on_explain(rpc::Peer& peer, rpc::Request& request) {
  pb::ExplainReply reply;
  const policy::Prefetcher& prefetcher = driver_.prefetcher();
  for (const policy::PrefetchDecision& decision : prefetcher.decisions()) {
    pb::ExplainReply::Decision& to = *reply.add_decisions();
    to.set_age_ns(runtime_.now_ns() - std::min(decision.time_ns, runtime_.now_ns()));
    to.set_trigger_page(decision.trigger_page);
    to.set_first_page(decision.first_page);
    to.set_pages(decision.pages);
    to.set_fetched(decision.fetched);
    to.set_probability(decision.probability);
    to.set_threshold(decision.threshold);
    to.set_experts(prefetcher.source_names(decision.sources));
    to.set_verdict(std::string(policy::verdict_name(decision.verdict)));
  }
  co_return reply_of(reply);
}

Task<Result<rpc::Reply>> DriverControl::on_record_start(rpc::Peer& peer, rpc::Request& request) {
  if (!recorder_.expired())
    co_return fail(ErrorCode::kBusy, "record", std::string("another recording of this volume is under way"));
  const auto recorder = std::make_shared<AccessRecorder>(runtime_.executor(), driver_, kRecordedAccessesMax);
  recorder_ = recorder;
  peer.state = recorder;
  co_return reply_of(pb::Empty());
}

Task<Result<rpc::Reply>> DriverControl::on_record_take(rpc::Peer& peer, rpc::Request& request) {
  const std::shared_ptr<AccessRecorder> recorder = recorder_.lock();
  if (recorder == nullptr || peer.state != recorder)
    co_return fail(ErrorCode::kInvalid, "record", std::string("not begun on this connection"));
  const uint64_t until_ns = std::min(request.deadline_ns, runtime_.now_ns() + kTakeWaitNs);
  AccessRecorder::Batch batch = co_await recorder->take(until_ns);
  pb::RecordBatch message;
  for (const volume::Access& access : batch.accesses) {
    message.add_time_ns(access.time_ns);
    message.add_offset(access.offset);
    message.add_bytes(access.bytes);
    message.add_write(access.write);
  }
  message.set_dropped(batch.dropped);
  co_return reply_of(message);
}

}  // namespace foreshard::app
