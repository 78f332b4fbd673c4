#include "index/rocks_index.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include "base/log.h"

namespace foreshard::index {
namespace {

using runtime::Task;

Error error_of(const rocksdb::Status& status, const char* context) {
  ErrorCode code = ErrorCode::kIo;
  if (status.IsCorruption()) code = ErrorCode::kCorrupt;
  if (status.IsNoSpace()) code = ErrorCode::kNoSpace;
  if (status.IsShutdownInProgress() || status.IsAborted()) code = ErrorCode::kCancelled;
  return Error{code, context, 0, status.ToString()};
}

// Something to be done on a thread of ours, held by the coroutine that waits and by the thread.
struct Request {
  virtual ~Request() = default;
  std::coroutine_handle<> waiter;  // under the thread's mutex; null once nobody waits
};

// A thread that takes all that is queued at once and hands it to `serve`.
class RequestThread {
 public:
  using Serve = std::function<void(std::vector<std::shared_ptr<Request>>&)>;
  RequestThread(runtime::Executor& executor, Serve serve)
      : executor_(executor), serve_(std::move(serve)), thread_([this] { run(); }) {}
  ~RequestThread() { stop(); }

  // Drops what still waits (nobody resumes it) and ends the thread.
  void stop() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      queue_.clear();
    }
    wake_.notify_one();
    thread_.join();
  }

  // co_await ask(request): resumed once it has been served.
  class Awaiter {
   public:
    Awaiter(RequestThread& thread, std::shared_ptr<Request> request) : thread_(thread), request_(std::move(request)) {}
    ~Awaiter() {
      if (!asked_ || served_) return;
      const std::lock_guard lock(thread_.mutex_);
      request_->waiter = nullptr;
    }
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      request_->waiter = h;
      asked_ = true;
      thread_.push(request_);
    }
    void await_resume() { served_ = true; }

   private:
    RequestThread& thread_;
    std::shared_ptr<Request> request_;
    bool asked_ = false;
    bool served_ = false;
  };
  Awaiter ask(std::shared_ptr<Request> request) { return Awaiter(*this, std::move(request)); }

 private:
  void push(std::shared_ptr<Request> request) {
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      wake = queue_.empty();
      queue_.push_back(std::move(request));
    }
    if (wake) wake_.notify_one();
  }
  void run() {
    std::vector<std::shared_ptr<Request>> taken;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        taken.swap(queue_);
      }
      serve_(taken);
      {
        const std::lock_guard lock(mutex_);
        for (const auto& request : taken)
          if (request->waiter) executor_.post_from_thread(std::exchange(request->waiter, nullptr));
      }
      taken.clear();
    }
  }

  runtime::Executor& executor_;
  Serve serve_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Request>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

struct WriteRequest : Request {
  Batch batch;
  bool sync = false;
  bool close = false;
  Result<uint64_t> answer{0};
};

struct ReadRequest : Request {
  bool scan = false;
  bool backward = false;
  std::string begin, end;
  size_t limit = 0;
  std::vector<KeyValue> found;
  rocksdb::Status status;
};

// The blocking half: what runs on the two threads.
class RocksDatabase {
 public:
  rocksdb::Status open(const std::string& path, const RocksOptions& settings);
  uint64_t opened_sequence() const { return opened_sequence_; }
  void serve_writes(std::vector<std::shared_ptr<Request>>& requests);
  void serve_reads(std::vector<std::shared_ptr<Request>>& requests);

 private:
  rocksdb::Status write_together(const std::vector<WriteRequest*>& group, bool sync);
  rocksdb::Status close();
  void scan(ReadRequest& request);

  std::unique_ptr<rocksdb::DB> database_;
  uint64_t opened_sequence_ = 0;
  bool failed_ = false;  // of the writing thread
  bool closed_ = false;
};

// What RocksDB has to tell goes to our log. Its own log is a file beside its data: Debian's build ends the whole
// process with an assertion when it writes a line to that file on a disk that has failed before.
class LogOfRocks : public rocksdb::Logger {
 public:
  explicit LogOfRocks(std::string path) : rocksdb::Logger(rocksdb::WARN_LEVEL), path_(std::move(path)) {}
  using rocksdb::Logger::Logv;
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::HEADER_LEVEL) return;
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    if (level >= rocksdb::ERROR_LEVEL) {
      LOG_WARN("index {}: {}", path_, line);
    } else {
      LOG_DEBUG("index {}: {}", path_, line);
    }
  }
  void Logv(const char* format, va_list arguments) override { Logv(rocksdb::INFO_LEVEL, format, arguments); }

 private:
  const std::string path_;
};

