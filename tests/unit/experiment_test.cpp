#include "models/experiment/experiment.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kDesignExample = R"({
  "cluster": {
    "nodes": [
      { "name": "old", "gpus": ["tesla-p4"] },
      { "name": "box", "count": 3, "gpus": ["rtx-3070"] },
      { "name": "older", "gpus": ["gtx-1070"], "nic": { "bandwidth": "1Gbps", "latency": "80us" } }
    ],
    "network": { "bandwidth": "10Gbps", "latency": "50us" }
  },
  "training": {
    "model": "vit-b-16",
    "dataset": { "name": "cifar10", "samples": 50000, "fraction": 0.5 },
    "micro_batch_per_gpu": 16,
    "epochs": 10,
    "precision": "fp32",
    "optimizer": { "type": "adamw", "lr": 1e-4 },
    "gradient_sync": "deepspeed-zero-0"
  }
})";

// The messages that reading `text` gives, none if it is right.
std::vector<std::string> problems_of(const std::string& text,
                                     const std::vector<Override>& overrides = {}) {
  try {
    experiment_from_text(text, "tesla.json", overrides);
  } catch (const UserError& error) {
    return error.problems();
  }
  return {};
}

std::string with(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Experiment, ReadsTheDesignsExample) {
  const Experiment experiment = experiment_from_text(kDesignExample, "tesla.json");
  std::vector<std::string> names;
  for (const NodeSpec& node : experiment.cluster.nodes) {
    names.push_back(node.name);
  }
  EXPECT_THAT(names, ElementsAre("old", "box-0", "box-1", "box-2", "older"));
  EXPECT_EQ(experiment.cluster.world_size(), 5);
  // 10 Gbit/s are 1.25 GB/s.
  EXPECT_EQ(experiment.cluster.network->bandwidth, BytesPerSecond(1.25e9));
  EXPECT_EQ(experiment.cluster.network->latency, Seconds(50e-6));
  EXPECT_EQ(experiment.cluster.nodes[4].nic->bandwidth, BytesPerSecond(1.25e8));
  EXPECT_FALSE(experiment.cluster.nodes[0].nic.has_value());
  EXPECT_EQ(experiment.cluster.nodes[0].gpus[0].where, "tesla.json:4: /cluster/nodes/0/gpus/0");
  EXPECT_EQ(experiment.cluster.nodes[3].gpus[0].where, "tesla.json:5: /cluster/nodes/1/gpus/0");
  EXPECT_EQ(experiment.training.model, *vit_variant("vit-b-16"));
  EXPECT_EQ(experiment.training.dataset.samples, 50'000);
  EXPECT_EQ(experiment.training.dataset.fraction, 0.5);
  EXPECT_THAT(experiment.training.micro_batch, ElementsAre(16));
  EXPECT_EQ(experiment.training.epochs, 10);
  EXPECT_EQ(experiment.training.gradient_sync, GradientSync::kDeepspeedZero0);
  EXPECT_EQ(experiment.training.optimizer.lr, 1e-4);
}

TEST(Experiment, DefaultsAreThoseOfTheFormat) {
  const Experiment experiment = experiment_from_text(R"({
    "cluster": {"nodes": [{"name": "a", "gpus": ["t4"]}]},
    "training": {"model": "vit-s-16", "dataset": {"name": "cifar100"}, "micro_batch_per_gpu": 8}
  })",
                                                     "one.json");
  const TrainingSpec& training = experiment.training;
  EXPECT_EQ(training.model.image_size, 224);
  EXPECT_EQ(training.model.channels, 3);
  EXPECT_EQ(training.model.classes, 1000);
  EXPECT_EQ(training.dataset.samples, 50'000);
  EXPECT_EQ(training.dataset.fraction, 1);
  EXPECT_EQ(training.accumulation, 1);
  EXPECT_EQ(training.epochs, 1);
  EXPECT_EQ(training.precision, Precision::kFp32);
  EXPECT_EQ(training.optimizer.kind, OptimizerKind::kAdamW);
  EXPECT_EQ(training.optimizer.lr, 1e-4);
  EXPECT_EQ(training.gradient_sync, GradientSync::kDdp);
  EXPECT_EQ(training.all_reduce, AllReduceAlgorithm::kAuto);
  EXPECT_EQ(training.seed, 1U);
  EXPECT_FALSE(training.schedule || training.clip_norm || training.checkpoint);
}

