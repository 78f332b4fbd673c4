// `foreshard volume import|export`: disk images in and out. Raw ones are read and written here; others go through
// qemu-img, which talks to a private NBD socket of the same temporary driver.
#include <algorithm>
#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "app/child_process.h"
#include "app/image_copy.h"
#include "app/image_format.h"
#include "base/units.h"
#include "cli/driver_session.h"
#include "cli/progress.h"
#include "cli/temporary_attachment.h"
#include "volume/volume_admin.h"

namespace foreshard::cli {
namespace {

using runtime::Task;

constexpr uint64_t kDrawNs = 100'000'000;

// Draws while a copy runs. The copy's frame owns what it refers to and waits for its end.
class ProgressTask {
 public:
  ProgressTask(runtime::Runtime& runtime, Progress& progress, std::function<uint64_t()> done_bytes)
      : runtime_(runtime),
        progress_(progress),
        done_bytes_(std::move(done_bytes)),
        over_(runtime.executor()),
        gate_(runtime.executor()) {
    runtime.executor().spawn(draw(*gate_.enter()));
  }
  Task<void> finish() {
    over_.set();
    co_await gate_.close();
    progress_.update(done_bytes_(), runtime_.now_ns());
    progress_.finish(runtime_.now_ns());
  }

 private:
  Task<void> draw(runtime::Gate::Pass pass) {
    for (;;) {
      const bool over = co_await over_.wait_until(runtime_.now_ns() + kDrawNs);
      if (over) co_return;
      progress_.update(done_bytes_(), runtime_.now_ns());
    }
  }
  runtime::Runtime& runtime_;
  Progress& progress_;
  std::function<uint64_t()> done_bytes_;
  runtime::Signal over_;
  runtime::Gate gate_;
};

// One copy between an attached volume and an image file, either way.
struct CopyWork {
  bool into_volume = false;
  std::string path, format, volume;
  uint64_t bytes = 0;
  bool overwrite = false;
  std::string image;  // found while it is copied into a volume: what names the content
};

Task<Result<void>> copy_raw(RegionSession& session, app::Attachment& attachment, CopyWork& work) {
  Result<app::ImageFile> file = work.into_volume ? app::ImageFile::open_source(work.path)
                                                 : app::ImageFile::create_target(work.path, work.bytes, work.overwrite);
  if (!file) co_return fail(file.error());
  app::ImageCopy copy(session.runtime(), attachment.driver(), *file);
  session.interrupt().on_request([&copy] { copy.cancel(); });
  Progress progress((work.into_volume ? "importing " : "exporting ") + work.volume, work.bytes,
                    session.invocation().quiet);
  ProgressTask drawing(session.runtime(), progress, [&copy] { return copy.done_bytes(); });
  Result<void> result;
  if (work.into_volume) {
    result = co_await copy.import_image();
  } else {
    result = co_await copy.export_image();
  }
  session.interrupt().on_request({});
  co_await drawing.finish();
  if (work.image.empty()) work.image = copy.image_name();
  co_return result;
}

// Only where hints come from depends on it: without a name the import is as good.
Task<std::string> name_of(RegionSession& session, std::string path) {
  const Result<app::ImageFile> file = app::ImageFile::open_source(path);
  if (!file) co_return std::string();
  const Result<std::string> name = co_await app::name_image(session.runtime(), *file);
  co_return name ? *name : std::string();
}

Task<Result<void>> copy_by_qemu_img(RegionSession& session, app::Attachment& attachment, CopyWork& work) {
  const std::string& uri = attachment.uris().front();
  std::vector<std::string> command = {"qemu-img", "convert", "-W", "-m", "8"};
  if (work.into_volume) {
    command.insert(command.end(), {"-n", "-f", work.format, "-O", "raw", work.path, uri});
  } else {
    command.insert(command.end(), {"-f", "raw", "-O", work.format, uri, work.path});
  }
  CO_TRY(app::ChildProcess child, app::ChildProcess::start(command));
  session.interrupt().on_request([&child] { child.terminate(); });
  Progress progress((work.into_volume ? "importing " : "exporting ") + work.volume, work.bytes,
                    session.invocation().quiet);
  ProgressTask drawing(session.runtime(), progress, [&attachment, &work] {
    const volume::DriverStatus status = attachment.driver().status();
    return std::min(work.bytes, work.into_volume ? status.written_bytes : status.read_bytes);
  });
  Result<void> result = co_await child.wait(session.runtime());
  session.interrupt().on_request({});
  co_await drawing.finish();
  if (!result && session.interrupt().requested())
    co_return fail(ErrorCode::kCancelled, "copy", std::string("interrupted"));
  if (result && work.into_volume) result = co_await attachment.driver().flush();
  if (result && work.into_volume && work.image.empty()) work.image = co_await name_of(session, work.path);
  co_return result;
}

// Attaches, copies, detaches.
Task<Result<void>> copy_attached(RegionSession& session, CopyWork& work, uint64_t& volume_bytes) {
  app::AttachmentOptions options = temporary_attachment_options(session, work.volume);
  options.driver.importing = work.into_volume;
  CO_TRY(TemporaryFolder folder, TemporaryFolder::create());
  if (work.format != "raw") options.nbd.push_back("unix:" + folder.path() + "/nbd.sock");
  Result<std::unique_ptr<app::Attachment>> attached =
      co_await app::Attachment::start(session.runtime(), session.meta(), std::move(options));
  if (!attached) co_return fail(attached_elsewhere(attached.error(), work.volume));
  app::Attachment& attachment = **attached;
  volume_bytes = attachment.driver().size_bytes();
  if (!work.into_volume) work.bytes = volume_bytes;
  Result<void> copied;
  if (work.format == "raw") {
    copied = co_await copy_raw(session, attachment, work);
  } else {
    copied = co_await copy_by_qemu_img(session, attachment, work);
  }
  const Result<void> detached = co_await attachment.detach();
  if (!copied) co_return copied;
  co_return detached;
}

// ---- import

struct ImportOptions {
  std::string file, format;
  volume::CreateOptions create;
};

// A volume that an earlier import left half full is removed, so that this one begins anew.
Task<Result<void>> clear_broken_import(RegionSession& session, std::string name) {
  Result<meta::pb::Volume> volume = co_await volume::get_volume(session.meta(), name);
  if (!volume) {
    if (volume.error().code == ErrorCode::kNotFound) co_return Result<void>();
    co_return fail(volume.error());
  }
  if (volume->state() != meta::pb::VOLUME_IMPORTING) {
    co_return fail(
        ErrorCode::kExists, "import",
        fmt::format("volume {} exists already; choose another name, or remove it with: foreshard volume rm {}", name,
                    name));
  }
  CO_TRY(const bool alive, co_await driver_lives(session, VolumeId{volume->id()}));
  if (alive) co_return fail(ErrorCode::kBusy, "import", fmt::format("another import into {} is under way", name));
  co_return co_await volume::remove_volume(session.runtime(), session.meta(), name);
}

Task<Result<void>> import_image(RegionSession& session, ImportOptions options) {
  CO_TRY(TemporaryFolder scratch, TemporaryFolder::create());
  CO_TRY(app::ImageFormat format,
         co_await app::image_format(session.runtime(), options.file, options.format, scratch.path()));
  options.create.size_bytes = (format.disk_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  if (options.create.size_bytes == 0) co_return fail(ErrorCode::kInvalid, "import", options.file + " is empty");
  CO_TRY_VOID(co_await clear_broken_import(session, options.create.name));
  options.create.importing = true;
  CO_TRY(const meta::pb::Volume volume,
         co_await volume::create_volume(session.runtime(), session.meta(), options.create));

  CopyWork work{true, options.file, format.name, volume.name(), format.disk_bytes, false, options.create.image};
  const uint64_t began_ns = session.runtime().now_ns();
  uint64_t volume_bytes = 0;
  const Result<void> copied = co_await copy_attached(session, work, volume_bytes);
  if (!copied) {
    Error error = copied.error();
    error.detail += fmt::format("; {} is not whole: run the import again, or: foreshard volume rm {}", volume.name(),
                                volume.name());
    co_return fail(std::move(error));
  }
  CO_TRY_VOID(co_await volume::finish_import(session.runtime(), session.meta(), volume, work.image));
  const double seconds = static_cast<double>(session.runtime().now_ns() - began_ns) / 1e9;
  session.invocation().print({{"name", volume.name()},
                              {"file", options.file},
                              {"format", format.name},
                              {"size_bytes", volume.size_bytes()},
                              {"seconds", seconds}},
                             session.invocation().quiet
                                 ? ""
                                 : fmt::format("imported {} ({}, {}) as {} in {:.1f} s\n", options.file, format.name,
                                               format_size(format.disk_bytes), volume.name(), seconds));
  co_return Result<void>();
}

void add_import(CLI::App& volume, Invocation& invocation) {
  auto options = std::make_shared<ImportOptions>();
  CLI::App* command = volume.add_subcommand("import", "Make a volume out of a disk image: raw, qcow2, vmdk, vhdx, vdi");
  command->add_option("FILE", options->file, "The image, or a disk")->required()->type_name("");
  add_volume_name(*command, options->create.name);
  command
      ->add_option("--format", options->format,
                   "What the image is (default: by looking; others than raw need qemu-img)")
      ->check(one_of({"raw", "qcow2", "vmdk", "vhdx", "vdi"}))
      ->type_name("raw|qcow2|...");
  command->add_option("--zone", options->create.zone, "Place it on servers of this zone only")->type_name("ZONE");
  add_size_option(*command, "--volumelet-size", options->create.volumelet_bytes,
                  "The unit of placement, a power of two from 1M (default 1G)");
  command->add_option("--type", options->create.workload_type, "What will use it")
      ->check(one_of({"general", "database", "video", "simulation"}))
      ->type_name("general|database|video|simulation")
      ->capture_default_str();
  command
      ->add_option("--image", options->create.image,
                   "What it is made of: VMs of the same image share what prefetching learns (default: by its content)")
      ->type_name("NAME");
  command->footer(
      "Until the image is whole the volume's state is 'importing' and it cannot be attached. A broken-off import is "
      "run\n"
      "again, or its volume removed. Zeros take no space.\n\n"
      "Examples:\n"
      "  foreshard volume import debian-12.qcow2 vm1\n"
      "  foreshard volume import disk.raw db --zone a --type database\n");
  command->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(
          invocation, [options](RegionSession& session) { return import_image(session, *options); }, Signals::kHandled);
    };
  });
}

