// ImageCopy: copies between a raw image file and a volume, several pieces at once, without touching what is zero.
//
// The file is read and written by plain blocking calls: it is a person's command that waits, and pieces are small.
// Owner: the import and export commands. One executor; one copy per object.
#pragma once

#include <cstdint>
#include <string>

#include "base/buffer.h"
#include "base/result.h"
#include "runtime/io.h"
#include "runtime/sync.h"
#include "volume/block_device.h"

namespace foreshard::app {

class ImageFile {
 public:
  ImageFile() = default;
  ImageFile(ImageFile&& other) noexcept;
  ImageFile& operator=(ImageFile&& other) noexcept;
  ~ImageFile();
  static Result<ImageFile> open_source(const std::string& path);
  // Made new; kExists unless `overwrite`. The file is `bytes` long and empty of data.
  static Result<ImageFile> create_target(const std::string& path, uint64_t bytes, bool overwrite);
  uint64_t bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  // Where data comes next at or after offset, and where it ends; bytes() when there is no more.
  struct Run {
    uint64_t begin = 0, end = 0;
  };
  Result<Run> next_data(uint64_t offset) const;
  // What lies past the end reads as zeros.
  Result<void> read(uint64_t offset, ByteSpan into) const;
  Result<void> write(uint64_t offset, ConstByteSpan from);
  Result<void> sync();

 private:
  int file_ = -1;
  uint64_t bytes_ = 0;
  std::string path_;
};

// Of a file that another program copies: as ImageCopy::image_name, but of its
// first 256 MiB only.
runtime::Task<Result<std::string>> name_image(runtime::Runtime& runtime, const ImageFile& file);

class ImageCopy {
 public:
  ImageCopy(runtime::Runtime& runtime, volume::BlockDevice& device, ImageFile& file);
  // Into a volume that reads as zero; flushed at the end.
  runtime::Task<Result<void>> import_image();
  // Into a new file; synced at the end.
  runtime::Task<Result<void>> export_image();
  // Ends the copy soon, with kCancelled.
  void cancel();
  // Bytes of the image that are done or were skipped as zero, and those that were moved.
  uint64_t done_bytes() const { return done_bytes_; }
  uint64_t moved_bytes() const { return moved_bytes_; }
  // After an import, what tells this content from other, empty where all of it is blank: for predictions, not for
  // safety.
  std::string image_name() const;

 private:
  struct Piece {
    uint64_t offset = 0;
    uint64_t bytes = 0;  // 0: no more
  };
  runtime::Task<void> import_pieces(runtime::Gate::Pass pass);
  runtime::Task<void> export_pieces(runtime::Gate::Pass pass);
  runtime::Task<Result<void>> export_piece(Piece piece, Buffer& buffer);
  Result<Piece> next_import_piece();
  Piece next_export_piece();
  void keep_error(const Result<void>& result);

  runtime::Runtime& runtime_;
  volume::BlockDevice& device_;
  ImageFile& file_;
  Result<void> result_;
  uint64_t bytes_;
  uint64_t position_ = 0;
  ImageFile::Run run_;
  uint64_t done_bytes_ = 0;
  uint64_t moved_bytes_ = 0;
  uint64_t digest_ = 0;  // of an import: a sum over its pieces, which may end in any order
};

}  // namespace foreshard::app
