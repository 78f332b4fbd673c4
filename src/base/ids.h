// Strong ids: integers that cannot be mixed up. Only what an id needs: order, equality, its value.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace foreshard {

template <class Tag>
struct StrongId {
  uint64_t value = 0;
  auto operator<=>(const StrongId&) const = default;
  explicit operator bool() const { return value != 0; }
};

using VolumeId = StrongId<struct VolumeTag>;      // never reused; data is keyed by it
using ServerId = StrongId<struct ServerTag>;      // 1, 2, ... within a region
using Epoch = StrongId<struct EpochTag>;          // of a volume's attachment; only grows
using SessionId = StrongId<struct SessionTag>;    // one Open of one volume at one server
using ReplicaId = StrongId<struct ReplicaTag>;    // one life of a volumelet at a server
using StoreUuid = StrongId<struct StoreUuidTag>;  // of one chunk store, drawn when it is formatted
using VmId = StrongId<struct VmTag>;              // who asks, for predictions

}  // namespace foreshard

template <class Tag>
struct std::hash<foreshard::StrongId<Tag>> {
  size_t operator()(foreshard::StrongId<Tag> id) const noexcept { return id.value * 0x9e3779b97f4a7c15ull; }
};
