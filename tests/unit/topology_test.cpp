#include "calibrate/import/topology.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/broken_input.h"

namespace vitsim {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string links(const std::string& text) {
  std::istringstream stream(text);
  return read_topology(stream, "topo.txt", "topo").environment.at("links of topo");
}

TEST(Topology, NvlinkOfAllPairsTellsItsGeneration) {
  EXPECT_THAT(links("\t\x1b[4mGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\x1b[0m\n"
                    "GPU0\t X \tNV12\tPXB\t0-31\t0\nGPU1\tNV12\t X \tSYS\t0-31\t0\n"
                    "NIC0\tPXB\tSYS\t X \n\nLegend:\n\n  X    = Self\n"),
              AllOf(HasSubstr("2 GPUs, NV12 of 1 pairs"), HasSubstr("nvlink3")));
}

// Two bridged pairs: a ring over all four crosses the CPUs.
TEST(Topology, TheSlowestPathSetsThePace) {
  EXPECT_THAT(links("\tGPU0\tGPU1\tGPU2\tGPU3\tCPU Affinity\n"
                    "GPU0\t X \tNV4\tSYS\tSYS\t0-15\nGPU1\tNV4\t X \tSYS\tSYS\t0-15\n"
                    "GPU2\tSYS\tSYS\t X \tNV4\t16-31\nGPU3\tSYS\tSYS\tNV4\t X \t16-31\n"),
              AllOf(HasSubstr("NV4 of 2 pairs, SYS of 4 pairs"), HasSubstr("pcie4-x16-host")));
  EXPECT_THAT(links("\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tPIX\t0-7\nGPU1\tPIX\t X \t0-7\n"),
              HasSubstr("pcie4-x16 ("));
}

TEST(Topology, OneGpuHasNoPath) {
  EXPECT_THAT(test::refusal([] { links("\tGPU0\tCPU Affinity\nGPU0\t X \t0-7\n"); }),
              HasSubstr("without a path"));
}

}  // namespace
}  // namespace vitsim
