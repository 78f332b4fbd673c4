#include "store/fail_stop.h"

#include "base/log.h"

namespace foreshard::store {

runtime::Task<Error> FailStop::raise(Error cause) {
  if (failed_) co_return error();
  failed_ = true;
  on_failure_();
  LOG_WARN("chunk store {:016x} closes, unflushed writes may be lost: {}", superblock_.written().uuid, cause.message());
  ++superblock_.next().loss;
  superblock_.next().clean = 0;
  const Result<void> written = co_await superblock_.write();
  if (!written) LOG_WARN("chunk store: loss could not be noted: {}", written.error().message());
  cause.code = ErrorCode::kLossy;
  co_return cause;
}

}  // namespace foreshard::store
