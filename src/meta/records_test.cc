// Proves that keys sort as their numbers do and are read back, and that a record which does not parse, does not fit
// its key or says what cannot be is refused with its key in the error.
#include "meta/records.h"

#include <gtest/gtest.h>

#include <functional>

namespace foreshard::meta {
namespace {

TEST(Records, KeysSortAsTheirNumbersDo) {
  const uint64_t numbers[] = {0, 1, 9, 10, 255, 256, 4096, 1ull << 32, UINT64_MAX};
  for (size_t i = 0; i + 1 < std::size(numbers); ++i) {
    EXPECT_LT(volumelet_key(VolumeId{7}, numbers[i]), volumelet_key(VolumeId{7}, numbers[i + 1]));
    EXPECT_EQ(number_of_key(volumelet_key(VolumeId{7}, numbers[i])).value(), numbers[i]);
  }
  EXPECT_EQ(attachment_key(VolumeId{0x2a}), "/v/000000000000002a/attachment");
  EXPECT_EQ(volume_server_key(VolumeId{1}, ServerId{2}), "/v/0000000000000001/servers/0000000000000002");
  EXPECT_TRUE(volumelet_key(VolumeId{7}, 3).starts_with(volume_prefix(VolumeId{7})));
  for (const char* bad : {"", "/", "/v/12", "/v/000000000000002A", "/v/000000000000002g", "000000000000002a"})
    EXPECT_EQ(number_of_key(bad).error().code, ErrorCode::kCorrupt) << bad;
}

pb::Volume good_volume() {
  pb::Volume volume;
  volume.set_id(3);
  volume.set_name("disk-1");
  volume.set_size_bytes(1u << 30);
  volume.set_volumelet_bytes(1u << 20);
  volume.set_replicas(1);
  volume.set_state(pb::VOLUME_READY);
  *volume.mutable_nonce() = make_nonce(5, 6);
  return volume;
}

ErrorCode outcome(const std::function<void(pb::Volume&)>& change, const std::string& key = volume_key("disk-1")) {
  pb::Volume volume = good_volume();
  change(volume);
  const Result<pb::Volume> decoded = decode<pb::Volume>(Entry{key, encode(volume), 1, 1, 0});
  if (decoded) return ErrorCode{};
  EXPECT_NE(decoded.error().message().find(key), std::string::npos);
  return decoded.error().code;
}

TEST(Records, AVolumeMustMakeSense) {
  const ErrorCode fine{};
  EXPECT_EQ(outcome([](pb::Volume&) {}), fine);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_size_bytes(512 * 3); }), fine);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_id(0); }), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_name("Disk"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume&) {}, volume_key("other")), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_size_bytes(0); }), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_size_bytes(511); }), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_volumelet_bytes(3u << 20); }), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_replicas(17); }), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_state(pb::VOLUME_STATE_UNSPECIFIED); }), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome([](pb::Volume& v) { v.set_state(static_cast<pb::VolumeState>(99)); }), ErrorCode::kCorrupt);
}

TEST(Records, AVolumeletMustFitItsKey) {
  pb::Volumelet volumelet;
  volumelet.set_first_chunk(64);
  volumelet.set_chunks(64);
  pb::Replica& replica = *volumelet.add_replicas();
  replica.set_server(2);
  replica.set_state(pb::REPLICA_IN_SYNC);
  const std::string key = volumelet_key(VolumeId{1}, 64);
  EXPECT_TRUE(decode<pb::Volumelet>(Entry{key, encode(volumelet), 1, 1, 0}));
  EXPECT_FALSE(decode<pb::Volumelet>(Entry{volumelet_key(VolumeId{1}, 65), encode(volumelet), 1, 1, 0}));
  replica.set_server(0);
  EXPECT_FALSE(decode<pb::Volumelet>(Entry{key, encode(volumelet), 1, 1, 0}));
  volumelet.clear_replicas();
  EXPECT_FALSE(decode<pb::Volumelet>(Entry{key, encode(volumelet), 1, 1, 0}));
}

TEST(Records, AModelAndItsPartsMustFitTheirKeys) {
  pb::Model model;
  model.set_number(17);
  model.set_kind("lstm");
  model.set_symbols("deltas");
  model.set_file_bytes(kModelPartBytes * 3 + 1);
  const auto decodes = [&](const std::string& key) { return decode<pb::Model>(Entry{key, encode(model), 1, 1, 0}); };
  EXPECT_EQ(model_key(17), "/models/0000000000000011");
  EXPECT_TRUE(decodes(model_key(17)));
  EXPECT_FALSE(decodes(model_key(18)));
  model.set_file_bytes(kModelBytesMax + 1);
  EXPECT_FALSE(decodes(model_key(17)));
  model.set_file_bytes(1);
  model.set_summary(std::string(kModelSummaryBytesMax + 1, 'x'));
  EXPECT_FALSE(decodes(model_key(17)));
  EXPECT_EQ(model_parts(1), 1u);
  EXPECT_EQ(model_parts(kModelPartBytes), 1u);
  EXPECT_EQ(model_parts(kModelPartBytes + 1), 2u);

  pb::ModelPart part;
  part.set_data(std::string(kModelPartBytes, 'x'));
  const std::string key = model_part_key(17, 15);
  EXPECT_TRUE(key.starts_with(model_parts_prefix(17)));
  EXPECT_TRUE(decode<pb::ModelPart>(Entry{key, encode(part), 1, 1, 0}));
  EXPECT_FALSE(decode<pb::ModelPart>(Entry{model_part_key(17, 16), encode(part), 1, 1, 0}));
  part.mutable_data()->push_back('x');
  EXPECT_FALSE(decode<pb::ModelPart>(Entry{key, encode(part), 1, 1, 0}));
  part.clear_data();
  EXPECT_FALSE(decode<pb::ModelPart>(Entry{key, encode(part), 1, 1, 0}));
}

TEST(Records, GarbageIsCorrupt) {
  for (const std::string& garbage : {std::string("\xff\xff\xff"), std::string(40, '\x81')}) {
    EXPECT_EQ(decode<pb::Region>(Entry{region_key(), garbage, 1, 1, 0}).error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(decode<pb::Attachment>(Entry{attachment_key(VolumeId{1}), garbage, 1, 1, 0}).error().code,
              ErrorCode::kCorrupt);
  }
  EXPECT_EQ(decode<pb::Server>(Entry{server_key(ServerId{1}), "", 1, 1, 0}).error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace foreshard::meta
