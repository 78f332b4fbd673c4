// ReplyWriter: gathers replies and sends what has gathered in one write; the next ones gather meanwhile. One
// coroutine, which sleeps between batches and is resumed inline (flush_now) or after what is ready (flush_soon).
//
// Owner: the session. When a write fails it shuts the connection down and drops replies from then on; every reply
// is reported to the owner once it was sent or dropped. It may be destroyed at any time.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include "front/nbd/reply_batch.h"
#include "front/nbd/running.h"
#include "runtime/io.h"

namespace foreshard::front::nbd {

class ReplyWriter {
 public:
  class Owner {
   public:
    // These replies were sent, from left_ns on, or dropped.
    virtual void replies_left(const ReplyBatch& batch, uint64_t left_ns) = 0;

   protected:
    ~Owner() = default;
  };

  // At most replies_max replies are added and not yet reported.
  ReplyWriter(runtime::Executor& executor, runtime::Connection& connection, Owner& owner, uint32_t replies_max)
      : executor_(executor),
        connection_(connection),
        owner_(owner),
        batches_{ReplyBatch(replies_max), ReplyBatch(replies_max)} {}

  // Once, when the connection is free for replies.
  void start() { write_batches(); }
  void add(const ReplyHeader& header, Buffer payload, const Charge& charge, const Sample& sample) {
    batches_[filling_].add(header.span(), std::move(payload), charge, sample);
  }
  // Unless a batch is leaving: then the next one follows by itself.
  void flush_now() {
    if (!resting_ || batches_[filling_].empty()) return;
    std::exchange(resting_, nullptr).resume();
  }
  void flush_soon() {
    if (resting_) executor_.post(std::exchange(resting_, nullptr));
  }

  uint64_t gathered_bytes() const { return batches_[filling_].bytes(); }
  uint64_t queued_bytes() const { return batches_[0].bytes() + batches_[1].bytes(); }
  // Nothing is under way, nobody will resume it but flush_now and flush_soon.
  bool resting() const { return resting_ != nullptr; }
  bool broken() const { return broken_; }
  // Since when a batch has been leaving; 0: none is.
  uint64_t leaving_since_ns() const { return leaving_since_ns_; }
  RunningSet& running_set() { return running_; }

 private:
  Running write_batches();

  runtime::Executor& executor_;
  runtime::Connection& connection_;
  Owner& owner_;
  ReplyBatch batches_[2];
  uint32_t filling_ = 0;
  uint64_t leaving_since_ns_ = 0;
  bool broken_ = false;
  std::coroutine_handle<> resting_;
  RunningSet running_;  // last: its coroutine uses all of the above
};

}  // namespace foreshard::front::nbd
