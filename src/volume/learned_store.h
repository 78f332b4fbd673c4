// Where what prefetching has learned outlives its driver: in the region's metadata, one state for each volume and one
// for each image, so that the next driver of a volume, and a VM whose volume was made of the same image, begin with it.
//
// All of them together are bounded: what was saved longest ago makes room. Nothing depends on them: what is missing,
// damaged or too slow to come is done without.
#pragma once

#include <optional>
#include <string>

#include "base/ids.h"
#include "meta/meta.h"
#include "meta/records.pb.h"
#include "policy/prefetch/learned_state.h"
#include "runtime/io.h"

namespace foreshard::volume {

inline constexpr uint64_t kLearnedStateBytesMax = 512u << 10;  // of one
inline constexpr uint64_t kLearnedBytesMax = 32u << 20;        // of all volumes, and of all images of a region

// At most kLearnedStateBytesMax: the oldest recordings, then the oldest requests are left out.
std::string pack_learned(const policy::LearnedState& state);
// kUnsupported: of a newer format; kCorrupt: anything else that is wrong with it.
Result<policy::LearnedState> unpack_learned(const std::string& bytes);

// Whose state it is: that of a volume, or of an image.
std::string learned_subject(VolumeId volume);
std::string learned_subject_of_image(const std::string& image);

struct SavedLearned {
  policy::LearnedState state;
  std::string subject;
};
// The volume's own, else the image's where there is an image; nothing when there is neither. kCorrupt, kUnsupported:
// what is there is of no use.
runtime::Task<Result<std::optional<SavedLearned>>> load_learned(meta::Meta& meta, VolumeId volume, std::string image);

struct LearnedToSave {
  std::string subject;
  VolumeId volume;  // whose driver saves it
  std::string packed;
  uint64_t keep_others_ns = 0;  // what the driver of another volume has saved stays so long
};
// In place of what was there, if the guard holds. kConflict: somebody else saved at the same time, or it does not.
runtime::Task<Result<void>> save_learned(runtime::Runtime& runtime, meta::Meta& meta, LearnedToSave learned,
                                         meta::Compare guard, uint64_t deadline_ns);
// What removes a volume's state, as a part of the transaction that removes the volume.
void append_learned_removal(VolumeId volume, meta::Transaction& transaction);

}  // namespace foreshard::volume
