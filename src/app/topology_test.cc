// Proves that a topology is read as written, that a restart goes on with the recorded one, and that another one is
// refused with each difference named.
#include "app/topology.h"

#include <gtest/gtest.h>

namespace foreshard::app {
namespace {

TopologyWish wish_of(const char* zones, uint32_t servers, std::vector<std::string> latencies = {}) {
  Result<TopologyWish> wish = parse_topology(zones, servers, latencies);
  EXPECT_TRUE(wish) << wish.error().message();
  return *wish;
}

TEST(Topology, ZonesAreNamesEachOnce) {
  EXPECT_EQ(*parse_zones("a"), std::vector<std::string>{"a"});
  EXPECT_EQ(*parse_zones("eu-1,eu-2"), (std::vector<std::string>{"eu-1", "eu-2"}));
  for (const char* wrong : {"", ",", "a,", "a,,b", "A", "a b", "a,a"}) EXPECT_FALSE(parse_zones(wrong)) << wrong;
}

TEST(Topology, LatencyNamesAPairInAnyOrder) {
  const Result<ZoneLatency> latency = parse_latency("b:a=1.5ms");
  ASSERT_TRUE(latency);
  EXPECT_EQ(*latency, (ZoneLatency{"a", "b", 1'500'000}));
  for (const char* wrong : {"", "a:b", "a=1ms", "a=1ms:b", "a:b=", "a:b=fast", ":b=1ms", "a:b=2h"}) {
    EXPECT_FALSE(parse_latency(wrong)) << wrong;
  }
}

TEST(Topology, WishesAreCheckedAsAWhole) {
  EXPECT_FALSE(parse_topology("a,b", 0, {}));
  EXPECT_FALSE(parse_topology("a,b", 1, {"a:b=1ms", "b:a=2ms"}));
  const Result<TopologyWish> nothing = parse_topology(std::nullopt, std::nullopt, {});
  ASSERT_TRUE(nothing);
  const Result<Topology> made = new_topology(*nothing);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->servers(), 6u);
  EXPECT_FALSE(new_topology(wish_of("a,b", 1, {"a:c=1ms"}))) << "a latency to a zone that is not there";
}

TEST(Topology, ServersAreNumberedZoneAfterZone) {
  const Result<Topology> topology = new_topology(wish_of("x,y,z", 2, {"x:z=1ms"}));
  ASSERT_TRUE(topology);
  const char* zones[] = {"x", "x", "y", "y", "z", "z"};
  for (uint64_t id = 1; id <= 6; ++id) EXPECT_EQ(topology->zone_of_server(id), zones[id - 1]);
  EXPECT_EQ(topology->round_trip_ns("z", "x"), 1'000'000u);
  EXPECT_EQ(topology->round_trip_ns("x", "z"), 1'000'000u);
  EXPECT_EQ(topology->round_trip_ns("x", "y"), 0u);
}

TEST(Topology, SurvivesItsRecord) {
  const Result<Topology> topology = new_topology(wish_of("x,y", 3, {"x:y=250us"}));
  ASSERT_TRUE(topology);
  meta::pb::Region record;
  topology_to_record(*topology, record);
  const Topology again = topology_from_record(record);
  EXPECT_EQ(again.zones, topology->zones);
  EXPECT_EQ(again.servers_per_zone, 3u);
  EXPECT_EQ(again.latencies, topology->latencies);
}

TEST(Topology, RestartTakesWhatIsRecorded) {
  const Result<Topology> recorded = new_topology(wish_of("x,y", 3, {"x:y=250us"}));
  ASSERT_TRUE(recorded);
  const Result<Topology> same = restarted_topology(*recorded, *parse_topology(std::nullopt, std::nullopt, {}));
  ASSERT_TRUE(same);
  EXPECT_EQ(same->zones, recorded->zones);
  EXPECT_EQ(same->latencies, recorded->latencies);
  const Result<Topology> slower = restarted_topology(*recorded, wish_of("x,y", 3, {"x:y=9ms"}));
  ASSERT_TRUE(slower);
  EXPECT_EQ(slower->round_trip_ns("x", "y"), 9'000'000u);
}

TEST(Topology, RestartWithAnotherOneTellsEveryDifference) {
  const Result<Topology> recorded = new_topology(wish_of("x,y", 3));
  ASSERT_TRUE(recorded);
  const Result<Topology> other = restarted_topology(*recorded, wish_of("x,z", 2));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kConflict);
  for (const char* part : {"x,y", "x,z", "3", "2"}) {
    EXPECT_NE(other.error().detail.find(part), std::string::npos) << other.error().detail;
  }
}

}  // namespace
}  // namespace foreshard::app
