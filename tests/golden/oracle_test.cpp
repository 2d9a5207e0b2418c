#include "tests/support/oracle.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/error.h"

namespace vitsim::testing {
namespace {

void expect_agreement(const std::filesystem::path& file) {
  SCOPED_TRACE(file.filename().string());
  const nlohmann::json results = compute_oracle(read_oracle(file.string()));
  EXPECT_GT(results["cases"].size(), 0U);
  for (const nlohmann::json& result : results["cases"]) {
    EXPECT_TRUE(result.at("agrees").get<bool>()) << result.dump(1);
  }
}

TEST(Oracle, ClosedForms) {
  expect_agreement(VITSIM_SOURCE_DIR "/tests/golden/oracles/closed_form.json");
}

TEST(Oracle, IndependentAnswers) {
  const std::filesystem::path folder = VITSIM_SOURCE_DIR "/../shared/oracles";
  if (!std::filesystem::is_directory(folder)) {
    GTEST_SKIP() << "no oracle cases at " << folder;
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") {
      continue;
    }
    expect_agreement(entry.path());
  }
}

TEST(Oracle, SaysWhatIsWrong) {
  const auto complaint = [](const char* text) -> std::string {
    try {
      compute_oracle(nlohmann::json::parse(text));
    } catch (const UserError& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_EQ(complaint(R"({"cases": [{"name": "a", "network": {"star": {"hosts": 2,
                "bandwidth_bytes_per_s": 0, "latency_s": 0}}}]})"),
            "NIC of node \"host 0\": bandwidth must be positive and finite, not 0 B/s\n"
            "NIC of node \"host 1\": bandwidth must be positive and finite, not 0 B/s");
  EXPECT_EQ(complaint(R"({"cases": [{"name": "a", "network": {"links": []}, "flow": []}]})"),
            "case \"a\": unknown key \"flow\"");
  EXPECT_EQ(complaint(R"({"cases": [{"name": "a", "network": {"links": []},
                "flows": [{"path": ["x"], "bytes": 1}]}]})"),
            "case \"a\" flow \"flow 0\": no link \"x\"");
}

}  // namespace
}  // namespace vitsim::testing