TEST(Experiment, ReportsAllProblemsAtOnceWithTheirPlaces) {
  std::string text = with(kDesignExample, "\"epochs\": 10", "\"epoch\": 10");
  text = with(text, "\"10Gbps\"", "10");
  text = with(text, "\"vit-b-16\"", "\"vit-b16\"");
  text = with(text, "\"micro_batch_per_gpu\": 16", "\"micro_batch_per_gpu\": 0");
  const auto problems = problems_of(text);
  EXPECT_THAT(
      problems,
      ElementsAre("tesla.json:8: /cluster/network/bandwidth: 10 has no unit: append one, e.g. "
                  "\"Gbps\" for bits or \"GB/s\" for bytes",
                  "tesla.json:11: /training/model: unknown model \"vit-b16\" (did you mean "
                  "\"vit-b-16\"?)",
                  "tesla.json:13: /training/micro_batch_per_gpu: 0 is out of range: must be from 1 "
                  "to 1000000",
                  "tesla.json:14: /training/epoch: unknown key \"epoch\" (did you mean "
                  "\"epochs\"?)"));
}

struct Mistake {
  const char* from;
  const char* to;
  const char* problem;  // a part of the only message
};

TEST(Experiment, EveryKindOfMistakeIsFound) {
  const std::vector<Mistake> mistakes = {
      {"[\"tesla-p4\"]",
       "[]",
       "tesla.json:4: /cluster/nodes/0/gpus: a node needs at least one GPU"},
      {"[\"tesla-p4\"]", "[7]", "/cluster/nodes/0/gpus/0: must be a GPU's name or"},
      {"[\"tesla-p4\"]", "\"tesla-p4\"", "/cluster/nodes/0/gpus: must be a list, not a string"},
      {"[\"tesla-p4\"]", "[{\"model\": \"a\", \"slowdown\": 0}]", "slowdown: 0 is too small"},
      {"\"count\": 3", "\"count\": 0", "tesla.json:5: /cluster/nodes/1/count: 0 is out of range"},
      {"\"count\": 3", "\"count\": 10000000", "/cluster/nodes/1/count: 10000000 is out of range"},
      {"\"count\": 3", "\"count\": 1000000", "makes 1000001 GPUs; a cluster has at most 1000000"},
      {"\"count\": 3", "\"count\": 1.5", "1.5 is not a whole number"},
      {"\"older\"", "\"old\"", "node \"old\" has the name of /cluster/nodes/0"},
      {"\"older\"", "\"box-1\"", "node \"box-1\" has the name of /cluster/nodes/1"},
      {"\"10Gbps\"", "\"-10Gbps\"", "/cluster/network/bandwidth: \"-10Gbps\" must not be negative"},
      {"\"10Gbps\"", "\"0Gbps\"", "/cluster/network/bandwidth: must be above zero"},
      {"\"10Gbps\"", "\"1e30Gbps\"", "B/s is too large"},
      {"\"10Gbps\"", "\"10 GHz\"", "unknown unit \"GHz\""},
      {"\"50us\"", "\"50h\"", "/cluster/network/latency: 180000 s is too large"},
      {"\"bandwidth\": \"10Gbps\", ",
       "",
       "needs a \"bandwidth\" (e.g. \"10Gbps\"), a \"link\" (e.g. \"ib-ndr\") or a \"profile\""},
      {"\"bandwidth\": \"10Gbps\", ", "\"profile\": \"p\", ", "is given beside a profile"},
      {"\"micro_batch_per_gpu\": 16",
       "\"micro_batch_per_gpu\": [16, 16]",
       "holds 2 numbers for 5 ranks"},
      {"\"micro_batch_per_gpu\": 16,", "", "key \"micro_batch_per_gpu\" is missing"},
      {"\"micro_batch_per_gpu\": 16",
       "\"micro_batch_per_gpu\": \"16\"",
       "must be a whole number, not a string"},
      {"\"epochs\": 10", "\"epochs\": 10, \"epochs\": 11", "key \"epochs\" is given twice"},
      {"\"epochs\": 10",
       "\"epochs\": 10, \"image_size\": 225",
       "image_size 225 is not a multiple of the model's patch 16"},
      {"\"vit-b-16\"",
       "{\"layers\":1,\"width\":10,\"heads\":3,\"mlp\":1,\"patch\":16}",
       "width 10 is not a multiple of heads 3"},
      {"\"vit-b-16\"",
       "{\"layers\":1,\"width\":12,\"heads\":3,\"mlp\":1}",
       "tesla.json:11: /training/model: key \"patch\" is missing"},
      {"\"fraction\": 0.5",
       "\"fraction\": 0",
       "/training/dataset/fraction: 0 is too small: must be above 0"},
      {"\"fraction\": 0.5", "\"fraction\": 1.5", "1.5 is too large"},
      {"\"fraction\": 0.5", "\"fraction\": 1e-9", "a fraction of 1e-09 of 50000 samples is none"},
      {"50000", "60000", "cifar10 has 50,000 training samples"},
      {"\"cifar10\", \"samples\": 50000",
       "\"my-photos\"",
       "data set \"my-photos\" needs \"samples\""},
      {"\"cifar10\", \"samples\": 50000", "\"cifer10\"", "(did you mean \"cifar10\"?)"},
      {"\"fp32\"", "\"fp23\"", "unknown word \"fp23\" (did you mean \"fp32\"?)"},
      {"\"lr\": 1e-4", "\"lr\": 0", "/training/optimizer/lr: 0 is too small"},
      {"\"lr\": 1e-4", "\"betas\": [0.9]", "must hold two numbers, not 1"},
      {"\"deepspeed-zero-0\"", "null", "/training/gradient_sync: must be a string, not null"},
      {"\"training\"", "\"trainings\"", "key \"training\" is missing"},
  };
  for (const Mistake& mistake : mistakes) {
    const auto problems = problems_of(with(kDesignExample, mistake.from, mistake.to));
    std::string all;
    for (const std::string& problem : problems) {
      all += problem + "\n";
    }
    EXPECT_THAT(all, HasSubstr(mistake.problem)) << mistake.to;
    EXPECT_LE(problems.size(), 2U) << all;
  }
}

