// Session: one client's connection, from the greeting to the last reply. One coroutine receives: it parses all
// that one read brought and starts each request inline; a request that its device answers without suspending
// has its reply gathered at once. Replies leave together, before the receiver sleeps or when enough are there.
//
// Owner: the server's root task for the connection. Ends when the client disconnects, vanishes or breaks the
// protocol, or after drain(); requests that have begun run to their end first, and their buffers live as long.
// Invariant: requests in flight, the bytes they hold and the replies queued stay within SessionLimits, so a
// client that does not read its replies only stops itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/buffer.h"
#include "front/nbd/byte_pool.h"
#include "front/nbd/negotiation.h"
#include "front/nbd/reply_writer.h"
#include "front/nbd/request.h"
#include "front/nbd/running.h"
#include "runtime/io.h"
#include "runtime/sync.h"
#include "volume/block_device.h"

namespace foreshard::front::nbd {

class Session;

// A volume as clients reach it, and what they did with it.
struct Export {
  Offer offer;
  volume::BlockDevice* device = nullptr;
  NbdExportStats stats;
  std::vector<Session*> sessions;  // in the order in which they came
  bool removing = false;
};

struct SessionLimits {
  uint32_t requests_in_flight_max = 256;
  uint64_t bytes_in_flight_max = 64u << 20;
  uint64_t bytes_reserved = 256u << 10;  // of them, what needs no share of the pool
  uint64_t handshake_ns = 10'000'000'000;
  uint64_t linger_ns = 10'000'000'000;   // for the last replies, once the client's requests are done
  uint64_t pressure_ns = 5'000'000'000;  // how long memory may be held by a stalled client while others wait
  uint32_t receive_bytes = 256u << 10;
};

// What a session needs of the server.
class SessionHost : public Catalogue {
 public:
  virtual BytePool& pool() = 0;
  // The client has chosen; nullptr when the export is gone or full meanwhile.
  virtual Export* enter(Session& session, const std::string& name) = 0;
  virtual void leave(Session& session, Export& exported) = 0;
  // Somebody has waited for the pool's memory for long: ends the stalled client that holds the most.
  virtual void relieve() = 0;
};

class Session final : private ReplyWriter::Owner {
 public:
  Session(runtime::Executor& executor, runtime::Connection& connection, SessionHost& host,
          const SessionLimits& limits);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The whole conversation.
  runtime::Task<void> run();
  // What has begun ends and is answered, then the connection is closed.
  void drain();
  // The same, because another peer gets its place.
  void displace();
  bool displaced() const { return displaced_; }
  const std::string& peer_group() const { return peer_group_; }
  // When anything last came from the client.
  uint64_t heard_ns() const { return arrived_ns_; }
  // Closes the connection; requests that have begun still run to their end.
  void abort();

  // Bytes held of the pool by a client that has kept us waiting since before the given time; else 0.
  uint64_t stalled_bytes(uint64_t before_ns) const;
  uint64_t bytes_in_flight() const { return own_bytes_held_ + shared_bytes_held_; }
  RunningSet& running_set() { return running_; }

 private:
  // Closes the connection when it fires.
  class Deadline : public runtime::Timer {
   public:
    explicit Deadline(runtime::Connection& connection) : connection_(connection) {}

   private:
    void fire() override { connection_.shutdown(); }
    runtime::Connection& connection_;
  };
  // What the parser needs before it can go on.
  enum class Need : uint8_t { kBytes, kAdmission, kPayload, kEnd };

  // The receiver.
  runtime::Task<bool> negotiate();
  runtime::Task<void> receive();
  runtime::Task<bool> receive_payload();
  runtime::Task<bool> admit();
  runtime::Task<void> finish();
  Need parse();
  bool parse_header();
  bool try_admit();
  bool own_room() const;
  void begin();
  ByteSpan free_space();
  ConstByteSpan arrived() const { return receive_buffer_.subspan(parsed_end_, arrived_end_ - parsed_end_); }

  // Requests under way, each its own coroutine.
  Running run_read(Request request, Charge charge, uint64_t arrived_ns);
  Running run_write(Request request, Charge charge, uint64_t arrived_ns, Buffer payload);
  Running run_other(Request request, Charge charge, uint64_t arrived_ns);
  Running run_block_status(Request request, Charge charge, uint64_t arrived_ns);

  // Answers.
  void answer_done(const Request& request, const Charge& charge, uint64_t arrived_ns);
  void answer_data(const Request& request, const Charge& charge, uint64_t arrived_ns, Buffer data);
  void answer_status(const Request& request, const Charge& charge, uint64_t arrived_ns,
                     const std::vector<volume::Extent>& extents);
  void answer_error(const Request& request, const Charge& charge, uint64_t arrived_ns, WireError error,
                    std::string_view reason);
  void answer(const ReplyHeader& header, Buffer payload, const Charge& charge, const Sample& sample);

  // ReplyWriter::Owner.
  void replies_left(const ReplyBatch& batch, uint64_t left_ns) override;
  void settle();

  runtime::Executor& executor_;
  runtime::Connection& connection_;
  const std::string peer_group_;
  bool displaced_ = false;
  SessionHost& host_;
  const SessionLimits& limits_;
  Export* export_ = nullptr;
  volume::BlockDevice* device_ = nullptr;
  Agreement agreement_;

  Buffer receive_buffer_;
  size_t parsed_end_ = 0;
  size_t arrived_end_ = 0;
  uint64_t arrived_ns_ = 0;
  size_t read_bytes_ = 0;  // how much to ask for at once

  // The request being received.
  enum class Stage : uint8_t { kHeader, kAdmission, kSkip, kPayload };
  Stage stage_ = Stage::kHeader;
  Request request_;
  Charge charge_;
  Buffer payload_;
  uint32_t payload_received_ = 0;  // or skipped
  uint64_t payload_since_ns_ = 0;  // since when its rest is awaited; 0: it is not

  uint32_t in_flight_ = 0;  // admitted, reply not yet left
  uint32_t executing_ = 0;  // of them, those at the device
  uint64_t own_bytes_held_ = 0;
  uint64_t shared_bytes_held_ = 0;

  bool parsing_ = false;   // replies gather; the parser flushes
  bool draining_ = false;
  Deadline handshake_deadline_;
  Deadline linger_deadline_;
  runtime::WaitQueue progress_;  // a request ended, a batch left, or the session is to end

  ReplyWriter writer_;
  RunningSet running_;  // last: its coroutines use all of the above
};

}  // namespace foreshard::front::nbd
