#include "runtime/reactor.h"

#include <liburing.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/assert.h"

namespace foreshard::runtime {

namespace {

constexpr uint64_t kSpinStartNs = 5'000;
constexpr uint64_t kGatherFrom = 12;     // requests that end soon, under way
constexpr unsigned kGather = 4;          // of them are waited for,
constexpr uint64_t kGatherNs = 60'000;   // for so long
constexpr size_t kPolledMax = 2;  // more requests than that are not tried while spinning, but submitted
constexpr uint32_t kShortSleepsWantedMax = 512;
constexpr uint64_t kSleepNsMax = 10'000'000'000;

bool has_several_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1;
}

}  // namespace

KernelRequest::~KernelRequest() { ASSERT(!pending_); }

bool KernelCall::await_suspend(std::coroutine_handle<> h) {
  if (!reactor_.open()) {
    result_ = -ECANCELED;
    return false;
  }
  waiter_ = h;
  fill(reactor_.prepare(*this));
  return true;
}

// The eventfd that wakes a sleeping reactor, and the read that is always under way on it.
class Reactor::Doorbell final : public KernelRequest {
 public:
  explicit Doorbell(Reactor& reactor) : reactor_(reactor), fd_(eventfd(0, EFD_CLOEXEC)) {}
  ~Doorbell() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool valid() const { return fd_ >= 0; }
  void ring() {
    const uint64_t one = 1;
    // It cannot fail but by overflow, and then it is readable anyway.
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
  }
  void listen() { io_uring_prep_read(reactor_.prepare(*this), fd_, &count_, sizeof(count_), 0); }

 private:
  void finished(int32_t) override {
    if (reactor_.open()) listen();
  }
  Reactor& reactor_;
  int fd_;
  uint64_t count_ = 0;
};

// ---- life

Reactor::Reactor(ReactorOptions options) : options_(options), ring_(std::make_unique<io_uring>()) {
  if (!has_several_cpus()) options_.spin_ns_max = 0;
  ring_->ring_fd = -1;
}

Result<std::unique_ptr<Reactor>> Reactor::create(ReactorOptions options) {
  std::unique_ptr<Reactor> reactor(new Reactor(options));
  TRY_VOID(reactor->open_ring());
  return reactor;
}

Result<void> Reactor::open_ring() {
  io_uring_params parameters = {};
  // Completions are worked off when this thread asks for them, and a flag in shared memory tells when to ask.
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                     IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  parameters.cq_entries = options_.requests_max_per_submit * 8;
  const int status = io_uring_queue_init_params(options_.requests_max_per_submit, ring_.get(), &parameters);
  if (status < 0) {
    ring_->ring_fd = -1;
    return fail(error_from_errno(-status, "io_uring (Linux 6.1 or later is needed)"));
  }
  io_uring_register_ring_fd(ring_.get());  // Saves a little per call; works without.
  doorbell_ = std::make_unique<Doorbell>(*this);
  if (!doorbell_->valid()) return fail(error_from_errno(errno, "eventfd"));
  doorbell_->listen();
  return {};
}

void Reactor::close() {
  closing_ = true;
  if (ring_->ring_fd >= 0) {
    for (int i = 0; in_flight_ > 0; ++i) {
      // Repeated now and then, since a request on its way between two states can be missed.
      io_uring_sqe* sqe = i % 16 == 0 ? io_uring_get_sqe(ring_.get()) : nullptr;
      if (sqe != nullptr) {
        io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
        io_uring_sqe_set_data64(sqe, 0);
      }
      __kernel_timespec timeout = {.tv_sec = 0, .tv_nsec = 1'000'000};
      io_uring_cqe* cqe = nullptr;
      io_uring_submit_and_wait_timeout(ring_.get(), &cqe, 1, &timeout, nullptr);
      reap();
      dispatch();
    }
  }
  destroy_tasks();
}

Reactor::~Reactor() {
  close();
  if (ring_->ring_fd >= 0) io_uring_queue_exit(ring_.get());
}

