// Pages of results as the commands write them; tests/browser opens them.
#include <chrono>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/json_schema_support.h"
#include "tests/support/run_program_support.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

namespace fs = std::filesystem;

const std::string kTesla = VITSIM_SOURCE_DIR "/configs/cluster/tesla-5gpu.json";

// What stands in the page's data element.
nlohmann::json data_of(const std::string& page) {
  const std::string begin = "<script id=\"data\" type=\"application/json\">";
  const auto from = page.find(begin) + begin.size();
  return nlohmann::json::parse(page.substr(from, page.find("</script>", from) - from));
}

TEST(Page, HoldsTheJsonOfTheReport) {
  const TemporaryFolder folder;
  const fs::path html = folder.path() / "report.html";
  const fs::path json = folder.path() / "report.json";
  ProgramRun run =
      run_vitsim({"predict", kTesla, "--html", html.string(), "--json", json.string()});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const nlohmann::json report = nlohmann::json::parse(file_text(json));
  EXPECT_EQ(data_of(file_text(html)), report);
  // The timeline has a track for each of the five ranks, the links one NIC for each node.
  EXPECT_EQ(report["prediction"]["timeline"].size(), 5U);
  EXPECT_EQ(report["prediction"]["links"].size(), 5U);
  // The kept JSON gives the same page.
  const fs::path again = folder.path() / "again.html";
  run = run_vitsim({"report", json.string(), "--html", again.string()});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(file_text(again), file_text(html));
}

