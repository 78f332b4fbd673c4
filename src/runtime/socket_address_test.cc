// Proves which TCP peers count as one host where connections are shared out.
#include "runtime/socket_address.h"

#include <gtest/gtest.h>

namespace foreshard::runtime {
namespace {

std::string group(const std::string& host_and_port) {
  const Result<SocketAddress> address = tcp_address(host_and_port, true);
  EXPECT_TRUE(address) << host_and_port;
  return host_group(*address);
}

TEST(HostGroup, IsTheHostWithoutItsPort) {
  EXPECT_EQ(group("10.0.0.1:1000"), group("10.0.0.1:2000"));
  EXPECT_NE(group("10.0.0.1:1000"), group("10.0.0.2:1000"));
}

TEST(HostGroup, WithSixTheNetworkThatOneHostMayChooseFrom) {
  EXPECT_EQ(group("[2001:db8:1:2::1]:1000"), group("[2001:db8:1:2:3:4:5:6]:2000"));
  EXPECT_NE(group("[2001:db8:1:2::1]:1000"), group("[2001:db8:1:3::1]:1000"));
}

TEST(HostGroup, AMappedFourIsThatFour) {
  EXPECT_EQ(group("[::ffff:10.0.0.1]:1000"), group("10.0.0.1:2000"));
  EXPECT_NE(group("[::ffff:10.0.0.1]:1000"), group("[::ffff:10.0.0.2]:1000"));
}

}  // namespace
}  // namespace foreshard::runtime
