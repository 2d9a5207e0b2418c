#include "calibrate/import/import.h"

#include <cstdlib>
#include <fstream>
#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <zlib.h>

#include "calibrate/import/describe.h"
#include "calibrate/import/join.h"
#include "models/distribution.h"
#include "models/error.h"
#include "models/report/report.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pointwise;
using ::testing::SizeIs;

Measurement import_all(const std::vector<fs::path>& files, const ImportHints& hints = {}) {
  return import_files(files, hints);
}

std::string refusal(const std::vector<fs::path>& files) {
  return test::refusal([&] { import_all(files); });
}

/// A folder of its own for each test, gone afterwards.
class Import : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "vitsim_import_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }

  void TearDown() override { fs::remove_all(folder_); }

  fs::path file(const std::string& name, const std::string& text) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  fs::path zipped(const std::string& name, const std::string& text) {
    const fs::path path = folder_ / name;
    gzFile stream = gzopen(path.c_str(), "wb");
    EXPECT_EQ(gzwrite(stream, text.data(), static_cast<unsigned>(text.size())),
              static_cast<int>(text.size()));
    gzclose(stream);
    return path;
  }

  fs::path folder_;
};

TEST_F(Import, JoinsWhatSeveralFilesSayOfOneRun) {
  const Measurement measurement = import_all({import_sample("tables")});
  const RecordedRun* pair = measurement.find_run("pair");
  ASSERT_NE(pair, nullptr);
  EXPECT_EQ(pair->samples, 1000);
  EXPECT_TRUE(pair->wall_clock_breakdown);
  EXPECT_THAT(figures(measurement.samples, "epoch", std::nullopt, "pair"), SizeIs(3));
  EXPECT_THAT(figures(measurement.samples, "forward", 0, "pair"), SizeIs(6));  // steps/pair.csv
  ASSERT_NE(measurement.find_run("twins"), nullptr);  // metrics.csv is called after its folder
  std::size_t of_no_run = 0;
  for (const Sample& sample : measurement.samples) {
    of_no_run += sample.run.empty() ? 1 : 0;
  }
  EXPECT_EQ(of_no_run, 2U);  // throughput.csv
}

TEST_F(Import, ReadsTheConfigurationBesideALog) {
  const Measurement measurement = import_all({import_sample("tagged")});
  ASSERT_THAT(measurement.runs, SizeIs(1));
  const RecordedRun& run = measurement.runs.front();
  EXPECT_EQ(run.name, "tagged");
  EXPECT_EQ(run.precision, Precision::kBf16);
  EXPECT_FALSE(run.precision_inferred);
  EXPECT_EQ(run.gradient_sync, GradientSync::kDeepspeedZero1);
  EXPECT_EQ(run.micro_batch, std::vector<std::int64_t>{8});
  EXPECT_EQ(run.accumulation, 2);
  EXPECT_THAT(run.gpus, ElementsAre("unknown", "unknown"));
  EXPECT_THAT(measurement.warnings,
              Contains(HasSubstr("no file tells its GPUs (--gpus), model (--model, --like)")));
}

TEST_F(Import, NamesAModelByItsParameters) {
  const Measurement measurement = import_all({import_sample("bars")});
  EXPECT_EQ(measurement.runs.at(0).model.name, "vit-ti-16");  // 5,717,416 parameters
  EXPECT_TRUE(measurement.runs.at(0).precision_inferred);
}

TEST_F(Import, HintsFillWhatNoFileTells) {
  ImportHints hints{.cluster = "lab", .gpus = {"h200"}, .model = vit_variant("vit-s-16")};
  hints.precision = Precision::kTf32;
  hints.samples = 480;
  const Measurement measurement = import_all({import_sample("tagged")}, hints);
  const RecordedRun& run = measurement.runs.front();
  EXPECT_THAT(run.gpus, ElementsAre("h200", "h200"));
  EXPECT_EQ(run.model.name, "vit-s-16");
  EXPECT_EQ(run.cluster, "lab");
  EXPECT_EQ(run.samples, 480);
  EXPECT_EQ(run.precision, Precision::kBf16);  // the configuration outweighs the hint
}

