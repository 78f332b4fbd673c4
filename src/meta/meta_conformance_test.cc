// Proves that every Meta keeps the contract of meta.h: revisions, compares over several keys, ranges, watches from
// a revision, leases, durability over a crash; the store in this process (over both indexes) and in another one
// (over streams in memory and over the simulated network, where connections also break).
#include "meta/meta_conformance.h"

#include <map>

#include "meta/embedded_meta.h"
#include "meta/limits.h"
#include "meta/meta_harness.h"
#include "meta/settle.h"

namespace foreshard::meta {
namespace {

using runtime::Task;

INSTANTIATE_TEST_SUITE_P(
    All, MetaConformance,
    testing::Values(HarnessFactory{"EmbeddedOverMap", make_embedded_map_harness},
                    HarnessFactory{"EmbeddedOverRocks", make_embedded_rocks_harness},
                    HarnessFactory{"RemoteInMemory", make_remote_memory_harness},
                    HarnessFactory{"RemoteSimulated", make_remote_sim_harness},
                    HarnessFactory{"RemoteSimulatedBreaking", make_remote_breaking_harness}),
    [](const auto& info) { return info.param.name; });

Compare modified_is(std::string key, Revision revision) {
  return {Compare::Target::kModified, std::move(key), revision, {}};
}
Operation put_of(std::string key, std::string value, LeaseId lease = 0) {
  return {Operation::Kind::kPut, std::move(key), std::move(value), lease};
}

TEST_P(MetaConformance, KeepsRevisions) {
  EXPECT_FALSE(get("/a"));
  const Revision first = put("/a", "1");
  EXPECT_GT(first, 0u);
  const Revision second = put("/b", "2");
  const Revision third = put("/a", "3");
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
  const std::optional<Entry> entry = get("/a");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->value, "3");
  EXPECT_EQ(entry->created, first);
  EXPECT_EQ(entry->modified, third);
  EXPECT_EQ(entry->lease, 0u);
  EXPECT_GT(erase("/a"), third);
  EXPECT_FALSE(get("/a"));
  EXPECT_GT(put("/a", "again"), third);
  EXPECT_GT(get("/a")->created, third);
}

TEST_P(MetaConformance, ComparesSeveralKeysAllOrNothing) {
  const Revision a = put("/a", "1");
  const Revision b = put("/b", "1");
  Transaction wrong;
  wrong.compares = {modified_is("/a", a), modified_is("/b", a)};
  wrong.operations = {put_of("/a", "x"), put_of("/b", "x")};
  EXPECT_FALSE(commit(wrong)->succeeded);
  EXPECT_EQ(get("/a")->value, "1");

  Transaction right;
  right.compares = {modified_is("/a", a),
                    modified_is("/none", 0),
                    {Compare::Target::kCreated, "/b", b, {}},
                    {Compare::Target::kValue, "/a", 0, "1"}};
  right.operations = {put_of("/a", "y"), put_of("/c", "y"), {Operation::Kind::kErase, "/b", {}, 0}};
  const TransactionResult done = commit(right).value();
  EXPECT_TRUE(done.succeeded);
  EXPECT_EQ(get("/a")->modified, done.revision);
  EXPECT_EQ(get("/c")->modified, done.revision);
  EXPECT_FALSE(get("/b"));
  // The same one again: its compares see its own change (R-TXN).
  EXPECT_FALSE(commit(right)->succeeded);

  Transaction of_value;
  of_value.compares = {{Compare::Target::kValue, "/missing", 0, ""}};
  of_value.operations = {put_of("/d", "z")};
  EXPECT_FALSE(commit(of_value)->succeeded);
}

TEST_P(MetaConformance, RefusesWhatCannotBe) {
  Transaction no_key;
  no_key.operations = {put_of("", "x")};
  EXPECT_EQ(commit(no_key).error().code, ErrorCode::kInvalid);
  Transaction long_key;
  long_key.operations = {put_of(std::string(kKeyBytesMax + 1, 'k'), "x")};
  EXPECT_EQ(commit(long_key).error().code, ErrorCode::kInvalid);
  Transaction large;
  large.operations = {put_of("/large", std::string(kValueBytesMax + 1, 'v'))};
  EXPECT_EQ(commit(large).error().code, ErrorCode::kTooLarge);
  Transaction unknown_lease;
  unknown_lease.operations = {put_of("/fine", "x"), put_of("/leased", "x", 4711)};
  EXPECT_EQ(commit(unknown_lease).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(get("/fine"));
}

TEST_P(MetaConformance, GivesRangesForwardBackwardAndLimited) {
  for (const char* key : {"/v/1/a", "/v/1/b", "/v/2/a", "/v/2/b", "/w"}) put(key, key);
  EXPECT_EQ(keys_of(range("/v/1/", prefix_end("/v/1/"))), "/v/1/a /v/1/b ");
  EXPECT_EQ(keys_of(range("/v/1/b", "/w")), "/v/1/b /v/2/a /v/2/b ");
  EXPECT_EQ(keys_of(range("/v/2/b", "", 2)), "/v/2/b /w ");
  EXPECT_EQ(keys_of(range("/v/1/", "/w", 0, true)), "/v/2/b /v/2/a /v/1/b /v/1/a ");
  const RangeResult cut = range("/v/", "/w", 3);
  EXPECT_EQ(keys_of(cut), "/v/1/a /v/1/b /v/2/a ");
  EXPECT_TRUE(cut.more);
  const RangeResult cut_backward = range("/v/", "/w", 1, true);
  EXPECT_EQ(keys_of(cut_backward), "/v/2/b ");
  EXPECT_TRUE(cut_backward.more);
  EXPECT_FALSE(range("/v/", "/w", 4).more);
  EXPECT_EQ(keys_of(range("/w", "/v")), "");
  EXPECT_EQ(range("/v/1/a", "/v/1/b").entries.at(0).value, "/v/1/a");
  EXPECT_EQ(range("/x", "/y").revision, get("/w")->modified);
}

TEST_P(MetaConformance, GivesLongRanges) {
  // More than one message holds.
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 60; ++i) {
    Transaction transaction;
    for (int j = 0; j < 10; ++j) {
      const std::string key = "/long/" + std::to_string(1000 + i * 10 + j);
      expected[key] = std::string(10'000, static_cast<char>('a' + j));
      transaction.operations.push_back(put_of(key, expected[key]));
    }
    ASSERT_TRUE(commit(std::move(transaction))->succeeded);
  }
  const RangeResult all = range("/long/", prefix_end("/long/"));
  ASSERT_EQ(all.entries.size(), expected.size());
  auto at = expected.begin();
  for (const Entry& entry : all.entries) {
    EXPECT_EQ(entry.key, at->first);
    EXPECT_TRUE(entry.value == at->second);
    ++at;
  }
  EXPECT_FALSE(all.more);
}

TEST_P(MetaConformance, ErasesAPrefix) {
  for (const char* key : {"/p", "/p/1", "/p/2", "/p0", "/q"}) put(key, "x");
  Transaction transaction;
  transaction.operations = {put_of("/p/3", "new"), {Operation::Kind::kErasePrefix, "/p/", {}, 0}, put_of("/p/4", "y")};
  const Revision revision = commit(transaction)->revision;
  EXPECT_EQ(keys_of(range("/", "0")), "/p /p/4 /p0 /q ");
  EXPECT_EQ(get("/p/4")->created, revision);
}

TEST_P(MetaConformance, WatchesAPrefixFromARevision) {
  put("/w/old", "x");
  const Revision from = put("/w/a", "1");
  put("/other", "x");
  const Revision b = put("/w/b", "2");
  const Revision gone = erase("/w/a");
  std::unique_ptr<Watch> stream = watch("/w/", from);
  std::vector<Event> events;
  while (events.size() < 3) {
    Result<std::vector<Event>> more = next(*stream);
    ASSERT_TRUE(more && !more->empty());
    for (Event& event : *more) events.push_back(std::move(event));
  }
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].kind, Event::Kind::kPut);
  EXPECT_EQ(events[0].entry.key, "/w/a");
  EXPECT_EQ(events[0].entry.value, "1");
  EXPECT_EQ(events[0].entry.modified, from);
  EXPECT_EQ(events[1].entry.modified, b);
  EXPECT_EQ(events[2].kind, Event::Kind::kErase);
  EXPECT_EQ(events[2].entry.key, "/w/a");
  EXPECT_EQ(events[2].entry.modified, gone);

