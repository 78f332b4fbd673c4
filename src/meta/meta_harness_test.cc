// The worlds in which the conformance suite runs its stores.
#include "meta/meta_harness.h"

#include "index/map_index.h"
#include "index/rocks_index.h"
#include "meta/embedded_meta.h"
#include "meta/meta_service.h"
#include "meta/remote_meta.h"
#include "rpc/memory_stream.h"
#include "runtime/real_runtime.h"
#include "runtime/sim_world.h"
#include "runtime/test_folder.h"

namespace foreshard::meta {
namespace {

using runtime::Task;

constexpr uint64_t kSecondNs = 1'000'000'000;

EmbeddedMetaOptions small_history() {
  EmbeddedMetaOptions options;
  options.history_events_max = 200;  // MetaConformance::kHistoryEvents
  return options;
}

Task<Result<std::unique_ptr<EmbeddedMeta>>> open_over_map(runtime::Runtime& runtime, index::MapIndexState& state) {
  index::MapIndexOptions options;
  options.sync_latency_ns = 200'000;
  auto index = std::make_unique<index::MapIndex>(runtime.executor(), state, options);
  Result<std::unique_ptr<EmbeddedMeta>> opened =
      co_await EmbeddedMeta::open(runtime, std::move(index), small_history());
  co_return opened;
}

void drive_test_runtime(rpc::TestRuntime& runtime, const std::function<bool()>& done) {
  for (int i = 0; i < 1'000'000; ++i) {
    runtime.executor().run_ready_only();
    if (done()) return;
    if (!runtime.executor().advance_to_next_timer()) break;
  }
  ADD_FAILURE() << "nothing can happen any more";
  abort();
}

class EmbeddedMapHarness final : public MetaHarness {
 public:
  EmbeddedMapHarness() { start(); }
  ~EmbeddedMapHarness() override { stop(); }
  Meta& meta() override { return *meta_; }
  runtime::Runtime& runtime() override { return *runtime_; }
  void drive(const std::function<bool()>& done) override { drive_test_runtime(*runtime_, done); }
  void restart() override {
    stop();
    state_.crash(random_);
    start();
  }
  void let_pass(uint64_t duration_ns) override {
    runtime_->executor().run_until(runtime_->executor().now_ns() + duration_ns);
  }

 private:
  void start() {
    runtime_ = std::make_unique<rpc::TestRuntime>();
    meta_ = std::move(*run(open_over_map(*runtime_, state_)));
  }
  void stop() {
    runtime_->executor().destroy_tasks();
    meta_ = nullptr;
    runtime_ = nullptr;
  }
  Random random_{3};
  index::MapIndexState state_;
  std::unique_ptr<rpc::TestRuntime> runtime_;
  std::unique_ptr<EmbeddedMeta> meta_;
};

class EmbeddedRocksHarness final : public MetaHarness {
 public:
  EmbeddedRocksHarness() : runtime_(std::move(*runtime::RealRuntime::create())) {
    disk_ = std::move(*runtime_->open_disk(folder_.path()));
    open();
  }
  ~EmbeddedRocksHarness() override { close(); }
  Meta& meta() override { return *meta_; }
  runtime::Runtime& runtime() override { return *runtime_; }
  void drive(const std::function<bool()>& done) override { runtime_->run(wait_for(done)); }
  void restart() override {
    close();
    open();
  }
  bool has_virtual_time() const override { return false; }
  void let_pass(uint64_t) override {}

 private:
  Task<void> wait_for(const std::function<bool()>& done) {
    while (!done()) co_await runtime_->executor().yield();
  }
  static Task<Result<std::unique_ptr<EmbeddedMeta>>> open_over_rocks(runtime::Runtime& runtime, runtime::Disk& disk) {
    const index::OpenIndex opener = index::rocks_index_opener();
    Result<std::unique_ptr<index::Index>> index = co_await opener(runtime, disk, "meta");
    if (!index) co_return fail(std::move(index.error()));
    Result<std::unique_ptr<EmbeddedMeta>> opened =
        co_await EmbeddedMeta::open(runtime, std::move(*index), small_history());
    co_return opened;
  }
  void open() { meta_ = std::move(*run(open_over_rocks(*runtime_, *disk_))); }
  void close() {
    EXPECT_TRUE(run(meta_->close()));
    meta_ = nullptr;
  }
  runtime::TestFolder folder_;
  std::unique_ptr<runtime::RealRuntime> runtime_;
  std::unique_ptr<runtime::Disk> disk_;
  std::unique_ptr<EmbeddedMeta> meta_;
};

// A store and its service, as a process runs them.
struct StoreProcess {
  StoreProcess(runtime::Runtime& r, index::MapIndexState& s, std::string a)
      : runtime(r), state(s), address(std::move(a)), service(rpc::Service::create(r)) {
    runtime.executor().spawn(start());
  }
  Task<void> start() {
    Result<std::unique_ptr<EmbeddedMeta>> opened = co_await open_over_map(runtime, state);
    meta = std::move(*opened);
    meta_service = MetaService::create(runtime, *meta, *service);
    Result<std::unique_ptr<runtime::Listener>> listener = runtime.network().listen(address);
    service->serve(std::move(*listener));
  }
  runtime::Runtime& runtime;
  index::MapIndexState& state;
  const std::string address;
  std::unique_ptr<rpc::Service> service;
  std::unique_ptr<EmbeddedMeta> meta;
  std::unique_ptr<MetaService> meta_service;
};

// Client and store share an executor; the store "restarts" by an orderly end, as its tasks cannot be killed alone.
class RemoteMemoryHarness final : public MetaHarness {
 public:
  RemoteMemoryHarness() {
    store_ = std::make_unique<StoreProcess>(runtime_, state_, "store");
    runtime_.executor().run_until(runtime_.executor().now_ns() + kSecondNs);
    client_ = RemoteMeta::create(runtime_, "store");
  }
  ~RemoteMemoryHarness() override {
    run(to_value(client_->close()));
    stop_store();
  }
  Meta& meta() override { return *client_; }
  runtime::Runtime& runtime() override { return runtime_; }
  void drive(const std::function<bool()>& done) override { drive_test_runtime(runtime_, done); }
  void restart() override {
    stop_store();
    Random random(5);
    state_.crash(random);
    store_ = std::make_unique<StoreProcess>(runtime_, state_, "store");
    runtime_.executor().run_until(runtime_.executor().now_ns() + kSecondNs / 1000);
  }
  void let_pass(uint64_t duration_ns) override {
    runtime_.executor().run_until(runtime_.executor().now_ns() + duration_ns);
  }
  bool watches_survive_restart() const override { return true; }