std::string with_sections(std::string_view cluster, std::string_view rest) {
  return std::string(R"({"cluster": {"nodes": [
    {"name": "a", "count": 2, "gpus": ["t4", "t4"], "switch": "left"},
    {"name": "b", "gpus": ["t4"], "switch": "right"}],
    "network": {"bandwidth": "10Gbps", "latency": "1us"}, "switches": ["left", "right"], )") +
         std::string(cluster) + R"(},
  "training": {"model": "vit-s-16", "dataset": {"name": "cifar10"}, "micro_batch_per_gpu": 8})" +
         std::string(rest) + "}";
}

constexpr std::string_view kTrunk =
    R"("links": [{"ends": ["left", "right"], "bandwidth": "5Gbps", "latency": "2us"}])";

TEST(Experiment, SwitchesAndLinks) {
  const Experiment experiment = experiment_from_text(with_sections(kTrunk, ""), "c.json");
  ASSERT_EQ(experiment.cluster.links.size(), 1U);
  EXPECT_EQ(experiment.cluster.links[0].a, "left");
  EXPECT_EQ(experiment.cluster.links[0].link.bandwidth, BytesPerSecond(6.25e8));
  EXPECT_EQ(experiment.cluster.nodes[2].switch_name, "right");

  EXPECT_THAT(problems_of(with_sections("\"links\": []", "")),
              ElementsAre(HasSubstr("no path joins nodes \"a-0\" and \"b\"")));
  EXPECT_THAT(
      problems_of(
          with_sections(R"("links": [{"ends": ["left", "rihgt"], "bandwidth": "5Gbps"}])", "")),
      ElementsAre(HasSubstr("/cluster/links/0/ends/1: unknown node or switch \"rihgt\" (did "
                            "you mean \"right\"?)")));
  EXPECT_THAT(
      problems_of(with(with_sections(kTrunk, ""), "\"switch\": \"left\"", "\"switch\": \"lefd\"")),
      ElementsAre(HasSubstr("/cluster/nodes/0/switch: unknown switch \"lefd\" (did you mean")));
}