uint64_t Reactor::now_ns() const {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// ---- requests

io_uring_sqe* Reactor::prepare(KernelRequest& request) {
  ASSERT(!request.pending_ && !closing_);
  io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
  while (sqe == nullptr) {
    // The submission ring is full. When the kernel refuses more, completions must be taken off first.
    ++counters_.kernel_enters;
    if (io_uring_submit(ring_.get()) < 0) {
      io_uring_get_events(ring_.get());
      reap();
    }
    sqe = io_uring_get_sqe(ring_.get());
  }
  request.pending_ = true;
  request.withdrawn_ = false;
  ++in_flight_;
  if (request.ends_soon_) ++ending_soon_;
  io_uring_sqe_set_data64(sqe, reinterpret_cast<uint64_t>(&request));
  return sqe;
}

void Reactor::cancel(KernelRequest& request) {
  if (!request.pending_ || closing_) return;
  io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
  while (sqe == nullptr) {
    if (io_uring_submit(ring_.get()) < 0) {
      io_uring_get_events(ring_.get());
      reap();
    }
    sqe = io_uring_get_sqe(ring_.get());
  }
  io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(&request), 0);
  io_uring_sqe_set_data64(sqe, 0);
}

void Reactor::withdraw(KernelRequest& request) {
  if (!request.pending_) return;
  request.withdrawn_ = true;
  cancel(request);
  while (request.pending_) {
    ++counters_.kernel_enters;
    io_uring_submit_and_wait(ring_.get(), 1);
    reap();
    dispatch();
  }
}

void Reactor::reap() {
  io_uring_cqe* cqe;
  unsigned head;
  unsigned count = 0;
  io_uring_for_each_cqe(ring_.get(), head, cqe) {
    reaped_.push_back({cqe->user_data, cqe->res});
    ++count;
  }
  io_uring_cq_advance(ring_.get(), count);
}

void Reactor::dispatch() {
  // By index: finished() may prepare requests, and that may reap more.
  for (size_t i = 0; i < reaped_.size(); ++i) {
    const Reaped reaped = reaped_[i];
    if (reaped.user_data == 0) continue;
    KernelRequest* request = reinterpret_cast<KernelRequest*>(reaped.user_data);
    ASSERT(request->pending_ && in_flight_ > 0);
    ++counters_.completions;
    --in_flight_;
    if (request->ends_soon_) --ending_soon_;
    request->pending_ = false;
    if (!request->withdrawn_) request->finished(reaped.result);
  }
  reaped_.clear();
}

void Reactor::wait_for(PolledRequest& request) {
  ASSERT(!request.pending_ && !request.waiting_ && !closing_);
  request.waiting_ = true;
  polled_.push_back(&request);
}

void Reactor::withdraw(PolledRequest& request) {
  if (!request.waiting_) return withdraw(static_cast<KernelRequest&>(request));
  request.waiting_ = false;
  std::erase(polled_, &request);
}

// True: one of them has ended.
bool Reactor::try_polled() {
  const auto ended = [](PolledRequest* request) {
    if (!request->try_now()) return false;
    request->waiting_ = false;
    return true;
  };
  return std::erase_if(polled_, ended) > 0;
}

void Reactor::submit_polled() {
  for (PolledRequest* request : polled_) {
    request->waiting_ = false;
    request->submit();
  }
  polled_.clear();
}

// ---- the loop

void Reactor::run() {
  stopping_ = false;
  while (!stopping_) turn();
}

void Reactor::turn() {
  ++counters_.turns;
  run_ready_bounded();
  if (stopping_) return;
  if (next_deadline_ns() != UINT64_MAX) run_timers(now_ns());
  if (has_posted_.load(std::memory_order_acquire)) take_posted();
  if (has_ready()) {
    submit_polled();
    submit_and_poll();
  } else {
    wait_for_events();
  }
  reap();
  dispatch();
}

void Reactor::run_ready_bounded() {
  // What becomes ready meanwhile waits for the next turn.
  const size_t count = std::min(ready_count(), kReadyPerTurn);
  for (size_t i = 0; i < count && !stopping_; ++i) {
    inline_left_ = kInlinePerResume;
    run_ready();
  }
}