// Every GPU sends 2 x 4/5 of the gradients over its NIC in a ring of five: of ViT-B/16, 86.6 M
// parameters in fp32, 1.6 x 346 MB = 554 MB.
TEST(Page, LinksCarryWhatARingSends) {
  const ProgramRun run =
      run_vitsim({"predict", kTesla, "--json", "-", "--set", "training.all_reduce=ring"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const nlohmann::json prediction = nlohmann::json::parse(run.output)["prediction"];
  for (const nlohmann::json& link : prediction["links"]) {
    EXPECT_EQ(link["kind"], "nic");
    EXPECT_NEAR(link["bytes"].get<double>(), 554e6, 2e6);
    EXPECT_NEAR(link["share"].get<double>(),
                link["bytes"].get<double>() / link["bandwidth_bytes_per_s"].get<double>() /
                    prediction["step_s"]["p50"].get<double>(),
                1e-9);
  }
}

// Phases of a class, its exposed communication and its wait are the step, as for the mean.
TEST(Page, PhasesOfEveryClassAddUpToTheStep) {
  const ProgramRun run = run_vitsim({"predict", kTesla, "--json", "-"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const nlohmann::json prediction = nlohmann::json::parse(run.output)["prediction"];
  for (const nlohmann::json& ranks : prediction["rank_classes"]) {
    double sum = ranks["exposed_communication_s"].get<double>() + ranks["wait_s"].get<double>();
    for (const char* phase : {"data_load_s", "forward_s", "backward_s", "optimizer_s", "other_s"}) {
      sum += ranks["phases"][phase].get<double>();
    }
    EXPECT_NEAR(sum, prediction["step_s"]["p50"].get<double>(), 1e-6);
  }
}

TEST(Page, MarkupInNamesStaysText) {
  const TemporaryFolder folder;
  nlohmann::json cluster = nlohmann::json::parse(file_text(kTesla));
  cluster["cluster"]["nodes"][0]["name"] = "</script><script>alert(1)</script><!--<b>&";
  folder.write("marked.json", cluster.dump());
  const ProgramRun run =
      run_vitsim({"predict", (folder.path() / "marked.json").string(), "--html", "-"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_THAT(run.output, StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(run.output, Not(HasSubstr("alert(1)</script>")));
  EXPECT_THAT(run.output, Not(HasSubstr("<!--<b>")));
  EXPECT_EQ(data_of(run.output)["resolved"]["cluster"]["nodes"][0]["name"],
            "</script><script>alert(1)</script><!--<b>&");
}

TEST(Page, NamesNothingOnAnotherMachine) {
  const ProgramRun run = run_vitsim({"predict", kTesla, "--html", "-"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  for (const char* reference :
       {"src=\"", "href=\"http", "@import", "url(http", "sourceMappingURL"}) {
    EXPECT_THAT(run.output, Not(HasSubstr(reference)));
  }
  EXPECT_THAT(run.output, HasSubstr("default-src 'none'"));
}

TEST(Page, OfAHundredThousandGpusIsSmall) {
  const TemporaryFolder folder;
  folder.write("large.json", R"({
    "cluster": {
      "nodes": [{"name": "a", "count": 10000, "gpus": ["h100", "h100", "h100", "h100",
                                                       "h100", "h100", "h100", "h100"]},
                {"name": "b", "count": 2500, "gpus": ["a100", "a100", "a100", "a100",
                                                      "a100", "a100", "a100", "a100"]}],
      "network": {"bandwidth": "400Gbps", "latency": "5us"}},
    "training": {"model": "vit-b-16", "dataset": {"name": "synthetic", "samples": 100000000},
                 "micro_batch_per_gpu": 32, "precision": "bf16", "gradient_sync": "ddp"}})");
  const ProgramRun run =
      run_vitsim({"predict", (folder.path() / "large.json").string(), "--html", "-"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_LT(run.output.size(), 2'000'000U);
  // Two kinds of nodes, each drawn once.
  const nlohmann::json nodes = data_of(run.output)["resolved"]["cluster"]["nodes"];
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_EQ(nodes[0]["count"], 10000);
  EXPECT_EQ(nodes[1]["count"], 2500);
}

class PageInput : public ::testing::Test {
 protected:
  std::string errors_of(const std::string& text) {
    folder_.write("input.json", text);
    const ProgramRun run = run_vitsim({"report",
                                       (folder_.path() / "input.json").string(),
                                       "--html",
                                       (folder_.path() / "page.html").string()});
    EXPECT_EQ(run.exit_code, 2) << run.output;
    EXPECT_THAT(run.output, IsEmpty());
    EXPECT_FALSE(fs::exists(folder_.path() / "page.html"));
    return run.errors;
  }

  TemporaryFolder folder_;
};

TEST_F(PageInput, OfAnotherKindOrVersionIsRefused) {
  EXPECT_THAT(errors_of(R"({"schema": "vitsim-profile/1"})"), HasSubstr("has no page"));
  EXPECT_THAT(errors_of(R"({"schema": "vitsim-scale/2", "rows": [1]})"),
              HasSubstr("another version"));
  EXPECT_THAT(errors_of(R"({"schema": "vitsim-report/7", "source": "predicted"})"),
              HasSubstr("another version"));
  EXPECT_THAT(errors_of(R"({"rows": []})"), HasSubstr("has no \"schema\""));
  EXPECT_THAT(errors_of("[]"), HasSubstr("holds no object"));
  EXPECT_THAT(errors_of("{\n\"schema\": }"), HasSubstr("input.json:2"));
}

TEST_F(PageInput, WithoutFiguresIsRefused) {
  EXPECT_THAT(errors_of(R"({"schema": "vitsim-sweep/1", "rows": []})"), HasSubstr("/rows"));
  EXPECT_THAT(errors_of(R"({"schema": "vitsim-comparison/1"})"), HasSubstr("/figures"));
  EXPECT_THAT(errors_of(R"({"schema": "vitsim-report/1", "source": "predicted",
                            "prediction": {"step_s": 3}})"),
              HasSubstr("/prediction/step_s"));
}

TEST(Page, AppearsWholeOrNotAtAll) {
  const ProgramRun full = run_vitsim({"predict", kTesla, "--html", "/dev/full"});
  EXPECT_EQ(full.exit_code, 3);
  EXPECT_THAT(full.errors, HasSubstr("/dev/full"));
  const TemporaryFolder folder;
  const ProgramRun nowhere =
      run_vitsim({"predict", kTesla, "--html", (folder.path() / "no/where.html").string()});
  EXPECT_EQ(nowhere.exit_code, 3);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Page, DoesNotReplaceItsInputOrShareStandardOutput) {
  const TemporaryFolder folder;
  const std::string json = (folder.path() / "report.json").string();
  ASSERT_EQ(run_vitsim({"predict", kTesla, "--json", json}).exit_code, 0);
  ProgramRun run = run_vitsim({"report", json, "--html", json});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, HasSubstr("also read"));
  run = run_vitsim({"predict", kTesla, "--html", "-", "--json", "-"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, HasSubstr("name a file for one of them"));
  EXPECT_THAT(run.output, IsEmpty());
}

// The least of some runs with and without the page, so that other load does not count.
TEST(Page, TakesLittleTime) {
  const TemporaryFolder folder;
  const auto seconds = [](const std::vector<std::string>& words) {
    double least = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      EXPECT_EQ(run_vitsim(words).exit_code, 0);
      least = std::min(
          least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return least;
  };
  const double without = seconds({"predict", kTesla});
  const double with =
      seconds({"predict", kTesla, "--html", (folder.path() / "report.html").string()});
#ifdef NDEBUG
  EXPECT_LT(with - without, 0.030);
#else
  EXPECT_LT(with - without, 1.0);  // without the optimiser, maybe under sanitizers
#endif
}

}  // namespace
}  // namespace vitsim::test
