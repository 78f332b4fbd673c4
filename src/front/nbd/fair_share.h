// Who goes first when connections are scarce. A client may sit idle for days, so nobody is sent away for that; but when
// everything is taken, a peer that has more than others makes room for a newcomer of another peer. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace foreshard::front::nbd {

// A connection as far as it matters here: whose it is, and when anything was last heard on it.
struct Seat {
  std::string_view peer;
  uint64_t heard_ns = 0;
};

// Which of the seats, all taken, a newcomer gets: of the peer that has the most the one silent for longest, provided
// that this peer keeps no fewer than the newcomer's will have. So peers with equal shares never push each other out.
std::optional<size_t> seat_for(std::string_view newcomer, std::span<const Seat> seats);

// The seat silent for longest of the peer that has the most. `seats` is not empty.
size_t seat_of_greediest(std::span<const Seat> seats);

}  // namespace foreshard::front::nbd
