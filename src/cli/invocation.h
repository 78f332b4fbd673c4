// Invocation: one run of the command line: the options that every command has, and what was chosen. Command files
// add their subcommands to the parser with a callback that sets `run`; main() parses, then runs it.
#pragma once

#include <functional>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/result.h"

namespace foreshard::cli {

using Json = nlohmann::ordered_json;

inline constexpr const char* kVersion = "0.1.0";

enum class OutputFormat { kTable, kJson };

struct Invocation {
  std::string region;  // as given; empty: from the environment or the default
  OutputFormat format = OutputFormat::kTable;
  std::string log_level;  // empty: info of what serves, warnings of everything else
  bool quiet = false;
  std::function<Result<void>()> run;

  // What serves in the foreground (up, attach) tells its events unless told otherwise.
  void log_as_a_service() const;
  bool json() const { return format == OutputFormat::kJson; }
  // Prints the one that the format asks for, to standard output.
  void print(const Json& value, const std::string& text) const;
};

// Parses and runs; the exit code.
int run_command_line(int argc, char** argv);
// Tells an error; the exit status.
int tell_outcome(const Invocation& invocation, const Result<void>& result);
// The parser with all commands, for run_command_line and tests.
void add_all_commands(CLI::App& app, Invocation& invocation);

// What was wrong with the command line.
std::string usage_error_text(const CLI::App& app, const CLI::ParseError& error);

// Options whose values are read by base/units.h; a bad one is a usage error with that text.
CLI::Option* add_size_option(CLI::App& app, const std::string& name, uint64_t& bytes, const std::string& description);
CLI::Option* add_duration_option(CLI::App& app, const std::string& name, uint64_t& ns, const std::string& description);
// "2026-01-31T12:00:00Z", of nanoseconds since 1970.
std::string time_text(uint64_t wall_ns);
// A check that the value is one of these; the option's type name says so in the help.
CLI::Validator one_of(std::vector<std::string> values);
// A number within the bounds; "nan" is none.
CLI::Validator number_between(double min, double max);
// A positional volume name, checked.
CLI::Option* add_volume_name(CLI::App& app, std::string& name);

// One per command file.
void add_up_command(CLI::App& app, Invocation& invocation);
void add_server_commands(CLI::App& app, Invocation& invocation);
void add_volume_commands(CLI::App& volume, Invocation& invocation);
void add_driver_commands(CLI::App& app, CLI::App& volume, Invocation& invocation);
void add_image_commands(CLI::App& volume, Invocation& invocation);
void add_attach_command(CLI::App& app, Invocation& invocation);
void add_scrub_command(CLI::App& app, Invocation& invocation);
void add_bench_command(CLI::App& app, Invocation& invocation);
void add_replay_command(CLI::App& app, Invocation& invocation);
void add_train_command(CLI::App& app, Invocation& invocation);
void add_model_commands(CLI::App& app, Invocation& invocation);

}  // namespace foreshard::cli
