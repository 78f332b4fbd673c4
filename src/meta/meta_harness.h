// The harnesses of the conformance suite: each Meta implementation with a world around it. Test code.
#pragma once

#include <memory>

#include "meta/meta_conformance.h"

namespace foreshard::meta {

std::unique_ptr<MetaHarness> make_embedded_map_harness();
std::unique_ptr<MetaHarness> make_embedded_rocks_harness();
// Client and store in one process, over streams in memory.
std::unique_ptr<MetaHarness> make_remote_memory_harness();
// Two simulated hosts.
std::unique_ptr<MetaHarness> make_remote_sim_harness();
// The same, with connections that break often, so that answers get lost.
std::unique_ptr<MetaHarness> make_remote_breaking_harness();

}  // namespace foreshard::meta
