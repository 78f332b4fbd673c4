#include "app/attachment.h"

#include <unistd.h>

#include <fmt/format.h>

#include "app/process.h"
#include "app/region_folder.h"
#include "app/region_view.h"
#include "base/log.h"
#include "volume/volume_admin.h"

namespace foreshard::app {

using runtime::Task;

namespace {

// A driver that was fenced a moment ago may still hold its socket.
constexpr uint64_t kSocketBusyNs = 3'000'000'000;
constexpr uint64_t kListenAgainNs = 100'000'000;

std::string percent_encoded(const std::string& text) {
  static constexpr const char* kPlain = "-._~/";
  std::string out;
  for (const char c : text) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view(kPlain).find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

// An address as clients should say it: socket paths absolute.
Result<std::string> absolute_address(const std::string& address) {
  if (!address.starts_with("unix:")) {
    if (address.starts_with("tcp:")) return address;
    return fail(ErrorCode::kInvalid, "nbd address",
                fmt::format("'{}' is neither unix:PATH nor tcp:HOST:PORT", address));
  }
  TRY(std::string path, absolute_folder(address.substr(5)));
  return "unix:" + path;
}

// The control socket is named after the volume; when a live process holds that one, after this process too.
Result<std::unique_ptr<runtime::Listener>> listen_for_control(runtime::Network& network, const std::string& folder,
                                                              const std::string& volume) {
  TRY(std::string address, socket_in(folder, "attach-" + volume));
  Result<std::unique_ptr<runtime::Listener>> listener = network.listen(address);
  if (listener || listener.error().code != ErrorCode::kBusy) return listener;
  TRY(address, socket_in(folder, fmt::format("attach-{}-{}", volume, getpid())));
  return network.listen(address);
}

}  // namespace

std::string nbd_uri(const std::string& name, const std::string& address) {
  if (address.starts_with("unix:"))
    return fmt::format("nbd+unix:///{}?socket={}", name, percent_encoded(address.substr(5)));
  return fmt::format("nbd://{}/{}", address.substr(4), name);
}

Attachment::Attachment(runtime::Runtime& runtime, meta::Meta& meta)
    : runtime_(runtime), meta_(meta), over_(runtime.executor()), gate_(runtime.executor()) {}

Attachment::~Attachment() = default;

Task<Result<std::unique_ptr<Attachment>>> Attachment::start(runtime::Runtime& runtime, meta::Meta& meta,
                                                            AttachmentOptions options) {
  CO_TRY(RegionView region, co_await look_at_region(meta));
  CO_TRY(meta::pb::Volume volume, co_await volume::get_volume(meta, options.driver.volume));
  CO_TRY(options.driver.zone, driver_zone(region, volume, options.driver.zone));
  options.models.volume = volume.name();
  options.models.labels.workload = policy::label_hash(volume.workload_type());
  if (!options.local_servers.empty()) {
    options.driver.address_of = [local = options.local_servers](const meta::pb::Server& server) {
      const auto found = local.find(server.address());
      return found == local.end() ? std::string() : found->second;
    };
  }
  std::unique_ptr<Attachment> attachment(new Attachment(runtime, meta));
  CO_TRY_VOID(co_await attachment->open(std::move(options)));
  co_return std::move(attachment);
}

Task<Result<void>> Attachment::open(AttachmentOptions options) {
  name_ = options.driver.volume;
  CO_TRY(std::unique_ptr<runtime::Listener> control,
         listen_for_control(runtime_.network(), options.control_folder, name_));
  std::vector<std::string> addresses;
  for (const std::string& given : options.nbd) {
    CO_TRY(std::string address, absolute_address(given));
    addresses.push_back(std::move(address));
  }

  const ProcessIdentity self = this_process();
  options.driver.host = self.host;
  options.driver.boot_id = self.boot_id;
  options.driver.pid = self.pid;
  options.driver.process_start = self.start_ticks;
  options.driver.surely_dead = surely_dead;
  options.driver.control_address = control->address();
  if (!addresses.empty()) options.driver.export_uri = nbd_uri(name_, addresses.front());
  CO_TRY(driver_, co_await volume::Driver::attach(runtime_, meta_, options.driver));

  nbd_ = std::make_unique<front::NbdServer>(runtime_, front::NbdServerOptions());
  const Result<void> listening = co_await listen_for_clients(addresses);
  if (!listening) {
    (void)co_await detach();
    co_return fail(listening.error());
  }
  control_ = std::make_unique<DriverControl>(
      runtime_, *driver_, [this] { return front_status(); }, [this] { over_.set(); });
  control_->serve(std::move(control));
  runtime_.executor().spawn(watch_driver(*gate_.enter()));
  co_await start_models(std::move(options.models));
  co_return Result<void>();
}

Task<void> Attachment::start_models(DriverModelsOptions options) {
  if (!options.from_region && !options.train) co_return;
  const auto set_model = [this](std::shared_ptr<policy::RunnableModel> model, std::string name) {
    driver_->set_model(std::move(model), std::move(name));
  };
  models_ = std::make_unique<DriverModels>(runtime_, meta_, std::move(options), set_model);
  driver_->watch([this](const policy::Observation& seen) { models_->record(seen); });
  co_await models_->start();
}

Task<Result<void>> Attachment::listen_for_clients(const std::vector<std::string>& addresses) {
  CO_TRY_VOID(nbd_->add_export(name_, *driver_, front::ExportOptions{}));
  const uint64_t deadline_ns = runtime_.now_ns() + kSocketBusyNs;
  for (const std::string& address : addresses) {
    for (;;) {
      Result<std::unique_ptr<runtime::Listener>> listener = runtime_.network().listen(address);
      if (listener) {
        uris_.push_back(nbd_uri(name_, (*listener)->address()));
        nbd_->serve(std::move(*listener));
        break;
      }
      if (listener.error().code != ErrorCode::kBusy || runtime_.now_ns() >= deadline_ns)
        co_return fail(listener.error());
      co_await runtime_.executor().sleep_for(kListenAgainNs);
    }
  }
  co_return Result<void>();
}

Task<void> Attachment::watch_driver(runtime::Gate::Pass pass) {
  // over() is set by detach() too, so this ends with the attachment.
  runtime::Signal& ended = driver_->ended();
  while (!over_.is_set()) {
    const bool driver_ended = co_await ended.wait_until(runtime_.now_ns() + kListenAgainNs);
    if (driver_ended) over_.set();
  }
}

FrontStatus Attachment::front_status() const {
  FrontStatus status;
  status.exports = uris_;
  for (const front::NbdExportStats& exported : nbd_->stats()) status.clients += exported.connections;
  if (models_ != nullptr) status.models = models_->status();
  return status;
}

pb::DriverStatus Attachment::status() const {
  return status_message(driver_->status(), front_status(), runtime_.now_ns());
}

Task<Result<void>> Attachment::detach() {
  over_.set();
  co_await gate_.close();
  driver_->begin_detach();
  if (nbd_ != nullptr) co_await nbd_->stop();
  if (models_ != nullptr) models_->begin_stop();
  const Result<void> detached = co_await driver_->detach();
  driver_->watch({});
  if (models_ != nullptr) co_await models_->stop();
  if (control_ != nullptr) co_await control_->stop();
  co_return detached;
}

}  // namespace foreshard::app
