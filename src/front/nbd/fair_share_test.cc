// Proves that whoever takes more than others makes room, that nobody loses a seat to one who has as many, and, over
// random comings, that a crowd of one peer never keeps another from its share.
#include "front/nbd/fair_share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"

namespace foreshard::front::nbd {
namespace {

TEST(FairShare, TheGreediestPeersSilentSeatIsGiven) {
  const std::vector<Seat> seats = {{"a", 5}, {"b", 1}, {"a", 3}, {"a", 4}, {"b", 2}};
  EXPECT_EQ(seat_of_greediest(seats), 2u);
  EXPECT_EQ(seat_for("c", seats), 2u);
  EXPECT_EQ(seat_for("b", seats), std::nullopt);  // 3 and 2 would become 2 and 3
  EXPECT_EQ(seat_for("a", seats), std::nullopt);  // not one's own
}

TEST(FairShare, EqualSharesStand) {
  const std::vector<Seat> seats = {{"a", 1}, {"b", 2}, {"c", 3}};
  EXPECT_EQ(seat_for("d", seats), std::nullopt);
  EXPECT_EQ(seat_for("a", seats), std::nullopt);
  EXPECT_EQ(seat_for("d", {}), std::nullopt);
}

// Peers come in any order and as often as they like; with 12 seats and 4 peers each has its 3 once it has asked.
TEST(FairShare, EveryPeerGetsItsShare) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    const std::vector<std::string> peers = {"a", "b", "c", "d"};
    std::vector<Seat> seats;
    uint64_t now_ns = 0;
    const auto come = [&](const std::string& peer) {
      const Seat seat{peer, ++now_ns};
      if (seats.size() < 12) return seats.push_back(seat);
      const std::optional<size_t> given = seat_for(peer, seats);
      if (given) seats[*given] = seat;
    };
    for (int i = 0; i < 30; ++i) come(peers[0]);
    for (int i = 0; i < 200; ++i) come(peers[random.below(peers.size())]);
    for (const std::string& peer : peers) {
      for (int i = 0; i < 3; ++i) come(peer);
      EXPECT_GE(std::ranges::count(seats, peer, &Seat::peer), 3) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace foreshard::front::nbd