// A cable between a and b takes neither off the switch where they have NICs of their own; without
// those it is all they have.
TEST(Experiment, ANodeWithANicHangsOnTheSwitchBesideItsCables) {
  const auto with_nic = [](const std::string& nic) {
    return R"({"cluster": {"nodes": [
      {"name": "a", "gpus": ["t4"])" +
           nic + R"(}, {"name": "b", "gpus": ["t4"])" + nic + R"(},
      {"name": "c", "gpus": ["t4"], "nic": {"bandwidth": "10Gbps"}}],
      "links": [{"ends": ["a", "b"], "bandwidth": "100Gbps"}]},
    "training": {"model": "vit-s-16", "dataset": {"name": "cifar10"}, "micro_batch_per_gpu": 8}})";
  };
  EXPECT_THAT(problems_of(with_nic(R"(, "nic": {"bandwidth": "10Gbps"})")), IsEmpty());
  EXPECT_THAT(problems_of(with_nic("")),
              ElementsAre(HasSubstr("no path joins nodes \"a\" and \"c\"")));
}

TEST(Experiment, Events) {
  const auto with_event = [](std::string_view event) {
    return with_sections(kTrunk, ",\n\"events\": [" + std::string(event) + "]");
  };
  const Experiment experiment = experiment_from_text(
      with_event(R"({"what": "slowdown", "rank": 4, "factor": 1.5, "from": "2min", "to": "3min"},
        {"what": "link", "node": "a-1", "bandwidth": "1Gbps", "from": 0, "to": "10s"},
        {"what": "link", "ends": ["right", "left"], "bandwidth": "1Gbps", "from": "1s", "to": "2s"},
        {"what": "pause", "rank": 0, "from": "5s", "to": "6s"})"),
      "c.json");
  ASSERT_EQ(experiment.events.size(), 4U);
  EXPECT_EQ(experiment.events[0].from, Seconds(120));
  EXPECT_EQ(experiment.events[1].node, "a-1");
  EXPECT_THAT(experiment.events[2].ends, ElementsAre("right", "left"));
  EXPECT_EQ(experiment.events[3].what, DisturbanceSpec::What::kPause);

  const std::vector<std::pair<const char*, const char*>> mistakes = {
      {R"({"what": "slowdown", "rank": 5, "factor": 2, "from": 0, "to": "1s"})",
       "/events/0/rank: the cluster has ranks 0 to 4, not 5"},
      {R"({"what": "slowdown", "rank": -1, "factor": 2, "from": 0, "to": "1s"})",
       "-1 is out of range"},
      {R"({"what": "slowdown", "rank": 0, "factor": 0, "from": 0, "to": "1s"})",
       "/events/0/factor: 0 is too small"},
      {R"({"what": "pause", "rank": 0, "from": "2s", "to": "1s"})", "must be later than \"from\""},
      {R"({"what": "pause", "rank": 0, "from": "2", "to": "3s"})", "has no unit"},
      {R"({"what": "pause", "rank": 0, "from": 0})", "key \"to\" is missing"},
      {R"({"what": "paus", "rank": 0, "from": 0, "to": "1s"})", "did you mean \"pause\""},
      {R"({"what": "link", "node": "a", "bandwidth": "1Gbps", "from": 0, "to": "1s"})",
       "/events/0/node: unknown node \"a\""},
      {R"({"what": "link", "bandwidth": "1Gbps", "from": 0, "to": "1s"})", "needs \"ends\""},
      {R"({"what": "link", "ends": ["a-0", "b"], "bandwidth": "1Gbps", "from": 0, "to": "1s"})",
       "no link joins \"a-0\" and \"b\""},
      {R"({"what": "link", "node": "b", "bandwidth": "0Gbps", "from": 0, "to": "1s"})",
       "must be above zero"},
  };
  for (const auto& [event, problem] : mistakes) {
    EXPECT_THAT(problems_of(with_event(event)), ElementsAre(HasSubstr(problem))) << event;
  }
}