rocksdb::Options rocks_options(const RocksOptions& settings, const std::string& path) {
  rocksdb::Options options;
  options.info_log = std::make_shared<LogOfRocks>(path);
  options.create_if_missing = true;
  // A log that is missing or shorter than what was synced is an error at open, not silence (R-INDEX). The
  // torn end of what was never synced is dropped; the chunk store compares the sequence with its superblock.
  options.track_and_verify_wals_in_manifest = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.paranoid_checks = true;
  options.write_buffer_size = settings.write_buffer_bytes;
  options.max_write_buffer_number = kWriteBuffersMax;
  options.max_total_wal_size = settings.wal_bytes_max;
  options.max_open_files = static_cast<int>(settings.open_files_max);
  options.max_background_jobs = 2;
  options.compression = rocksdb::kNoCompression;  // checksums do not compress
  options.stats_dump_period_sec = 0;
  options.max_manifest_file_size = 16u << 20;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(settings.block_cache_bytes);
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

rocksdb::Status RocksDatabase::open(const std::string& path, const RocksOptions& settings) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return rocksdb::Status::IOError(path, error.message());
  rocksdb::DB* database = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(rocks_options(settings, path), path, &database);
  database_.reset(database);
  if (status.ok()) opened_sequence_ = database_->GetLatestSequenceNumber();
  return status;
}

rocksdb::Status RocksDatabase::write_together(const std::vector<WriteRequest*>& group, bool sync) {
  rocksdb::WriteBatch joined;
  for (const WriteRequest* request : group) {
    for (const Change& change : request->batch.changes()) {
      rocksdb::Status status;
      switch (change.kind) {
        case Change::Kind::kPut: status = joined.Put(change.key, change.value); break;
        case Change::Kind::kErase: status = joined.Delete(change.key); break;
        case Change::Kind::kEraseRange:
          if (change.key < change.value) status = joined.DeleteRange(change.key, change.value);
          break;
      }
      if (!status.ok()) return status;
    }
  }
  if (joined.Count() == 0) return sync ? database_->FlushWAL(true) : rocksdb::Status::OK();
  rocksdb::WriteOptions options;
  options.sync = sync;
  return database_->Write(options, &joined);
}

void RocksDatabase::serve_writes(std::vector<std::shared_ptr<Request>>& requests) {
  constexpr size_t kGroupBytesMax = 4u << 20;
  size_t next = 0;
  while (next < requests.size()) {
    std::vector<WriteRequest*> group;
    bool sync = false;
    bool close_now = false;
    size_t bytes = 0;
    while (next < requests.size() && !close_now && bytes < kGroupBytesMax) {
      auto* request = static_cast<WriteRequest*>(requests[next++].get());
      group.push_back(request);
      sync |= request->sync;
      close_now = request->close;
      for (const Change& change : request->batch.changes()) bytes += change.key.size() + change.value.size() + 16;
    }
    rocksdb::Status status;
    if (closed_) {
      status = rocksdb::Status::Aborted("closed");
    } else if (failed_) {
      status = rocksdb::Status::IOError("an earlier write failed");
    } else {
      status = write_together(group, sync);
      if (close_now && status.ok()) status = close();
      failed_ = !status.ok();
    }
    for (WriteRequest* request : group) {
      if (!status.ok()) {
        request->answer = fail(error_of(status, "index write"));
      } else if (!closed_) {
        request->answer = database_->GetLatestSequenceNumber();
      }
    }
  }
}

rocksdb::Status RocksDatabase::close() {
  closed_ = true;
  return database_->Close();
}

void RocksDatabase::serve_reads(std::vector<std::shared_ptr<Request>>& requests) {
  for (const auto& held : requests) {
    auto& request = static_cast<ReadRequest&>(*held);
    if (request.scan) {
      scan(request);
      continue;
    }
    std::string value;
    request.status = database_->Get(rocksdb::ReadOptions(), request.begin, &value);
    if (request.status.ok()) request.found.push_back({request.begin, std::move(value)});
    if (request.status.IsNotFound()) request.status = rocksdb::Status::OK();
  }
}

