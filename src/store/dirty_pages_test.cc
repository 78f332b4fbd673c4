// Proves the bookkeeping of dirty records: a page counts as named only once a record of the present round with
// it is durable, and a checkpoint names only what is in flight, anew.
#include "store/dirty_pages.h"

#include <gtest/gtest.h>

namespace foreshard::store {
namespace {

const PageSet kOne = PageSet::range(1, 1);
const PageSet kTwo = PageSet::range(2, 1);

TEST(DirtyPages, ANameCountsOnceItsRecordIsDurable) {
  DirtyPages dirty;
  EXPECT_EQ(dirty.missing(kOne), kOne);
  dirty.name(kOne);
  EXPECT_EQ(dirty.missing(kOne), kOne);
  const DirtyPages::Composed first = dirty.compose();
  dirty.name(kTwo);
  dirty.committed(first);
  EXPECT_TRUE(dirty.missing(kOne).empty());
  EXPECT_EQ(dirty.missing(kOne | kTwo), kTwo);
  EXPECT_EQ(dirty.pending(), kTwo);
}

TEST(DirtyPages, ARecordOfAnEarlierRoundSaysNothing) {
  DirtyPages dirty;
  dirty.name(kOne);
  const DirtyPages::Composed before = dirty.compose();
  dirty.start_round({});
  EXPECT_TRUE(dirty.named().empty());
  dirty.name(kOne);
  dirty.committed(before);
  EXPECT_EQ(dirty.missing(kOne), kOne);
  dirty.committed(dirty.compose());
  EXPECT_TRUE(dirty.missing(kOne).empty());
}

TEST(DirtyPages, ACheckpointKeepsWhatIsInFlight) {
  DirtyPages dirty;
  dirty.name(kOne | kTwo);
  dirty.start_round(kTwo);
  EXPECT_EQ(dirty.named(), kTwo);
  EXPECT_EQ(dirty.missing(kTwo), kTwo);
}

}  // namespace
}  // namespace foreshard::store
