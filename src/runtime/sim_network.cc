#include "runtime/sim_network.h"

#include <algorithm>
#include <cerrno>

#include "base/assert.h"

namespace foreshard::runtime {

namespace {

void end_op(SimEnd& end, IoOp*& slot, int64_t result) {
  if (slot == nullptr) return;
  IoOp* op = std::exchange(slot, nullptr);
  op->abandon = nullptr;
  op->result = result;
  if (end.executor != nullptr) end.executor->post(op->waiter);
}

// The coroutine that waited was destroyed. A write may have been sent in part.
void abandoned(IoOp* op) {
  auto* end = static_cast<SimEnd*>(op->owner);
  if (end->read_op == op) end->read_op = nullptr;
  if (end->write_op == op) end->write_op = nullptr;
}

}  // namespace

// ---- one process's end

class SimConnection final : public Connection {
 public:
  SimConnection(std::shared_ptr<SimLink> link, int side) : link_(std::move(link)), side_(side) {}
  ~SimConnection() override {
    link_->fabric.close(*link_, side_);
    ASSERT(mine().read_op == nullptr && mine().write_op == nullptr);
  }

  bool start_read(IoOp& op, ByteSpan into) override {
    ASSERT(mine().read_op == nullptr && !into.empty());
    op.owner = &mine();
    mine().read_op = &op;
    mine().read_into = into;
    link_->fabric.serve_read(*link_, side_);
    return settle(op, mine().read_op);
  }

  bool start_write(IoOp& op, std::span<const iovec> from) override {
    ASSERT(mine().write_op == nullptr);
    op.owner = &mine();
    mine().write_op = &op;
    mine().write_from = from;
    mine().write_part = mine().write_offset = 0;
    mine().write_total = 0;
    link_->fabric.pump_write(*link_, side_);
    return settle(op, mine().write_op);
  }

  void shutdown() override { link_->fabric.close(*link_, side_); }
  std::string peer() const override {
    return fmt::format("node {} at {}", link_->ends[1 - side_].node, link_->address);
  }
  std::string peer_group() const override { return fmt::format("node {}", link_->ends[1 - side_].node); }

 private:
  SimEnd& mine() { return link_->ends[side_]; }
  // Pending: withdrawable. Ended in the call: it has been posted already, so it is pending for the caller too.
  bool settle(IoOp& op, IoOp* slot) {
    if (slot == &op) op.abandon = &abandoned;
    return true;
  }
  std::shared_ptr<SimLink> link_;
  const int side_;
};

class SimListener final : public Listener {
 public:
  SimListener(SimFabric& fabric, NodeId node, SimExecutor& executor, std::string address)
      : fabric_(&fabric), node_(node), executor_(executor), address_(std::move(address)), waiting_(executor) {
    fabric.listeners_[address_] = this;
  }
  ~SimListener() override { shutdown(); }

  Task<Result<std::unique_ptr<Connection>>> accept() override {
    while (backlog_.empty()) {
      if (closed_) co_return fail(ErrorCode::kCancelled, "accept");
      co_await waiting_.wait();
    }
    std::shared_ptr<SimLink> link = std::move(backlog_.front());
    backlog_.pop_front();
    std::unique_ptr<Connection> connection = std::make_unique<SimConnection>(std::move(link), 1);
    co_return connection;
  }

  void shutdown() override {
    if (closed_) return;
    closed_ = true;
    if (fabric_ != nullptr) fabric_->listeners_.erase(address_);
    for (const std::shared_ptr<SimLink>& link : backlog_) link->fabric.close(*link, 1);
    backlog_.clear();
    waiting_.wake_all();
  }
  std::string address() const override { return address_; }

  void offer(std::shared_ptr<SimLink> link) {
    backlog_.push_back(std::move(link));
    waiting_.wake_one();
  }
  // The process is gone: whoever destroys this object later finds the fabric without it.
  void orphan() {
    fabric_ = nullptr;
    backlog_.clear();
  }
  NodeId node() const { return node_; }
  SimExecutor& executor() { return executor_; }

