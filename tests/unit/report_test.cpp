#include "models/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Report full_report() {
  Report report{.resolved_json = R"({"training":{"epochs":3}})"};
  report.steps_per_epoch = 313;
  report.samples_per_epoch = 25'000;
  report.epoch_s = {.mean = 100, .p05 = 90, .p50 = 99, .p95 = 110};
  report.step_s = {.mean = 0.3, .p50 = 0.29};
  report.total_s = {.mean = 300, .p50 = 301};
  report.samples_per_s = 250;
  report.phases = {.data_load_s = 0.01,
                   .forward_s = 0.02,
                   .backward_s = 0.03,
                   .gradient_all_reduce_s = 0.04,
                   .optimizer_s = 0.05,
                   .other_s = 0.06};
  report.exposed_communication_s = 0.07;
  report.wait_s = 0.08;
  RankReport rank{
      .rank = 0, .node = "old", .gpu = "tesla-p4", .device = "Tesla P4", .micro_batch = 16};
  rank.compute_s = 0.25;
  rank.wait_s = 0.02;
  rank.late_share = 0.5;
  rank.gain_s = -1;
  rank.memory.total_bytes = 21;
  rank.memory.allocated_bytes = 17;
  rank.memory.reserved_bytes = 21;
  rank.memory.capacity_bytes = 20;
  rank.memory.fits = false;
  rank.memory.parts = {1, 2, 3, 4, 5, 6};
  rank.largest_micro_batch = 12;
  rank.power = {.mean_w = 61, .peak_w = 72, .energy_j = 18'361};
  report.ranks = {rank, {.rank = 1, .node = "new", .gpu = "rtx-3070", .micro_batch = 16}};
  report.disturbances = {{.what = "rank 1 at half speed", .cost_s = 12}};
  report.world_size = 2;
  report.rank_classes = {{.count = 2,
                          .first_rank = 0,
                          .node = "old",
                          .gpu = "tesla-p4",
                          .micro_batch = 16,
                          .compute_s = 0.25,
                          .wait_s = 0.02,
                          .late_share = 0.5,
                          .gain_s = 2,
                          .memory = rank.memory,
                          .largest_micro_batch = 12}};
  report.verdict = {
      .limit = Verdict::Limit::kStraggler,
      .stragglers = {{.ranks = RankSet(0), .gpu = "tesla-p4", .node = "old", .compute_s = 0.25}},
      .gain_s = 2,
      .reference_s = 0.1,
      .reference_is_median = false,
      .other_candidates = RankSet(1)};
  report.basis = {{.part = "rank 0", .kind = "measured", .detail = "d", .error = 0.01},
                  {.part = "network", .kind = "given", .detail = "as written"}};
  report.warnings = {"not calibrated"};
  return report;
}

TEST(Report, HasTheKeysOfTheFormat) {
  const nlohmann::json json = to_json(full_report());
  EXPECT_EQ(json["schema"], "vitsim-report/1");
  EXPECT_EQ(json["source"], "predicted");
  EXPECT_EQ(json["resolved"]["training"]["epochs"], 3);
  const nlohmann::json& body = json["prediction"];
  EXPECT_EQ(body["epoch_s"]["p95"], 110);
  EXPECT_TRUE(body["step_s"].contains("p05"));
  EXPECT_TRUE(body["step_s"]["p05"].is_null());
  EXPECT_EQ(body["phases"]["gradient_all_reduce_s"], 0.04);
  EXPECT_EQ(body["ranks"][0]["memory"]["parts"]["activations"], 5);
  EXPECT_EQ(body["ranks"][0]["memory"]["fits"], false);
  EXPECT_EQ(body["ranks"][0]["memory"]["allocated_bytes"], 17);
  EXPECT_EQ(body["ranks"][0]["memory"]["reserved_bytes"], 21);
  EXPECT_FALSE(body["ranks"][1]["memory"].contains("reserved_bytes"));
  EXPECT_EQ(body["ranks"][0]["power"]["energy_j"], 18361);
  EXPECT_FALSE(body["ranks"][1].contains("power"));
  EXPECT_EQ(body["largest_micro_batch"][0], 12);
  EXPECT_TRUE(body["largest_micro_batch"][1].is_null());
  EXPECT_EQ(body["basis"][0]["error"], 0.01);
  EXPECT_EQ(body["rank_classes"][0]["count"], 2);
  EXPECT_EQ(body["verdict"]["limit"], "straggler");
  EXPECT_EQ(body["verdict"]["stragglers"][0]["ranks"]["ranges"][0][1], 0);
  EXPECT_THAT(body["bottleneck"].get<std::string>(),
              HasSubstr("2 ranks (tesla-p4, rank 0 the first) are out of memory"));
}

TEST(Report, ReadsWhatItWrites) {
  for (const char* source : {"predicted", "measured"}) {
    Report report = full_report();
    report.source = source;
    const nlohmann::json json = to_json(report);
    EXPECT_TRUE(json.contains(report.source == "predicted" ? "prediction" : "measurement"));
    EXPECT_EQ(to_json(report_from_json(json, "report.json")), json);
    // Printed over several lines it is the same report.
    EXPECT_EQ(to_json(report_from_text(json.dump(2), "report.json")), json);
  }
}

TEST(Report, NamesTheFewestRanksThatAreLastInNineOfTenSteps) {
  const auto named = [](const std::vector<double>& late_shares) {
    Report report;
    for (const double share : late_shares) {
      report.ranks.push_back({.late_share = share});
    }
    return likely_stragglers(report);
  };
  EXPECT_THAT(named({1}), IsEmpty());
  EXPECT_THAT(named({0, 1, 0}), ElementsAre(1));
  EXPECT_THAT(named({0.08, 0.92}), ElementsAre(1));
  EXPECT_THAT(named({0.24, 0.01, 0.75}), ElementsAre(2, 0));
  // Equal ones together, although seven of the eight would do.
  EXPECT_THAT(named(std::vector<double>(8, 0.125)), SizeIs(8));
  // Of a run that was stopped before a step was counted.
  EXPECT_THAT(named({0, 0}), ElementsAre(0, 1));
}

TEST(Report, SaysWhatIsWrongAndWhere) {
  nlohmann::json json = to_json(full_report());
  json["prediction"]["epoch_s"]["p50"] = "long";
  json["prediction"]["ranks"][1].erase("memory");
  json["prediction"]["botleneck"] = "x";
  try {
    (void)report_from_json(json, "report.json");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("report.json:1: /prediction/epoch_s/p50: must be a number"));
    EXPECT_THAT(error.what(), HasSubstr("/prediction/ranks/1: key \"memory\" is missing"));
    EXPECT_THAT(error.what(), HasSubstr("(did you mean \"bottleneck\"?)"));
  }
  EXPECT_THROW((void)report_from_json({{"schema", "vitsim-report/2"}}, "r"), UserError);
}

}  // namespace
}  // namespace vitsim
