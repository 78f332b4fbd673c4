#include "cli/invocation.h"

#include <cstdio>
#include <ctime>

#include "base/log.h"
#include "base/units.h"
#include "cli/exit_code.h"

namespace foreshard::cli {
namespace {

constexpr const char* kIntroduction =
    "foreshard: block storage over a network of servers, which fetches what will be read next.\n"
    "\n"
    "A region is a set of servers in zones; volumes are cut into volumelets that lie on its servers; a volume is\n"
    "attached by one driver at a time, which serves it to a VM over NBD.\n";

constexpr const char* kExamples =
    "Examples:\n"
    "  foreshard up --zones a,b,c --servers-per-zone 2 &    start a region on this machine\n"
    "  foreshard volume create disk1 --size 10G             make a volume\n"
    "  foreshard attach disk1 --nbd unix:/tmp/disk1.sock &  serve it to NBD clients\n"
    "  qemu-img info nbd+unix:///disk1?socket=/tmp/disk1.sock\n"
    "  foreshard volume heat disk1                          see where it is hot\n"
    "  foreshard detach disk1                               flush, and let it go\n"
    "\n"
    "Which region: --region ADDRESS, else $FORESHARD_REGION, else the folder that `up` takes by default\n"
    "($FORESHARD_DIR, else $XDG_DATA_HOME/foreshard, else ~/.local/share/foreshard).\n"
    "\n"
    "Sizes: K, M, G, T and KiB, MiB, ... are powers of 1024; kB, MB, GB, TB are decimal.\n"
    "Times: ns, us, ms, s, m, h.\n";

void add_global_options(CLI::App& app, Invocation& invocation) {
  app.add_option("--region", invocation.region, "Address of the region: unix:PATH, or its folder")
      ->envname("FORESHARD_REGION")
      ->type_name("ADDRESS");
  app.add_option_function<std::string>(
         "-o,--output",
         [&invocation](const std::string& text) {
           invocation.format = text == "json" ? OutputFormat::kJson : OutputFormat::kTable;
         },
         "How to print results")
      ->check(one_of({"table", "json"}))
      ->envname("FORESHARD_OUTPUT")
      ->type_name("table|json");
  app.add_option("--log", invocation.log_level,
                 "What to log to standard error (default: info of up and attach, else warn)")
      ->check(one_of({"debug", "info", "warn", "error", "off"}))
      ->envname("FORESHARD_LOG")
      ->type_name("debug|info|warn|error|off");
  app.add_flag("-q,--quiet", invocation.quiet, "No progress, no notes; results and errors only");
}

LogLevel log_level_of(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "error") return LogLevel::kError;
  if (name == "off") return LogLevel::kOff;
  return LogLevel::kWarn;
}

void tell_error(const Invocation& invocation, const Error& error) {
  if (invocation.json()) {
    const Json value = {{"error", {{"code", error_code_name(error.code)}, {"message", describe(error)}}}};
    std::fprintf(stderr, "%s\n", value.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    return;
  }
  std::fprintf(stderr, "foreshard: %s\n", describe(error).c_str());
}

// `foreshard help [COMMAND...]` is --help of that command.
void add_help_command(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* help = app.add_subcommand("help", "Explain a command, or list the exit codes");
  help->add_option("COMMAND", *words, "Such as: volume create; or: exit-codes")->type_name("");
  help->callback([&app, &invocation, words] {
    invocation.run = [&app, words]() -> Result<void> {
      if (words->size() == 1 && words->front() == "exit-codes") {
        std::fputs(exit_codes_text().c_str(), stdout);
        return {};
      }
      CLI::App* at = &app;
      for (const std::string& word : *words) {
        const std::vector<CLI::App*> found =
            at->get_subcommands([&word](CLI::App* sub) { return sub->get_name() == word; });
        if (found.empty()) {
          return fail(ErrorCode::kInvalid, "help", "no command '" + word + "'; foreshard help lists them");
        }
        at = found.front();
      }
      std::fputs(at->help().c_str(), stdout);
      return {};
    };
  });
}

void add_version_command(CLI::App& app, Invocation& invocation) {
  app.add_subcommand("version", "Print the version")->callback([&invocation] {
    invocation.run = [&invocation]() -> Result<void> {
      invocation.print({{"version", kVersion}}, std::string("foreshard ") + kVersion + "\n");
      return {};
    };
  });
}

Result<uint64_t> or_usage_error(Result<uint64_t> value, const std::string& option) {
  if (!value) throw CLI::ValidationError(option, value.error().detail);
  return value;
}

}  // namespace

void Invocation::log_as_a_service() const {
  if (log_level.empty()) set_log_level(LogLevel::kInfo);
}

void Invocation::print(const Json& value, const std::string& text) const {
  const std::string out = json() ? value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : text;
  std::fwrite(out.data(), 1, out.size(), stdout);
  std::fflush(stdout);
}

CLI::Option* add_size_option(CLI::App& app, const std::string& name, uint64_t& bytes, const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [&bytes, name](const std::string& text) { bytes = *or_usage_error(parse_size(text), name); },
          description)
      ->type_name("SIZE");
}

