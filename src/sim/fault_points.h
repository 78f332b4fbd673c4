// The names of all that a run may do to a region, each counted when it happens. A campaign in which one never
// happened has not tested what it says; one that is not listed here is a mistake, too.
#pragma once

#include <array>
#include <string_view>

namespace foreshard::sim {

inline constexpr std::array<std::string_view, 40> kFaultPoints = {
    // processes
    "process kill", "power loss", "process pause", "clean restart", "takeover", "detach", "clock jump",
    "takeover of a detach",
    // disks
    "disk slow", "disk stuck", "slow syncs", "disk write error", "disk sync error", "disk read error", "disk full",
    "disk lost write", "disk misdirected write", "disk corruption", "disk rot", "disk lost unsynced sectors",
    "disk lost folder changes", "disk replaced", "index error", "index tail lost",
    // the network
    "network partition", "network blocked", "network reset", "network stalled stream reset",
    "network delay spike", "slow network",
    // what a volume goes through
    "volume created", "volume removed", "volume grown", "volume attached again", "administrator killed",
    // what was to be expected of that
    "refused: no space", "refused: corrupt", "refused: read error", "refused: not in time",
    "unreadable page found by scrub",
};

}  // namespace foreshard::sim
