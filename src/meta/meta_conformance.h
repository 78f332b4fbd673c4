// The conformance suite of Meta: what every implementation must do, as tests that run over a harness. A new
// implementation brings a harness and one INSTANTIATE_TEST_SUITE_P line (see meta_conformance_test.cc).
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "meta/meta.h"
#include "meta/settle.h"

namespace foreshard::meta {

// One store under test, with its world. Calls are made as if blocking: the harness runs the world meanwhile.
class MetaHarness {
 public:
  virtual ~MetaHarness() = default;
  virtual Meta& meta() = 0;
  // Where the client's coroutines run.
  virtual runtime::Runtime& runtime() = 0;
  // Runs the world until it is done; fails the test when it never is.
  virtual void drive(const std::function<bool()>& done) = 0;
  // The store's process dies without a word and comes back on the same data.
  virtual void restart() = 0;
  // Lets time pass; real time is not waited for, tests of terms skip there.
  virtual bool has_virtual_time() const { return true; }
  virtual void let_pass(uint64_t duration_ns) = 0;
  // Answers get lost also without a restart, so that a call may have been carried out twice.
  virtual bool loses_answers() const { return false; }
  // A watch goes on over a restart of the store (a remote one reconnects).
  virtual bool watches_survive_restart() const { return false; }

  template <class T>
  T run(runtime::Task<T> task) {
    std::optional<T> value;
    runtime().executor().spawn(store_value<T>(std::move(task), value));
    drive([&] { return value.has_value(); });
    return std::move(*value);
  }

 private:
  template <class T>
  static runtime::Task<void> store_value(runtime::Task<T> task, std::optional<T>& value) {
    T result = co_await task;
    value.emplace(std::move(result));
  }
};

struct HarnessFactory {
  const char* name;
  std::unique_ptr<MetaHarness> (*make)();
};

class MetaConformance : public testing::TestWithParam<HarnessFactory> {
 protected:
  // The history of watches that harnesses configure, small enough to run over.
  static constexpr uint64_t kHistoryEvents = 200;

  void SetUp() override { harness = GetParam().make(); }
  Meta& meta() { return harness->meta(); }

  std::optional<Entry> get(const std::string& key) { return harness->run(meta().get(key)).value(); }
  RangeResult range(const std::string& begin, const std::string& end, size_t limit = 0, bool backward = false) {
    return harness->run(meta().range(begin, end, limit, backward)).value();
  }
  // Answers may get lost: every transaction carries a nonce of its own, in a key beside, and is settled by it.
  Result<TransactionResult> commit(Transaction transaction) {
    const std::string nonce = std::to_string(++nonces_);
    const std::optional<Entry> last = get(kNonceKey);
    transaction.compares.push_back({Compare::Target::kModified, kNonceKey, last ? last->modified : 0, {}});
    transaction.operations.push_back({Operation::Kind::kPut, kNonceKey, nonce, 0});
    return harness->run(commit_settled(harness->runtime(), meta(), std::move(transaction), kNonceKey,
                                       [nonce](const Entry& entry) { return entry.value == nonce; }));
  }
  Revision put(const std::string& key, const std::string& value, LeaseId lease = 0) {
    Transaction transaction;
    transaction.operations.push_back({Operation::Kind::kPut, key, value, lease});
    const Result<TransactionResult> result = commit(std::move(transaction));
    EXPECT_TRUE(result && result->succeeded) << key;
    return result ? result->revision : 0;
  }
  Revision erase(const std::string& key, Operation::Kind kind = Operation::Kind::kErase) {
    Transaction transaction;
    transaction.operations.push_back({kind, key, {}, 0});
    return commit(std::move(transaction)).value().revision;
  }
  std::unique_ptr<Watch> watch(const std::string& prefix, Revision from) {
    return harness->run(meta().watch(prefix, from)).value();
  }
  Result<std::vector<Event>> next(Watch& watch) { return harness->run(watch.next()); }
  std::string keys_of(const RangeResult& result) {
    std::string keys;
    for (const Entry& entry : result.entries) keys += entry.key + " ";
    return keys;
  }

  std::unique_ptr<MetaHarness> harness;

 private:
  static constexpr const char* kNonceKey = "~nonce";
  uint64_t nonces_ = 0;
};

}  // namespace foreshard::meta