TEST_F(Import, PrefersARanksOwnClockAndAddsUpItsMicroSteps) {
  const Measurement measurement = import_all({import_sample("clock")});
  const RecordedRun* run = measurement.find_run("host");
  ASSERT_NE(run, nullptr);
  EXPECT_EQ(run->accumulation, 2);
  EXPECT_EQ(run->micro_batch, std::vector<std::int64_t>{16});  // 32 over 2 micro-steps, one rank
  // 151.0 + 202.5 and 152.1 + 203.7 ms; the fifth micro-step is half a step.
  EXPECT_THAT(figures(measurement.samples, "step", 0, "host"),
              Pointwise(DoubleEq(), std::vector<double>{0.3535, 0.3558}));
  EXPECT_THAT(figures(measurement.samples, "forward", 0, "host"), SizeIs(4));
  const CollectiveSeries* reduce = nullptr;
  for (const Sample& sample : measurement.samples) {
    const auto* series = sample.collective(MeasuredCollective::kAllReduce);
    if (series != nullptr && series->bytes == 1048576) {
      reduce = series;
    }
  }
  ASSERT_NE(reduce, nullptr);
  EXPECT_EQ(reduce->ranks, 3);  // ar_3x1g
  EXPECT_THAT(reduce->seconds, Pointwise(DoubleEq(), std::vector<double>{0.0205, 0.02025}));
}

TEST_F(Import, JoinsTracesOfOneFolder) {
  const Measurement measurement = import_all({import_sample("traces")});
  ASSERT_THAT(measurement.runs, SizeIs(1));
  EXPECT_EQ(measurement.runs.front().name, "traces");
  EXPECT_THAT(measurement.runs.front().gpus, ElementsAre("a40", "a40"));
  EXPECT_THAT(figures(measurement.samples, "overlap", 1), SizeIs(2));
}

// The sample: two ranks, two steps of two micro-steps; rank 1 computes 0.5 ms longer and enters the
// first bucket's reduction [5.5, 6) ms, rank 0 at [5, 6); the second takes 2 ms on both.
TEST_F(Import, ReadsARunDirectory) {
  const Measurement measurement = import_all({import_sample("run_a")});
  ASSERT_THAT(measurement.runs, SizeIs(1));
  const RecordedRun& run = measurement.runs.front();
  EXPECT_EQ(run.name, "run_a");
  EXPECT_THAT(run.gpus, ElementsAre("rtx-3070", "gtx-1070"));
  EXPECT_EQ(run.model.name, "vit-ti-16");
  EXPECT_EQ(run.accumulation, 2);
  EXPECT_EQ(run.samples, 32);  // half of 64
  EXPECT_THAT(figures(measurement.samples, "epoch"), ElementsAre(2.5, 2.25));
  EXPECT_THAT(figures(measurement.samples, "forward", 0), SizeIs(4));
  EXPECT_THAT(figures(measurement.samples, "backward", 1),
              Pointwise(DoubleEq(), std::vector<double>{0.002, 0.002, 0.002, 0.002}));
  EXPECT_THAT(figures(measurement.samples, "optimizer", 0),
              Pointwise(DoubleEq(), std::vector<double>{0, 0.0005, 0, 0.0006}));
  EXPECT_THAT(figures(measurement.samples, "step", 0),
              Pointwise(DoubleEq(), std::vector<double>{0.0085, 0.0086}));
  std::map<std::int64_t, std::vector<double>> reductions;
  for (const Sample& sample : measurement.samples) {
    if (sample.phase(StepPart::kForward) != nullptr) {
      EXPECT_EQ(sample.warm_up, 2);  // the first step's two micro-steps
    }
    if (const auto* reduce = sample.collective(MeasuredCollective::kAllReduce)) {
      EXPECT_EQ(reduce->ranks, 2);
      reductions[reduce->bytes] = reduce->seconds;
    }
  }
  EXPECT_THAT(reductions[4096], Pointwise(DoubleEq(), std::vector<double>{0.0005, 0.0005}));
  EXPECT_THAT(reductions[65536], Pointwise(DoubleEq(), std::vector<double>{0.002, 0.002}));
}

