// `vitsim init` with programs of a test in place of nvidia-smi, rocm-smi and ssh.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/experiment/experiment.h"
#include "tests/support/json_schema_support.h"
#include "tests/support/run_program_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

class Init : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::getenv("PATH");
    setenv("PATH", (folder_.path().string() + ":" + path_).c_str(), 1);
    program("nvidia-smi", "exit 1");
    program("rocm-smi", "exit 1");
  }

  void TearDown() override { setenv("PATH", path_.c_str(), 1); }

  void program(const std::string& name, const std::string& body) {
    folder_.write(name, "#!/bin/sh\n" + body + "\n");
    fs::permissions(folder_.path() / name, fs::perms::owner_all);
  }

  // The file that init writes; it must be one that predict reads, by the schema too.
  nlohmann::json file_of(std::vector<std::string> arguments) {
    const fs::path file = folder_.path() / "cluster.json";
    arguments.insert(arguments.begin(), "init");
    arguments.insert(arguments.end(), {"--out", file.string()});
    const ProgramRun run = run_vitsim(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    output_ = run.output;
    const nlohmann::json json = nlohmann::json::parse(file_text(file));
    const nlohmann::json schema =
        nlohmann::json::parse(file_text(VITSIM_SOURCE_DIR "/configs/schemas/cluster.schema.json"));
    EXPECT_THAT(schema_errors(schema, json), IsEmpty());
    EXPECT_NO_THROW((void)read_experiment(file));
    return json;
  }

  TemporaryFolder folder_;
  std::string path_;
  std::string output_;
};

TEST_F(Init, NamesNvidiaGpusByTheirSheets) {
  program("nvidia-smi", R"sh(
case "$1" in
  --query-gpu=name) echo "NVIDIA H100 80GB HBM3"; echo "NVIDIA GeForce RTX 3070 Ti" ;;
  topo) printf '\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\n'
        printf 'GPU0\t X \tPIX\t0-31\t0\nGPU1\tPIX\t X \t0-31\t0\n' ;;
esac)sh");
  const nlohmann::json file = file_of({});
  const nlohmann::json& node = file["cluster"]["nodes"][0];
  // The Ti is other hardware than the RTX 3070, which has a sheet: it keeps a name of its own.
  EXPECT_EQ(node["gpus"], (nlohmann::json{"h100", "nvidia-geforce-rtx-3070-ti"}));
  EXPECT_EQ(node["intra_node"]["link"], "pcie4-x16");
  EXPECT_THAT(output_, HasSubstr("NVIDIA H100 80GB HBM3: h100"));
  EXPECT_THAT(output_, HasSubstr("no data sheet; called nvidia-geforce-rtx-3070-ti"));
  EXPECT_EQ(file["$schema"], VITSIM_SOURCE_DIR "/configs/schemas/cluster.schema.json");
}

TEST_F(Init, NamesAmdGpusByTheirSheets) {
  program("rocm-smi",
          "echo 'device,Card Series,Card Model,Card Vendor,Card SKU'\n"
          "echo 'card0,AMD Instinct MI300X,0x74a1,AMD,M3000100'\n"
          "echo 'card1,AMD Instinct MI300X,0x74a1,AMD,M3000100'");
  EXPECT_EQ(file_of({})["cluster"]["nodes"][0]["gpus"], (nlohmann::json{"mi300x", "mi300x"}));
}

TEST_F(Init, WithoutAGpuDescribesTheCpu) {
  const nlohmann::json file = file_of({});
  EXPECT_EQ(file["cluster"]["nodes"][0]["gpus"], nlohmann::json::array({"cpu"}));
  EXPECT_THAT(output_, HasSubstr("no GPU found"));
  EXPECT_THAT(output_, HasSubstr("Next: vitsim validate"));
}

TEST_F(Init, AsksTheHostsOfAHostFile) {
  // In place of ssh: prints what each host would, by its name.
  program("fake-shell", R"sh(
echo '== hostname'; echo "$1.cluster.example"
echo '== nvidia'; [ "$1" = old ] && echo 'Tesla T4' || echo 'NVIDIA A100-SXM4-80GB'
echo '== fabric'; [ "$1" = old ] || for i in 1 2; do echo 'InfiniBand 200 Gb/sec (4X HDR)'; done
echo '== ethernet'; echo 'eth0 10000'
echo '== memory'; echo 'MemTotal:       65536 kB'
echo '== cores'; echo 16)sh");
  folder_.write("hosts", "# ours\nnew1 slots=1\nnew2 slots=1\n\nold\nold\n");
  const nlohmann::json file = file_of({"--hostfile",
                                       (folder_.path() / "hosts").string(),
                                       "--remote-shell",
                                       (folder_.path() / "fake-shell").string()});
  const nlohmann::json& cluster = file["cluster"];
  ASSERT_EQ(cluster["nodes"].size(), 3U);
  EXPECT_EQ(cluster["nodes"][0]["host"], "new1");
  EXPECT_EQ(cluster["nodes"][0]["gpus"][0], "a100");
  EXPECT_EQ(cluster["nodes"][2]["gpus"][0], "tesla-t4");
  // Two HDR ports, but for the old machine, which has Ethernet alone.
  EXPECT_EQ(cluster["network"], (nlohmann::json{{"link", "ib-hdr"}, {"count", 2}}));
  EXPECT_FALSE(cluster["nodes"][1].contains("nic"));
  EXPECT_EQ(cluster["nodes"][2]["nic"], (nlohmann::json{{"link", "10gbe"}}));
  EXPECT_THAT(output_, HasSubstr("64.0 MiB of memory"));
}

TEST_F(Init, NeverReplacesAFile) {
  const fs::path file = folder_.write("cluster.json", "mine");
  const ProgramRun run = run_vitsim({"init", "--out", file.string()});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, HasSubstr("exists already"));
  EXPECT_EQ(file_text(file), "mine");
}

TEST_F(Init, SaysWhichHostDoesNotAnswer) {
  program("fake-shell", "exit 255");
  folder_.write("hosts", "far-away\n");
  const ProgramRun run = run_vitsim({"init",
                                     "--hostfile",
                                     (folder_.path() / "hosts").string(),
                                     "--remote-shell",
                                     (folder_.path() / "fake-shell").string(),
                                     "--out",
                                     (folder_.path() / "x.json").string()});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.errors, HasSubstr("far-away: cannot be asked"));
  EXPECT_FALSE(fs::exists(folder_.path() / "x.json"));
  folder_.write("hosts", "-oProxyCommand=evil\n");
  EXPECT_EQ(run_vitsim({"init", "--hostfile", (folder_.path() / "hosts").string()}).exit_code, 2);
}

}  // namespace
}  // namespace vitsim::test