 private:
  static Task<int> to_value(Task<void> task) {
    co_await task;
    co_return 0;
  }
  void stop_store() {
    store_->meta_service->stop();
    run(to_value(store_->service->stop()));
    EXPECT_TRUE(run(store_->meta->close()));
    store_ = nullptr;
  }
  rpc::TestRuntime runtime_;
  index::MapIndexState state_;
  std::unique_ptr<StoreProcess> store_;
  std::unique_ptr<RemoteMeta> client_;
};

class RemoteSimHarness final : public MetaHarness {
 public:
  explicit RemoteSimHarness(bool breaking) : breaking_(breaking) {
    store_node_ = world_.add_node("store");
    client_node_ = world_.add_node("client");
    world_.start(store_node_,
                 [this](runtime::SimRuntime& runtime) { return std::make_unique<Store>(runtime, state_); });
    world_.start(client_node_, [](runtime::SimRuntime& runtime) { return std::make_unique<Client>(runtime); });
    world_.run_for(kSecondNs);
    if (breaking) {
      world_.fabric().knobs().reset_chance = 0.03;
      break_later();
    }
  }
  ~RemoteSimHarness() override {
    world_.kill(client_node_, runtime::Crash::kProcess);
    world_.kill(store_node_, runtime::Crash::kProcess);
  }
  Meta& meta() override { return *static_cast<Client*>(world_.process(client_node_))->meta; }
  runtime::Runtime& runtime() override { return world_.runtime(client_node_); }
  void drive(const std::function<bool()>& done) override {
    const bool held = world_.run_until(done, world_.now_ns() + 3600 * kSecondNs);
    EXPECT_TRUE(held) << "nothing can happen any more";
    if (!held) abort();
  }
  void restart() override {
    world_.kill(store_node_, runtime::Crash::kPower);
    state_.crash(world_.random());
    world_.restart(store_node_);
  }
  void let_pass(uint64_t duration_ns) override { world_.run_for(duration_ns); }
  bool watches_survive_restart() const override { return true; }
  bool loses_answers() const override { return breaking_; }

 private:
  struct Store final : runtime::SimProcess {
    Store(runtime::SimRuntime& runtime, index::MapIndexState& state) : store(runtime, state, "tcp:store:1") {}
    StoreProcess store;
  };
  struct Client final : runtime::SimProcess {
    explicit Client(runtime::SimRuntime& runtime) : meta(RemoteMeta::create(runtime, "tcp:store:1")) {}
    std::unique_ptr<RemoteMeta> meta;
  };
  // Now and then a connection is reset, also while nothing travels.
  void break_later() {
    world_.at(world_.now_ns() + 1 + world_.random().below(20'000'000), [this] {
      world_.fabric().reset_one(client_node_, store_node_);
      break_later();
    });
  }
  const bool breaking_;
  index::MapIndexState state_;
  runtime::SimWorld world_{11};
  runtime::NodeId store_node_ = 0;
  runtime::NodeId client_node_ = 0;
};

}  // namespace

std::unique_ptr<MetaHarness> make_embedded_map_harness() { return std::make_unique<EmbeddedMapHarness>(); }
std::unique_ptr<MetaHarness> make_embedded_rocks_harness() { return std::make_unique<EmbeddedRocksHarness>(); }
std::unique_ptr<MetaHarness> make_remote_memory_harness() { return std::make_unique<RemoteMemoryHarness>(); }
std::unique_ptr<MetaHarness> make_remote_sim_harness() { return std::make_unique<RemoteSimHarness>(false); }
std::unique_ptr<MetaHarness> make_remote_breaking_harness() { return std::make_unique<RemoteSimHarness>(true); }

}  // namespace foreshard::meta