 private:
  SimFabric* fabric_;
  const NodeId node_;
  SimExecutor& executor_;
  const std::string address_;
  std::deque<std::shared_ptr<SimLink>> backlog_;
  WaitQueue waiting_;
  bool closed_ = false;
};

// ---- streams

uint64_t SimFabric::delay_ns(NodeId from, NodeId to) {
  Random& random = timeline_.random();
  if (from == to) return 1 + random.below(knobs_.local_delay_ns_max);
  uint64_t delay = random.between(knobs_.delay_ns_min, knobs_.delay_ns_max);
  const auto extra = extra_delay_ns_.find({std::min(from, to), std::max(from, to)});
  if (extra != extra_delay_ns_.end()) delay += extra->second;
  if (knobs_.spike_chance > 0 && random.chance(knobs_.spike_chance)) {
    timeline_.fault("network delay spike", fmt::format("{} to {}", from, to));
    delay += random.below(knobs_.spike_ns_max + 1);
  }
  return delay;
}

void SimFabric::pump_write(SimLink& link, int side) {
  SimEnd& end = link.ends[side];
  if (end.write_op == nullptr) return;
  if (end.closed) return end_op(end, end.write_op, -ECANCELED);
  if (end.error != 0) return end_op(end, end.write_op, end.error);
  SimEnd& other = link.ends[1 - side];
  std::vector<std::byte> bytes;
  while (end.write_part < end.write_from.size()) {
    const uint64_t in_flight = end.out_bytes + other.unread() + bytes.size();
    if (in_flight >= knobs_.window_bytes) break;
    const iovec& part = end.write_from[end.write_part];
    const size_t count = std::min<size_t>(part.iov_len - end.write_offset, knobs_.window_bytes - in_flight);
    const auto* from = static_cast<const std::byte*>(part.iov_base) + end.write_offset;
    bytes.insert(bytes.end(), from, from + count);
    end.write_offset += count;
    end.write_total += count;
    if (end.write_offset == part.iov_len) ++end.write_part, end.write_offset = 0;
  }
  const bool whole = end.write_part == end.write_from.size();
  if (!bytes.empty()) send(link, side, std::move(bytes), false);
  if (whole && end.write_op != nullptr) end_op(end, end.write_op, static_cast<int64_t>(end.write_total));
}

void SimFabric::send(SimLink& link, int side, std::vector<std::byte> bytes, bool last) {
  Random& random = timeline_.random();
  SimEnd& end = link.ends[side];
  const NodeId to = link.ends[1 - side].node;
  if (end.cut_off) return;
  if (!last && end.node != to && knobs_.reset_chance > 0 && random.chance(knobs_.reset_chance)) {
    // Half-delivered: a part of this segment still arrives.
    timeline_.fault("network reset", fmt::format("{} to {}", end.node, to));
    bytes.resize(random.below(bytes.size() + 1));
    end.cut_off = true;
    const std::shared_ptr<SimLink> shared = link.shared_from_this();
    reset_later(shared, side, random.below(1'000'000));
    reset_later(shared, 1 - side, random.below(1'000'000));
  }
  size_t cut = bytes.size();
  if (bytes.size() > 1 && random.chance(knobs_.split_chance)) cut = 1 + random.below(bytes.size() - 1);
  const auto push = [&](size_t from, size_t to_byte, bool final_part) {
    end.last_due_ns = std::max(end.last_due_ns, timeline_.now_ns() + delay_ns(end.node, to));
    SimEnd::Segment segment;
    segment.due_ns = end.last_due_ns;
    if (from == 0 && to_byte == bytes.size())
      segment.bytes = std::move(bytes);
    else
      segment.bytes.assign(bytes.begin() + from, bytes.begin() + to_byte);
    segment.last = final_part && last;
    end.out_bytes += segment.bytes.size();
    end.out.push_back(std::move(segment));
  };
  const size_t size = bytes.size();
  push(0, cut, cut == size);
  if (cut < size) push(cut, size, true);
  plan_delivery(link, side);
}

void SimFabric::plan_delivery(SimLink& link, int side) {
  SimEnd& end = link.ends[side];
  if (end.delivery_planned || end.out.empty()) return;
  end.delivery_planned = true;
  timeline_.at(end.out.front().due_ns, [this, shared = link.shared_from_this(), side] {
    shared->ends[side].delivery_planned = false;
    deliver(*shared, side);
  });
}

void SimFabric::deliver(SimLink& link, int side) {
  SimEnd& end = link.ends[side];
  SimEnd& other = link.ends[1 - side];
  if (end.out.empty()) return;
  if (blocked(end.node, other.node) || unpowered_.contains(other.node)) {
    if (end.stalled_since_ns != 0) return;
    end.stalled_since_ns = timeline_.now_ns();
    const uint64_t since = end.stalled_since_ns;
    const uint64_t patience = timeline_.random().between(knobs_.stall_ns_min, knobs_.stall_ns_max);
    timeline_.after(patience, [this, shared = link.shared_from_this(), side, since] {
      if (shared->ends[side].stalled_since_ns != since) return;
      timeline_.fault("network stalled stream reset", shared->address);
      reset(*shared, side, -ETIMEDOUT);
      reset(*shared, 1 - side, -ETIMEDOUT);
    });
    return;
  }
  end.stalled_since_ns = 0;
  while (!end.out.empty() && end.out.front().due_ns <= timeline_.now_ns()) {
    SimEnd::Segment segment = std::move(end.out.front());
    end.out.pop_front();
    end.out_bytes -= segment.bytes.size();
    if (other.error != 0) continue;
    if (other.closed) {
      // Nobody reads there any more: the sender is told so.
      if (!segment.last) reset_later(link.shared_from_this(), side, delay_ns(other.node, end.node));
      continue;
    }
    other.received.insert(other.received.end(), segment.bytes.begin(), segment.bytes.end());
    if (segment.last) other.ended = true;
  }
  plan_delivery(link, side);
  serve_read(link, 1 - side);
  pump_write(link, side);
}

void SimFabric::serve_read(SimLink& link, int side) {
  SimEnd& end = link.ends[side];
  if (end.read_op == nullptr) return;
  if (end.closed) return end_op(end, end.read_op, -ECANCELED);
  if (end.unread() == 0) {
    if (end.error != 0) return end_op(end, end.read_op, end.error);
    if (end.ended) return end_op(end, end.read_op, 0);
    return;
  }
  Random& random = timeline_.random();
  size_t count = std::min<size_t>(end.unread(), end.read_into.size());
  if (count > 1 && random.chance(knobs_.short_read_chance)) count = 1 + random.below(count);
  std::memcpy(end.read_into.data(), end.received.data() + end.received_head, count);
  end.received_head += count;
  if (end.received_head == end.received.size()) {
    end.received.clear();
    end.received_head = 0;
  }
  end_op(end, end.read_op, static_cast<int64_t>(count));
  pump_write(link, 1 - side);
}

void SimFabric::close(SimLink& link, int side) {
  SimEnd& end = link.ends[side];
  if (end.closed) return;
  end.closed = true;
  end_op(end, end.read_op, -ECANCELED);
  end_op(end, end.write_op, -ECANCELED);
  // As TCP does: closing with bytes unread resets the sender, who may be waiting for room.
  if (end.unread() > 0) reset_later(link.shared_from_this(), 1 - side, delay_ns(end.node, link.ends[1 - side].node));
  end.received.clear();
  end.received_head = 0;
  if (end.error == 0 && end.executor != nullptr) send(link, side, {}, true);
}

void SimFabric::reset(SimLink& link, int side, int error) {
  SimEnd& end = link.ends[side];
  if (end.error != 0 || end.closed) return;
  end.error = error;
  end.received.clear();
  end.received_head = 0;
  end.out.clear();
  end.out_bytes = 0;
  end.stalled_since_ns = 0;
  end_op(end, end.read_op, error);
  end_op(end, end.write_op, error);
}

void SimFabric::reset_later(const std::shared_ptr<SimLink>& link, int side, uint64_t delay_ns) {
  timeline_.after(delay_ns, [this, link, side] { reset(*link, side, -ECONNRESET); });
}

// ---- the world's side

std::vector<std::shared_ptr<SimLink>> SimFabric::live_links() {
  std::vector<std::shared_ptr<SimLink>> live;
  for (auto it = links_.begin(); it != links_.end();) {
    std::shared_ptr<SimLink> link = it->second.lock();
    it = link == nullptr ? links_.erase(it) : std::next(it);
    if (link != nullptr) live.push_back(std::move(link));
  }
  return live;
}

void SimFabric::resume_stalled() {
  for (const std::shared_ptr<SimLink>& link : live_links()) {
    for (int side : {0, 1}) {
      if (link->ends[side].stalled_since_ns == 0) continue;
      link->ends[side].stalled_since_ns = 0;
      deliver(*link, side);
    }
  }
}

void SimFabric::block(NodeId from, NodeId to) {
  blocked_.insert({from, to});
  timeline_.fault("network blocked", fmt::format("{} to {}", from, to));
}

void SimFabric::partition(NodeId a, NodeId b) {
  blocked_.insert({a, b});
  blocked_.insert({b, a});
  timeline_.fault("network partition", fmt::format("{} and {}", a, b));
}

void SimFabric::heal(NodeId a, NodeId b) {
  blocked_.erase({a, b});
  blocked_.erase({b, a});
  timeline_.note(fmt::format("healed {} and {}", a, b));
  resume_stalled();
}

void SimFabric::heal_all() {
  blocked_.clear();
  extra_delay_ns_.clear();
  resume_stalled();
}

void SimFabric::set_extra_delay(NodeId a, NodeId b, uint64_t delay_ns) {
  extra_delay_ns_[{std::min(a, b), std::max(a, b)}] = delay_ns;
}

void SimFabric::set_powered(NodeId node, bool powered) {
  if (powered)
    unpowered_.erase(node);
  else
    unpowered_.insert(node);
}

bool SimFabric::reset_one(NodeId a, NodeId b) {
  std::vector<std::shared_ptr<SimLink>> candidates;
  for (const std::shared_ptr<SimLink>& link : live_links()) {
    const NodeId x = link->ends[0].node, y = link->ends[1].node;
    const bool between = (x == a && y == b) || (x == b && y == a);
    if (between && link->ends[0].error == 0 && !link->ends[0].closed) candidates.push_back(link);
  }
  if (candidates.empty()) return false;
  Random& random = timeline_.random();
  const std::shared_ptr<SimLink>& link = candidates[random.below(candidates.size())];
  timeline_.fault("network reset", link->address);
  reset_later(link, 0, random.below(2'000'000));
  reset_later(link, 1, random.below(2'000'000));
  return true;
}

void SimFabric::process_gone(NodeId node, bool power) {
  for (auto it = listeners_.begin(); it != listeners_.end();) {
    if (it->second->node() != node) {
      ++it;
      continue;
    }
    it->second->orphan();
    it = listeners_.erase(it);
  }
  for (const std::shared_ptr<SimLink>& link : live_links()) {
    for (int side : {0, 1}) {
      SimEnd& end = link->ends[side];
      if (end.node != node || end.executor == nullptr) continue;
      end.executor = nullptr;
      end.closed = true;
      // What was sent before still travels, unless the power went.
      const uint64_t patience = power ? timeline_.random().between(knobs_.stall_ns_min, knobs_.stall_ns_max) : 0;
      if (power) end.out.clear(), end.out_bytes = 0;
      reset_later(link, 1 - side,
                  std::max(end.last_due_ns, timeline_.now_ns()) - timeline_.now_ns() + patience +
                      delay_ns(node, link->ends[1 - side].node));
    }
  }
}

std::shared_ptr<SimLink> SimFabric::make_link(NodeId from, SimExecutor& from_executor, SimListener& listener) {
  auto link = std::make_shared<SimLink>(*this);
  link->number = ++link_count_;
  link->address = listener.address();
  link->ends[0].node = from;
  link->ends[0].executor = &from_executor;
  link->ends[1].node = listener.node();
  link->ends[1].executor = &listener.executor();
  links_[link->number] = link;
  return link;
}

// ---- one process's access

Task<Result<std::unique_ptr<Connection>>> SimNetwork::connect(const std::string& address, uint64_t deadline_ns) {
  return connect_to(address, deadline_ns);
}

Task<Result<std::unique_ptr<Connection>>> SimNetwork::connect_to(std::string address, uint64_t deadline_ns) {
  constexpr uint64_t kRetryNs = 200'000'000;  // of a lost handshake
  for (;;) {
    const auto found = fabric_.listeners_.find(address);
    const NodeId there = found == fabric_.listeners_.end() ? node_ : found->second->node();
    const uint64_t way_ns = fabric_.delay_ns(node_, there) * 2;
    if (executor_.now_ns() + way_ns >= deadline_ns) {
      co_await executor_.sleep_until(deadline_ns);
      co_return fail(ErrorCode::kTimeout, "connect", address);
    }
    co_await executor_.sleep_for(way_ns);
    const auto now_found = fabric_.listeners_.find(address);
    if (now_found == fabric_.listeners_.end()) co_return fail(ErrorCode::kUnavailable, "connect", address);
    SimListener& listener = *now_found->second;
    if (!fabric_.blocked(node_, listener.node()) && !fabric_.blocked(listener.node(), node_)) {
      std::shared_ptr<SimLink> link = fabric_.make_link(node_, executor_, listener);
      listener.offer(link);
      std::unique_ptr<Connection> connection = std::make_unique<SimConnection>(std::move(link), 0);
      co_return connection;
    }
    co_await executor_.sleep_until(std::min(deadline_ns, executor_.now_ns() + kRetryNs));
  }
}

Result<std::unique_ptr<Listener>> SimNetwork::listen(const std::string& address) {
  if (fabric_.listeners_.contains(address)) return fail(ErrorCode::kBusy, "listen", address);
  return std::make_unique<SimListener>(fabric_, node_, executor_, address);
}

}  // namespace foreshard::runtime
