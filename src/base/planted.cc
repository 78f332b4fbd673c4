#include "base/planted.h"

#ifdef FORESHARD_PLANTED_BUGS
#include <string>

namespace foreshard {
namespace {
std::string planted;
}
bool planted_bug_is(std::string_view name) { return planted == name; }
void plant_bug(std::string_view name) { planted = name; }
}  // namespace foreshard
#endif
