#include "rpc/channel_pool.h"

#include "base/assert.h"
#include "rpc/admission.h"
#include "rpc/message.h"
#include "runtime/delayed_connection.h"

namespace foreshard::rpc {

using runtime::Task;

// One endpoint's view of a shared connection.
class EndpointChannel final : public Channel {
 public:
  EndpointChannel(runtime::Executor& executor, std::shared_ptr<ChannelPool::Shared> shared, uint32_t endpoint,
                  const ChannelOptions& options)
      : shared_(std::move(shared)),
        endpoint_(endpoint),
        admission_(executor, options.calls_max, options.bytes_in_flight_max),
        gate_(executor) {
    ++shared_->users;
  }
  ~EndpointChannel() override { leave(); }

  Task<Result<Reply>> call(const Call& call) override {
    const std::optional<runtime::Gate::Pass> pass = gate_.enter();
    if (!pass) co_return fail(ErrorCode::kUnavailable, "channel closed");
    const uint64_t bytes = admission_bytes(call.data.size(), call.data_into.size());
    Admission::Ticket ticket = admission_.try_enter(bytes);
    if (!ticket) ticket = co_await admission_.enter(bytes, call.deadline_ns);
    if (ended_) co_return fail(ErrorCode::kUnavailable, "channel closed");
    if (!ticket) co_return fail(ErrorCode::kTimeout, "call not sent");
    Call mine = call;
    mine.endpoint = endpoint_;
    mine.owner = this;
    Result<Reply> reply = co_await shared_->channel->call(mine);
    if (ended_) co_return fail(ErrorCode::kUnavailable, "channel closed");
    if (!reply && reply.error().code == ErrorCode::kTimeout) shared_->doubted = true;
    co_return reply;
  }
  void end_calls(const void*) override { shared_->channel->end_calls(this); }
  bool closed() const override { return ended_ || shared_->channel->closed(); }
  Task<void> close() override {
    if (!ended_) {
      ended_ = true;
      admission_.close();
      end_calls(this);
    }
    co_await gate_.close();
    if (leave()) co_await shared_->channel->close();
  }
  Task<void> wait_closed() override { co_await shared_->channel->wait_closed(); }

 private:
  // True for the last.
  bool leave() {
    if (left_) return false;
    left_ = true;
    return --shared_->users == 0;
  }
  std::shared_ptr<ChannelPool::Shared> shared_;
  const uint32_t endpoint_;
  Admission admission_;
  runtime::Gate gate_;
  bool ended_ = false;
  bool left_ = false;
};

ChannelPool::~ChannelPool() {
  for (const auto& [key, shared] : shared_) ASSERT(shared == nullptr || shared->users == 0, key.second);
}

Task<Result<std::shared_ptr<Channel>>> ChannelPool::connect(std::string address, uint32_t endpoint,
                                                            uint64_t round_trip_ns, uint64_t deadline_ns) {
  const Key key{std::move(address), round_trip_ns};
  std::shared_ptr<Shared> shared;
  CO_TRY_VOID(co_await join(key, deadline_ns, shared));
  co_return std::make_shared<EndpointChannel>(runtime_.executor(), std::move(shared), endpoint, options_);
}

// One connects, the others wait for it.
Task<Result<void>> ChannelPool::join(Key key, uint64_t deadline_ns, std::shared_ptr<Shared>& shared) {
  for (;;) {
    const auto found = shared_.find(key);
    if (found == shared_.end()) break;
    if (found->second == nullptr) {
      const bool in_time = co_await connected_.wait_until(deadline_ns);
      if (!in_time) co_return fail(ErrorCode::kTimeout, "connect", key.first);
      continue;
    }
    shared = found->second;
    if (shared->users > 0 && !shared->doubted && !shared->channel->closed()) co_return Result<void>();
    shared_.erase(found);
  }
  shared_[key] = nullptr;
  Result<std::shared_ptr<Channel>> made = co_await make(key, deadline_ns);
  connected_.wake_all();
  if (!made) {
    shared_.erase(key);
    co_return fail(made.error());
  }
  shared = std::make_shared<Shared>(Shared{.channel = std::move(*made)});
  shared_[key] = shared;
  co_return Result<void>();
}

Task<Result<std::shared_ptr<Channel>>> ChannelPool::make(Key key, uint64_t deadline_ns) {
  CO_TRY(std::unique_ptr<runtime::Connection> connection,
         co_await runtime_.network().connect(key.first, deadline_ns));
  if (key.second > 0)
    connection = runtime::delay_connection(runtime_.executor(), std::move(connection), key.second);
  const ChannelOptions unbounded{.calls_max = UINT32_MAX, .bytes_in_flight_max = UINT64_MAX};  // the endpoints are
  co_return Channel::over(runtime_, std::move(connection), unbounded);
}

}  // namespace foreshard::rpc