// Where the configuration leaves the images to be counted, the run's report says how many it took.
TEST_F(Import, TakesTheSamplesOfAFolderFromTheRunsReport) {
  fs::copy(import_sample("run_a"), folder_ / "run", fs::copy_options::recursive);
  auto resolved = nlohmann::json::parse(test::file_text(folder_ / "run/resolved.json"));
  resolved["training"]["dataset"] = {{"name", "image-folder"}, {"path", "photos"}};
  file("run/resolved.json", resolved.dump());
  EXPECT_EQ(import_all({folder_ / "run"}).runs.front().samples, 0);
  file("run/report.json", to_json(Report{.source = "measured", .samples_per_epoch = 40}).dump());
  EXPECT_EQ(import_all({folder_ / "run"}).runs.front().samples, 40);
}

// The page of a run shows nccl-tests' words and DeepSpeed's, and is neither; checkpoints are no
// news.
TEST_F(Import, PassesOverThePagesAndCheckpointsOfARun) {
  fs::copy(import_sample("run_a"), folder_ / "run", fs::copy_options::recursive);
  file("run/report.json", to_json(Report{.source = "measured", .samples_per_epoch = 64}).dump());
  const std::string page = "<!DOCTYPE html>\n<p># nThread algbw busbw time (ms) | fwd: 1.0\n";
  file("run/report.html", page);
  file("run/checkpoints/step-4.txt", "weights");
  const Measurement measurement = import_all({folder_ / "run"});
  EXPECT_THAT(measurement.runs, SizeIs(1));
  EXPECT_THAT(measurement.warnings, Not(Contains(HasSubstr("report.html"))));
  EXPECT_THAT(measurement.warnings, Not(Contains(HasSubstr("checkpoints"))));
  EXPECT_THAT(refusal({file("page.html", page)}), HasSubstr("an HTML page"));
}

// A pass that waited for a collective is recorded in pieces: one micro-step all the same. Shards
// are scattered and gathered, not reduced on all ranks.
TEST_F(Import, PiecesOfAPassAreOnePassAndShardsAreScattered) {
  auto resolved = nlohmann::json::parse(test::file_text(import_sample("run_a/resolved.json")));
  resolved["training"]["gradient_sync"] = "fsdp";
  file("run/resolved.json", resolved.dump());
  std::string lines;
  const auto span =
      [&](int rank, const char* stream, int step, const char* phase, int from, int to, int bytes) {
        lines += nlohmann::json{{"rank", rank},
                                {"stream", stream},
                                {"step", step},
                                {"phase", phase},
                                {"begin_ns", 1000 * step + from},
                                {"end_ns", 1000 * step + to},
                                {"bytes", bytes}}
                     .dump() +
                 "\n";
      };
  constexpr int kSteps = 6;
  for (int step = 0; step < kSteps; ++step) {
    for (const int rank : {0, 1}) {
      span(rank, "compute", step, "forward", 0, 40, 0);
      span(rank, "compute", step, "forward", 50, 80, 0);  // 40 + 30 ns
      span(rank, "compute", step, "backward", 80, 120, 0);
      span(rank, "compute", step, "backward", 130, 210, 0);  // 40 + 80 ns
      span(rank, "compute", step, "optimizer", 300, 310, 0);
      span(rank, "communication", step, "parameter_all_gather", 30, 50, 64);
      span(rank, "communication", step, "gradient_all_reduce", 210, 290, 128);
    }
  }
  file("run/timeline.jsonl", lines);
  const Measurement measurement = import_all({folder_ / "run"}, {.cluster = "lab"});
  EXPECT_THAT(figures(measurement.samples, "forward", 0),
              Pointwise(DoubleEq(), std::vector(kSteps, 70e-9)));
  EXPECT_THAT(figures(measurement.samples, "backward", 1),
              Pointwise(DoubleEq(), std::vector(kSteps, 120e-9)));
  std::map<MeasuredCollective, std::int64_t> sizes;
  for (const Sample& sample : measurement.samples) {
    if (const auto* collective = sample.as<CollectiveSeries>()) {
      sizes[collective->kind] = collective->bytes;
    }
  }
  EXPECT_EQ(sizes,
            (std::map<MeasuredCollective, std::int64_t>{{MeasuredCollective::kReduceScatter, 128},
                                                        {MeasuredCollective::kAllGather, 64}}));
}

