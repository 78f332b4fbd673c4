// AccessRecorder: collects a driver's accesses for somebody who takes them batch by batch. Bounded: when the taker is
// slow, the newest are counted as dropped. It stops when destroyed.
#pragma once

#include <utility>
#include <vector>

#include "runtime/sync.h"
#include "volume/driver.h"

namespace foreshard::app {

class AccessRecorder {
 public:
  struct Batch {
    std::vector<volume::Access> accesses;
    uint64_t dropped = 0;
  };

  AccessRecorder(runtime::Executor& executor, volume::Driver& driver, size_t accesses_max)
      : driver_(driver), accesses_max_(accesses_max), arrived_(executor) {
    driver_.record([this](const volume::Access& access) { add(access); });
  }
  AccessRecorder(const AccessRecorder&) = delete;
  AccessRecorder& operator=(const AccessRecorder&) = delete;
  ~AccessRecorder() { driver_.record({}); }

  // What has come since the last take; waits for something until the deadline.
  runtime::Task<Batch> take(uint64_t deadline_ns) {
    if (batch_.accesses.empty()) co_await arrived_.wait_until(deadline_ns);
    co_return std::exchange(batch_, Batch());
  }

 private:
  void add(const volume::Access& access) {
    if (batch_.accesses.size() >= accesses_max_) {
      ++batch_.dropped;
      return;
    }
    batch_.accesses.push_back(access);
    if (!arrived_.empty()) arrived_.wake_all();
  }

  volume::Driver& driver_;
  size_t accesses_max_;
  Batch batch_;
  runtime::WaitQueue arrived_;
};

}  // namespace foreshard::app
