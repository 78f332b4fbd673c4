// Fence, drain and grants of a server, in virtual time: an Open is answered only when the requests of the session
// before have ended (R-DRAIN) and the grants of another epoch have run out (R-GRANT), also over a restart; a
// request of a superseded session is refused and changes nothing; after a Close nobody waits.
#include "server/sessions.h"

#include <gtest/gtest.h>

#include "runtime/sim_world.h"
#include "store/memory_store.h"

namespace foreshard::server {
namespace {

using runtime::SimRuntime;
using runtime::Task;

constexpr uint64_t kGrantNs = 2'500'000'000;

struct Scene : runtime::SimProcess {
  using Story = Task<void> (*)(Scene&);
  Scene(SimRuntime& r, Story story) : runtime(r), store(StoreUuid{5}, 1u << 24) {
    sessions = std::make_unique<Sessions>(r, store, kGrantNs);
    r.executor().spawn(run(story));
  }
  Task<void> run(Story story) {
    co_await story(*this);
    done = true;
  }
  // As a restart of the server with its store: what is not durable is forgotten.
  Task<void> restart() {
    sessions = std::make_unique<Sessions>(runtime, store, kGrantNs);
    const Result<void> loaded = co_await sessions->load();
    EXPECT_TRUE(loaded);
  }
  SimRuntime& runtime;
  store::MemoryStore store;
  std::unique_ptr<Sessions> sessions;
  bool done = false;
};

void run_story(Scene::Story story) {
  runtime::SimWorld world(3);
  const runtime::NodeId node = world.add_node("server");
  world.start(node, [story](SimRuntime& r) { return std::make_unique<Scene>(r, story); });
  EXPECT_TRUE(world.run_until([&] { return static_cast<Scene*>(world.process(node))->done; }, 600'000'000'000));
}

SessionName name(uint64_t epoch, uint64_t session) { return {1, epoch, session}; }

Task<void> works_for(Scene& s, SessionName session, uint64_t duration_ns, bool& admitted_at_end) {
  Result<Sessions::Work> work = s.sessions->enter(session);
  EXPECT_TRUE(work);
  co_await s.runtime.executor().sleep_for(duration_ns);
  admitted_at_end = work->admitted();
}

Task<void> drain(Scene& s) {
  Result<void> opened = co_await s.sessions->open(name(1, 1));
  EXPECT_TRUE(opened);
  bool admitted = true;
  s.runtime.executor().spawn(works_for(s, name(1, 1), 7'000'000'000, admitted));
  co_await s.runtime.executor().sleep_for(1'000'000);
  const uint64_t start_ns = s.runtime.now_ns();
  opened = co_await s.sessions->open(name(1, 2));
  EXPECT_TRUE(opened);
  EXPECT_GE(s.runtime.now_ns() - start_ns, 6'900'000'000u);
  // The old request saw, before it could change anything, that its time was over.
  EXPECT_FALSE(admitted);
  EXPECT_EQ(s.sessions->enter(name(1, 1)).error().code, ErrorCode::kStaleSession);
  EXPECT_TRUE(s.sessions->enter(name(1, 2)));
}

TEST(Sessions, AnOpenWaitsForWhatWasAtWorkAndOvertakesIt) { run_story(drain); }

Task<void> takeover(Scene& s) {
  Result<void> opened = co_await s.sessions->open(name(1, 1));
  EXPECT_TRUE(opened);
  co_await s.runtime.executor().sleep_for(kGrantNs * 4);
  {
    Result<Sessions::Work> work = s.sessions->enter(name(1, 1));
    work->grant();
  }
  const uint64_t granted_ns = s.runtime.now_ns();
  opened = co_await s.sessions->open(name(2, 1));
  EXPECT_TRUE(opened);
  EXPECT_GE(s.runtime.now_ns(), granted_ns + kGrantNs);
  EXPECT_LE(s.runtime.now_ns(), granted_ns + kGrantNs + kGrantNs / 10);
  EXPECT_EQ(s.sessions->enter(name(1, 1)).error().code, ErrorCode::kFenced);
  opened = co_await s.sessions->open(name(1, 2));
  EXPECT_EQ(opened.error().code, ErrorCode::kFenced);
}

TEST(Sessions, ATakeoverWaitsForTheLastGrant) { run_story(takeover); }

Task<void> restarted(Scene& s) {
  Result<void> opened = co_await s.sessions->open(name(4, 1));
  EXPECT_TRUE(opened);
  co_await s.restart();
  // The same driver may come back at once; its old session is not known any more.
  EXPECT_EQ(s.sessions->enter(name(4, 1)).error().code, ErrorCode::kStaleSession);
  uint64_t start_ns = s.runtime.now_ns();
  opened = co_await s.sessions->open(name(4, 2));
  EXPECT_TRUE(opened);
  EXPECT_LT(s.runtime.now_ns() - start_ns, kGrantNs / 10);
  // Another one waits once for what may have been granted before the restart; an older one is fenced.
  co_await s.restart();
  opened = co_await s.sessions->open(name(3, 9));
  EXPECT_EQ(opened.error().code, ErrorCode::kFenced);
  start_ns = s.runtime.now_ns();
  opened = co_await s.sessions->open(name(5, 1));
  EXPECT_TRUE(opened);
  EXPECT_GE(s.runtime.now_ns() - start_ns, kGrantNs * 9 / 10);
}

TEST(Sessions, RememberTheFenceOverARestart) { run_story(restarted); }

Task<void> opens_in_background(Scene& s, SessionName session, bool& finished) {
  const Result<void> opened = co_await s.sessions->open(session);
  finished = opened.has_value();
}

// A takeover that a restart broke off must not let its second try skip the wait for the first driver's grants.
Task<void> broken_off(Scene& s) {
  Result<void> opened = co_await s.sessions->open(name(1, 1));
  EXPECT_TRUE(opened);
  {
    Result<Sessions::Work> work = s.sessions->enter(name(1, 1));
    work->grant();
  }
  const uint64_t granted_ns = s.runtime.now_ns();
  bool finished = false;
  s.runtime.executor().spawn(opens_in_background(s, name(2, 1), finished));
  co_await s.runtime.executor().sleep_for(1'000'000);
  EXPECT_FALSE(finished);
  Sessions second(s.runtime, s.store, kGrantNs);
  const Result<void> loaded = co_await second.load();
  EXPECT_TRUE(loaded);
  opened = co_await second.open(name(2, 2));
  EXPECT_TRUE(opened);
  EXPECT_GE(s.runtime.now_ns(), granted_ns + kGrantNs);
}

TEST(Sessions, ABrokenOffTakeoverStillWaitsForGrants) { run_story(broken_off); }

Task<void> closed(Scene& s) {
  Result<void> opened = co_await s.sessions->open(name(1, 1));
  EXPECT_TRUE(opened);
  const Result<void> said = co_await s.sessions->close(name(1, 1));
  EXPECT_TRUE(said);
  EXPECT_FALSE(s.sessions->enter(name(1, 1)));
  co_await s.restart();
  const uint64_t start_ns = s.runtime.now_ns();
  opened = co_await s.sessions->open(name(2, 1));
  EXPECT_TRUE(opened);
  EXPECT_LT(s.runtime.now_ns() - start_ns, kGrantNs / 10);
}

TEST(Sessions, AfterACloseNobodyWaits) { run_story(closed); }

}  // namespace
}  // namespace foreshard::server