  // A change yet to come wakes the one who waits; one of several keys comes whole.
  std::optional<Result<std::vector<Event>>> later;
  struct Waiter {
    static Task<void> wait(Watch& watch, std::optional<Result<std::vector<Event>>>& out) {
      Result<std::vector<Event>> events = co_await watch.next();
      out = std::move(events);
    }
  };
  harness->runtime().executor().spawn(Waiter::wait(*stream, later));
  put("/unrelated", "x");
  EXPECT_FALSE(later);
  Transaction transaction;
  transaction.operations = {put_of("/w/y", "1"), put_of("/w/x", "1"), put_of("/v", "1")};
  const Revision both = commit(transaction)->revision;
  harness->drive([&] { return later.has_value(); });
  ASSERT_TRUE(*later);
  ASSERT_EQ((*later)->size(), 2u);
  EXPECT_EQ((**later)[0].entry.modified, both);
  EXPECT_EQ((**later)[1].entry.modified, both);
}

TEST_P(MetaConformance, EndsAWatchThatIsCancelled) {
  std::unique_ptr<Watch> stream = watch("/w/", 1);
  std::optional<ErrorCode> ended;
  struct Waiter {
    static Task<void> wait(Watch& watch, std::optional<ErrorCode>& out) {
      Result<std::vector<Event>> events = co_await watch.next();
      out = events ? ErrorCode::kIo : events.error().code;
    }
  };
  harness->runtime().executor().spawn(Waiter::wait(*stream, ended));
  put("/else", "x");
  stream->cancel();
  harness->drive([&] { return ended.has_value(); });
  EXPECT_EQ(*ended, ErrorCode::kCancelled);
  EXPECT_EQ(next(*stream).error().code, ErrorCode::kCancelled);
}

