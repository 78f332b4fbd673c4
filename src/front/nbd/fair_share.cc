#include "front/nbd/fair_share.h"

#include <map>

#include "base/assert.h"

namespace foreshard::front::nbd {

namespace {

std::map<std::string_view, size_t> count_by_peer(std::span<const Seat> seats) {
  std::map<std::string_view, size_t> counts;
  for (const Seat& seat : seats) ++counts[seat.peer];
  return counts;
}

}  // namespace

size_t seat_of_greediest(std::span<const Seat> seats) {
  ASSERT(!seats.empty());
  const std::map<std::string_view, size_t> counts = count_by_peer(seats);
  size_t best = 0;
  for (size_t i = 1; i < seats.size(); ++i) {
    const size_t count = counts.at(seats[i].peer);
    const size_t best_count = counts.at(seats[best].peer);
    if (count > best_count || (count == best_count && seats[i].heard_ns < seats[best].heard_ns)) best = i;
  }
  return best;
}

std::optional<size_t> seat_for(std::string_view newcomer, std::span<const Seat> seats) {
  if (seats.empty()) return std::nullopt;
  const std::map<std::string_view, size_t> counts = count_by_peer(seats);
  const size_t greediest = seat_of_greediest(seats);
  const auto own = counts.find(newcomer);
  const size_t own_count = own == counts.end() ? 0 : own->second;
  if (counts.at(seats[greediest].peer) < own_count + 2) return std::nullopt;
  return greediest;
}

}  // namespace foreshard::front::nbd
