#include "runtime/local_endpoints.h"

#include <deque>

#include "base/assert.h"
#include "runtime/pair.h"
#include "runtime/sync.h"

namespace foreshard::runtime {

namespace {
constexpr size_t kBacklogMax = 1024;
}

class LocalEndpoints::LocalListener final : public Listener {
 public:
  LocalListener(LocalEndpoints& endpoints, std::string name)
      : endpoints_(endpoints), name_(std::move(name)), arrived_(endpoints.executor_) {
    endpoints_.listeners_[name_] = this;
  }
  ~LocalListener() override { shutdown(); }

  Task<Result<std::unique_ptr<Connection>>> accept() override {
    while (!shut_ && waiting_.empty()) co_await arrived_.wait();
    if (shut_) co_return fail(ErrorCode::kCancelled, "accept: the listener is shut down");
    std::unique_ptr<Connection> connection = std::move(waiting_.front());
    waiting_.pop_front();
    co_return connection;
  }
  void shutdown() override {
    if (std::exchange(shut_, true)) return;
    endpoints_.listeners_.erase(name_);
    waiting_.clear();
    arrived_.wake_all();
  }
  std::string address() const override { return "local:" + name_; }

  bool full() const { return waiting_.size() >= kBacklogMax; }
  void arrive(std::unique_ptr<Connection> connection) {
    waiting_.push_back(std::move(connection));
    arrived_.wake_one();
  }

 private:
  LocalEndpoints& endpoints_;
  std::string name_;
  std::deque<std::unique_ptr<Connection>> waiting_;
  WaitQueue arrived_;
  bool shut_ = false;
};

LocalEndpoints::~LocalEndpoints() { ASSERT(listeners_.empty(), listeners_.size()); }

Result<std::unique_ptr<Listener>> LocalEndpoints::listen(const std::string& name) {
  if (name.empty()) return fail(ErrorCode::kInvalid, "listen: a local address needs a name");
  if (listeners_.contains(name)) return fail(ErrorCode::kBusy, "listen: the name is taken", "local:" + name);
  return std::make_unique<LocalListener>(*this, name);
}

Result<std::unique_ptr<Connection>> LocalEndpoints::connect(const std::string& name) {
  const auto it = listeners_.find(name);
  if (it == listeners_.end()) return fail(ErrorCode::kUnavailable, "connect: nobody listens there", "local:" + name);
  if (it->second->full()) return fail(ErrorCode::kUnavailable, "connect: too many wait there", "local:" + name);
  ConnectionPair pair = make_pair(executor_, "local:" + name);
  it->second->arrive(std::move(pair.second));
  return std::move(pair.first);
}

}  // namespace foreshard::runtime