// A path inside a node is called by the cluster file's profile of that path, whatever network the
// file has besides; "pcie" is no cluster of which one would make "pcie-node".
TEST_F(Import, ARunInsideANodeGoesByTheNamesOfItsFile) {
  const auto facts = nlohmann::json::parse(test::file_text(import_sample("run_a/resolved.json")));
  const auto link_of = [&](const nlohmann::json& resolved) {
    file("run/resolved.json", resolved.dump());
    fs::copy(import_sample("run_a/timeline.jsonl"),
             folder_ / "run",
             fs::copy_options::overwrite_existing);
    const Measurement measurement = import_all({folder_ / "run"}, {.cluster = "lab"});
    EXPECT_THAT(measurement.runs, SizeIs(1));
    const std::string again = to_text(measurement);
    const RecordedRun run = measurement_from_text(again, "m.json").runs.at(0);
    return std::pair(link_name(run), run.one_node);
  };
  nlohmann::json two = facts;
  two["cluster"]["network"] = {{"profile", "wire"}};
  two["cluster"]["intra_node"] = {{"profile", "pcie"}};
  EXPECT_EQ(link_of(two), std::pair(std::string("wire"), false));
  nlohmann::json one = two;
  one["cluster"]["nodes"][0]["gpus"] += one["cluster"]["nodes"][1]["gpus"][0];
  one["cluster"]["nodes"].erase(1);
  EXPECT_EQ(link_of(one), std::pair(std::string("pcie"), true));
  one["cluster"]["nodes"][0]["intra_node"] = {{"profile", "nvlink"}};
  EXPECT_EQ(link_of(one), std::pair(std::string("nvlink"), true));
  // Figures have no name: the cluster's is left.
  one["cluster"]["nodes"][0].erase("intra_node");
  one["cluster"]["intra_node"] = facts["cluster"]["intra_node"];
  EXPECT_EQ(link_of(one), std::pair(std::string("lab-node"), true));
}

TEST_F(Import, AllReducesKnowWhetherTheyStayInsideANode) {
  const auto link_of = [&](const std::string& name, const ImportHints& hints) {
    const Measurement measurement = import_all({import_sample(name)}, hints);
    for (const Sample& sample : measurement.samples) {
      if (const auto* reduce = sample.collective(MeasuredCollective::kAllReduce)) {
        return std::pair(reduce->link, reduce->one_node);
      }
    }
    return std::pair(std::string("none"), std::optional<bool>());
  };
  const ImportHints network{.cluster = "lab"};
  const ImportHints node{.cluster = "lab", .one_node = true};
  // A table does not say where its ranks are: the user does.
  EXPECT_EQ(link_of("clock/ar_3x1g.rank0.csv", network),
            std::pair(std::string("lab-ethernet"), std::optional<bool>()));
  EXPECT_EQ(link_of("clock/ar_3x1g.rank0.csv", node),
            std::pair(std::string("lab-node"), std::optional(true)));
  // nccl-tests lists two hosts, which no flag makes one.
  EXPECT_EQ(link_of("ring/four_gpus.txt", node),
            std::pair(std::string("lab-ethernet"), std::optional(false)));
}