CLI::Option* add_duration_option(CLI::App& app, const std::string& name, uint64_t& ns, const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [&ns, name](const std::string& text) { ns = *or_usage_error(parse_duration_ns(text), name); },
          description)
      ->type_name("TIME");
}

std::string time_text(uint64_t wall_ns) {
  const auto seconds = static_cast<time_t>(wall_ns / 1'000'000'000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

CLI::Validator one_of(std::vector<std::string> values) {
  const CLI::IsMember member(std::move(values));
  return member.description("");
}

CLI::Validator number_between(double min, double max) {
  const auto check = [min, max](const std::string& text) {
    double value = 0;
    const bool good = CLI::detail::lexical_cast(text, value) && value >= min && value <= max;
    return good ? std::string() : fmt::format("'{}' is not a number from {} to {}", text, min, max);
  };
  return {check, ""};
}

CLI::Option* add_volume_name(CLI::App& app, std::string& name) {
  const auto check = [](const std::string& text) {
    const Result<void> checked = check_name(text);
    return checked ? std::string() : checked.error().detail;
  };
  return app.add_option("NAME", name, "The volume")->required()->check(CLI::Validator(check, ""))->type_name("");
}

void add_all_commands(CLI::App& app, Invocation& invocation) {
  app.description(kIntroduction);
  app.footer(kExamples);
  app.name("foreshard");
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", std::string("foreshard ") + kVersion);
  add_global_options(app, invocation);

  add_up_command(app, invocation);
  add_server_commands(app, invocation);
  CLI::App* volume = app.add_subcommand("volume", "Create, list, grow, fill, watch and remove volumes");
  volume->require_subcommand(1);
  add_volume_commands(*volume, invocation);
  add_image_commands(*volume, invocation);
  add_attach_command(app, invocation);
  add_driver_commands(app, *volume, invocation);
  add_scrub_command(app, invocation);
  add_bench_command(app, invocation);
  add_replay_command(app, invocation);
  add_train_command(app, invocation);
  add_model_commands(app, invocation);
  add_version_command(app, invocation);
  add_help_command(app, invocation);
}

std::string usage_error_text(const CLI::App& app, const CLI::ParseError& error) {
  // The parser complains of a missing command before it does of a word that is none.
  const std::vector<std::string> unknown = app.remaining(true);
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && !unknown.empty()) {
    return "'" + unknown.front() + "' is not understood here";
  }
  return error.what();
}

int tell_outcome(const Invocation& invocation, const Result<void>& result) {
  if (result) return kExitOk;
  tell_error(invocation, result.error());
  return exit_code_of(result.error().code);
}

int run_command_line(int argc, char** argv) {
  Invocation invocation;
  CLI::App app;
  add_all_commands(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "foreshard: %s\nTry: foreshard help\n", usage_error_text(app, error).c_str());
    return kExitUsage;
  }
  set_log_level(log_level_of(invocation.log_level));
  if (!invocation.run) return kExitUsage;
  return tell_outcome(invocation, invocation.run());
}

}  // namespace foreshard::cli
