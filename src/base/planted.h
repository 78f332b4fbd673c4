// Planted bugs: faults that the simulator must find. In a normal build every PLANTED(...) is the constant
// false and costs nothing; with FORESHARD_PLANTED_BUGS one of them may be switched on by name.
#pragma once

#include <string_view>

namespace foreshard {

#ifdef FORESHARD_PLANTED_BUGS
bool planted_bug_is(std::string_view name);
void plant_bug(std::string_view name);
#define PLANTED(name) (::foreshard::planted_bug_is(name))
#else
#define PLANTED(name) false
#endif

}  // namespace foreshard
