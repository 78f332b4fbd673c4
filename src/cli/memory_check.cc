#include "cli/memory_check.h"

#include <unistd.h>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/units.h"
#include "policy/cache/page_cache.h"

namespace foreshard::cli {
namespace {

uint64_t host_memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
  return pages <= 0 || bytes <= 0 ? UINT64_MAX : static_cast<uint64_t>(pages) * static_cast<uint64_t>(bytes);
}

}  // namespace

Result<void> check_cache_fits(uint64_t cache_bytes, uint64_t caches, CacheContents contents) {
  const uint64_t page = policy::PageCache::kMetadataBytesPerPage + (contents == CacheContents::kPages ? kPageBytes : 0);
  const uint64_t pages = cache_bytes / kPageBytes, has = host_memory_bytes();
  // A replay is not what the host is there for.
  const uint64_t may = contents == CacheContents::kPages ? has : has / 2;
  if (pages <= may / page / caches) return {};
  return fail(ErrorCode::kInvalid, "--cache",
              fmt::format("{} takes {} of memory{}, and this host has {}; choose a smaller one",
                          format_size(cache_bytes), format_size(pages * page),
                          caches == 1 ? "" : fmt::format(" for each of {} rows", caches), format_size(has)));
}

}  // namespace foreshard::cli
