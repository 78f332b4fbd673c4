// Join: runs several tasks of one request at once and waits for all of them; the first error wins. The tasks are
// roots of the executor; a request that is destroyed (its process being killed) takes none of them along, since
// all roots die together then.
#pragma once

#include <utility>

#include "base/result.h"
#include "runtime/sync.h"

namespace foreshard::volume {

class Join {
 public:
  explicit Join(runtime::Executor& executor) : executor_(executor), all_done_(executor) {}
  void add(runtime::Task<Result<void>> task) {
    ++running_;
    executor_.spawn(run(*this, std::move(task)));
  }
  runtime::Task<Result<void>> wait() {
    while (running_ > 0) co_await all_done_.wait();
    co_return std::move(first_);
  }

 private:
  static runtime::Task<void> run(Join& join, runtime::Task<Result<void>> task) {
    Result<void> result = co_await task;
    if (!result && join.first_) join.first_ = std::move(result);
    if (--join.running_ == 0) join.all_done_.wake_all();
  }
  runtime::Executor& executor_;
  runtime::WaitQueue all_done_;
  uint64_t running_ = 0;
  Result<void> first_;
};

}  // namespace foreshard::volume
