#include "models/report/timeline.h"

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/error.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

using test::file_text;
using test::TemporaryFolder;
using ::testing::HasSubstr;

Timeline two_ranks() {
  return {.name = "predicted",
          .spans = {{.rank = 0, .phase = Phase::kForward, .begin_ns = 0, .end_ns = 1'500},
                    {.rank = 1,
                     .stream = Stream::kCommunication,
                     .step = 2,
                     .phase = Phase::kGradientAllReduce,
                     .begin_ns = 1'234'567'891'234,
                     .end_ns = 1'234'567'891'235,
                     .bytes = 346'270'624}},
          .rank_names = {"old: tesla-p4"}};
}

TEST(Timeline, PerfettoHasOneProcessPerTimelineAndRank) {
  const TemporaryFolder folder;
  Timeline measured = two_ranks();
  measured.name = "measured";
  write_perfetto(folder.path() / "trace.json", {two_ranks(), measured});
  const auto json = nlohmann::json::parse(file_text(folder.path() / "trace.json"));
  std::map<int, std::string> processes;
  std::set<std::pair<int, int>> tracks;
  int spans = 0;
  for (const auto& event : json["traceEvents"]) {
    if (event["name"] == "process_name") {
      processes[event["pid"]] = event["args"]["name"];
    } else if (event["ph"] == "X") {
      ++spans;
      tracks.emplace(event["pid"], event["tid"]);
      EXPECT_TRUE(processes.contains(event["pid"]));
    }
  }
  EXPECT_EQ(spans, 4);
  EXPECT_EQ(tracks.size(), 4U);
  std::set<std::string> names;
  for (const auto& [pid, name] : processes) {
    names.insert(name);
  }
  EXPECT_EQ(names,
            (std::set<std::string>{"predicted rank 0 (old: tesla-p4)",
                                   "predicted rank 1",
                                   "measured rank 0 (old: tesla-p4)",
                                   "measured rank 1"}));
}

TEST(Timeline, PerfettoTimesAreMicrosecondsThatKeepTheNanosecond) {
  const TemporaryFolder folder;
  write_perfetto(folder.path() / "trace.json", {two_ranks()});
  const std::string text = file_text(folder.path() / "trace.json");
  EXPECT_THAT(text, HasSubstr(R"("ts":0.000,"dur":1.500)"));
  EXPECT_THAT(text, HasSubstr(R"("ts":1234567891.234,"dur":0.001)"));
  EXPECT_THAT(text, HasSubstr(R"("bytes":346270624)"));
}

TEST(Timeline, LinesSurviveTheFile) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "timeline.jsonl";
  Timeline written = two_ranks();
  written.spans[0].warm_up = true;
  write_timeline_lines(file, written);
  const Timeline read = read_timeline_lines(file);
  ASSERT_EQ(read.spans.size(), 2U);
  EXPECT_EQ(read.spans[1].rank, 1);
  EXPECT_EQ(read.spans[1].stream, Stream::kCommunication);
  EXPECT_EQ(read.spans[1].step, 2);
  EXPECT_EQ(read.spans[1].phase, Phase::kGradientAllReduce);
  EXPECT_EQ(read.spans[1].begin_ns, 1'234'567'891'234);
  EXPECT_EQ(read.spans[1].end_ns, 1'234'567'891'235);
  EXPECT_EQ(read.spans[1].bytes, 346'270'624);
  EXPECT_TRUE(read.spans[0].warm_up);
  EXPECT_FALSE(read.spans[1].warm_up);
}

TEST(Timeline, WrongLinesAreNamed) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "timeline.jsonl";
  write_timeline_lines(file, two_ranks());
  const std::string good = file_text(file);
  folder.write(
      "timeline.jsonl",
      good +
          R"({"rank":0,"stream":"compute","step":0,"phase":"foward","begin_ns":5,"end_ns":4})"
          "\n" +
          good.substr(0, 30));
  try {
    (void)read_timeline_lines(file);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("timeline.jsonl:3: /phase: unknown word \"foward\" (did you"));
    EXPECT_THAT(error.what(), HasSubstr("timeline.jsonl:3: /: ends before it begins"));
    EXPECT_THAT(error.what(), HasSubstr("timeline.jsonl:4: the file ends in the middle"));
  }
}

}  // namespace
}  // namespace vitsim
