// ScanDetector: tells which requests belong to a run through more pages than a cache holds. What such a run brings in
// pushes out the rest and is gone itself before it could be read again, so that it is not worth its copy. Follows a
// few interleaved ascending runs, which may leave out a little. Owner: who fills the cache; one executor.
#pragma once

#include <array>
#include <cstdint>

namespace foreshard::policy {

class ScanDetector {
 public:
  explicit ScanDetector(uint64_t cache_pages) : cache_pages_(cache_pages) {}

  // Once for every request that brings pages [first_page, first_page + pages) in. Whether it is part of a scan.
  bool is_scan(uint64_t first_page, uint64_t pages) {
    ++clock_;
    Run* oldest = &runs_[0];
    for (Run& run : runs_) {
      if (first_page - run.next <= kGapPages) {
        run.next = first_page + pages;
        run.pages += pages;
        run.last_used = clock_;
        return run.pages > cache_pages_;
      }
      if (run.last_used < oldest->last_used) oldest = &run;
    }
    *oldest = {first_page + pages, pages, clock_};
    return pages > cache_pages_;
  }

 private:
  static constexpr uint64_t kGapPages = 32;
  struct Run {
    uint64_t next = UINT64_MAX / 2;
    uint64_t pages = 0;
    uint64_t last_used = 0;
  };
  const uint64_t cache_pages_;
  std::array<Run, 8> runs_;
  uint64_t clock_ = 0;
};

}  // namespace foreshard::policy
