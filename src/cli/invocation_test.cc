// Proves that the command line is understood as documented: every command is there with its help, global options work
// before and after it, bad values are refused by name, and nothing runs that was not asked for.
#include "cli/invocation.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace foreshard::cli {
namespace {

class CommandLine : public testing::Test {
 protected:
  void SetUp() override {
    unsetenv("FORESHARD_REGION");
    unsetenv("FORESHARD_OUTPUT");
    unsetenv("FORESHARD_LOG");
  }
  // Empty when it parsed.
  std::string parse(const std::string& line) {
    invocation_ = Invocation();
    CLI::App app;
    add_all_commands(app, invocation_);
    try {
      app.parse(line);
    } catch (const CLI::ParseError& error) {
      return usage_error_text(app, error) + " ";
    }
    return "";
  }
  Invocation invocation_;
};

TEST_F(CommandLine, EveryCommandIsUnderstood) {
  for (const char* line :
       {"up",
        "up --dir d --zones a,b,c --servers-per-zone 2 --latency a:b=1ms --latency a:c=2ms --capacity 10G",
        "up --attach v --nbd unix:/x --cache 1G --prefetch shadow",
        "server ls",
        "volume create v --size 10G",
        "volume create v --size 10G --zone a --volumelet-size 4M --type database",
        "volume ls",
        "volume info v",
        "volume resize v --size 20G",
        "volume rm v",
        "volume import f v",
        "volume import f v --format qcow2",
        "volume export v f",
        "volume heat v",
        "volume layout v --all",
        "volume record v -o f --seconds 3",
        "volume record v f",
        "attach v --nbd unix:/x --cache 64M --prefetch off --zone b --io-timeout 5s --force",
        "attach v --nbd tcp:127.0.0.1:10809",
        "attach v --nbd unix:/x --model region --train-online --train-cpu 2.5",
        "attach v --nbd unix:/x --model f",
        "detach v",
        "prefetch stats v",
        "prefetch mode v shadow",
        "predict backtest v",
        "predict backtest v --for 5m --cache 1G --fetch-us 1200 --budget frugal",
        "predict backtest v --trace f",
        "bench --size 64M",
        "replay f",
        "replay f g --cache 5% --prefetch all --replacement lru --budget frugal --format blktrace -o json",
        "replay f --cache 64M --server-cache 10% --hit-us 5 --ram-us 60 --disk-us 160 --zone-us 1000 --interval 1ms",
        "replay f --fetch-us 0.5 --server-cache 0",
        "model add f",
        "model list",
        "model show 3 -o json",
        "model rm 3",
        "version",
        "help",
        "help volume create"}) {
    EXPECT_EQ(parse(line), "") << line;
    EXPECT_TRUE(invocation_.run) << line;
  }
}

TEST_F(CommandLine, GlobalOptionsWorkAnywhere) {
  ASSERT_EQ(parse("volume ls -o json --region unix:/r.sock"), "");
  EXPECT_TRUE(invocation_.json());
  EXPECT_EQ(invocation_.region, "unix:/r.sock");
  ASSERT_EQ(parse("-o json --log debug volume ls"), "");
  EXPECT_TRUE(invocation_.json());
  EXPECT_EQ(invocation_.log_level, "debug");
  ASSERT_EQ(parse("volume record v -o trace.csv --output json"), "");
  EXPECT_TRUE(invocation_.json()) << "there -o is the trace";
}

TEST_F(CommandLine, EnvironmentIsHeard) {
  setenv("FORESHARD_REGION", "unix:/from-env.sock", 1);
  ASSERT_EQ(parse("volume ls"), "");
  EXPECT_EQ(invocation_.region, "unix:/from-env.sock");
  ASSERT_EQ(parse("volume ls --region unix:/given.sock"), "");
  EXPECT_EQ(invocation_.region, "unix:/given.sock");
}

TEST_F(CommandLine, MistakesAreNamed) {
  struct Case {
    const char* line;
    const char* says;
  };
  for (const Case& one : std::initializer_list<Case>{{"", "ubcommand"},
                                                     {"volume", "ubcommand"},
                                                     {"volume explode v", "explode"},
                                                     {"volume create v --size 10X", "10X"},
                                                     {"volume create v", "--size"},
                                                     {"volume create Volume --size 1G", "Volume"},
                                                     {"volume create v --size 1G --type tape", "tape"},
                                                     {"volume ls --frobnicate", "frobnicate"},
                                                     {"volume ls -o yaml", "yaml"},
                                                     {"attach v", "--nbd"},
                                                     {"attach v --nbd unix:/x --prefetch maybe", "maybe"},
                                                     {"attach v --nbd unix:/x --io-timeout soon", "soon"},
                                                     {"volume record v", "-o"},
                                                     {"attach v --nbd unix:/x --train-cpu 200", "200"},
                                                     {"model", "ubcommand"},
                                                     {"model add", "FILE"},
                                                     {"model show three", "three"},
                                                     {"model rm 0", "0"},
                                                     {"model rm -- -1", "-1"}}) {
    EXPECT_NE(parse(one.line).find(one.says), std::string::npos) << one.line << ": " << parse(one.line);
  }
}

// Every command explains itself, and its options say what they are.
void check_help(const CLI::App& app, const std::string& path) {
  EXPECT_FALSE(app.get_description().empty()) << path;
  for (const CLI::Option* option : app.get_options({}))
    EXPECT_FALSE(option->get_description().empty()) << path << " " << option->get_name();
  for (const CLI::App* command : app.get_subcommands({})) check_help(*command, path + " " + command->get_name());
}

TEST_F(CommandLine, EveryCommandExplainsItself) {
  CLI::App app;
  add_all_commands(app, invocation_);
  check_help(app, "foreshard");
}

}  // namespace
}  // namespace foreshard::cli
