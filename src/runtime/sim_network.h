// The simulated network: addresses, connections and the links between nodes. SimFabric is the wires and
// switches (owned by SimWorld); SimNetwork is one process's access to it.
//
// A connection is two ordered byte streams. Bytes arrive after a seeded delay, cut anywhere; connections do
// not wait for each other. A partition stalls what is under way; a stream that stalls for long is reset. When
// a process dies its peers see a reset after a delay.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/io.h"
#include "runtime/sim_executor.h"
#include "runtime/sim_timeline.h"
#include "runtime/sync.h"

namespace foreshard::runtime {

using NodeId = uint32_t;

struct SimNetworkKnobs {
  uint64_t delay_ns_min = 10'000, delay_ns_max = 60'000;
  uint64_t local_delay_ns_max = 3'000;  // within one node
  double spike_chance = 0;              // a segment that takes long
  uint64_t spike_ns_max = 300'000'000;
  double reset_chance = 0;                                            // per segment: the connection is reset
  double split_chance = 0.05;                                         // a segment arrives in two parts
  double short_read_chance = 0.1;                                     // a read gets less than has arrived
  uint64_t stall_ns_min = 500'000'000, stall_ns_max = 6'000'000'000;  // until a stalled stream is reset
  uint64_t window_bytes = 256u << 10;                                 // sent and not yet read
};

class SimFabric;
class SimListener;
struct SimLink;

// One end of a connection; state of the link, kept while either end exists.
struct SimEnd {
  struct Segment {
    uint64_t due_ns = 0;
    std::vector<std::byte> bytes;
    bool last = false;  // the sender closed in good order
  };
  NodeId node = 0;
  SimExecutor* executor = nullptr;  // null when the process is gone
  bool closed = false;              // by this side
  int error = 0;                    // minus an errno once the connection was reset
  bool ended = false;               // the other side closed and everything before has arrived
  std::vector<std::byte> received;
  size_t received_head = 0;
  IoOp* read_op = nullptr;
  ByteSpan read_into;
  IoOp* write_op = nullptr;
  std::span<const iovec> write_from;
  size_t write_part = 0, write_offset = 0;
  uint64_t write_total = 0;
  // On the way to the other end.
  std::deque<Segment> out;
  uint64_t out_bytes = 0;
  uint64_t last_due_ns = 0;
  bool delivery_planned = false;
  bool cut_off = false;           // a reset is under way and bytes were lost: nothing sent from now on arrives
  uint64_t stalled_since_ns = 0;  // 0: not stalled

  uint64_t unread() const { return received.size() - received_head; }
};

struct SimLink : std::enable_shared_from_this<SimLink> {
  explicit SimLink(SimFabric& f) : fabric(f) {}
  SimFabric& fabric;
  uint64_t number = 0;
  std::string address;
  SimEnd ends[2];
};

class SimFabric {
 public:
  explicit SimFabric(SimTimeline& timeline) : timeline_(timeline) {}
  SimFabric(const SimFabric&) = delete;
  SimFabric& operator=(const SimFabric&) = delete;

  SimNetworkKnobs& knobs() { return knobs_; }
  SimTimeline& timeline() { return timeline_; }

  // Bytes from one to the other stop. Both ways, or one way.
  void partition(NodeId a, NodeId b);
  void block(NodeId from, NodeId to);
  void heal(NodeId a, NodeId b);
  void heal_all();
  bool blocked(NodeId from, NodeId to) const { return blocked_.contains({from, to}); }
  // Added to every delay between two nodes, in each direction.
  void set_extra_delay(NodeId a, NodeId b, uint64_t delay_ns);
  // A host without power does not answer at all; one that only lost the process refuses connections.
  void set_powered(NodeId node, bool powered);
  // Resets a random connection between two nodes; false when there is none.
  bool reset_one(NodeId a, NodeId b);
  // The process of the node is gone, its tasks too: its listeners vanish, its peers will see a reset.
  void process_gone(NodeId node, bool power);

 private:
  friend class SimConnection;
  friend class SimListener;
  friend class SimNetwork;

  std::shared_ptr<SimLink> make_link(NodeId from, SimExecutor& from_executor, SimListener& listener);
  uint64_t delay_ns(NodeId from, NodeId to);
  void pump_write(SimLink& link, int side);
  void send(SimLink& link, int side, std::vector<std::byte> bytes, bool last);
  void plan_delivery(SimLink& link, int side);
  void deliver(SimLink& link, int side);
  void serve_read(SimLink& link, int side);
  void close(SimLink& link, int side);
  void reset(SimLink& link, int side, int error);
  void reset_later(const std::shared_ptr<SimLink>& link, int side, uint64_t delay_ns);
  void resume_stalled();
  std::vector<std::shared_ptr<SimLink>> live_links();

  SimTimeline& timeline_;
  SimNetworkKnobs knobs_;
  std::set<std::pair<NodeId, NodeId>> blocked_;
  std::map<std::pair<NodeId, NodeId>, uint64_t> extra_delay_ns_;
  std::set<NodeId> unpowered_;
  std::map<std::string, SimListener*> listeners_;
  std::map<uint64_t, std::weak_ptr<SimLink>> links_;
  uint64_t link_count_ = 0;
};

// Of one process, inside its SimRuntime.
class SimNetwork final : public Network {
 public:
  SimNetwork(SimFabric& fabric, NodeId node, SimExecutor& executor)
      : fabric_(fabric), node_(node), executor_(executor) {}
  Task<Result<std::unique_ptr<Connection>>> connect(const std::string& address, uint64_t deadline_ns) override;
  Result<std::unique_ptr<Listener>> listen(const std::string& address) override;

 private:
  Task<Result<std::unique_ptr<Connection>>> connect_to(std::string address, uint64_t deadline_ns);
  SimFabric& fabric_;
  const NodeId node_;
  SimExecutor& executor_;
};

}  // namespace foreshard::runtime
