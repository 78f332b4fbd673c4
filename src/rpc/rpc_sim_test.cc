// Proves over the simulated network, with its cuts, delays, resets, partitions and dying servers, that every call ends
// by its deadline and a little, that an answer is always the one to its own question, and that nothing is left behind.
#include <gtest/gtest.h>

#include <deque>

#include "base/random.h"
#include "rpc/rpc.h"
#include "runtime/sim_world.h"

namespace foreshard::rpc {
namespace {

using runtime::SimProcess;
using runtime::SimRuntime;
using runtime::SimWorld;
using runtime::Task;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kGraceNs = 1'200'000'000;  // for a span that is in use when the deadline comes
constexpr uint16_t kMirror = 1;

// Bytes that follow from a seed, so that a wrong one shows.
void fill(ByteSpan bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(seed + i * 13 + (i >> 8));
}

struct Question {
  uint64_t seed = 0;
  uint64_t answer_bytes = 0;
  uint64_t delay_ns = 0;
};

// Checks what it is asked and answers with bytes that follow from the question.
struct MirrorServer final : SimProcess {
  explicit MirrorServer(SimRuntime& r) : runtime(r), service(Service::create(r)) {
    service->handle(kMirror, [this](Peer& peer, Request& request) { return mirror(peer, request); });
    service->serve(std::move(*runtime.network().listen("tcp:mirror:1")));
  }
  Task<Result<Reply>> mirror(Peer&, Request& request) {
    if (request.control.size() != sizeof(Question)) co_return fail(ErrorCode::kInvalid, "question");
    const auto question = load_object<Question>(request.control);
    Buffer expected = Buffer::allocate(request.data.size());
    fill(expected.span(), question.seed);
    if (as_text(expected.span()) != as_text(request.data)) co_return fail(ErrorCode::kCorrupt, "question");
    if (question.delay_ns != 0) co_await runtime.executor().sleep_for(question.delay_ns);
    Reply reply;
    reply.control = Buffer::copy_of(request.control);
    reply.data = Buffer::allocate(question.answer_bytes);
    fill(reply.data.span(), question.seed + 1);
    co_return reply;
  }
  SimRuntime& runtime;
  std::unique_ptr<Service> service;
};

struct Asker final : SimProcess {
  Asker(SimRuntime& r, int askers, int questions_each) : runtime(r), running(askers) {
    for (int i = 0; i < askers; ++i) runtime.executor().spawn(ask_many(questions_each));
  }
  Task<void> ask_many(int count) {
    for (int i = 0; i < count; ++i) {
      if (channel == nullptr || channel->closed()) {
        Result<std::shared_ptr<Channel>> made =
            co_await Channel::connect(runtime, "tcp:mirror:1", runtime.now_ns() + kSecondNs);
        if (!made) {
          co_await runtime.executor().sleep_for(10'000'000);
          continue;
        }
        channel = *made;
      }
      co_await ask();
    }
    --running;
  }
  Task<void> ask() {
    Random& random = runtime.random();
    const Question question{random.next(), random.chance(0.1) ? random.below(300'000) : random.below(9000),
                            random.chance(0.3) ? random.below(20'000'000) : 0};
    Buffer data = Buffer::allocate(random.chance(0.1) ? random.below(300'000) : random.below(9000));
    fill(data.span(), question.seed);
    Buffer place = Buffer::allocate(question.answer_bytes);
    const bool in_place = random.chance(0.5);
    Call call;
    call.method = kMirror;
    call.control = object_bytes(question);
    call.data = data.span();
    if (in_place) call.data_into = place.span();
    call.deadline_ns = runtime.now_ns() + 1 + random.below(40'000'000);
    const std::shared_ptr<Channel> used = channel;
    Result<Reply> reply = co_await used->call(call);
    late += runtime.now_ns() > call.deadline_ns + kGraceNs;
    if (!reply) {
      ++failed;
      unexpected += reply.error().code != ErrorCode::kTimeout && reply.error().code != ErrorCode::kUnavailable;
      std::memset(place.data(), 0, place.size());  // mine again
      co_return;
    }
    ++answered;
    Buffer expected = Buffer::allocate(question.answer_bytes);
    fill(expected.span(), question.seed + 1);
    const ConstByteSpan got = in_place ? place.span() : reply->data.span();
    wrong += as_text(got) != as_text(expected.span());
    wrong += as_text(reply->control.span()) != as_text(object_bytes(question));
  }
  SimRuntime& runtime;
  std::shared_ptr<Channel> channel;
  int running;
  uint64_t answered = 0, failed = 0, wrong = 0, unexpected = 0, late = 0;
};

class RpcSim : public testing::TestWithParam<uint64_t> {};

TEST_P(RpcSim, EveryCallEndsAndEveryAnswerIsItsOwn) {
  SimWorld world(GetParam());
  const runtime::NodeId server = world.add_node("server");
  const runtime::NodeId client = world.add_node("client");
  world.start(server, [](SimRuntime& r) { return std::make_unique<MirrorServer>(r); });
  world.start(client, [](SimRuntime& r) { return std::make_unique<Asker>(r, 10, 40); });
  auto& asker = static_cast<Asker&>(*world.process(client));
  world.fabric().knobs().reset_chance = 0.0005;
  world.fabric().knobs().spike_chance = 0.001;
  for (int i = 0; i < 40 && asker.running > 0; ++i) {
    world.run_for(10'000'000 + world.random().below(30'000'000));
    switch (world.random().below(6)) {
      case 0: world.fabric().reset_one(server, client); break;
      case 1: world.fabric().partition(server, client); break;
      case 2:
        if (world.running(server)) world.kill(server, runtime::Crash::kProcess);
        break;
      case 3: world.pause(server); break;
      default: break;
    }
    world.run_for(world.random().below(60'000'000));
    world.fabric().heal_all();
    if (!world.running(server)) world.restart(server);
    world.resume(server);
  }
  ASSERT_TRUE(world.run_until([&] { return asker.running == 0; }, world.now_ns() + 600 * kSecondNs));
  EXPECT_GT(asker.answered, 20u);
  EXPECT_GT(asker.failed, 0u);
  EXPECT_EQ(asker.wrong, 0u);
  EXPECT_EQ(asker.unexpected, 0u);
  EXPECT_EQ(asker.late, 0u);
  asker.channel = nullptr;
  EXPECT_TRUE(world.run_until([&] { return world.runtime(client).executor().root_count() == 0; },
                              world.now_ns() + 60 * kSecondNs));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RpcSim, testing::Range<uint64_t>(1, 7));

}  // namespace
}  // namespace foreshard::rpc