// ---- export

struct ExportOptions {
  std::string name, file, format;
  bool force = false;
};

Task<Result<void>> export_image(RegionSession& session, ExportOptions options) {
  if (options.format.empty()) options.format = app::format_for_name(options.file);
  if (!options.force) {
    if (app::ImageFile::open_source(options.file)) {
      co_return fail(ErrorCode::kExists, "export", options.file + " exists; --force overwrites it");
    }
  }
  CopyWork work{false, options.file, options.format, options.name, 0, options.force, {}};
  const uint64_t began_ns = session.runtime().now_ns();
  uint64_t volume_bytes = 0;
  const Result<void> copied = co_await copy_attached(session, work, volume_bytes);
  if (!copied) {
    Error error = copied.error();
    if (error.code == ErrorCode::kCancelled || error.code == ErrorCode::kIo)
      error.detail += "; " + options.file + " is not whole";
    co_return fail(std::move(error));
  }
  const double seconds = static_cast<double>(session.runtime().now_ns() - began_ns) / 1e9;
  session.invocation().print({{"name", options.name},
                              {"file", options.file},
                              {"format", options.format},
                              {"size_bytes", volume_bytes},
                              {"seconds", seconds}},
                             session.invocation().quiet
                                 ? ""
                                 : fmt::format("exported {} ({}) as {} ({}) in {:.1f} s\n", options.name,
                                               format_size(volume_bytes), options.file, options.format, seconds));
  co_return Result<void>();
}

void add_export(CLI::App& volume, Invocation& invocation) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = volume.add_subcommand("export", "Write a volume to a disk image");
  add_volume_name(*command, options->name);
  command->add_option("FILE", options->file, "The image to make")->required()->type_name("");
  command->add_option("--format", options->format, "What it shall be (default: by the name's ending, else raw)")
      ->check(one_of({"raw", "qcow2", "vmdk", "vhdx", "vdi"}))
      ->type_name("raw|qcow2|...");
  command->add_flag("--force", options->force, "Overwrite the file");
  command->footer(
      "The volume must be detached. Zeros become holes of the file.\n\n"
      "Examples:\n"
      "  foreshard volume export vm1 vm1.raw\n"
      "  foreshard volume export vm1 vm1.qcow2\n");
  command->callback([&invocation, options] {
    invocation.run = [&invocation, options] {
      return with_region(
          invocation, [options](RegionSession& session) { return export_image(session, *options); }, Signals::kHandled);
    };
  });
}

}  // namespace

void add_image_commands(CLI::App& volume, Invocation& invocation) {
  add_import(volume, invocation);
  add_export(volume, invocation);
}

}  // namespace foreshard::cli