bool Reactor::something_happened() const {
  if (io_uring_cq_ready(ring_.get()) > 0) return true;
  if ((IO_URING_READ_ONCE(*ring_->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0) return true;
  return has_posted_.load(std::memory_order_acquire);
}

void Reactor::submit_and_poll() {
  const bool asked = (IO_URING_READ_ONCE(*ring_->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  if (io_uring_sq_ready(ring_.get()) == 0 && !asked) return;
  ++counters_.kernel_enters;
  io_uring_submit_and_get_events(ring_.get());
}

void Reactor::wait_for_events() {
  const uint64_t start_ns = now_ns();
  const uint64_t deadline_ns = next_deadline_ns();
  if (deadline_ns <= start_ns) {
    submit_polled();
    submit_and_poll();
    return;
  }
  uint64_t spin_ns = spin_ns_;
  if (spin_ns > 0) {
    if (polled_.size() > kPolledMax) submit_polled();
    if (io_uring_sq_ready(ring_.get()) > 0) submit_and_poll();
    if (spin(std::min(deadline_ns, start_ns + spin_ns))) {
      submit_and_poll();
      if (has_ready() || has_posted_.load(std::memory_order_acquire) || io_uring_cq_ready(ring_.get()) > 0) {
        adapt_spin(true, true, 0);
        return;
      }
      // The kernel's flag may stay up when its work is done already (the one sets it while the other takes the work).
      // Who believed it would go round for ever and give nothing that waits to the kernel; a sleep sees clearly.
      spin_ns = 0;
    } else if (deadline_ns <= start_ns + spin_ns) {
      // Until a timer is due: that says nothing of what else is awaited.
      submit_polled();
      submit_and_poll();
      return;
    }
  }
  submit_polled();
  sleeping_.store(true);
  if (has_posted_.load()) {
    sleeping_.store(false);
    submit_and_poll();
    return;
  }
  const uint64_t sleep_start_ns = spin_ns > 0 ? now_ns() : start_ns;
  uint64_t sleep_ns = std::min(deadline_ns - std::min(deadline_ns, sleep_start_ns), kSleepNsMax);
  // Of many that end soon some are waited for together: each wake costs a switch here and at those who are answered.
  const bool gather = ending_soon_ >= kGatherFrom && !gather_in_vain_;
  if (gather) sleep_ns = std::min(sleep_ns, kGatherNs);
  __kernel_timespec timeout = {.tv_sec = static_cast<int64_t>(sleep_ns / 1'000'000'000),
                               .tv_nsec = static_cast<int64_t>(sleep_ns % 1'000'000'000)};
  io_uring_cqe* cqe = nullptr;
  ++counters_.kernel_enters;
  ++counters_.sleeps;
  io_uring_submit_and_wait_timeout(ring_.get(), &cqe, gather ? kGather : 1, &timeout, nullptr);
  sleeping_.store(false);
  gather_in_vain_ = gather && io_uring_cq_ready(ring_.get()) < kGather;
  // How long a sleep was that several were waited for says nothing of what spinning would have spared.
  if (gather && spin_ns == 0) return;
  if (options_.spin_ns_max > 0) adapt_spin(spin_ns > 0, false, now_ns() - sleep_start_ns);
}

bool Reactor::spin(uint64_t until_ns) {
  ++counters_.spins;
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (something_happened()) return true;
      __builtin_ia32_pause();
    }
    if (try_polled()) return true;
    if (now_ns() >= until_ns) return false;
  }
}

// Spinning is tried, with the whole cap, after sleeps that it would have spared; every spin in vain halves it. Where
// what was awaited came soon after such a spin was given up, the spinning itself was what kept it from running, as on
// a shared CPU: then it ends, and twice as many short sleeps are asked for before the next attempt.
void Reactor::adapt_spin(bool spun, bool spin_helped, uint64_t slept_ns) {
  if (spin_helped) {
    ++counters_.spins_useful;
    short_sleeps_wanted_ = std::max<uint32_t>(1, short_sleeps_wanted_ / 2);
    return;
  }
  if (spun) {
    const bool was_in_the_way = slept_ns < spin_ns_;
    spin_ns_ = was_in_the_way || spin_ns_ / 2 < kSpinStartNs ? 0 : spin_ns_ / 2;
    if (was_in_the_way) short_sleeps_wanted_ = std::min(short_sleeps_wanted_ * 2, kShortSleepsWantedMax);
    short_sleeps_ = 0;
    return;
  }
  if (slept_ns >= options_.spin_ns_max) return;
  if (++short_sleeps_ < short_sleeps_wanted_) return;
  short_sleeps_ = 0;
  spin_ns_ = options_.spin_ns_max;
}

// ---- posts of other threads

void Reactor::post_from_thread(std::coroutine_handle<> h) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(h);
  }
  has_posted_.store(true);
  if (sleeping_.exchange(false)) doorbell_->ring();
}

void Reactor::take_posted() {
  has_posted_.store(false);
  {
    const std::lock_guard lock(posted_mutex_);
    posted_taken_.swap(posted_);
  }
  for (const std::coroutine_handle<> h : posted_taken_) post(h);
  posted_taken_.clear();
}

}  // namespace foreshard::runtime