TEST_F(Import, TakesEveryRanksMemoryFromARunsReport) {
  fs::copy(import_sample("run_a"), folder_ / "run", fs::copy_options::recursive);
  Report report{.source = "measured"};
  report.ranks = {
      {.rank = 0, .gpu = "rtx-3070", .memory = {.total_bytes = 3e9, .capacity_bytes = 8e9}},
      {.rank = 1, .gpu = "gtx-1070", .memory = {.total_bytes = 4e9}}};
  file("run/report.json", to_json(report).dump());
  const Measurement measurement = import_all({folder_ / "run"});
  EXPECT_THAT(figures(measurement.samples, "memory", 0), ElementsAre(3e9));
  EXPECT_THAT(figures(measurement.samples, "memory", 1), ElementsAre(4e9));
}

TEST_F(Import, ReadsAMeasurementAndRefusesTheSameRunTwice) {
  write_measurement(folder_ / "m.json", import_all({import_sample("old")}));
  const Measurement back = import_all({folder_ / "m.json", import_sample("tagged")});
  EXPECT_NE(back.find_run("two_hosts"), nullptr);
  EXPECT_NE(back.find_run("tagged"), nullptr);
  EXPECT_THAT(refusal({folder_ / "m.json", import_sample("old")}), HasSubstr("two_hosts"));
}

TEST_F(Import, TellsRunsOfADeviceThatIsMeasuredTwiceApart) {
  Measurement measurement;
  measurement.runs.push_back({.name = "visit 1", .gpus = {"gpu"}});
  measurement.samples.push_back({.series = StepSeries{.seconds = {1.0}}, .run = "visit 1"});
  Measurement again = measurement;
  again.samples.front().as<StepSeries>()->seconds = {2.0};
  append(measurement, again);
  ASSERT_NE(measurement.find_run("visit 1 (2)"), nullptr);
  EXPECT_EQ(measurement.samples.back().run, "visit 1 (2)");
  EXPECT_THROW(append(measurement, again), UserError);
}

TEST_F(Import, UnpacksGzip) {
  const std::string text = test::file_text(import_sample("old/two_hosts.deepspeed.log"));
  const Measurement measurement = import_all({zipped("a.log.gz", text)});
  EXPECT_EQ(measurement.runs.at(0).name, "a");
  EXPECT_THAT(figures(measurement.samples, "forward", 0), SizeIs(4));
}

TEST_F(Import, TakesTheBeginningOfCutGzip) {
  const std::string packed = test::file_text(
      zipped("whole.log.gz", test::file_text(import_sample("old/two_hosts.deepspeed.log"))));
  const Measurement measurement =
      import_all({file("cut.log.gz", packed.substr(0, packed.size() - 30))});
  EXPECT_THAT(measurement.warnings, Contains(HasSubstr("gzip file is cut")));
  EXPECT_LE(figures(measurement.samples, "forward", 0).size(), 4U);
}

TEST_F(Import, TellsRunsOfOneNameApartByTheirFolders) {
  const std::string text = test::file_text(import_sample("old/two_hosts.deepspeed.log"));
  const fs::path a = file("monday/run.deepspeed.log", text);
  const fs::path b = file("friday/run.deepspeed.log", text);
  const Measurement measurement = import_all({a, b});
  EXPECT_NE(measurement.find_run("monday/run"), nullptr);
  EXPECT_NE(measurement.find_run("friday/run"), nullptr);
  const fs::path c = file("monday/run.txt", text);
  EXPECT_THAT(refusal({a, c}), HasSubstr("describes the same run \"monday/run\""));
}

TEST_F(Import, RefusesTheUnknownWithTheReasonAndWhatIsAccepted) {
  const std::string problems = refusal({file("empty.log", ""),
                                        file("blank.csv", " \n\n"),
                                        file("novel.txt", "It was a dark night.\n"),
                                        file("table.csv", "a,b\n1,2\n"),
                                        file("profile.json", R"({"schema": "vitsim-profile/1"})"),
                                        file("cut.json", R"({"name": "x", )"),
                                        file("trace.json", R"({"traceEvents": []})"),
                                        folder_ / "absent"});
  EXPECT_THAT(problems, HasSubstr("empty.log: an empty file"));
  EXPECT_THAT(problems, HasSubstr("blank.csv: a file of blanks"));
  EXPECT_THAT(problems, HasSubstr("novel.txt: text with neither"));
  EXPECT_THAT(problems, HasSubstr("table.csv: text with neither"));
  EXPECT_THAT(problems, HasSubstr("\"vitsim-profile/1\", which holds no measurement"));
  EXPECT_THAT(problems, HasSubstr("cut.json: JSON that is cut or damaged"));
  EXPECT_THAT(problems, HasSubstr("trace.json: a trace, but not of the PyTorch profiler"));
  EXPECT_THAT(problems, HasSubstr("absent: no such file or folder"));
  EXPECT_THAT(problems, HasSubstr("accepted are: a DeepSpeed log"));
}

