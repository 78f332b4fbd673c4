#include "app/image_format.h"

#include <array>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>

#include "app/child_process.h"
#include "app/image_copy.h"

namespace foreshard::app {
namespace {

struct Magic {
  std::string_view bytes;
  const char* format;
};
constexpr std::array<Magic, 5> kMagics = {
    {{"QFI\xfb", "qcow2"}, {"KDMV", "vmdk"}, {"# Disk DescriptorFile", "vmdk"}, {"vhdxfile", "vhdx"}, {"<<< ", "vdi"}}};

std::string format_of_header(std::string_view header) {
  for (const Magic& magic : kMagics) {
    if (header.starts_with(magic.bytes)) return magic.format;
  }
  return "raw";
}

// The number after "virtual-size": in what `qemu-img info --output=json` prints; the first one is the image's own.
Result<uint64_t> virtual_size(const std::string& json) {
  constexpr std::string_view kField = "\"virtual-size\":";
  const size_t at = json.find(kField);
  uint64_t bytes = 0;
  if (at != std::string::npos) {
    const char* begin = json.data() + at + kField.size();
    while (*begin == ' ') ++begin;
    const auto [end, code] = std::from_chars(begin, json.data() + json.size(), bytes);
    if (code == std::errc() && end != begin) return bytes;
  }
  return fail(ErrorCode::kInvalid, "image", std::string("qemu-img does not tell its size"));
}

}  // namespace

runtime::Task<Result<ImageFormat>> image_format(runtime::Runtime& runtime, std::string path, std::string name,
                                                std::string scratch_folder) {
  CO_TRY(ImageFile file, ImageFile::open_source(path));
  ImageFormat format{std::move(name), file.bytes()};
  if (format.name.empty()) {
    std::array<std::byte, 32> header{};
    CO_TRY_VOID(file.read(0, header));
    format.name = format_of_header(as_text(header));
  }
  if (format.name == "raw") co_return format;

  const std::string answer = scratch_folder + "/info.json";
  const std::vector<std::string> command = {"qemu-img", "info", "--output=json", "-f", format.name, path};
  CO_TRY(ChildProcess info, ChildProcess::start(command, answer));
  CO_TRY_VOID(co_await info.wait(runtime));
  std::ifstream in(answer);
  std::ostringstream text;
  text << in.rdbuf();
  CO_TRY(format.disk_bytes, virtual_size(text.str()));
  co_return format;
}

std::string format_for_name(const std::string& path) {
  for (const char* format : {"qcow2", "vmdk", "vhdx", "vdi"}) {
    if (path.ends_with(std::string(".") + format)) return format;
  }
  return "raw";
}

}  // namespace foreshard::app
