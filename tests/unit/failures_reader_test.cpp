#include "models/experiment/failures_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/error.h"
#include "models/experiment/experiment.h"
#include "models/experiment/resolved.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr const char* kFile = R"({
  "cluster": {"nodes": [{"name": "a", "gpus": ["h100", "h100"]}, {"name": "b", "gpus": ["v100"]}],
              "network": {"bandwidth": "10Gbps"}},
  "training": {"model": "vit-ti-16", "dataset": {"name": "synthetic", "samples": 100},
               "micro_batch_per_gpu": 1,
               "checkpoint": {"every": "auto", "bandwidth": "2GB/s", "asynchronous": true}},
  "failures": {"mean_time_between": "50000h", "per": "node", "restart": "10min",
               "on_failure": "continue"},
  "prices": {"h100": 2.99, "v100": 0.5, "currency": "EUR"},
  "power": {"h100": "530W"}, "pue": 1.2, "g_co2e_per_kwh": 380,
  "events": [{"what": "failure", "rank": 2, "at": "20min"},
             {"what": "failure", "rank": 0, "at": "30min", "restart": "1min"}]})";

std::vector<std::string> problems_of(const std::vector<Override>& changes) {
  try {
    (void)experiment_from_text(kFile, "f.json", changes);
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

TEST(FailuresReader, ReadsWhatFailsAndWhatItCosts) {
  const Experiment experiment = experiment_from_text(kFile, "f.json");
  ASSERT_TRUE(experiment.failures);
  EXPECT_DOUBLE_EQ(experiment.failures->mean_time_between.value(), 50'000 * 3600.0);
  EXPECT_EQ(experiment.failures->per, FailureUnit::kNode);
  EXPECT_EQ(experiment.failures->on_failure, OnFailure::kContinue);
  EXPECT_DOUBLE_EQ(experiment.prices.per_gpu_hour.at("h100"), 2.99);
  EXPECT_EQ(experiment.prices.currency, "EUR");
  EXPECT_DOUBLE_EQ(experiment.prices.power.at("h100").value(), 530);
  EXPECT_DOUBLE_EQ(experiment.prices.pue, 1.2);
  ASSERT_EQ(experiment.events.size(), 2U);
  // The file's restart where the event has none of its own.
  EXPECT_DOUBLE_EQ(experiment.events[0].from.value(), 1200);
  EXPECT_DOUBLE_EQ(experiment.events[0].to.value(), 1800);
  EXPECT_DOUBLE_EQ(experiment.events[1].to.value(), 1860);
  EXPECT_TRUE(experiment.training.checkpoint->is_automatic);
  EXPECT_TRUE(experiment.training.checkpoint->is_asynchronous);
  EXPECT_DOUBLE_EQ(experiment.training.checkpoint->bandwidth->value(), 2e9);
}

TEST(FailuresReader, WhatIsResolvedReadsBackTheSame) {
  const nlohmann::json once = resolved(experiment_from_text(kFile, "f.json"));
  const nlohmann::json again = resolved(experiment_from_text(as_written(once).dump(), "f.json"));
  EXPECT_EQ(once, again);
  const nlohmann::json by_time =
      resolved(experiment_from_text(kFile, "f.json", {{"training.checkpoint.every", "30min"}}));
  EXPECT_EQ(by_time, resolved(experiment_from_text(as_written(by_time).dump(), "f.json")));
}

TEST(FailuresReader, RatesMayStandInsidePrices) {
  std::string text = kFile;
  const std::string beside = R"("power": {"h100": "530W"}, "pue": 1.2,)";
  text.erase(text.find(beside), beside.size());
  const Experiment experiment = experiment_from_text(
      text,
      "f.json",
      {{"prices",
        R"({"h100": 1, "v100": 1, "currency": "USD", "power": {"v100": "0.2 kW"}, "pue": 1.1})"}});
  EXPECT_EQ(experiment.prices.currency, "USD");
  EXPECT_DOUBLE_EQ(experiment.prices.power.at("v100").value(), 200);
  EXPECT_DOUBLE_EQ(experiment.prices.pue, 1.1);
  EXPECT_EQ(experiment.prices.per_gpu_hour.size(), 2U);
  EXPECT_THAT(problems_of({{"currency", "EUR"}}),
              ElementsAre(HasSubstr("is given beside \"prices\" already")));
}

TEST(FailuresReader, MistakesAreNamedWithTheirCure) {
  EXPECT_THAT(problems_of({{"failures.mean_time_between", "-3h"}, {"events", "[]"}}),
              ElementsAre(HasSubstr("/failures/mean_time_between: \"-3h\" must not be negative")));
  EXPECT_THAT(problems_of({{"failures.restart", "-3h"}, {"events", "[]"}}),
              ElementsAre(HasSubstr("/failures/restart: \"-3h\" must not be negative")));
  EXPECT_THAT(problems_of({{"failures.per", "rack"}, {"events", "[]"}}),
              ElementsAre(HasSubstr("/failures/per")));
  EXPECT_THAT(problems_of({{"prices", R"({"h100": 1, "v10": 2})"}}),
              ElementsAre(HasSubstr("/prices: has no price of \"v100\"")));
  EXPECT_THAT(problems_of({{"prices.h100", "-1"}}), ElementsAre(HasSubstr("/prices/h100")));
  EXPECT_THAT(problems_of({{"power.h100", "530"}}), ElementsAre(HasSubstr("has no unit")));
  EXPECT_THAT(problems_of({{"training.checkpoint", R"({"every": "auto"})"}}),
              ElementsAre(HasSubstr("needs a \"cost\"")));
  EXPECT_THAT(problems_of({{"training.checkpoint.cost", "3s"}}),
              ElementsAre(HasSubstr("is given beside \"cost\"")));
  EXPECT_THAT(problems_of({{"events", R"([{"what": "failure", "rank": 9, "at": "-1min"}])"}}),
              UnorderedElementsAre(HasSubstr("ranks 0 to 2"), HasSubstr("must not be negative")));
}

// A null in place of a node leaves it out, as in place of a link; the list's end can be added to.
TEST(FailuresReader, NodesAreLeftOutAndAdded) {
  Experiment experiment =
      experiment_from_text(kFile, "f.json", {{"cluster.nodes.1", "null"}, {"events", "[]"}});
  EXPECT_EQ(experiment.cluster.world_size(), 2);
  experiment = experiment_from_text(
      kFile, "f.json", {{"cluster.nodes.2", R"({"name": "c", "gpus": ["v100"]})"}});
  EXPECT_EQ(experiment.cluster.nodes.back().name, "c");
  EXPECT_THAT(
      problems_of({{"cluster.nodes.0", "null"}, {"cluster.nodes.1", "null"}, {"events", "[]"}}),
      ElementsAre(HasSubstr("all of them are null")));
  experiment =
      experiment_from_text(kFile,
                           "f.json",
                           {{"cluster.switches", R"(["s"])"},
                            {"cluster.links", R"([{"ends": ["s", "b"], "bandwidth": "1Gbps"}])"},
                            {"cluster.nodes.1", "null"},
                            {"cluster.links.0", "null"},
                            {"events", "[]"}});
  EXPECT_TRUE(experiment.cluster.links.empty());
}

}  // namespace
}  // namespace vitsim
