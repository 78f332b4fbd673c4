#include "app/image_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/random.h"

namespace foreshard::app {

using runtime::Task;

namespace {

constexpr uint64_t kPieceBytes = 1u << 20;
constexpr uint64_t kNamedBytesMax = 256u << 20;  // that a name is made of where another program copies
constexpr int kPiecesAtOnce = 16;
constexpr uint32_t kExtentsMax = 256;

uint64_t digest_of(uint64_t offset, ConstByteSpan data) { return mix64(uint64_t{crc32c(data)} << 32 ^ mix64(offset)); }

// What is blank is no image.
std::string image_name_of(uint64_t digest, uint64_t bytes) {
  return digest == 0 ? std::string() : fmt::format("image-{:016x}", digest ^ mix64(bytes));
}

uint64_t up_to_sectors(uint64_t bytes) { return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes; }

}  // namespace

// ---- ImageFile

ImageFile::ImageFile(ImageFile&& other) noexcept
    : file_(std::exchange(other.file_, -1)), bytes_(other.bytes_), path_(std::move(other.path_)) {}

ImageFile& ImageFile::operator=(ImageFile&& other) noexcept {
  std::swap(file_, other.file_);
  bytes_ = other.bytes_;
  path_ = std::move(other.path_);
  return *this;
}

ImageFile::~ImageFile() {
  if (file_ >= 0) close(file_);
}

Result<ImageFile> ImageFile::open_source(const std::string& path) {
  ImageFile image;
  image.path_ = path;
  image.file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (image.file_ < 0) return fail(error_from_errno(errno, "cannot read the image", path));
  struct stat status {};
  if (fstat(image.file_, &status) != 0) return fail(error_from_errno(errno, "cannot read the image", path));
  if (S_ISDIR(status.st_mode)) return fail(ErrorCode::kInvalid, "cannot read the image", path + " is a folder");
  const off_t end = lseek(image.file_, 0, SEEK_END);  // of block devices too
  if (end < 0) return fail(error_from_errno(errno, "the image must be a file or a disk, not a pipe", path));
  image.bytes_ = static_cast<uint64_t>(end);
  (void)posix_fadvise(image.file_, 0, 0, POSIX_FADV_SEQUENTIAL);
  return image;
}

Result<ImageFile> ImageFile::create_target(const std::string& path, uint64_t bytes, bool overwrite) {
  ImageFile image;
  image.path_ = path;
  image.bytes_ = bytes;
  const int how = overwrite ? O_TRUNC : O_EXCL;
  image.file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | how, 0666);
  if (image.file_ < 0) {
    if (errno == EEXIST) return fail(ErrorCode::kExists, "export", path + " exists; --force overwrites it");
    return fail(error_from_errno(errno, "cannot write the image", path));
  }
  if (ftruncate(image.file_, static_cast<off_t>(bytes)) != 0) {
    return fail(error_from_errno(errno, "cannot write the image", path));
  }
  return image;
}

Result<ImageFile::Run> ImageFile::next_data(uint64_t offset) const {
  if (offset >= bytes_) return Run{bytes_, bytes_};
  const off_t begin = lseek(file_, static_cast<off_t>(offset), SEEK_DATA);
  if (begin < 0) {
    if (errno == ENXIO) return Run{bytes_, bytes_};   // only a hole is left
    if (errno == EINVAL) return Run{offset, bytes_};  // the file system does not tell
    return fail(error_from_errno(errno, "cannot read the image", path_));
  }
  const off_t end = lseek(file_, begin, SEEK_HOLE);
  if (end < 0) return fail(error_from_errno(errno, "cannot read the image", path_));
  return Run{static_cast<uint64_t>(begin), std::min(static_cast<uint64_t>(end), bytes_)};
}

