#include "runtime/real_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <liburing.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <vector>

#include "base/assert.h"
#include "runtime/iovec_cursor.h"

namespace foreshard::runtime {

namespace {

// A continued piece must start where O_DIRECT can: the smallest sector of any disk.
constexpr uint64_t kDirectAlignBytes = 512;
// The kernel's own bound is a page less than 2 GiB.
constexpr size_t kPartBytesMax = 1u << 30;

class RealFile;

// One read, write or sync under way. Kept by its file for reuse.
class FileRequest final : public KernelRequest {
 public:
  enum class Kind : uint8_t { kRead, kWrite, kSync };
  explicit FileRequest(RealFile& file) : KernelRequest(true), file_(file) {}
  void start(IoOp& op, Kind kind, uint64_t offset, std::span<const iovec> pieces);
  void withdraw();

 private:
  void submit();
  void finished(int32_t result) override;
  void end(int64_t result);

  RealFile& file_;
  IoOp* op_ = nullptr;
  Kind kind_ = Kind::kRead;
  uint64_t offset_ = 0;
  uint64_t done_ = 0;
  iovec read_into_ = {};
  IovecCursor rest_;
};

class RealFile final : public File {
 public:
  RealFile(Reactor& reactor, FileDescriptor fd) : reactor_(reactor), fd_(std::move(fd)) {}
  ~RealFile() override {
    for (FileRequest& request : requests_) request.withdraw();
  }

  bool start_read(IoOp& op, uint64_t offset, ByteSpan into) override {
    const iovec piece = {into.data(), into.size()};
    return start(op, FileRequest::Kind::kRead, offset, {&piece, 1});
  }
  bool start_write(IoOp& op, uint64_t offset, std::span<const iovec> from) override {
    return start(op, FileRequest::Kind::kWrite, offset, from);
  }
  bool start_sync(IoOp& op) override { return start(op, FileRequest::Kind::kSync, 0, {}); }

  Result<uint64_t> size() override {
    struct stat status;
    if (fstat(fd_.get(), &status) != 0) return fail(error_from_errno(errno, "fstat"));
    if (!S_ISBLK(status.st_mode)) return static_cast<uint64_t>(status.st_size);
    uint64_t bytes = 0;
    if (ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0) return fail(error_from_errno(errno, "BLKGETSIZE64"));
    return bytes;
  }

  Result<void> allocate(uint64_t size_bytes) override {
    if (fallocate(fd_.get(), 0, 0, static_cast<off_t>(size_bytes)) == 0) return {};
    if (errno != EOPNOTSUPP) return fail(error_from_errno(errno, "fallocate"));
    TRY(const uint64_t present, size());
    if (present >= size_bytes) return {};
    if (ftruncate(fd_.get(), static_cast<off_t>(size_bytes)) != 0) return fail(error_from_errno(errno, "ftruncate"));
    return {};
  }

  int fd() const { return fd_.get(); }
  void give_back(FileRequest* request) { free_.push_back(request); }
  Reactor& reactor() { return reactor_; }

 private:
  bool start(IoOp& op, FileRequest::Kind kind, uint64_t offset, std::span<const iovec> pieces) {
    if (!reactor_.open()) {
      op.result = -ECANCELED;
      return false;
    }
    if (free_.empty()) free_.push_back(&requests_.emplace_back(*this));
    FileRequest* request = free_.back();
    free_.pop_back();
    request->start(op, kind, offset, pieces);
    return true;
  }

  Reactor& reactor_;
  FileDescriptor fd_;
  std::deque<FileRequest> requests_;  // as many as were ever under way at once
  std::vector<FileRequest*> free_;
};

void FileRequest::start(IoOp& op, Kind kind, uint64_t offset, std::span<const iovec> pieces) {
  op_ = &op;
  op.owner = this;
  op.abandon = [](IoOp* abandoned) { static_cast<FileRequest*>(abandoned->owner)->withdraw(); };
  kind_ = kind;
  offset_ = offset;
  done_ = 0;
  if (kind == Kind::kRead) {
    read_into_ = pieces[0];
  } else {
    rest_.reset(pieces);
  }
  submit();
}

void FileRequest::submit() {
  io_uring_sqe* sqe = file_.reactor().prepare(*this);
  switch (kind_) {
    case Kind::kRead: {
      const size_t count = std::min<size_t>(read_into_.iov_len - done_, kPartBytesMax);
      io_uring_prep_read(sqe, file_.fd(), static_cast<std::byte*>(read_into_.iov_base) + done_,
                         static_cast<unsigned>(count), offset_ + done_);
      break;
    }
    case Kind::kWrite: {
      const std::span<iovec> batch = rest_.next();
      if (batch.size() == 1) {
        io_uring_prep_write(sqe, file_.fd(), batch[0].iov_base,
                            static_cast<unsigned>(std::min<size_t>(batch[0].iov_len, kPartBytesMax)), offset_ + done_);
        break;
      }
      io_uring_prep_writev(sqe, file_.fd(), batch.data(), static_cast<unsigned>(batch.size()), offset_ + done_);
      break;
    }
    case Kind::kSync:
      io_uring_prep_fsync(sqe, file_.fd(), IORING_FSYNC_DATASYNC);
      break;
  }
}

void FileRequest::finished(int32_t result) {
  if (result == -EINTR && kind_ != Kind::kSync && file_.reactor().open()) return submit();
  if (result < 0) return end(result);
  if (kind_ == Kind::kSync) return end(0);
  done_ += static_cast<uint64_t>(result);
  const bool more = kind_ == Kind::kRead ? done_ < read_into_.iov_len : rest_.advance(static_cast<size_t>(result));
  if (!more) return end(static_cast<int64_t>(done_));
  // Nothing more comes: the end of the file; a read up to an unaligned end cannot be continued by O_DIRECT.
  if (result == 0 || done_ % kDirectAlignBytes != 0) return end(static_cast<int64_t>(done_));
  if (!file_.reactor().open()) return end(-ECANCELED);
  submit();
}

void FileRequest::end(int64_t result) {
  IoOp* op = std::exchange(op_, nullptr);
  op->result = result;
  op->abandon = nullptr;
  file_.give_back(this);
  file_.reactor().post(op->waiter);
}

void FileRequest::withdraw() {
  if (op_ == nullptr) return;
  file_.reactor().withdraw(*this);
  IoOp* op = std::exchange(op_, nullptr);
  op->result = -ECANCELED;
  op->abandon = nullptr;
  file_.give_back(this);
}

}  // namespace

std::unique_ptr<File> make_real_file(Reactor& reactor, FileDescriptor fd) {
  return std::make_unique<RealFile>(reactor, std::move(fd));
}

}  // namespace foreshard::runtime