TEST_F(Import, RefusesABinaryAfterItsBeginning) {
  std::mt19937 random(7);
  std::string bytes(1 << 20, '\0');
  std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
  EXPECT_THAT(refusal({file("image.log", bytes)}), HasSubstr("image.log: a binary file"));
}

TEST_F(Import, SkipsTheUnknownInFoldersWithAWarning) {
  file("README.md", "Logs of June.\n");
  file("a.log", test::file_text(import_sample("bars/bars.log")));
  const Measurement measurement = import_all({folder_});
  EXPECT_THAT(measurement.runs, SizeIs(1));
  EXPECT_THAT(measurement.warnings, Contains(HasSubstr("README.md: text with neither")));
  fs::remove(folder_ / "a.log");
  EXPECT_THAT(refusal({folder_}), HasSubstr("nothing to import was found"));
}

TEST_F(Import, LeavesOutARunOfWhichNothingWasMeasured) {
  const Measurement measurement =
      import_all({import_sample("tagged/tagged.ds_config.json"), import_sample("bars")});
  EXPECT_EQ(measurement.find_run("tagged"), nullptr);
  EXPECT_THAT(measurement.warnings, Contains(HasSubstr("run tagged: nothing was measured")));
}

TEST_F(Import, DescribesWhatItFound) {
  const std::string text = describe(import_all({import_sample("tables"), import_sample("ring")}));
  EXPECT_THAT(text, HasSubstr("3 runs:"));
  EXPECT_THAT(text, HasSubstr("rtx-3070, tesla-p4"));
  EXPECT_THAT(text, HasSubstr("4 x a40"));
  EXPECT_THAT(text, HasSubstr("3 x 12.20 s"));  // the median of 12.5, 12.1, 12.2
  EXPECT_THAT(text, HasSubstr("four_gpus: all_reduce, 4 ranks on 2 nodes, a40, 4 sizes"));
}

TEST_F(Import, ReadsTheReleasedRunsAtOnce) {
  if (reference_runs().empty()) {
    GTEST_SKIP() << "no reference runs beside the checkout";
  }
  std::vector<fs::path> study;
  for (const char* part : {"raw", "steps", "deepspeed-0.19", "runs.csv", "throughput.csv"}) {
    study.push_back(reference_runs() / part);
  }
  const Measurement measurement = import_all(study);
  EXPECT_THAT(measurement.runs, SizeIs(36));  // 27 of the table, 9 of DeepSpeed 0.19
  // Of the 4-GPU run the table of epochs, steps/ and raw/ agree; each subject is there once.
  EXPECT_THAT(figures(measurement.samples, "forward", 0, "tesla-4gpu-p0.4_b16_e10"), SizeIs(3130));
  const RecordedRun* a = measurement.find_run("em_A_2x50_1g");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->micro_batch, std::vector<std::int64_t>{16});
  EXPECT_EQ(a->gpus.size(), 2U);
  // awk -F, 'NR>1 {print $6}' em_A_2x50_1g.rank0.csv | sort -n: middle of 29th and 30th.
  EXPECT_NEAR(median(figures(measurement.samples, "step", 0, "em_A_2x50_1g")), 0.569608, 1e-9);
  std::vector<double> reduced;
  for (const Sample& sample : measurement.samples) {
    const auto* series = sample.collective(MeasuredCollective::kAllReduce);
    if (series != nullptr && series->bytes == 10954384 && series->ranks == 3) {
      reduced = series->seconds;
    }
  }
  ASSERT_THAT(reduced, SizeIs(10));
  EXPECT_NEAR(median(reduced), 0.11735, 1e-9);  // awk over ar_3x1g.rank0.csv
}