TEST_P(MetaConformance, TellsAWatchThatItsHistoryIsGone) {
  const Revision first = put("/w/0", "x");
  std::unique_ptr<Watch> early = watch("/w/", first);
  for (uint64_t i = 0; i < kHistoryEvents + 10; ++i) put("/w/" + std::to_string(i), "x");
  std::unique_ptr<Watch> late = watch("/w/", first);
  EXPECT_EQ(next(*late).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(next(*early).error().code, ErrorCode::kNotFound);
  const Revision recent = put("/w/recent", "x");
  std::unique_ptr<Watch> fresh = watch("/w/", recent);
  EXPECT_EQ(next(*fresh)->at(0).entry.key, "/w/recent");
}

TEST_P(MetaConformance, LeasesTakeTheirKeysWithThem) {
  const uint64_t ttl_ns = 60'000'000'000;
  const LeaseId lease = harness->run(meta().grant_lease(ttl_ns)).value();
  const LeaseId other = harness->run(meta().grant_lease(ttl_ns)).value();
  EXPECT_NE(lease, other);
  put("/l/a", "1", lease);
  put("/l/b", "1", lease);
  put("/l/c", "1", other);
  put("/l/d", "1", lease);
  const Revision last = put("/l/d", "2");  // no longer under the lease
  EXPECT_EQ(get("/l/a")->lease, lease);
  EXPECT_TRUE(harness->run(meta().revoke_lease(lease)));
  EXPECT_EQ(keys_of(range("/l/", "/m")), "/l/c /l/d ");
  EXPECT_EQ(harness->run(meta().renew_lease(lease)).error().code, ErrorCode::kNotFound);
  if (!harness->loses_answers()) {
    EXPECT_EQ(harness->run(meta().revoke_lease(lease)).error().code, ErrorCode::kNotFound);
  }
  EXPECT_TRUE(harness->run(meta().renew_lease(other)));
  std::unique_ptr<Watch> stream = watch("/l/", last + 1);
  const Result<std::vector<Event>> events = next(*stream);
  ASSERT_TRUE(events && events->size() == 2);
  EXPECT_EQ(events->at(0).kind, Event::Kind::kErase);
}

TEST_P(MetaConformance, LeasesRunOutUnlessRenewed) {
  if (!harness->has_virtual_time()) GTEST_SKIP() << "terms need virtual time";
  const uint64_t ttl_ns = 100'000'000'000;
  const LeaseId dying = harness->run(meta().grant_lease(ttl_ns)).value();
  const LeaseId living = harness->run(meta().grant_lease(ttl_ns)).value();
  put("/dying", "x", dying);
  put("/living", "x", living);
  harness->let_pass(ttl_ns * 6 / 10);
  EXPECT_TRUE(harness->run(meta().renew_lease(living)));
  EXPECT_TRUE(get("/dying"));
  harness->let_pass(ttl_ns * 6 / 10);
  EXPECT_FALSE(get("/dying"));
  EXPECT_TRUE(get("/living"));
  EXPECT_EQ(harness->run(meta().renew_lease(dying)).error().code, ErrorCode::kNotFound);
  Transaction late;
  late.operations = {put_of("/dying", "x", dying)};
  EXPECT_EQ(commit(late).error().code, ErrorCode::kNotFound);
  harness->let_pass(ttl_ns * 6 / 10);
  EXPECT_FALSE(get("/living"));
}

TEST_P(MetaConformance, SurvivesARestartWhole) {
  const uint64_t ttl_ns = 100'000'000'000;
  const LeaseId lease = harness->run(meta().grant_lease(ttl_ns)).value();
  put("/a", "1");
  put("/a", "2");
  put("/b", std::string(100'000, 'b'));
  put("/leased", "x", lease);
  erase("/b");
  const RangeResult before = range("", "");
  if (harness->has_virtual_time()) harness->let_pass(ttl_ns * 9 / 10);
  harness->restart();
  const RangeResult after = range("", "");
  ASSERT_EQ(after.entries.size(), before.entries.size());
  for (size_t i = 0; i < before.entries.size(); ++i) {
    EXPECT_EQ(after.entries[i].key, before.entries[i].key);
    EXPECT_EQ(after.entries[i].value, before.entries[i].value);
    EXPECT_EQ(after.entries[i].created, before.entries[i].created);
    EXPECT_EQ(after.entries[i].modified, before.entries[i].modified);
    EXPECT_EQ(after.entries[i].lease, before.entries[i].lease);
  }
  EXPECT_EQ(after.revision, before.revision);
  EXPECT_GT(put("/a", "3"), before.revision);
  EXPECT_NE(harness->run(meta().grant_lease(ttl_ns)).value(), lease);
  if (!harness->has_virtual_time()) return;
  // The whole term again, and no more.
  harness->let_pass(ttl_ns * 9 / 10);
  EXPECT_TRUE(get("/leased"));
  harness->let_pass(ttl_ns * 2 / 10);
  EXPECT_FALSE(get("/leased"));
}

TEST_P(MetaConformance, AWatchResumesAfterARestart) {
  put("/w/a", "1");
  const Revision last = put("/w/b", "1");
  std::unique_ptr<Watch> stream = watch("/w/", last);
  EXPECT_EQ(next(*stream)->size(), 1u);
  harness->restart();
  if (!harness->watches_survive_restart()) stream = watch("/w/", last + 1);
  const Revision change = put("/w/c", "1");
  const Result<std::vector<Event>> events = next(*stream);
  ASSERT_TRUE(events) << events.error().message();
  ASSERT_EQ(events->size(), 1u);
  EXPECT_EQ(events->at(0).entry.modified, change);
  // What was before the restart may be asked for no more; a gap is never passed over in silence.
  std::unique_ptr<Watch> old = watch("/w/", 1);
  EXPECT_EQ(next(*old).error().code, ErrorCode::kNotFound);
}

// Many clients add to one counter by compare-and-swap, each settling unknown outcomes: every success counts once.
Task<void> count_up(runtime::Runtime& runtime, MetaHarness& harness, uint64_t writer, int times, uint64_t& succeeded,
                    int& running) {
  for (int n = 0; n < times;) {
    Result<std::optional<Entry>> entry = co_await harness.meta().get("/counter");
    if (!entry) continue;
    const uint64_t value = *entry ? std::stoull((*entry)->value) : 0;
    Transaction transaction;
    transaction.compares = {modified_is("/counter", *entry ? (*entry)->modified : 0)};
    // The writer's own key tells an own success, since the others overwrite the counter.
    const std::string own = "/writers/" + std::to_string(writer);
    const std::string nonce = std::to_string(n);
    transaction.operations = {put_of("/counter", std::to_string(value + 1)), put_of(own, nonce)};
    IsMine mine = [nonce](const Entry& e) { return e.value == nonce; };
    Result<TransactionResult> result =
        co_await commit_settled(runtime, harness.meta(), std::move(transaction), own, std::move(mine));
    if (!result || !result->succeeded) continue;
    ++succeeded;
    ++n;
  }
  --running;
}

TEST_P(MetaConformance, CountsEverySuccessOnce) {
  constexpr int kWriters = 8;
  constexpr int kTimes = 12;
  uint64_t succeeded = 0;
  int running = kWriters;
  for (int writer = 0; writer < kWriters; ++writer)
    harness->runtime().executor().spawn(
        count_up(harness->runtime(), *harness, static_cast<uint64_t>(writer), kTimes, succeeded, running));
  harness->drive([&] { return running == 0; });
  EXPECT_EQ(succeeded, static_cast<uint64_t>(kWriters * kTimes));
  EXPECT_EQ(std::stoull(get("/counter")->value), succeeded);
}

// A model that shares nothing with the store: a map of (value, created, modified) changed by the rules of meta.h.
struct Model {
  struct Row {
    std::string value;
    Revision created, modified;
  };
  std::map<std::string, Row> rows;
  Revision revision = 0;

  bool commit(const Transaction& transaction) {
    for (const Compare& compare : transaction.compares) {
      const auto row = rows.find(compare.key);
      const bool here = row != rows.end();
      if (compare.target == Compare::Target::kModified && (here ? row->second.modified : 0) != compare.revision)
        return false;
      if (compare.target == Compare::Target::kCreated && (here ? row->second.created : 0) != compare.revision)
        return false;
      if (compare.target == Compare::Target::kValue && (!here || row->second.value != compare.value)) return false;
    }
    bool changed = false;
    std::map<std::string, Row> next = rows;
    for (const Operation& operation : transaction.operations) {
      if (operation.kind == Operation::Kind::kPut) {
        const auto row = next.find(operation.key);
        const Revision created = row != next.end() ? row->second.created : revision + 1;
        next[operation.key] = {operation.value, created, revision + 1};
        changed = true;
      }
      if (operation.kind == Operation::Kind::kErase) changed |= next.erase(operation.key) > 0;
      if (operation.kind == Operation::Kind::kErasePrefix)
        changed |= std::erase_if(next, [&](const auto& row) { return row.first.starts_with(operation.key); }) > 0;
    }
    if (changed) ++revision;
    rows = std::move(next);
    return true;
  }
};

TEST_P(MetaConformance, BehavesAsAModelOverRandomTransactions) {
  Random random(7);
  Model model;
  const auto key = [&] {
    const std::string letter(1, static_cast<char>('a' + random.below(5)));
    return "/m/" + letter + (random.chance(0.5) ? "x" : "");
  };
  for (int i = 0; i < 300; ++i) {
    Transaction transaction;
    for (uint64_t n = random.below(3); n > 0; --n) {
      Compare compare{static_cast<Compare::Target>(random.below(3)), key(), 0, "v" + std::to_string(random.below(4))};
      const auto row = model.rows.find(compare.key);
      if (row != model.rows.end() && random.chance(0.8)) {
        compare.revision =
            compare.target == Compare::Target::kCreated ? row->second.created : row->second.modified;
        compare.value = row->second.value;
      }
      transaction.compares.push_back(std::move(compare));
    }
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      const auto kind = random.chance(0.7) ? Operation::Kind::kPut : static_cast<Operation::Kind>(1 + random.below(2));
      transaction.operations.push_back({kind, key(), "v" + std::to_string(random.below(4)), 0});
    }
    // The nonce makes a resubmitted one fail, whatever else it says.
    Transaction marked = transaction;
    const auto last = model.rows.find("/nonce");
    marked.compares.push_back(modified_is("/nonce", last != model.rows.end() ? last->second.modified : 0));
    marked.operations.push_back(put_of("/nonce", std::to_string(i)));
    const Result<TransactionResult> result =
        harness->run(commit_settled(harness->runtime(), meta(), marked, "/nonce",
                                    [i](const Entry& entry) { return entry.value == std::to_string(i); }));
    ASSERT_TRUE(result) << result.error().message();
    ASSERT_EQ(result->succeeded, model.commit(marked)) << i;
    if (i % 100 == 50) harness->restart();
    if (i % 10 != 0) continue;
    const RangeResult all = range("", "");
    ASSERT_EQ(all.entries.size(), model.rows.size()) << i;
    auto row = model.rows.begin();
    for (const Entry& entry : all.entries) {
      EXPECT_EQ(entry.key, row->first);
      EXPECT_EQ(entry.value, row->second.value);
      EXPECT_EQ(entry.created, row->second.created);
      EXPECT_EQ(entry.modified, row->second.modified);
      ++row;
    }
    EXPECT_EQ(all.revision, model.revision);
  }
}

}  // namespace
}  // namespace foreshard::meta
