// Everything that is shipped in configs/ can be read.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "calibrate/profile/library.h"
#include "models/experiment/experiment.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::filesystem::path kConfigs = VITSIM_SOURCE_DIR "/configs";

std::vector<std::filesystem::path> json_files(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs / folder)) {
    if (entry.path().extension() == ".json") {
      files.push_back(entry.path());
    }
  }
  return files;
}

TEST(Configs, EveryClusterIsRight) {
  for (const auto& file : json_files("cluster")) {
    EXPECT_THAT(read_experiment(file).warnings, IsEmpty()) << file;
  }
}

TEST(Configs, EveryNameIsThatOfAShippedPart) {
  const ProfileLibrary library;
  const auto known_link = [&](const std::optional<LinkSpec>& link) {
    return !link || !link->profile || library.link(*link->profile).has_value();
  };
  for (const auto& file : json_files("cluster")) {
    const ClusterSpec cluster = read_experiment(file).cluster;
    EXPECT_TRUE(known_link(cluster.network)) << file;
    EXPECT_TRUE(known_link(cluster.intra_node)) << file;
    for (const NodeSpec& node : cluster.nodes) {
      EXPECT_TRUE(known_link(node.nic) && known_link(node.intra_node)) << file;
      for (const GpuSpec& gpu : node.gpus) {
        EXPECT_TRUE(library.gpu(gpu.model) || library.sheet(gpu.model)) << gpu.where;
      }
    }
  }
}

TEST(Configs, EveryPartIsRightAndNamedLikeItsFile) {
  for (const char* folder : {"gpus", "links", "profiles"}) {
    for (const auto& file : json_files(folder)) {
      const Part part = read_part(file);
      std::visit([&](const auto& held) { EXPECT_EQ(held.name, file.stem()) << file; }, part);
    }
  }
}

TEST(Configs, TheModelsAreTheNamedVariants) {
  const auto files = json_files("models");
  EXPECT_EQ(files.size(), vit_variants().size());
  for (const auto& file : files) {
    const auto json = nlohmann::json::parse(test::file_text(file));
    const VitSpec vit = vit_variant(file.stem().string()).value();
    EXPECT_EQ(json["layers"], vit.layers);
    EXPECT_EQ(json["width"], vit.width);
    EXPECT_EQ(json["heads"], vit.heads);
    EXPECT_EQ(json["mlp"], vit.mlp);
    EXPECT_EQ(json["patch"], vit.patch);
  }
}

TEST(Configs, TheMixedClusterIsThatOfTheReferenceRun) {
  const Experiment experiment = read_experiment(kConfigs / "cluster/tesla-5gpu.json");
  std::vector<std::string> gpus;
  for (const NodeSpec& node : experiment.cluster.nodes) {
    gpus.push_back(node.gpus.at(0).model);
  }
  EXPECT_THAT(gpus, ElementsAre("tesla-p4", "rtx-3070", "rtx-3070", "gtx-1070", "rtx-3070"));
  EXPECT_EQ(experiment.training.dataset.fraction, 0.5);
  EXPECT_EQ(experiment.training.epochs, 10);
}

}  // namespace
}  // namespace vitsim