void RocksDatabase::scan(ReadRequest& request) {
  if (request.limit == 0 || (!request.end.empty() && request.end <= request.begin)) return;
  rocksdb::ReadOptions options;
  const rocksdb::Slice lower(request.begin);
  const rocksdb::Slice upper(request.end);
  options.iterate_lower_bound = &lower;
  if (!request.end.empty()) options.iterate_upper_bound = &upper;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> iterator(database_->NewIterator(options));
  if (request.backward) {
    iterator->SeekToLast();
  } else {
    iterator->Seek(lower);
  }
  while (iterator->Valid() && request.found.size() < request.limit) {
    request.found.push_back({iterator->key().ToString(), iterator->value().ToString()});
    if (request.backward) {
      iterator->Prev();
    } else {
      iterator->Next();
    }
  }
  request.status = iterator->status();
}

class RocksIndex : public Index {
 public:
  explicit RocksIndex(runtime::Executor& executor)
      : writer_(executor, [this](auto& requests) { database_.serve_writes(requests); }),
        reader_(executor, [this](auto& requests) { serve_reader(requests); }) {}

  Task<Result<void>> open(std::string path, RocksOptions settings) {
    auto request = std::make_shared<OpenRequest>();
    request->path = std::move(path);
    request->settings = settings;
    opening_ = request.get();
    co_await reader_.ask(request);
    opening_ = nullptr;
    if (!request->status.ok()) co_return fail(error_of(request->status, "index open"));
    co_return Result<void>();
  }

  Task<Result<std::optional<std::string>>> get(std::string key) override {
    if (closed_) co_return fail(ErrorCode::kCancelled, "index get");
    auto request = std::make_shared<ReadRequest>();
    request->begin = std::move(key);
    co_await reader_.ask(request);
    if (!request->status.ok()) co_return fail(error_of(request->status, "index get"));
    if (request->found.empty()) co_return std::optional<std::string>();
    co_return std::optional<std::string>(std::move(request->found[0].value));
  }

  Task<Result<std::vector<KeyValue>>> scan(std::string begin, std::string end, size_t limit, bool backward) override {
    if (closed_) co_return fail(ErrorCode::kCancelled, "index scan");
    auto request = std::make_shared<ReadRequest>();
    request->scan = true;
    request->backward = backward;
    request->begin = std::move(begin);
    request->end = std::move(end);
    request->limit = limit;
    co_await reader_.ask(request);
    if (!request->status.ok()) co_return fail(error_of(request->status, "index scan"));
    co_return std::move(request->found);
  }

  Task<Result<uint64_t>> write(Batch batch, bool sync) override {
    if (closed_) co_return fail(ErrorCode::kCancelled, "index write");
    auto request = std::make_shared<WriteRequest>();
    request->batch = std::move(batch);
    request->sync = sync;
    co_await writer_.ask(request);
    co_return std::move(request->answer);
  }

  Task<Result<uint64_t>> sync() override {
    Batch nothing;
    co_return co_await write(std::move(nothing), true);
  }

  uint64_t opened_sequence() const override { return database_.opened_sequence(); }

  // The caller has ended its reads.
  Task<Result<void>> close() override {
    if (closed_) co_return Result<void>();
    closed_ = true;
    reader_.stop();
    auto request = std::make_shared<WriteRequest>();
    request->sync = true;
    request->close = true;
    co_await writer_.ask(request);
    if (!request->answer) co_return fail(request->answer.error());
    co_return Result<void>();
  }

 private:
  struct OpenRequest : Request {
    std::string path;
    RocksOptions settings;
    rocksdb::Status status;
  };
  void serve_reader(std::vector<std::shared_ptr<Request>>& requests) {
    if (opening_ != nullptr) {
      opening_->status = database_.open(opening_->path, opening_->settings);
    } else {
      database_.serve_reads(requests);
    }
  }

  RocksDatabase database_;
  OpenRequest* opening_ = nullptr;  // set before the threads are asked anything, cleared after the answer
  bool closed_ = false;
  RequestThread writer_;
  RequestThread reader_;
};

Task<Result<std::unique_ptr<Index>>> open_rocks_index(runtime::Runtime& runtime, std::string path,
                                                      RocksOptions options) {
  if (path.empty()) co_return fail(ErrorCode::kInvalid, "index open: no folder of the host");
  auto index = std::make_unique<RocksIndex>(runtime.executor());
  CO_TRY_VOID(co_await index->open(std::move(path), options));
  co_return std::unique_ptr<Index>(std::move(index));
}

}  // namespace

OpenIndex rocks_index_opener(RocksOptions options) {
  return [options](runtime::Runtime& runtime, runtime::Disk& disk, std::string folder) {
    const std::string host = disk.host_path();
    return open_rocks_index(runtime, host.empty() ? host : host + "/" + folder, options);
  };
}

}  // namespace foreshard::index
