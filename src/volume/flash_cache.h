// FlashCache: the second tier of the driver's read cache, in a file on a local SSD. Pages that leave memory for want
// of room are put here; a reader whose page memory lacks looks here before it asks a server.
//
// Log-structured: the file is a ring of segments of 1 MiB. Pages gather in the open segment, in memory; a full one is
// written in one piece over the oldest, whose pages go when it is opened (FIFO). Until it is written its pages are
// read from memory. Nobody waits for a write: while one is under way and the next segment is full, pages are dropped.
//
// What is in the file counts for this object's life alone: another driver may change the volume afterwards. Nothing is
// ever read that was not written by this object: the index is in memory, and every page is compared with its checksum,
// which covers its number, so that a misdirected write or foreign bytes are found. Whatever goes wrong with the file
// only makes pages absent; a failed write turns the cache off for good. A disk that hangs holds nobody up for longer
// than kPatienceNs: until the reads that were given up have ended, and kRestNs longer, nothing in the file is there.
// No more than kReadsMax of up to kRunPagesMax are asked of it at once, the others wait for their turn: where a disk
// has more under way than it takes, the kernel lets the thread that asks wait, and with it the whole driver, for as
// long as the disk hangs.
//
// Owner: the driver, which erases what it changes as it does in memory; one executor. Lifecycle: open(), close(); it
// must not be destroyed while a read() is under way. The file stays, and the next open() uses it again.
//
// Memory: memory_bytes(), which is 21 bytes for each page that the file has room for (0.5 %), and two segments.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "runtime/io.h"
#include "runtime/sync.h"
#include "volume/flash_index.h"

namespace foreshard::volume {

struct FlashStatistics {
  uint64_t hits = 0;                       // pages that were read from here
  uint64_t misses = 0;                     // of look_up()
  uint64_t put = 0;                        // pages taken in
  uint64_t dropped = 0;                    // not taken in because the file was not fast enough
  uint64_t skipped = 0;                    // not taken in because too much had been written lately
  uint64_t mismatches = 0;                 // pages that were read and did not have their checksum
  uint64_t read_errors = 0;                // reads of the file that failed
  uint64_t overdue = 0;                    // reads that were given up because the file took too long
  uint64_t under_way = 0;                  // reads that the file has not answered yet
  uint64_t written_bytes = 0;              // to the file
  uint64_t used_bytes = 0, bytes_max = 0;  // of pages; a maximum of 0: there is no cache file
  uint64_t memory_bytes = 0;
  bool failed = false;
  bool hangs = false;  // it is not asked at present
};

class FlashCache : public std::enable_shared_from_this<FlashCache> {
 public:
  static constexpr uint64_t kSegmentBytes = 1u << 20;
  static constexpr uint64_t kFileBytesMin = 8u << 20;
  static constexpr uint64_t kFileBytesMax = uint64_t{8} << 40;  // slots are numbered with 32 bits
  static constexpr uint64_t kWriteRateMin = kSegmentBytes;      // bytes a second
  static constexpr uint64_t kPatienceNs = 1'000'000'000;        // with a read
  static constexpr uint64_t kRestNs = 10'000'000'000;           // after a read that took longer
  static constexpr uint64_t kCloseWaitNs = 5'000'000'000;
  static constexpr uint32_t kReadsMax = 16;  // with a write of a segment less than the 32 of a SATA disk
  static constexpr uint32_t kRunPagesMax = 32;

  // Errors: open_flash_file's, and kInvalid for sizes.
  static runtime::Task<Result<std::shared_ptr<FlashCache>>> open(runtime::Runtime& runtime, std::string path,
                                                                 uint64_t file_bytes, uint64_t write_bytes_per_second);
  FlashCache(const FlashCache&) = delete;
  FlashCache& operator=(const FlashCache&) = delete;

  bool contains(uint64_t page) const { return given_up_ == 0 && index_.find(page) != FlashIndex::kNone; }
  // contains() for a reader: an absence is counted.
  bool look_up(uint64_t page);
  // A page that is there already is not written again. One that was not used again since it was read goes in only
  // while more than half of a second's worth of writing is free.
  void put(uint64_t page, ConstByteSpan data, bool used_again);
  // Pages [first, first + count) are about to change, or have changed.
  void erase(uint64_t first, uint64_t count) { index_.erase_range(first, count); }
  // How many leading pages of [first_page, first_page + into.size() / kPageBytes) came out whole, as they were put.
  // The caller sees to it that they do not change meanwhile.
  runtime::Task<uint64_t> read(uint64_t first_page, ByteSpan into);
  // Takes nothing in any more, and waits for the write under way, kCloseWaitNs at most.
  runtime::Task<void> close();

  FlashStatistics statistics() const;
  uint64_t memory_bytes() const;

 private:
  struct Segment {
    Buffer data;
    uint32_t number = FlashIndex::kNone;  // where it goes in the file
    uint32_t pages = 0;
  };
  // Pages in neighbouring slots, all in memory or all in the file, where kRunPagesMax at most are read at once.
  struct Run {
    uint64_t first_page;
    uint32_t first_slot;
    uint32_t pages;
    ByteSpan into;
    bool in_memory = false;
    Buffer data;  // from the file: a client's memory need not be aligned, and may be gone when it comes
    Result<void> got;
    bool ended = false;
  };
  // What one read() asks of the file. Lives until the file has answered, whoever waits.
  struct Reading {
    Reading(std::weak_ptr<FlashCache> of, runtime::Executor& executor) : cache(std::move(of)), ended(executor) {}
    const std::weak_ptr<FlashCache> cache;
    std::vector<Run> runs;
    uint32_t under_way = 0;
    bool given_up = false;
    runtime::WaitQueue ended;
  };
  enum Trouble : uint8_t { kUnreadable, kDamaged, kSlow, kTroubles };

  FlashCache(runtime::Runtime& runtime, std::string path, std::unique_ptr<runtime::File> file, uint32_t segments,
             uint64_t write_bytes_per_second);
  bool affordable(bool used_again);
  void open_segment(uint32_t number);
  void begin_write();
  static runtime::Task<void> write_segments(std::shared_ptr<FlashCache> self);
  void gather_runs(uint64_t first_page, ByteSpan into, std::vector<Run>& runs);
  runtime::Task<bool> start_runs(std::shared_ptr<Reading> reading, uint64_t deadline_ns);
  void end_turn();
  static runtime::Task<void> read_run(std::shared_ptr<runtime::File> file, std::shared_ptr<Reading> reading,
                                      size_t number);
  static runtime::Task<void> rest(std::weak_ptr<FlashCache> cache, runtime::Executor& executor);
  uint32_t check(const Run& run);
  const std::byte* in_memory(uint32_t slot) const;  // null: in the file
  void tell(Trouble what, const Error& error);

  runtime::Runtime& runtime_;
  const std::string path_;
  const std::shared_ptr<runtime::File> file_;
  const uint32_t segments_;
  FlashIndex index_;
  Segment open_;                   // gathers
  Segment writing_;                // on its way to the file, where its number is set
  const double budget_bytes_max_;  // a second's worth
  double budget_bytes_;            // may be written now
  uint64_t budget_time_ns_;        // as of then
  uint64_t given_up_ = 0;          // Readings that were, and have not ended, or only just
  uint32_t reads_ = 0;             // that the file has been asked for
  runtime::WaitQueue turns_;       // who is woken takes over the place of a read that has ended
  std::array<bool, kTroubles> told_{};
  bool closed_ = false;
  bool write_left_ = false;  // under way when it was closed
  FlashStatistics counts_;
  runtime::WaitQueue written_;
};

}  // namespace foreshard::volume