TEST(Experiment, Jobs) {
  const std::string text = R"({"cluster": {"nodes": [{"name": "a", "gpus": ["t4", "t4", "t4"]}]},
    "jobs": [{"ranks": [0, 2], "training": {"model": "vit-s-16", "dataset": {"name": "cifar10"},
                "micro_batch_per_gpu": [8, 4]}},
             {"name": "late", "ranks": [1], "start": "2min", "training": {"model": "vit-ti-16",
                "dataset": {"name": "synthetic", "samples": 100}, "micro_batch_per_gpu": 2}}]})";
  const Experiment experiment = experiment_from_text(text, "c.json");
  ASSERT_EQ(experiment.jobs.size(), 2U);
  EXPECT_EQ(experiment.jobs[0].name, "job-0");
  EXPECT_THAT(experiment.jobs[0].ranks, ElementsAre(0, 2));
  EXPECT_EQ(experiment.jobs[1].start, Seconds(120));
  EXPECT_EQ(experiment.training.model.name, "vit-s-16");  // the first job's

  EXPECT_THAT(problems_of(with(text, "[1], ", "[2], ")),
              ElementsAre(HasSubstr("/jobs/1/ranks/0: rank 2 already works for /jobs/0")));
  EXPECT_THAT(problems_of(with(text, "[1], ", "[3], ")),
              ElementsAre(HasSubstr("the cluster has ranks 0 to 2, not 3")));
  EXPECT_THAT(problems_of(with(text, "[8, 4]", "[8, 4, 2]")),
              ElementsAre(HasSubstr("holds 3 numbers for 2 ranks")));
  EXPECT_THAT(problems_of(with(text, "\"jobs\"", "\"training\": {}, \"jobs\"")),
              ::testing::Contains(HasSubstr("/jobs: is given beside \"training\"")));
}

TEST(Experiment, OverridesReachEveryValue) {
  const Experiment experiment =
      experiment_from_text(kDesignExample,
                           "tesla.json",
                           {{"training.micro_batch_per_gpu", "[1,2,3,4,5]"},
                            {"cluster.nodes.0.gpus.0.slowdown", "1.3"},
                            {"cluster.network.bandwidth", "1Gbps"},
                            {"training.model.layers", "13"},
                            {"training.precision", "bf16"},
                            {"training.checkpoint.cost", "3s"}});
  EXPECT_THAT(experiment.training.micro_batch, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(experiment.cluster.nodes[0].gpus[0].model, "tesla-p4");  // kept from the bare name
  EXPECT_EQ(experiment.cluster.nodes[0].gpus[0].slowdown, 1.3);
  EXPECT_EQ(experiment.cluster.network->bandwidth, BytesPerSecond(1.25e8));
  EXPECT_EQ(experiment.training.model.layers, 13);
  EXPECT_EQ(experiment.training.model.width, 768);  // the rest of vit-b-16
  EXPECT_EQ(experiment.training.precision, Precision::kBf16);
  EXPECT_EQ(experiment.training.checkpoint->cost, Seconds(3));
}

TEST(Experiment, WrongOverridesNameTheOption) {
  EXPECT_THAT(problems_of(kDesignExample, {{"training.epoch", "3"}}),
              ElementsAre("--set training.epoch=3: /training/epoch: unknown key \"epoch\" (did you "
                          "mean \"epochs\"?)"));
  EXPECT_THAT(
      problems_of(kDesignExample, {{"training.epochs", "-3"}}),
      ElementsAre(HasSubstr("--set training.epochs=-3: /training/epochs: -3 is out of range")));
  EXPECT_THAT(problems_of(kDesignExample, {{"cluster.nodes.9.name", "x"}}),
              ElementsAre(HasSubstr("/cluster/nodes: is a list of 3; \"9\" is no index")));
}

TEST(Experiment, LargeClustersAreExpanded) {
  const Experiment experiment =
      experiment_from_text(kDesignExample, "tesla.json", {{"cluster.nodes.1.count", "100000"}});
  EXPECT_EQ(experiment.cluster.world_size(), 100'002);
  EXPECT_EQ(experiment.cluster.nodes[100'000].name, "box-99999");
}

}  // namespace
}  // namespace vitsim
