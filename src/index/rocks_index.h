// RocksIndex: the Index contract over RocksDB. RocksDB blocks, so it has two threads of its own, one that
// writes and one that reads; the core that asks only queues and is resumed later.
//
// Owner: the chunk store or the metadata store. End: close(), or destruction, which waits for what the two
// threads have in hand and drops the rest, as a crash of the process would. Invariant: batches reach the
// write-ahead log in the order of the calls of write(); those waiting together share one log write and one sync.
// What waits is bounded by the callers, which each wait for their answer.
#pragma once

#include "index/index.h"

namespace foreshard::index {

inline constexpr int kWriteBuffersMax = 3;

struct RocksOptions {
  uint64_t block_cache_bytes = 16u << 20;
  uint64_t write_buffer_bytes = 8u << 20;  // each of at most kWriteBuffersMax
  uint64_t wal_bytes_max = 64u << 20;
  uint32_t open_files_max = 256;
};

// Opens RocksDB in disk.host_path()/folder.
OpenIndex rocks_index_opener(RocksOptions options = {});

}  // namespace foreshard::index