// A log of a small model is not what the user calls it.
TEST_F(Import, ComparesAGivenModelWithTheLogsParameters) {
  const auto log = file("a.log",
                        "DeepSpeed\nrank 0/1 parameters 2700000 micro_batch 16\n"
                        "[Rank 0] time (ms) | fwd: 1.00 | bwd: 3.00 | bwd_inner: 2.00 | "
                        "bwd_allreduce: 1.00 | step: 0.50\n");
  const Measurement measurement = import_all({log}, {.model = vit_variant("vit-b-16")});
  ASSERT_THAT(measurement.runs, SizeIs(1));
  EXPECT_EQ(measurement.runs.front().model.name, "unknown");
  EXPECT_THAT(measurement.warnings, Contains(HasSubstr("the log says 2700000: not taken")));
  // With another number of classes it is the same model.
  const std::string near = std::to_string(parameter_count(*vit_variant("vit-b-16")) - 760'000);
  const auto other = file("b.log",
                          "DeepSpeed\nrank 0/1 parameters " + near +
                              " micro_batch 16\n[Rank 0] time (ms) | fwd: 1.00 | bwd: 3.00 | "
                              "bwd_inner: 2.00 | bwd_allreduce: 1.00 | step: 0.50\n");
  EXPECT_EQ(import_all({other}, {.model = vit_variant("vit-b-16")}).runs.front().model.name,
            "vit-b-16");
}

// The configuration beside a log with two starts is that of both.
TEST_F(Import, AConfigurationIsThatOfEveryStart) {
  const std::string start =
      "[Rank 0] DeepSpeed info: version=0.9.2, git-hash=unknown\n"
      "[Rank 0] time (ms) | fwd: 1.00 | bwd: 3.00 | bwd_inner: 2.00 | bwd_allreduce: 1.00 | step: "
      "0.50\n";
  const auto log = file("job.log", start + start);
  const auto config = file("job.ds_config.json",
                           "{\"train_micro_batch_size_per_gpu\": 24, // each\n"
                           "\"fp16\": {\"enabled\": true}}");
  const Measurement measurement = import_all({log, config});
  ASSERT_THAT(measurement.runs, SizeIs(2));
  for (const RecordedRun& run : measurement.runs) {
    EXPECT_EQ(run.micro_batch, std::vector<std::int64_t>{24});
    EXPECT_EQ(run.precision, Precision::kFp16);
  }
}

// A configuration beside a log says which stage its run is of. Forward and backward of stage 3 hold
// AllGathers, which no timer tells apart: such a run is left out, the others are not.
TEST_F(Import, AConfigurationTellsTheStage) {
  const std::string step =
      "[Rank 0] time (ms) | fwd: 1.00 | bwd: 3.00 | bwd_inner: 2.00 | bwd_allreduce: 1.00 | step: "
      "0.50\n";
  const auto two = file("two.log", step);
  const auto two_config = file("two.ds_config.json",
                               R"({"train_micro_batch_size_per_gpu": 4,
                                   "zero_optimization": {"stage": 2}})");
  const auto three = file("three.log", step);
  const auto three_config = file("three.ds_config.json",
                                 R"({"train_micro_batch_size_per_gpu": 4,
                                     "zero_optimization": {"stage": 3}})");
  const Measurement measurement = import_all({two, two_config, three, three_config});
  ASSERT_THAT(measurement.runs, SizeIs(1));
  EXPECT_EQ(measurement.runs.front().gradient_sync, GradientSync::kDeepspeedZero2);
  EXPECT_THAT(measurement.warnings,
              Contains(AllOf(HasSubstr("run three: ZeRO stage 3"), HasSubstr("left out"))));
}

}  // namespace
}  // namespace vitsim
