#include "front/nbd/reply_writer.h"

namespace foreshard::front::nbd {

Running ReplyWriter::write_batches() {
  struct Rest {
    std::coroutine_handle<>& place;
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> h) { place = h; }
    void await_resume() {}
  };
  for (;;) {
    Rest rest(resting_);
    if (batches_[filling_].empty()) {
      co_await rest;
      continue;
    }
    ReplyBatch& leaving = batches_[filling_];
    filling_ ^= 1;
    const uint64_t now_ns = executor_.now_ns();
    leaving_since_ns_ = now_ns;
    if (!broken_) {
      const Result<void> written = co_await connection_.write(leaving.iovecs());
      if (!written) {
        broken_ = true;
        connection_.shutdown();
      }
    }
    leaving_since_ns_ = 0;
    owner_.replies_left(leaving, now_ns);
    leaving.clear();
  }
}

}  // namespace foreshard::front::nbd