Result<void> ImageFile::read(uint64_t offset, ByteSpan into) const {
  while (!into.empty()) {
    const ssize_t count = pread(file_, into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(error_from_errno(errno, "cannot read the image", path_));
    if (count == 0) {
      std::memset(into.data(), 0, into.size());
      return {};
    }
    offset += static_cast<uint64_t>(count);
    into = into.subspan(static_cast<size_t>(count));
  }
  return {};
}

Result<void> ImageFile::write(uint64_t offset, ConstByteSpan from) {
  while (!from.empty()) {
    const ssize_t count = pwrite(file_, from.data(), from.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(error_from_errno(errno, "cannot write the image", path_));
    offset += static_cast<uint64_t>(count);
    from = from.subspan(static_cast<size_t>(count));
  }
  return {};
}

Result<void> ImageFile::sync() {
  if (fsync(file_) != 0) return fail(error_from_errno(errno, "cannot write the image", path_));
  return {};
}

// ---- ImageCopy

ImageCopy::ImageCopy(runtime::Runtime& runtime, volume::BlockDevice& device, ImageFile& file)
    : runtime_(runtime),
      device_(device),
      file_(file),
      bytes_(std::min(up_to_sectors(file.bytes()), device.size_bytes())) {}

void ImageCopy::cancel() { keep_error(fail(ErrorCode::kCancelled, "copy", std::string("interrupted"))); }

void ImageCopy::keep_error(const Result<void>& result) {
  if (result_ && !result) result_ = fail(result.error());
}

Task<Result<void>> ImageCopy::import_image() {
  runtime::Gate gate(runtime_.executor());
  for (int i = 0; i < kPiecesAtOnce; ++i) runtime_.executor().spawn(import_pieces(*gate.enter()));
  co_await gate.close();
  if (!result_) co_return result_;
  done_bytes_ = bytes_;
  co_return co_await device_.flush();
}

Task<void> ImageCopy::import_pieces(runtime::Gate::Pass pass) {
  Buffer buffer = Buffer::allocate(kPieceBytes);
  while (result_) {
    const Result<Piece> piece = next_import_piece();
    if (!piece) {
      keep_error(fail(piece.error()));
      co_return;
    }
    if (piece->bytes == 0) co_return;
    const ByteSpan data = buffer.subspan(0, piece->bytes);
    const Result<void> read = file_.read(piece->offset, data);
    keep_error(read);
    if (!read) co_return;
    if (!is_all_zero(data)) {
      digest_ += digest_of(piece->offset, data);
      const Result<void> written = co_await device_.write(piece->offset, data, false);
      keep_error(written);
      moved_bytes_ += piece->bytes;
    }
    done_bytes_ += piece->bytes;
    co_await runtime_.executor().yield();  // blocking reads must not keep heartbeats from going out
  }
}

// The next piece that may hold data; holes count as done. Pieces begin at multiples of their size, so that they never
// straddle chunks.
Result<ImageCopy::Piece> ImageCopy::next_import_piece() {
  if (position_ >= run_.end) {
    TRY(run_, file_.next_data(position_));
    const uint64_t begin = run_.begin / kPieceBytes * kPieceBytes;
    if (begin > position_) {
      done_bytes_ += std::min(begin, bytes_) - position_;
      position_ = begin;
    }
  }
  if (position_ >= bytes_ || run_.begin >= file_.bytes()) return Piece{};
  const Piece piece{position_, std::min(kPieceBytes, bytes_ - position_)};
  position_ += piece.bytes;
  return piece;
}

std::string ImageCopy::image_name() const { return image_name_of(digest_, bytes_); }

Task<Result<std::string>> name_image(runtime::Runtime& runtime, const ImageFile& file) {
  Buffer buffer = Buffer::allocate(kPieceBytes);
  uint64_t digest = 0;
  uint64_t looked_at = 0;
  for (uint64_t offset = 0; offset < file.bytes() && looked_at < kNamedBytesMax;) {
    CO_TRY(const ImageFile::Run run, file.next_data(offset));
    offset = run.begin / kPieceBytes * kPieceBytes;
    for (; offset < run.end && looked_at < kNamedBytesMax; offset += kPieceBytes, looked_at += kPieceBytes) {
      const ByteSpan data = buffer.subspan(0, std::min(kPieceBytes, file.bytes() - offset));
      CO_TRY_VOID(file.read(offset, data));
      if (!is_all_zero(data)) digest += digest_of(offset, data);
      co_await runtime.executor().yield();
    }
    if (run.begin >= file.bytes()) break;
  }
  co_return image_name_of(digest, file.bytes());
}

Task<Result<void>> ImageCopy::export_image() {
  runtime::Gate gate(runtime_.executor());
  for (int i = 0; i < kPiecesAtOnce; ++i) runtime_.executor().spawn(export_pieces(*gate.enter()));
  co_await gate.close();
  if (!result_) co_return result_;
  co_return file_.sync();
}

Task<void> ImageCopy::export_pieces(runtime::Gate::Pass pass) {
  Buffer buffer = Buffer::allocate(kPieceBytes);
  while (result_) {
    const Piece piece = next_export_piece();
    if (piece.bytes == 0) co_return;
    const Result<void> exported = co_await export_piece(piece, buffer);
    keep_error(exported);
    done_bytes_ += piece.bytes;
  }
}

Task<Result<void>> ImageCopy::export_piece(Piece piece, Buffer& buffer) {
  uint64_t offset = piece.offset;
  const uint64_t end = piece.offset + piece.bytes;
  CO_TRY(std::vector<volume::Extent> extents, co_await device_.block_status(offset, piece.bytes, kExtentsMax));
  const bool all_zero = std::all_of(extents.begin(), extents.end(), [](const volume::Extent& e) { return e.zero; });
  uint64_t covered = 0;
  for (const volume::Extent& extent : extents) covered += extent.bytes;
  if (all_zero && covered >= piece.bytes) co_return Result<void>();
  const ByteSpan data = buffer.subspan(0, end - offset);
  CO_TRY_VOID(co_await device_.read(offset, data));
  moved_bytes_ += data.size();
  // Zeros stay holes of the file.
  for (size_t at = 0; at < data.size();) {
    const ConstByteSpan page = data.subspan(at, std::min<size_t>(kPageBytes, data.size() - at));
    if (!is_all_zero(page)) {
      CO_TRY_VOID(file_.write(offset + at, page));
    }
    at += page.size();
  }
  co_return Result<void>();
}

ImageCopy::Piece ImageCopy::next_export_piece() {
  if (position_ >= bytes_) return {};
  const Piece piece{position_, std::min(kPieceBytes, bytes_ - position_)};
  position_ += piece.bytes;
  return piece;
}

}  // namespace foreshard::app
